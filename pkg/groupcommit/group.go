package groupcommit

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Group gathers items into batches. It is safe for concurrent use.
type Group[T, R any] struct {
	config Config[T, R]

	// base is the parent of every commit's context: it ends when Close runs out
	// of time, never with a caller, whose batch belongs to others too.
	base  context.Context
	abort context.CancelFunc

	// Signals with room for one: a signal not yet taken says the same as two.
	wake    chan struct{} // there is something to gather
	full    chan struct{} // a whole batch waits: do not sit out the interval
	closing chan struct{} // closed by Close
	workers sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	queue   []*entry[T, R] // in order of arrival; abandoned entries lie in between
	items   int            // waiting, without abandoned ones
	bytes   int            // of items
	pace    pace
	commits uint64
}

// entry is one waiting item. Its state is guarded by Group.mu.
type entry[T, R any] struct {
	item  T
	size  int
	state state
	done  func(R, error) // called exactly once, by the worker; never for an abandoned entry
}

type state uint8

const (
	waiting state = iota
	taken
	abandoned
)

// New starts a group and its workers; Close stops them.
func New[T, R any](config Config[T, R]) (*Group[T, R], error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	g := &Group[T, R]{
		config:  config,
		wake:    make(chan struct{}, 1),
		full:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		pace:    pace{low: config.LowInterval, high: config.Interval},
	}
	g.base, g.abort = context.WithCancel(context.Background())
	for range config.Workers {
		g.workers.Go(g.work) // ends after Close, once the queue is empty
	}
	return g, nil
}

// Do hands in one item and waits until the batch that holds it is committed or
// has failed, or ctx ends. See the package comment for what an error means.
func (g *Group[T, R]) Do(ctx context.Context, item T) (R, error) {
	type answer struct {
		result R
		err    error
	}
	answers := make(chan answer, 1) // room for one, so that a worker never waits for a caller that left
	var none R
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	e, err := g.enqueue(item, func(r R, err error) { answers <- answer{r, err} })
	if err != nil {
		return none, err
	}
	select {
	case a := <-answers:
		return a.result, a.err
	case <-ctx.Done():
	}
	if g.abandon(e) {
		return none, fmt.Errorf("%w: %w", ErrNotStarted, ctx.Err())
	}
	select {
	case a := <-answers: // both were ready: the answer is worth more than the deadline
		return a.result, a.err
	default:
		return none, fmt.Errorf("group commit: whether the item is committed is unknown: %w", ctx.Err())
	}
}

// Submit hands in one item and returns at once. A nil error promises that done
// is called exactly once, from a worker: it must not block.
func (g *Group[T, R]) Submit(item T, done func(R, error)) error {
	_, err := g.enqueue(item, done)
	return err
}

// Stats of a moment.
type Stats struct {
	Items    int           // waiting
	Bytes    int           // waiting
	Rate     float64       // arrivals a second, smoothed
	Interval time.Duration // the present least interval between flushes
	Commits  uint64        // calls of Commit so far
}

// Stats tells how full the group is and how it paces itself.
func (g *Group[T, R]) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{Items: g.items, Bytes: g.bytes, Rate: g.pace.rate, Interval: g.pace.interval(), Commits: g.commits}
}

// Close takes no more items, commits what waits, and returns when all workers
// have ended. When ctx ends first, the commit under way is cancelled, what still
// waits gets ErrClosed, and Close returns an error without waiting for a Commit
// that does not heed its context. Closing twice is fine.
func (g *Group[T, R]) Close(ctx context.Context) error {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.closing)
	}
	g.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the workers
		g.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		g.abort()
		return nil
	case <-ctx.Done():
		g.abort()
		return fmt.Errorf("group commit: close before all was committed: %w", ctx.Err())
	}
}

func (g *Group[T, R]) enqueue(item T, done func(R, error)) (*entry[T, R], error) {
	size := max(g.config.Size(item), 0)
	if size > g.config.MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, g.config.MaxBytes)
	}
	e := &entry[T, R]{item: item, size: size, done: done}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil, ErrClosed
	}
	if g.items >= g.config.QueueItems || g.bytes+size > g.config.QueueBytes {
		g.mu.Unlock()
		return nil, ErrFull
	}
	g.queue = append(g.queue, e)
	g.items++
	g.bytes += size
	g.pace.arrived++
	full := g.batchWaits()
	g.mu.Unlock()
	signal(g.wake)
	if full {
		signal(g.full)
	}
	return e, nil
}

// abandon takes a waiting item out; false when a worker already has it. Room is
// given back at once; the entries themselves are swept when half the queue is
// abandoned, so that callers that come and go while a commit hangs cannot make
// the queue grow.
func (g *Group[T, R]) abandon(e *entry[T, R]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.state != waiting {
		return false
	}
	e.state = abandoned
	g.items--
	g.bytes -= e.size
	var none T
	e.item = none
	if len(g.queue) > 2*g.items+g.config.MaxItems {
		kept := g.queue[:0]
		for _, q := range g.queue {
			if q.state == waiting {
				kept = append(kept, q)
			}
		}
		clear(g.queue[len(kept):])
		g.queue = kept
	}
	return true
}

// batchWaits reports whether waiting longer cannot make the next batch larger.
func (g *Group[T, R]) batchWaits() bool {
	return g.items >= g.config.MaxItems || g.bytes >= g.config.MaxBytes
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
