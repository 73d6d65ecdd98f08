package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/semaphore"
)

// ProducerConfig tunes a Producer; the zero value is right for most.
type ProducerConfig struct {
	// Linger is the least time between the starts of two requests to one broker;
	// what arrives meanwhile goes together. An idle broker is written to at once.
	// Default 10ms, at most 1s; negative is none.
	Linger time.Duration
	// MaxQueuedBytes bounds what waits and is under way; Publish blocks at the bound.
	// Default 32 MiB, at least MaxMessageBytes.
	MaxQueuedBytes int64
	// MaxRequestBytes bounds one request. Default 4 MiB.
	MaxRequestBytes int
	// RequestTimeout is how long one request may take before it is tried again.
	// Default 10s.
	RequestTimeout time.Duration
}

func (c ProducerConfig) withDefaults() ProducerConfig {
	switch {
	case c.Linger == 0:
		c.Linger = 10 * time.Millisecond
	case c.Linger < 0:
		c.Linger = 0
	}
	c.Linger = min(c.Linger, time.Second)
	if c.MaxQueuedBytes <= 0 {
		c.MaxQueuedBytes = 32 << 20
	}
	c.MaxQueuedBytes = max(c.MaxQueuedBytes, MaxMessageBytes)
	if c.MaxRequestBytes <= 0 {
		c.MaxRequestBytes = 4 << 20
	}
	c.MaxRequestBytes = max(c.MaxRequestBytes, MaxMessageBytes)
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = 10 * time.Second
	}
	return c
}

// ErrTooLarge is in the error of Publish when one of its messages is larger than
// MaxMessageBytes or than the broker takes; sending it again cannot help. Messages
// of other calls are not touched by it.
var ErrTooLarge = errors.New("message too large")

// ErrClosed is in the error of Publish after, or cut short by, Close.
var ErrClosed = errors.New("producer is closed")

// Ends gives, for each partition that a Publish wrote to, the offset after its
// last message there: once a group's committed offset has reached it, the group
// has seen the whole batch.
type Ends map[int]int64

// Producer publishes messages, many callers at once. Its goroutines end with Close.
type Producer struct {
	factory   *Factory
	config    ProducerConfig
	transport *kafka.Transport
	address   net.Addr
	room      *semaphore.Weighted

	ctx     context.Context // ends when Close has drained or given up
	cancel  context.CancelFunc
	stopped sync.WaitGroup
	spread  atomic.Uint32 // partition of the next call's messages without a key

	wake    chan struct{} // 1 deep: "look at the queues again"
	results chan result
	learned chan learned

	mu      sync.Mutex
	queues  map[place]*queue
	turns   []*queue // every queue, in the order they are served
	brokers map[int32]*broker
	known   cluster
	knownAt time.Time
	wanted  map[string]bool  // topics a caller waits for
	refused map[string]error // topics Kafka will not let us have, until asked again
	changed chan struct{}    // closed and replaced when known changed
	lastErr error            // why the last refresh of known failed
	ask     refresh
	pending int // entries not done
	closed  bool
	drained chan struct{} // closed when closed and nothing is pending
}

// NewProducer starts a producer. It connects when the first message comes.
func (f *Factory) NewProducer(config ProducerConfig) *Producer {
	p := &Producer{
		factory: f, config: config.withDefaults(), transport: f.transport(), address: f.address(),
		wake: make(chan struct{}, 1), results: make(chan result), learned: make(chan learned),
		queues: map[place]*queue{}, brokers: map[int32]*broker{}, wanted: map[string]bool{}, refused: map[string]error{},
		changed: make(chan struct{}), drained: make(chan struct{}),
	}
	p.room = semaphore.NewWeighted(p.config.MaxQueuedBytes)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.stopped.Add(1)
	go p.run()
	return p
}

// Publish writes the messages to the topic and returns when all in-sync replicas
// have acknowledged each. It tries again, in order, while the trouble may pass (no
// connection, no leader, a topic that is missing is made), until ctx ends: give it
// a deadline. An error means that some or all of the messages may not be there, and
// also may be: treat them as not published.
func (p *Producer) Publish(ctx context.Context, topic string, msgs []Message) (Ends, error) {
	if len(msgs) == 0 {
		return Ends{}, nil
	}
	total := 0
	for i := range msgs {
		n := msgs[i].size()
		if n > MaxMessageBytes {
			return nil, fmt.Errorf("publish to %s: message %d of %d (key %q) has %d bytes, at most %d fit: %w",
				topic, i+1, len(msgs), shorten(msgs[i].Key), n, MaxMessageBytes, ErrTooLarge)
		}
		total += n
	}
	partitions, err := p.partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	// Room first: the queues never hold more than the bound, whoever waits waits here.
	room := min(int64(total), p.config.MaxQueuedBytes)
	if err := p.room.Acquire(ctx, room); err != nil {
		return nil, fmt.Errorf("publish to %s: the queue of %d bytes is full: %w", topic, p.config.MaxQueuedBytes, err)
	}
	c := &call{topic: topic, room: room, ends: Ends{}, done: make(chan struct{})}
	if err := p.enqueue(c, p.split(c, msgs, partitions)); err != nil {
		p.room.Release(room)
		return nil, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		p.abandon(c)
	}
	return p.answer(ctx, c)
}

func (p *Producer) answer(ctx context.Context, c *call) (Ends, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, fmt.Errorf("publish to %s: %w", c.topic, c.err)
	case !c.abandoned:
		return c.ends, nil
	case c.last != nil:
		return nil, fmt.Errorf("publish to %s: not known to be written: %w (last: %w)", c.topic, context.Cause(ctx), c.last)
	}
	return nil, fmt.Errorf("publish to %s: not known to be written: %w", c.topic, context.Cause(ctx))
}

// partitions is the topic's number of partitions; it waits until the topic is known.
func (p *Producer) partitions(ctx context.Context, topic string) (int, error) {
	for first := true; ; first = false {
		p.mu.Lock()
		if first {
			delete(p.refused, topic) // ask again: the answer may be another by now
		}
		n, closed, changed, last, refused := len(p.known.leaders[topic]), p.closed, p.changed, p.lastErr, p.refused[topic]
		if n == 0 && refused == nil {
			p.wanted[topic] = true
		}
		p.mu.Unlock()
		switch {
		case closed:
			return 0, fmt.Errorf("publish to %s: %w", topic, ErrClosed)
		case n > 0:
			return n, nil
		case refused != nil:
			return 0, fmt.Errorf("publish to %s: %w", topic, refused)
		}
		p.poke()
		select {
		case <-changed:
		case <-ctx.Done():
			if last != nil {
				return 0, fmt.Errorf("publish to %s: the topic is not known: %w (last: %w)", topic, context.Cause(ctx), last)
			}
			return 0, fmt.Errorf("publish to %s: the topic is not known: %w", topic, context.Cause(ctx))
		}
	}
}

// Close stops taking messages, waits until all that was taken is acknowledged or
// ctx ends, and ends the producer's goroutines. Calls cut short get ErrClosed.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.changed) // whoever waits for a topic sees that it is closed
		p.changed = make(chan struct{})
		if p.pending == 0 {
			close(p.drained)
		}
	}
	p.mu.Unlock()
	var err error
	select {
	case <-p.drained:
	case <-ctx.Done():
		p.mu.Lock()
		if p.pending > 0 {
			err = fmt.Errorf("close producer: messages were not acknowledged: %w", context.Cause(ctx))
		}
		p.mu.Unlock()
	}
	p.cancel()
	p.stopped.Wait()
	p.transport.CloseIdleConnections()
	return err
}

func (p *Producer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func shorten(key []byte) []byte {
	if len(key) > 64 {
		return key[:64]
	}
	return key
}
