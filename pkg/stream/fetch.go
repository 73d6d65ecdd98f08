package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"
	listapi "github.com/segmentio/kafka-go/protocol/listoffsets"
)

const (
	fetchBytes          = 4 << 20 // one answer, except for a single larger message
	fetchPartitionBytes = 1 << 20
	// crowdedWait replaces MaxWait of a poll that leaves out a partition whose buffer
	// is full: once it has room it must not wait for the others' silence.
	crowdedWait = 25 * time.Millisecond
	// answerLimit is how much longer than its wait a poll may take.
	answerLimit       = 5 * time.Second
	leadersAge        = time.Second
	leadersLeastAge   = 100 * time.Millisecond // while something is wrong with them
	fetchBackoffLeast = 50 * time.Millisecond
	fetchBackoffMost  = time.Second
	// missingLimit is how often in a row a partition may be unknown before the topic
	// counts as deleted; a new topic is unknown for a moment.
	missingLimit = 10
)

// fetcher keeps one long poll under way at every broker that leads a partition with
// room for more. Reading is paused by not asking.
type fetcher struct {
	consumer   *Consumer
	partitions []*partition
	hungry     chan struct{} // 1 deep: a buffer has room again
	lost       chan place    // 1 deep: this partition does not exist any more

	known    cluster
	knownAt  time.Time
	stale    bool
	failures int
	unknown  map[place]int
}

// polled is what one poll brought.
type polled struct {
	broker int32
	parts  []polledPartition
	err    error
}

type polledPartition struct {
	partition *partition
	messages  []Message
	next      int64 // offset after the messages
	earliest  int64 // where to go, with OffsetOutOfRange
	err       error
}

func (f *fetcher) feed() {
	select {
	case f.hungry <- struct{}{}:
	default:
	}
}

// run ends with ctx, and with it every poll: an answer that comes later is dropped.
func (f *fetcher) run(ctx context.Context) {
	results := make(chan polled)
	busy := map[int32]bool{}
	next := map[int32]time.Time{} // earliest start of a broker's next poll
	f.unknown = map[place]int{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.hungry:
		case <-timer.C:
		case r := <-results:
			busy[r.broker] = false
			if wait := f.take(r); wait > 0 {
				next[r.broker] = time.Now().Add(wait)
			}
		}
		timer.Reset(f.start(ctx, busy, next, results))
	}
}

// start begins a poll at every broker that is free, and says when to look again.
func (f *fetcher) start(ctx context.Context, busy map[int32]bool, next map[int32]time.Time, results chan<- polled) time.Duration {
	look := time.Hour
	if !f.learn(ctx) {
		f.failures++
		return backoff(f.failures, fetchBackoffLeast, fetchBackoffMost)
	}
	now := time.Now()
	polls := map[int32]*fetchapi.Request{}
	members := map[int32][]*partition{}
	for _, p := range f.partitions {
		leader := f.known.leader(p.place.topic, p.place.partition)
		if leader < 0 {
			f.unknownPartition(p, len(f.known.leaders[p.place.topic]) == 0)
			f.stale = true
			look = min(look, fetchBackoffMost/4)
			continue
		}
		if busy[leader] {
			continue
		}
		if next[leader].After(now) {
			look = min(look, next[leader].Sub(now))
			continue
		}
		if polls[leader] == nil {
			polls[leader] = &fetchapi.Request{
				ReplicaID: -1, MaxWaitTime: int32(f.consumer.config.MaxWait.Milliseconds()), MinBytes: 1, MaxBytes: fetchBytes,
				SessionID: 0, SessionEpoch: -1, // no session: every poll says all it wants
			}
		}
		offset, room := p.room(f.consumer.config.MaxBatch, f.consumer.config.MaxBatchBytes)
		if !room {
			polls[leader].MaxWaitTime = int32(min(crowdedWait, f.consumer.config.MaxWait).Milliseconds())
			continue
		}
		addToPoll(polls[leader], p.place, offset)
		members[leader] = append(members[leader], p)
	}
	for leader, poll := range polls {
		if len(members[leader]) == 0 {
			continue // all full: hungry wakes us
		}
		busy[leader] = true
		next[leader] = now.Add(f.consumer.config.Linger)
		go func() {
			r := f.poll(ctx, leader, poll, members[leader])
			select {
			case results <- r:
			case <-ctx.Done():
			}
		}()
	}
	if n := len(f.partitions); n > 1 { // the first of a request is served first: take turns
		f.partitions = append(slices.Clone(f.partitions[1:]), f.partitions[0])
	}
	return look
}

func addToPoll(r *fetchapi.Request, at place, offset int64) {
	i := slices.IndexFunc(r.Topics, func(t fetchapi.RequestTopic) bool { return t.Topic == at.topic })
	if i < 0 {
		i = len(r.Topics)
		r.Topics = append(r.Topics, fetchapi.RequestTopic{Topic: at.topic})
	}
	r.Topics[i].Partitions = append(r.Topics[i].Partitions, fetchapi.RequestPartition{
		Partition: int32(at.partition), CurrentLeaderEpoch: -1, FetchOffset: offset,
		LogStartOffset: -1, PartitionMaxBytes: fetchPartitionBytes,
	})
}

// learn makes sure the leaders are known; stale ones are asked for anew.
func (f *fetcher) learn(ctx context.Context) bool {
	age := time.Since(f.knownAt)
	if len(f.partitions) == 0 || age < leadersAge && !f.stale || age < leadersLeastAge {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	c := f.consumer
	known, err := readCluster(ctx, c.transport, c.factory.address(), c.config.Topics, f.stale)
	if err != nil {
		if ctx.Err() == nil {
			c.config.Report(fmt.Errorf("group %s: %w", c.config.Group, err))
		}
		f.stale = true
		return false
	}
	f.known, f.knownAt, f.stale = known, time.Now(), false
	return true
}

// take gives what a poll brought to its partitions, and says how long its broker
// should not be asked: not at all if all went well.
func (f *fetcher) take(r polled) time.Duration {
	trouble := r.err
	for _, p := range r.parts {
		switch {
		case p.err == nil:
			delete(f.unknown, p.partition.place)
			p.partition.add(p.messages, p.next)
		case errors.Is(p.err, kafka.OffsetOutOfRange):
			p.partition.outOfRange(p.earliest)
		case errors.Is(p.err, kafka.UnknownTopicOrPartition):
			f.unknownPartition(p.partition, true)
			trouble = p.err
		default:
			trouble = fmt.Errorf("%s: %w", p.partition.place, p.err)
		}
	}
	if trouble == nil {
		f.failures = 0
		return 0
	}
	f.failures++
	f.stale = f.stale || staleMetadata(trouble)
	f.consumer.config.Report(fmt.Errorf("group %s: fetch from broker %d: %w", f.consumer.config.Group, r.broker, trouble))
	return backoff(f.failures, fetchBackoffLeast, fetchBackoffMost)
}

func (f *fetcher) unknownPartition(p *partition, deleted bool) {
	if !deleted {
		return // an election: somebody will lead it
	}
	f.unknown[p.place]++
	if p.missing(f.unknown[p.place] > missingLimit) {
		select {
		case f.lost <- p.place:
		default:
		}
	}
}

// poll asks one broker once.
func (f *fetcher) poll(ctx context.Context, broker int32, req *fetchapi.Request, members []*partition) polled {
	out := polled{broker: broker}
	wait := time.Duration(req.MaxWaitTime)*time.Millisecond + answerLimit
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c := f.consumer
	res, err := c.transport.RoundTrip(ctx, c.factory.address(), req)
	if err != nil {
		out.err = err
		return out
	}
	answer, ok := res.(*fetchapi.Response)
	if !ok {
		out.err = fmt.Errorf("answered a fetch with %T", res)
		return out
	}
	if answer.ErrorCode != 0 {
		out.err = kafka.Error(answer.ErrorCode)
		return out
	}
	byPlace := make(map[place]*partition, len(members))
	for _, p := range members {
		byPlace[p.place] = p
	}
	for _, t := range answer.Topics {
		for _, a := range t.Partitions {
			p := byPlace[place{t.Topic, int(a.Partition)}]
			if p == nil {
				continue
			}
			got := polledPartition{partition: p}
			switch code := kafka.Error(a.ErrorCode); code {
			case 0:
				got.messages, got.next, got.err = readRecords(p.place, a.RecordSet.Records)
			case kafka.OffsetOutOfRange:
				got.err = code
				if got.earliest, err = f.earliest(ctx, p.place); err != nil {
					got.err = fmt.Errorf("find its earliest offset: %w", err)
				}
			default:
				got.err = code
			}
			out.parts = append(out.parts, got)
		}
	}
	return out
}

// readRecords copies a fetched record set into messages. Control records (of other
// people's transactions) are not messages, but their offsets count.
func readRecords(at place, records protocol.RecordReader) ([]Message, int64, error) {
	if records == nil {
		return nil, 0, nil
	}
	batches := []protocol.RecordReader{records}
	if s, ok := records.(*protocol.RecordStream); ok {
		batches = s.Records
	}
	var msgs []Message
	next := int64(0)
	for _, b := range batches {
		_, control := b.(*protocol.ControlBatch)
		for {
			r, err := b.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				if len(msgs) > 0 {
					return msgs, next, nil // the good ones first; the next fetch meets it at its head
				}
				return nil, 0, fmt.Errorf("read records: %w", err)
			}
			m, err := copyRecord(at, r)
			if err != nil {
				return msgs, next, fmt.Errorf("read record at offset %d: %w", r.Offset, err)
			}
			next = r.Offset + 1
			if !control {
				msgs = append(msgs, m)
			}
		}
	}
	return msgs, next, nil
}

// copyRecord takes a record out of kafka-go's pages and gives these back.
func copyRecord(at place, r *protocol.Record) (Message, error) {
	m := Message{Topic: at.topic, Partition: at.partition, Offset: r.Offset, Time: r.Time}
	var err error
	if m.Key, err = takeBytes(r.Key); err != nil {
		return m, err
	}
	if m.Value, err = takeBytes(r.Value); err != nil {
		return m, err
	}
	if len(r.Headers) > 0 {
		m.Headers = make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			m.Headers[i] = Header{Key: h.Key, Value: h.Value}
		}
	}
	return m, nil
}

func takeBytes(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	return protocol.ReadAll(b)
}

// earliest asks the partition's leader for its first offset.
func (f *fetcher) earliest(ctx context.Context, at place) (int64, error) {
	c := f.consumer
	res, err := c.transport.RoundTrip(ctx, c.factory.address(), &listapi.Request{
		ReplicaID: -1,
		Topics: []listapi.RequestTopic{{Topic: at.topic, Partitions: []listapi.RequestPartition{{
			Partition: int32(at.partition), CurrentLeaderEpoch: -1, Timestamp: kafka.FirstOffset,
		}}}},
	})
	if err != nil {
		return 0, err
	}
	answer, ok := res.(*listapi.Response)
	if !ok || len(answer.Topics) == 0 || len(answer.Topics[0].Partitions) == 0 {
		return 0, fmt.Errorf("no answer for %s", at)
	}
	p := answer.Topics[0].Partitions[0] // one was asked for
	if p.ErrorCode != 0 {
		return 0, kafka.Error(p.ErrorCode)
	}
	return p.Offset, nil
}
