package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"waybill.internal/pkg/fault"
)

// splittable is an error for which one item of the batch is to blame.
type splittable interface{ Split() bool }

func (g *Group[T, R]) work() {
	for {
		batch, ok := g.gather()
		if !ok {
			return
		}
		if g.base.Err() != nil { // Close ran out of time: nothing is begun any more
			finish(batch, nil, ErrClosed)
			continue
		}
		g.commit(batch)
	}
}

// gather waits for items and for the interval and takes the next batch; false
// once the group is closed and nothing waits.
func (g *Group[T, R]) gather() ([]*entry[T, R], bool) {
	var first time.Time // when something was found waiting
	for {
		g.mu.Lock()
		now := time.Now()
		wait := g.pace.wait(now)
		if g.items > 0 && g.config.Linger > 0 {
			if first.IsZero() {
				first = now
			}
			wait = max(wait, first.Add(g.config.Linger).Sub(now))
		}
		closed := g.closed
		switch {
		case g.items == 0 && closed:
			g.mu.Unlock()
			return nil, false
		case g.items > 0 && (wait <= 0 || closed || g.batchWaits()):
			batch := g.take()
			more := g.items > 0
			g.mu.Unlock()
			if more {
				signal(g.wake) // for another worker
			}
			return batch, true
		}
		waits := g.items > 0
		g.mu.Unlock()
		g.pause(waits, wait)
	}
}

// pause returns when gather should look again.
func (g *Group[T, R]) pause(waits bool, wait time.Duration) {
	if !waits {
		select {
		case <-g.wake:
		case <-g.closing:
		}
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.full:
	case <-g.closing:
	}
}

// take removes the next batch from the queue's head. g.mu is held and at least
// one item waits.
func (g *Group[T, R]) take() []*entry[T, R] {
	batch := make([]*entry[T, R], 0, min(g.items, g.config.MaxItems))
	bytes, i := 0, 0
	for ; i < len(g.queue) && len(batch) < g.config.MaxItems; i++ {
		e := g.queue[i]
		if e.state == abandoned {
			continue
		}
		if len(batch) > 0 && bytes+e.size > g.config.MaxBytes {
			break
		}
		e.state = taken
		bytes += e.size
		batch = append(batch, e)
	}
	rest := copy(g.queue, g.queue[i:]) // at most a queue of pointers, and the array is reused
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	g.items -= len(batch)
	g.bytes -= bytes
	g.pace.flushed(time.Now())
	return batch
}

// commit commits a batch, in halves if one of its items is to blame, and
// answers every entry. The depth is log2 of MaxItems.
func (g *Group[T, R]) commit(batch []*entry[T, R]) {
	results, err := g.call(batch)
	var s splittable
	if err != nil && len(batch) > 1 && errors.As(err, &s) && s.Split() {
		if g.base.Err() != nil {
			finish(batch, nil, ErrClosed)
			return
		}
		half := len(batch) / 2
		g.commit(batch[:half])
		g.commit(batch[half:])
		return
	}
	finish(batch, results, err)
}

func (g *Group[T, R]) call(batch []*entry[T, R]) (results []R, err error) {
	items := make([]T, len(batch))
	for i, e := range batch {
		items[i] = e.item
	}
	g.mu.Lock()
	g.commits++
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(g.base, g.config.CommitTimeout)
	defer cancel()
	// A panic must not leave callers waiting, nor end the process with items of
	// other callers in the queue.
	defer func() {
		if p := recover(); p != nil {
			results, err = nil, fault.FromPanic(p, debug.Stack())
		}
	}()
	results, err = g.config.Commit(ctx, items)
	if err == nil && len(results) != len(items) {
		err = fault.New(fault.Bug, "wrong_result_count", "group commit: %d results for %d items", len(results), len(items))
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("group commit: after %s: %w", g.config.CommitTimeout, err)
	}
	return results, err
}

func finish[T, R any](batch []*entry[T, R], results []R, err error) {
	var none R
	for i, e := range batch {
		if err != nil {
			e.done(none, err)
			continue
		}
		e.done(results[i], nil)
	}
}

// pace measures the rate of arrivals and spaces the flushes by it.
type pace struct {
	low     time.Duration // interval at LowRate and below
	high    time.Duration // interval at HighRate and above
	rate    float64       // items a second, smoothed
	arrived int           // since the last measurement
	since   time.Time     // of the last measurement
	last    time.Time     // start of the last flush
}

// smoothing is the time after which a new rate weighs two thirds; shortest is the
// shortest stretch that is measured, so that a few arrivals in a microsecond
// are not taken for a flood.
const (
	smoothing = 200 * time.Millisecond
	shortest  = 20 * time.Millisecond
)

func (p *pace) interval() time.Duration {
	share := (p.rate - LowRate) / (HighRate - LowRate)
	return p.low + time.Duration(min(max(share, 0), 1)*float64(p.high-p.low))
}

func (p *pace) wait(now time.Time) time.Duration {
	if p.last.IsZero() {
		return 0
	}
	return p.last.Add(p.interval()).Sub(now)
}

func (p *pace) flushed(now time.Time) {
	p.last = now
	if p.since.IsZero() {
		p.since = now
	}
	stretch := now.Sub(p.since)
	if stretch < shortest {
		return
	}
	measured := float64(p.arrived) / stretch.Seconds()
	weight := 1 - math.Exp(-stretch.Seconds()/smoothing.Seconds())
	p.rate += weight * (measured - p.rate)
	p.arrived, p.since = 0, now
}
