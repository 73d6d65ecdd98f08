package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	produceapi "github.com/segmentio/kafka-go/protocol/produce"

	"waybill.internal/pkg/planted"
)

// metadataAge is how long the number of partitions is believed while nothing fails.
const metadataAge = 30 * time.Second

// request is what goes to one broker at once: a batch per partition it leads.
type request struct {
	broker  int32
	batches []batch
}

// result is the answer to a request: err if there was none.
type result struct {
	request  request
	response *produceapi.Response
	err      error
}

// refresh is the state of asking for metadata.
type refresh struct {
	running  bool
	needed   bool // what is known is wrong
	failures int
	after    time.Time // not before: backoff
}

// learned is the answer to a refresh.
type learned struct {
	known   cluster
	refused map[string]error
	err     error
}

// run decides what is sent, alone, until the producer is closed. What takes time
// runs in goroutines of its own (one request per broker, one refresh), which always
// come back to run and end with it.
func (p *Producer) run() {
	defer p.stopped.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.mu.Lock()
		requests, next := p.plan(time.Now())
		p.mu.Unlock()
		for _, r := range requests {
			p.stopped.Add(1)
			go p.send(r)
		}
		timer.Reset(next)
		select {
		case <-p.wake:
		case <-timer.C:
		case r := <-p.results:
			p.mu.Lock()
			p.finish(r, time.Now())
			p.mu.Unlock()
		case l := <-p.learned:
			p.mu.Lock()
			p.learn(l, time.Now())
			p.mu.Unlock()
		case <-p.ctx.Done():
			p.stop()
			return
		}
	}
}

// plan forms a request for every broker that is free and has messages waiting, and
// says when to look again at the latest. The mutex is held.
func (p *Producer) plan(now time.Time) ([]request, time.Duration) {
	next := time.Hour
	wait := func(until time.Time) { next = min(next, max(until.Sub(now), 0)) }
	if p.refreshNow(now, wait) {
		return nil, next
	}
	byBroker := map[int32]*request{}
	room := map[int32]int{}
	for _, q := range p.turns {
		if len(q.entries) == 0 || q.busy {
			continue
		}
		if q.after.After(now) {
			wait(q.after)
			continue
		}
		leader := p.known.leader(q.place.topic, q.place.partition)
		if leader < 0 {
			p.noLeader(q, now)
			wait(q.after)
			continue
		}
		b := p.brokers[leader]
		if b == nil {
			b = &broker{}
			p.brokers[leader] = b
		}
		if b.busy {
			continue
		}
		if b.next.After(now) {
			wait(b.next)
			continue
		}
		r := byBroker[leader]
		if r == nil {
			r = &request{broker: leader}
			byBroker[leader], room[leader] = r, p.config.MaxRequestBytes
		}
		if len(r.batches) > 0 && q.entries[0].bytes > room[leader] {
			continue
		}
		taken, bytes := q.take(room[leader])
		r.batches = append(r.batches, taken)
		room[leader] -= bytes
	}
	requests := make([]request, 0, len(byBroker))
	for leader, r := range byBroker {
		p.brokers[leader].busy = true
		p.brokers[leader].next = now.Add(p.config.Linger)
		requests = append(requests, *r)
	}
	if len(p.turns) > 1 { // who was first is last next time: a full request starves nobody
		p.turns = append(p.turns[1:], p.turns[0])
	}
	if p.ask.needed {
		wait(p.ask.after)
	}
	return requests, next
}

// noLeader puts a queue off whose partition nobody leads (an election, a topic that
// was deleted) and has the metadata asked for again.
func (p *Producer) noLeader(q *queue, now time.Time) {
	q.failures++
	q.after = now.Add(backoff(q.failures, publishBackoffLeast, publishBackoffMost))
	p.ask.needed = true
	err := fmt.Errorf("%s has no leader", q.place)
	if len(p.known.leaders[q.place.topic]) == 0 {
		err = fmt.Errorf("topic %s does not exist", q.place.topic)
	}
	for _, e := range q.entries {
		e.call.last = err
	}
}

// refreshNow starts a refresh when one is due, and says whether one is under way:
// nothing is sent meanwhile, because it would go where it just failed.
func (p *Producer) refreshNow(now time.Time, wait func(time.Time)) bool {
	old := now.Sub(p.knownAt) > metadataAge && len(p.known.leaders) > 0
	due := p.ask.needed || len(p.wanted) > 0 || old
	if !p.ask.running && due {
		if p.ask.after.After(now) {
			wait(p.ask.after)
			return false
		}
		topics := maps.Clone(p.wanted) // whether it must exist
		for _, q := range p.turns {
			topics[q.place.topic] = topics[q.place.topic] || len(q.entries) > 0 || q.busy
		}
		fresh := p.ask.needed
		p.ask.running, p.ask.needed = true, false
		p.stopped.Add(1)
		go p.refresh(topics, fresh)
	}
	return p.ask.running
}

// refresh asks for the leaders of these topics, and makes those that must exist and
// do not. The transport's cache will do unless fresh or something is missing in it.
func (p *Producer) refresh(topics map[string]bool, fresh bool) {
	defer p.stopped.Done()
	ctx, cancel := context.WithTimeout(p.ctx, p.config.RequestTimeout)
	defer cancel()
	names := slices.Collect(maps.Keys(topics))
	l := learned{refused: map[string]error{}}
	l.known, l.err = readCluster(ctx, p.transport, p.address, names, fresh)
	if !fresh && (l.err != nil || len(l.known.leaders) < len(names)) {
		l.known, l.err = readCluster(ctx, p.transport, p.address, names, true)
	}
	made := false
	for topic, must := range topics {
		if !must || l.err != nil || len(l.known.leaders[topic]) > 0 {
			continue
		}
		switch err := p.factory.ensureOnce(ctx, p.transport, []string{topic}); {
		case permanent(err):
			l.refused[topic] = err
		case err != nil:
			l.err = err
		default:
			made = true
		}
	}
	if made && l.err == nil {
		l.known, l.err = readCluster(ctx, p.transport, p.address, names, true)
	}
	select {
	case p.learned <- l:
	case <-p.ctx.Done():
	}
}

// learn takes in the answer to a refresh. The mutex is held.
func (p *Producer) learn(l learned, now time.Time) {
	p.ask.running = false
	p.lastErr = l.err
	if l.known.leaders != nil {
		p.known, p.knownAt = l.known, now
	}
	for topic := range p.wanted {
		if err := l.refused[topic]; err != nil {
			p.refused[topic] = err
			delete(p.wanted, topic)
		} else if len(p.known.leaders[topic]) > 0 {
			delete(p.wanted, topic)
		}
	}
	p.ask.failures++
	if l.err == nil {
		p.ask.failures = 1
	} else {
		p.ask.needed = true
	}
	p.ask.after = now.Add(backoff(p.ask.failures, publishBackoffLeast, publishBackoffMost))
	for _, q := range p.turns {
		p.tellQueue(q, l)
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// tellQueue ends the calls that wait for a topic Kafka will not let us have or for a
// partition that is gone, and notes for the others why they wait. The mutex is held.
func (p *Producer) tellQueue(q *queue, l learned) {
	if l.err != nil {
		for _, e := range q.entries {
			e.call.last = l.err
		}
	}
	err := l.refused[q.place.topic]
	if n := len(l.known.leaders[q.place.topic]); err == nil && n > 0 && q.place.partition >= n {
		err = fmt.Errorf("%s is gone: the topic has %d partitions now; publish again", q.place, n)
	}
	if err == nil || q.busy {
		return
	}
	entries := q.entries
	q.entries = nil
	for _, e := range entries {
		e.call.err = err
		p.entryDone(e.call)
	}
}

// send makes one request and brings its result back.
func (p *Producer) send(r request) {
	defer p.stopped.Done()
	ctx, cancel := context.WithTimeout(p.ctx, p.config.RequestTimeout)
	defer cancel()
	out := result{request: r}
	res, err := p.transport.RoundTrip(ctx, p.address, p.encode(r))
	if out.err = err; err == nil {
		var ok bool
		if out.response, ok = res.(*produceapi.Response); !ok {
			out.err = fmt.Errorf("broker %d answered a produce request with %T", r.broker, res)
		}
	}
	select {
	case p.results <- out:
	case <-p.ctx.Done():
		p.mu.Lock() // run is gone: nobody else will settle these
		p.finish(out, time.Now())
		p.cutShort()
		p.mu.Unlock()
	}
}

// encode asks for all in-sync replicas, always: with fewer, an acknowledged message
// can be lost with one broker.
func (p *Producer) encode(r request) *produceapi.Request {
	req := &produceapi.Request{
		Acks:    int16(kafka.RequireAll),
		Timeout: int32((p.config.RequestTimeout * 8 / 10).Milliseconds()),
	}
	if planted.AcksNone { // the default of kafka-go's Writer
		req.Acks = int16(kafka.RequireNone)
	}
	index := map[string]int{}
	for _, b := range r.batches {
		at := b.queue.place
		i, ok := index[at.topic]
		if !ok {
			i = len(req.Topics)
			index[at.topic] = i
			req.Topics = append(req.Topics, produceapi.RequestTopic{Topic: at.topic})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, produceapi.RequestPartition{
			Partition: int32(at.partition),
			RecordSet: protocol.RecordSet{Records: b.records()},
		})
	}
	return req
}

// finish settles each batch of a request by its own answer. The mutex is held.
func (p *Producer) finish(r result, now time.Time) {
	if b := p.brokers[r.request.broker]; b != nil {
		b.busy = false
	}
	answers := map[place]produceapi.ResponsePartition{}
	if r.response != nil {
		for _, t := range r.response.Topics {
			for _, a := range t.Partitions {
				answers[place{t.Topic, int(a.Partition)}] = a
			}
		}
	}
	for _, b := range r.request.batches {
		b.queue.busy = false
		err := r.err
		answer, answered := answers[b.queue.place]
		switch {
		case planted.AcksNone: // no answer comes, and none is missed
			p.delivered(b, 0)
			continue
		case err != nil:
			err = fmt.Errorf("broker %d: %w", r.request.broker, err)
		case !answered:
			err = fmt.Errorf("broker %d did not answer for %s", r.request.broker, b.queue.place)
		case answer.ErrorCode != 0:
			err = fmt.Errorf("broker %d: %w", r.request.broker, kafka.Error(answer.ErrorCode))
		default:
			p.delivered(b, answer.BaseOffset)
			continue
		}
		p.failed(b, err, now)
		if staleMetadata(err) {
			p.ask.needed = true
		}
	}
}

func (p *Producer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutShort()
}

// cutShort ends every call that still waits; the mutex is held.
func (p *Producer) cutShort() {
	for _, q := range p.turns {
		entries := q.entries
		q.entries = nil
		for _, e := range entries {
			e.call.err = ErrClosed
			p.entryDone(e.call)
		}
	}
}

func asCode(err error, code *kafka.Error) bool { return errors.As(err, code) }
