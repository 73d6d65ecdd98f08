package notify

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/acknowledger/internal/confirm"
)

const (
	// placeBytes is what one place holds of an outcome's problems.
	placeBytes = 4 << 10
	// maxBatchBytes bounds the problems told in one request, except for a single outcome.
	maxBatchBytes = 1 << 20
)

// item is a claimed outcome on its way to the partner.
type item struct {
	record.Record
	lease confirm.Lease
	place place
}

// place is room that an outcome takes; the zero place is none.
type place struct {
	line   *line
	weight int64
}

func (p place) release() {
	if p.line != nil && p.weight > 0 {
		p.line.room.Release(p.weight)
	}
}

// teller sends statuses; it is the partner, or a test's idea of one.
type teller interface {
	tell(ctx context.Context, alive func() bool, told []record.Record) []ledger.Settlement
	close()
}

// line holds the outcomes of one integration.
type line struct {
	name    string
	post    *integration.Post
	partner teller

	share int64
	room  *semaphore.Weighted // share places
	in    chan item           // as many as there are places: put never blocks
	full  chan struct{}       // somebody found no place: waiting longer cannot fill the batch
	stuck atomic.Bool         // somebody waited for Patience in vain, and there was no room since

	slots chan struct{} // requests at the same time
	posts sync.WaitGroup
}

func newLine(name string, post *integration.Post, share int, t teller) *line {
	return &line{name: name, post: post, partner: t, share: int64(share), room: semaphore.NewWeighted(int64(share)),
		in: make(chan item, share), full: make(chan struct{}, 1), slots: make(chan struct{}, post.Concurrency)}
}

func (l *line) weight(detail int) int64 { return min(1+int64(detail)/placeBytes, l.share) }

func (l *line) tryPlace(detail int) (place, bool) {
	w := l.weight(detail)
	if !l.room.TryAcquire(w) {
		return place{line: l}, false
	}
	l.stuck.Store(false)
	return place{line: l, weight: w}, true
}

// awaitPlace waits for Patience, unless the line is stuck. The place it gives
// may be none: the outcome is put back then. The error is ctx's.
func (l *line) awaitPlace(ctx context.Context, detail int) (place, error) {
	select {
	case l.full <- struct{}{}:
	default:
	}
	if l.stuck.Load() {
		return place{line: l}, nil
	}
	wait, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	w := l.weight(detail)
	if err := l.room.Acquire(wait, w); err == nil {
		return place{line: l, weight: w}, nil
	}
	if ctx.Err() != nil {
		return place{}, fmt.Errorf("wait for a place of integration %s: %w", l.name, ctx.Err())
	}
	l.stuck.Store(true)
	return place{line: l}, nil
}

func (l *line) put(it item) { l.in <- it }

// run gathers batches and lets tell send them, until draining is closed and
// nothing waits, or stop ends. It returns when every request has ended.
func (l *line) run(draining <-chan struct{}, stop context.Context, tell func(*line, []item)) {
	defer l.posts.Wait()
	for {
		select {
		case first := <-l.in:
			l.dispatch(l.gather(first, draining), stop, tell)
			continue
		case <-draining:
		}
		select {
		case first := <-l.in:
			l.dispatch(l.gather(first, draining), stop, tell)
		default:
			return
		}
	}
}

// gather fills a batch for at most post.every from its first outcome on.
func (l *line) gather(first item, draining <-chan struct{}) []item {
	batch, size := []item{first}, len(first.Failure.Detail)
	timer := time.NewTimer(l.post.Every)
	defer timer.Stop()
	for len(batch) < l.post.Batch && size < maxBatchBytes {
		select {
		case it := <-l.in:
			batch, size = append(batch, it), size+len(it.Failure.Detail)
			continue
		case <-timer.C:
		case <-l.full:
		case <-draining:
		}
		return l.top(batch)
	}
	return batch
}

// top adds what waits already.
func (l *line) top(batch []item) []item {
	size := 0
	for _, it := range batch {
		size += len(it.Failure.Detail)
	}
	for len(batch) < l.post.Batch && size < maxBatchBytes {
		select {
		case it := <-l.in:
			batch, size = append(batch, it), size+len(it.Failure.Detail)
		default:
			return batch
		}
	}
	return batch
}

// dispatch waits until the partner has a free slot, and sends in the background.
func (l *line) dispatch(batch []item, stop context.Context, tell func(*line, []item)) {
	select {
	case l.slots <- struct{}{}:
	case <-stop.Done():
		return // the process ends: its session's outcomes are taken over
	}
	batch = l.top(batch)
	l.posts.Go(func() { // run waits for it
		defer func() {
			<-l.slots
			for _, it := range batch {
				it.place.release()
			}
		}()
		tell(l, batch)
	})
}

// sorted gives the records of a batch in the order of their ids, so that the same
// outcomes always make the same message.
func sorted(batch []item) []record.Record {
	records := make([]record.Record, len(batch))
	for i, it := range batch {
		records[i] = it.Record
	}
	slices.SortFunc(records, func(a, b record.Record) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return records
}
