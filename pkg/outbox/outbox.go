// Package outbox publishes what the ledger's transactions made true.
//
// A batch is published from the memory of the process whose transaction wrote
// it. If that cannot be done now (Kafka is down, the queue is full) the batch is
// handed to the relay, which any processor runs: nothing is lost, it is only
// slower. Kafka being down is therefore never a reason to refuse a record.
//
// A message may be published twice (an acknowledgement lost, a relay that took
// over too early). Its fence makes the second one claim nothing.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/groupcommit"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
)

const (
	// maxQueuedBytes bounds the messages that wait for Kafka in memory: some seconds' worth.
	maxQueuedBytes = 16 << 20
	// maxUnderWay bounds the batches that are being published at once.
	maxUnderWay = 64
	// publishTimeout is how long a batch is tried from memory before the relay gets it.
	publishTimeout = 10 * time.Second
	// markInterval is how long acknowledged batches are gathered before they are marked.
	// Nobody waits for a mark; without one the batch is only published again after a crash.
	markInterval = 100 * time.Millisecond
	// payloadsAtOnce bounds the payloads read in one statement: bodies that go by
	// reference are dropped after each.
	payloadsAtOnce = 32
	tidyTimeout    = 3 * time.Second
	// maxJobs bounds the batches that wait or are under way.
	maxJobs = 2048
)

// Publisher is safe for concurrent use.
type Publisher struct {
	ledger   *ledger.Ledger
	producer *stream.Producer
	prefix   string
	log      *zap.Logger
	broken   func(record.ID, error)
	slots    chan struct{}
	// trying ends when Close has no more time to wait for Kafka.
	trying context.Context
	giveUp context.CancelFunc
	marks  *groupcommit.Group[ledger.Published, struct{}]

	hands *groupcommit.Group[ledger.BatchID, struct{}]

	mu     sync.Mutex
	queued int
	count  int
	closed bool
	jobs   sync.WaitGroup
}

// Option of New.
type Option func(*Publisher)

// Broken is told, beside the log, of each record that no message can be made of:
// its record stays in the ledger, and a person must look. It must not block.
func Broken(f func(id record.ID, err error)) Option {
	return func(p *Publisher) { p.broken = f }
}

// New makes a publisher; Close waits for what is under way.
func New(l *ledger.Ledger, producer *stream.Producer, prefix string, log *zap.Logger, options ...Option) (*Publisher, error) {
	p := &Publisher{ledger: l, producer: producer, prefix: prefix, log: log, slots: make(chan struct{}, maxUnderWay)}
	p.trying, p.giveUp = context.WithCancel(context.Background())
	for _, o := range options {
		o(p)
	}
	var err error
	p.marks, err = groupcommit.New(groupcommit.Config[ledger.Published, struct{}]{
		Commit: p.mark, MaxItems: 1000, QueueItems: 2 * maxJobs, Interval: markInterval, LowInterval: markInterval,
	})
	if err != nil {
		return nil, err
	}
	p.hands, err = groupcommit.New(groupcommit.Config[ledger.BatchID, struct{}]{
		Commit: p.hand, MaxItems: 1000, QueueItems: 2 * maxJobs, Interval: markInterval, LowInterval: markInterval,
	})
	return p, err
}

// Enqueue publishes batches in the background. It never blocks: what finds no
// room is the relay's. source gives the bytes of an item's record; it is called
// before Enqueue returns.
//
// A record that cannot be encoded is left out of its batch: it stays in the
// ledger, and the re-driver tries it in a batch of its own. A batch of nothing
// else is not marked: the relay tries it again, a minute apart, until it is mended.
func (p *Publisher) Enqueue(batches []ledger.Batch, source func(ledger.Item) Source) {
	for _, b := range batches {
		messages, size := encode(b, source, func(id record.ID, err error) { p.leaveOut(b, id, err) })
		if len(messages) == 0 && len(b.Items) > 0 {
			continue
		}
		if !p.reserve(size) {
			p.handOver(b.ID)
			continue
		}
		b.Items = nil // are in the messages
		go p.publish(b, messages, size)
	}
}

// leaveOut makes a record seen that cannot be encoded: an invariant is broken, and
// trying again does not mend it.
func (p *Publisher) leaveOut(b ledger.Batch, id record.ID, err error) {
	p.log.Error("a record cannot be encoded and is left out of its batch; it stays in the ledger", zap.Stringer("record", id),
		zap.Stringer("batch", b.ID), zap.String("topic", b.Topic), zap.Error(err))
	if p.broken != nil {
		p.broken(id, err)
	}
}

// EnqueueStored is Enqueue with the payloads read from the ledger. A batch whose
// payloads cannot be read is the relay's; the error names it, and the others go on.
func (p *Publisher) EnqueueStored(ctx context.Context, batches []ledger.Batch) error {
	var failed []error
	for _, b := range batches {
		payloads := make(map[record.ID]ledger.Payload, len(b.Items))
		if b.Topic != string(record.TopicResult) {
			if err := p.read(ctx, b, payloads); err != nil {
				p.handOver(b.ID)
				failed = append(failed, fmt.Errorf("batch %s for %s: %w", b.ID, b.Topic, err))
				continue
			}
		}
		p.Enqueue([]ledger.Batch{b}, func(i ledger.Item) Source { return Source{Payload: payloads[i.Record.ID]} })
	}
	return errors.Join(failed...)
}

func (p *Publisher) read(ctx context.Context, b ledger.Batch, into map[record.ID]ledger.Payload) error {
	for start := 0; start < len(b.Items); start += payloadsAtOnce {
		part := b.Items[start:min(start+payloadsAtOnce, len(b.Items))]
		ids := make([]record.ID, len(part))
		for i, item := range part {
			ids[i] = item.Record.ID
		}
		found, err := p.ledger.Payloads(ctx, ids)
		if err != nil {
			return err
		}
		for id, payload := range found {
			if len(payload.Body) > stream.InlineBytes && b.Topic != string(record.TopicDeadLetter) {
				payload.Body = nil // goes by reference
			}
			into[id] = payload
		}
	}
	return nil
}

func (p *Publisher) reserve(size int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= maxJobs || (p.count > 0 && p.queued+size > maxQueuedBytes) {
		return false
	}
	p.queued += size
	p.count++
	p.jobs.Add(1)
	return true
}

func (p *Publisher) publish(b ledger.Batch, messages []stream.Message, size int) {
	defer p.jobs.Done()
	defer func() {
		p.mu.Lock()
		p.queued -= size
		p.count--
		p.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(p.trying, publishTimeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		p.handOver(b.ID)
		return
	}
	ends, err := p.producer.Publish(ctx, p.prefix+"."+b.Topic, messages)
	if err != nil {
		p.log.Warn("a batch could not be published; the relay will", zap.Stringer("batch", b.ID), zap.String("topic", b.Topic), zap.Error(err))
		p.handOver(b.ID)
		return
	}
	p.settle(b, ends)
}

func (p *Publisher) settle(b ledger.Batch, ends stream.Ends) {
	ctx, cancel := context.WithTimeout(context.Background(), tidyTimeout)
	defer cancel()
	var err error
	if b.Topic == string(record.TopicDeadLetter) { // holds no record: nothing is left to watch
		err = p.ledger.DropBatches(ctx, []ledger.BatchID{b.ID})
	} else {
		_, err = p.marks.Do(ctx, ledger.Published{ID: b.ID, Ends: flat(ends)})
	}
	if err != nil { // it will be published again once our session has lapsed; fences make that harmless
		p.log.Warn("a published batch could not be marked", zap.Stringer("batch", b.ID), zap.Error(err))
		p.handOver(b.ID)
	}
}

func (p *Publisher) mark(ctx context.Context, published []ledger.Published) ([]struct{}, error) {
	return make([]struct{}, len(published)), p.ledger.MarkPublished(ctx, published)
}

// handOver makes a batch the relay's. Where even that cannot be said now, the
// relay takes the batch by itself a minute after it was written.
func (p *Publisher) handOver(id ledger.BatchID) {
	err := p.hands.Submit(id, func(_ struct{}, err error) {
		if err != nil {
			p.log.Warn("a batch could not be handed to the relay; it is taken a minute after it was written", zap.Stringer("batch", id), zap.Error(err))
		}
	})
	if err != nil {
		p.log.Warn("a batch could not be handed to the relay; it is taken a minute after it was written", zap.Stringer("batch", id), zap.Error(err))
	}
}

func (p *Publisher) hand(ctx context.Context, ids []ledger.BatchID) ([]struct{}, error) {
	return make([]struct{}, len(ids)), p.ledger.HandToRelay(ctx, ids)
}

func flat(ends stream.Ends) []int64 {
	n := 0
	for partition := range ends {
		n = max(n, partition+1)
	}
	list := make([]int64, n)
	for i := range list {
		list[i] = -1
	}
	for partition, end := range ends {
		list[partition] = end
	}
	return list
}

// Close takes nothing more and waits until what is under way has ended, or ctx has.
// What Kafka has not taken tidyTimeout before ctx's deadline is handed to the relay:
// a broker that is down is no reason to end in bad order.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	defer p.giveUp()
	if deadline, ok := ctx.Deadline(); ok {
		defer time.AfterFunc(time.Until(deadline)-tidyTimeout, p.giveUp).Stop()
	}
	done := make(chan struct{})
	go func() {
		p.jobs.Wait()
		close(done)
	}()
	select {
	case <-done:
		return errors.Join(p.marks.Close(ctx), p.hands.Close(ctx))
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.marks.Close(ctx), p.hands.Close(ctx))
	}
}
