package stream

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// batchBytes bounds what goes to one partition in one request: below what brokers
// take by default, so that only a single large message can be too large.
const batchBytes = 900 << 10

const (
	publishBackoffLeast = 50 * time.Millisecond
	publishBackoffMost  = time.Second
)

// place is one partition.
type place struct {
	topic     string
	partition int
}

func (p place) String() string { return fmt.Sprintf("%s[%d]", p.topic, p.partition) }

// call is one Publish. Its fields are guarded by the producer's mutex; done is
// closed when it is decided.
type call struct {
	topic     string
	room      int64
	pending   int // entries not done
	ends      Ends
	err       error // why it failed for good
	last      error // why it was tried again
	abandoned bool  // its Publish returned before all was acknowledged
	done      chan struct{}
}

// entry is what one call has for one partition: the unit that is sent, tried again
// and acknowledged. It is in its partition's queue or in the one request under way.
type entry struct {
	call  *call
	msgs  []Message
	bytes int
}

// queue holds a partition's entries in the order they came.
type queue struct {
	place    place
	entries  []*entry
	busy     bool      // a request with its head is under way
	failures int       // in a row
	after    time.Time // not before: backoff
	limit    int       // bytes of one batch; halved when the broker says too large
}

// broker is one connection's worth of sending.
type broker struct {
	busy bool
	next time.Time // the earliest start of the next request: linger
}

// split divides a call's messages by partition, and what is too much for one batch
// into several. Messages without a key share one partition per call, the next call
// takes the next: few partitions make few batches.
func (p *Producer) split(c *call, msgs []Message, partitions int) map[int][]*entry {
	byPartition := make(map[int][]*entry, min(len(msgs), partitions))
	keyless := -1
	for _, m := range msgs {
		partition := keyless
		switch {
		case m.Key != nil:
			partition = PartitionOf(m.Key, partitions)
		case keyless < 0:
			keyless = int(p.spread.Add(1)) % partitions
			partition = keyless
		}
		entries := byPartition[partition]
		size := m.size()
		if len(entries) == 0 || entries[len(entries)-1].bytes+size > batchBytes {
			entries = append(entries, &entry{call: c})
			byPartition[partition] = entries
		}
		e := entries[len(entries)-1]
		e.msgs = append(e.msgs, m)
		e.bytes += size
	}
	return byPartition
}

func (p *Producer) enqueue(c *call, byPartition map[int][]*entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("publish to %s: %w", c.topic, ErrClosed)
	}
	for partition, entries := range byPartition {
		at := place{c.topic, partition}
		q := p.queues[at]
		if q == nil {
			q = &queue{place: at, limit: batchBytes}
			p.queues[at] = q
			p.turns = append(p.turns, q)
		}
		q.entries = append(q.entries, entries...)
		c.pending += len(entries)
		p.pending += len(entries)
	}
	p.poke()
	return nil
}

// abandon takes the call's waiting entries out of the queues, so that what nobody
// waits for any more is not written later. What is under way stays unknown.
func (p *Producer) abandon(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.pending == 0 {
		return // decided at the same moment
	}
	c.abandoned = true
	for _, q := range p.turns {
		if q.place.topic != c.topic {
			continue
		}
		waiting := len(q.entries)
		q.entries = slices.DeleteFunc(q.entries, func(e *entry) bool { return e.call == c })
		for range waiting - len(q.entries) {
			p.entryDone(c)
		}
	}
}

// entryDone counts one entry of the call as over; the mutex is held.
func (p *Producer) entryDone(c *call) {
	c.pending--
	p.pending--
	if c.pending == 0 {
		p.room.Release(c.room)
		close(c.done)
	}
	if p.pending == 0 && p.closed {
		close(p.drained)
	}
}

// take moves the head of the queue, up to its limit, into a batch; the mutex is held.
func (q *queue) take(room int) (batch, int) {
	b := batch{queue: q}
	bytes := 0
	for len(b.entries) < len(q.entries) {
		e := q.entries[len(b.entries)]
		if len(b.entries) > 0 && bytes+e.bytes > min(q.limit, room) {
			break
		}
		b.entries = append(b.entries, e)
		bytes += e.bytes
	}
	// Not resliced in place: the array's front would keep what was sent alive.
	q.entries = slices.Clone(q.entries[len(b.entries):])
	q.busy = true
	return b, bytes
}

// batch is a partition's part of a request.
type batch struct {
	queue   *queue
	entries []*entry
}

func (b batch) records() *recordReader { return &recordReader{entries: b.entries} }

// delivered settles a batch written from offset base on; the mutex is held.
func (p *Producer) delivered(b batch, base int64) {
	q := b.queue
	q.failures, q.after, q.limit = 0, time.Time{}, min(2*q.limit, batchBytes)
	for _, e := range b.entries {
		base += int64(len(e.msgs))
		e.call.ends[q.place.partition] = max(base, e.call.ends[q.place.partition])
		p.entryDone(e.call)
	}
}

// failed decides what becomes of a batch that was not acknowledged: again at the
// head of its queue, so that order is kept, or in smaller parts, or never. The
// mutex is held.
func (p *Producer) failed(b batch, err error, now time.Time) {
	q := b.queue
	retry := !permanent(err)
	if !retry && p.halve(&b) {
		// One of them is refused (too large, a broken record) and the answer does not
		// say which: the halves are tried until it is alone.
		retry = true
	} else if retry {
		q.failures++
		q.after = now.Add(backoff(q.failures, publishBackoffLeast, publishBackoffMost))
	}
	again := make([]*entry, 0, len(b.entries)+len(q.entries))
	for _, e := range b.entries {
		e.call.last = err
		switch {
		case !retry:
			e.call.err = refusal(q.place, e, err)
			p.entryDone(e.call)
		case e.call.abandoned || e.call.err != nil:
			p.entryDone(e.call)
		default:
			again = append(again, e)
		}
	}
	q.entries = append(again, q.entries...)
}

// halve makes smaller parts and says whether it could: several entries part by the
// queue's limit; a single one with several messages is split. The mutex is held.
func (p *Producer) halve(b *batch) bool {
	bytes := 0
	for _, e := range b.entries {
		bytes += e.bytes
	}
	b.queue.limit = max(bytes/2, 1)
	if len(b.entries) > 1 {
		return true
	}
	e := b.entries[0]
	if len(e.msgs) < 2 {
		return false
	}
	half := len(e.msgs) / 2
	first, second := &entry{call: e.call, msgs: e.msgs[:half]}, &entry{call: e.call, msgs: e.msgs[half:]}
	for _, part := range []*entry{first, second} {
		for _, m := range part.msgs {
			part.bytes += m.size()
		}
	}
	b.entries = []*entry{first, second}
	e.call.pending++ // one entry became two
	p.pending++
	return true
}

func refusal(at place, e *entry, err error) error {
	code := kafka.Error(0)
	if asCode(err, &code) && (code == kafka.MessageSizeTooLarge || code == kafka.RecordListTooLarge) {
		return fmt.Errorf("message with key %q has %d bytes, more than the broker takes for %s (max.message.bytes): %w",
			shorten(e.msgs[0].Key), e.bytes, at, ErrTooLarge)
	}
	return fmt.Errorf("write to %s: %w", at, err)
}

// recordReader feeds a batch's messages to kafka-go's encoder without copying them.
type recordReader struct {
	entries []*entry
	entry   int
	message int
	record  protocol.Record
}

func (r *recordReader) ReadRecord() (*protocol.Record, error) {
	for r.entry < len(r.entries) && r.message == len(r.entries[r.entry].msgs) {
		r.entry, r.message = r.entry+1, 0
	}
	if r.entry == len(r.entries) {
		return nil, io.EOF
	}
	m := &r.entries[r.entry].msgs[r.message]
	r.message++
	r.record = protocol.Record{Key: protocol.NewBytes(m.Key), Value: protocol.NewBytes(m.Value), Headers: r.record.Headers[:0]}
	for _, h := range m.Headers {
		r.record.Headers = append(r.record.Headers, protocol.Header{Key: h.Key, Value: h.Value})
	}
	return &r.record, nil
}
