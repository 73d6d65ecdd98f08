package accept

import (
	"context"
	"errors"
	"sync/atomic"

	"waybill.internal/pkg/ledger"
)

// handed is an arrival in the queue.
type handed struct {
	arrival ledger.Arrival
	line    *line // nil: it came alone
}

// line is what came together, in its order: once one of it could not be stored by
// our own fault, none behind it is, so that a later record of an entity never
// overtakes an earlier one that its sender will bring again.
type line struct{ broken atomic.Bool }

// stored is what became of an arrival in a commit that was made; err: it was left out.
type stored struct {
	receipt ledger.Receipt
	err     error
}

var (
	errUnanswered = errors.New("whether it is committed is not known yet")
	errBehind     = errors.New("one before it could not be stored")
)

// inLine leaves what stands behind a failure in its line out of a commit. One worker
// commits the queue in its order, so a failure is known before what is behind it comes.
func inLine(store func(context.Context, []ledger.Arrival) ([]ledger.Receipt, error)) func(context.Context, []handed) ([]stored, error) {
	return func(ctx context.Context, batch []handed) ([]stored, error) {
		out := make([]stored, len(batch))
		arrivals, places := make([]ledger.Arrival, 0, len(batch)), make([]int, 0, len(batch))
		for i, h := range batch {
			if h.line != nil && h.line.broken.Load() {
				out[i].err = &Unavailable{errBehind}
				continue
			}
			arrivals, places = append(arrivals, h.arrival), append(places, i)
		}
		if len(arrivals) == 0 {
			return out, nil
		}
		sound := false
		defer func() { // also after a panic
			if !sound {
				interrupt(batch)
			}
		}()
		receipts, err := store(ctx, arrivals)
		// One arrival's own fault is found by halving, and stops nobody behind it.
		sound = err == nil || ledger.DataFault(err)
		if err != nil {
			return nil, err
		}
		for n, i := range places {
			out[i].receipt = receipts[n]
		}
		return out, nil
	}
}

func interrupt(batch []handed) {
	for _, h := range batch {
		if h.line != nil {
			h.line.broken.Store(true)
		}
	}
}

// AcceptAll is Accept for arrivals that came together: they are handed in in their
// order, share transactions as they fit, and each has its own receipt or error.
// Behind the first one that could not be stored by our own fault none is stored, so
// that whoever brings all of them again keeps their order. What has no answer when ctx
// ends may still be stored, in its order too.
func (a *Acceptor) AcceptAll(ctx context.Context, arrivals []ledger.Arrival) ([]ledger.Receipt, []error) {
	type answer struct {
		index  int
		stored stored
		err    error
	}
	receipts, failures := make([]ledger.Receipt, len(arrivals)), make([]error, len(arrivals))
	answers := make(chan answer, len(arrivals)) // room for all, so that a worker never waits for a caller that left
	together := &line{}
	waiting := 0
	for i := range arrivals {
		err := a.arrivals.Submit(handed{arrivals[i], together}, func(s stored, err error) { answers <- answer{i, s, err} })
		if err != nil {
			failures[i] = told(err)
			for behind := i + 1; behind < len(arrivals); behind++ {
				failures[behind] = &Unavailable{errBehind}
			}
			break
		}
		failures[i] = &Unavailable{errUnanswered}
		waiting++
	}
	for ; waiting > 0; waiting-- {
		select {
		case got := <-answers:
			receipts[got.index], failures[got.index] = got.stored.receipt, told(got.err)
			if got.stored.err != nil {
				failures[got.index] = got.stored.err
			}
		case <-ctx.Done():
			return receipts, failures
		}
	}
	return receipts, failures
}
