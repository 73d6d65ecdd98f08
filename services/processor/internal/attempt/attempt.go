// Package attempt is one try at processing a claimed record: it fetches what
// the message did not carry, runs the steps, and settles.
package attempt

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/record"
	"waybill.internal/services/processor/internal/claim"
	"waybill.internal/services/processor/internal/settle"
	"waybill.internal/services/processor/internal/steps"
)

// readRetry is the wait before the ledger is asked again for what an attempt needs.
const readRetry = 500 * time.Millisecond

// Worker does attempts, any number at once.
type Worker struct {
	Ledger  *ledger.Ledger
	Catalog *catalog.Catalog
	Runner  *steps.Runner
	Settler *settle.Settler
	Log     *zap.Logger
	// Settled is told of every settlement that held, with the stack of a panic.
	Settled func(r record.Record, f record.Fact, stack string)

	// alone: a record that was lost with its worker before is worked while
	// nothing else is, so that it can take nothing down with it.
	alone sync.RWMutex
}

// Work does one attempt. Its context ends when the session lapses or the drain
// is over; it then returns soon.
func (w *Worker) Work(ctx context.Context, c claim.Claimed) {
	if c.Record.Suspected() {
		w.alone.Lock()
		defer w.alone.Unlock()
		if !w.isolate(ctx, &c) {
			return
		}
	} else {
		w.alone.RLock()
		defer w.alone.RUnlock()
	}
	started := w.Ledger.Now()
	in, err := w.input(ctx, &c)
	result := steps.Result{Fact: record.Fact{Event: record.GivenBack}}
	switch {
	case err == nil:
		result = w.Runner.Run(ctx, in)
		if ctx.Err() != nil && result.Fact.Event == record.Failed { // cut short by us: the failure is not the record's
			result.Fact = record.Fact{Event: record.GivenBack}
			if len(result.State) > 0 || len(result.Interactions) > 0 { // it has left its mark: the version stays
				result.Fact.Failure = record.Failure{Class: record.ClassSystem, Code: "cut_short", Message: "its worker stopped in the middle of the attempt"}
			}
		}
	case ctx.Err() == nil:
		f := fault.Of(err)
		result.Fact = record.Fact{Event: record.Failed, Failure: record.Failure{Class: f.Class, Code: f.Code, Message: f.Message}}
	}
	w.settle(c, result, started)
}

// isolate notes in the ledger that a suspected record is begun now, and alone: from
// here on it is to blame if its worker dies. False: it is not ours any more, or
// nobody knows; what was not noted is given back by the settlement of a cut attempt.
func (w *Worker) isolate(ctx context.Context, c *claim.Claimed) bool {
	for {
		r, held, err := w.Ledger.Isolate(ctx, c.Session.ID, ledger.Ref{ID: c.Record.ID, Fence: c.Record.Fence})
		switch {
		case err == nil && held:
			c.Record = r
			return true
		case err == nil:
			w.Log.Info("a record was taken over before it could be worked alone", zap.Stringer("record", c.Record.ID))
			return false
		case errors.Is(err, ledger.ErrUnknown):
			c.Session.End() // whether it counts as begun is not known: the re-driver finds out
			return false
		case ctx.Err() != nil:
			return true // cut short: the attempt does not begin, and gives the record back
		}
		w.Log.Warn("the ledger did not note that a record is worked alone; it is asked again", zap.Stringer("record", c.Record.ID), zap.Error(err))
		if clock.Sleep(ctx, readRetry) != nil {
			return true
		}
	}
}

// input reads what the attempt needs, again and again while the ledger does not
// answer and the session lives.
func (w *Worker) input(ctx context.Context, c *claim.Claimed) (steps.Input, error) {
	for {
		in, err := w.read(ctx, c)
		if err == nil || errors.Is(err, ledger.ErrNotFound) || fault.Of(err).Class == fault.Bug || errors.Is(err, catalog.ErrUnreadable) {
			return in, err
		}
		w.Log.Warn("the ledger did not give what an attempt needs; it is asked again", zap.Stringer("record", c.Record.ID), zap.Error(err))
		if clock.Sleep(ctx, readRetry) != nil {
			return in, ctx.Err()
		}
	}
}

func (w *Worker) read(ctx context.Context, c *claim.Claimed) (steps.Input, error) {
	in := steps.Input{Record: c.Record, Alive: c.Session.Alive}
	var err error
	if in.Integration, err = w.Catalog.ByVersion(ctx, w.Ledger, c.Record.Version); err != nil {
		return in, unusable(err, c.Record, "integration_missing")
	}
	if c.ByReference {
		found, err := w.Ledger.Payloads(ctx, []record.ID{c.Record.ID})
		if err != nil {
			return in, err
		}
		payload, ok := found[c.Record.ID]
		if !ok {
			return in, unusable(ledger.ErrNotFound, c.Record, "payload_missing")
		}
		c.Payload = payload
	}
	in.Payload = c.Payload
	if c.Record.Fence > firstClaim {
		previous, err := w.Ledger.Steps(ctx, []record.ID{c.Record.ID})
		if err != nil {
			return in, err
		}
		before := previous[c.Record.ID]
		in.Previous, in.Revalidate, in.Replay = before.State, before.Requeued, before.Replayed
	}
	return in, nil
}

// firstClaim is the fence of a record that was accepted and claimed, and nothing else.
const firstClaim = 2

func unusable(err error, r record.Record, code string) error {
	if !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	return fault.Wrap(err, fault.Bug, code, "record %s, version %d", r.ID, r.Version)
}

func (w *Worker) settle(c claim.Claimed, result steps.Result, started time.Time) {
	settled, err := w.Settler.Settle(settle.Item{
		Session: c.Session, Source: outbox.Source{Payload: c.Payload, Origin: c.Origin},
		Settlement: ledger.Settlement{ID: c.Record.ID, Fence: c.Record.Fence, Fact: result.Fact, Upserts: result.Upserts, Interactions: result.Interactions,
			History: ledger.History{Kind: ledger.ProcessHistory, Steps: result.State, StartedAt: started}},
	})
	switch {
	case err != nil:
		c.Session.End() // else it would hold a claim that nobody works on
		w.Log.Warn("an attempt could not be settled; its record is taken over and worked again", zap.Stringer("record", c.Record.ID), zap.Error(err))
	case !settled.Held:
		w.Log.Info("an attempt came too late: its record was taken over", zap.Stringer("record", c.Record.ID), zap.Int64("fence", c.Record.Fence))
	default:
		w.Settled(settled.Record, result.Fact, result.Stack)
	}
}
