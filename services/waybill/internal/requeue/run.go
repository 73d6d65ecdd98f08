package requeue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

// Options of a run.
type Options struct {
	Act  ledger.Act
	Rate int // records a second, at least 1
	// Probe waits for the first record's fate, this long at most, before the
	// rest is touched; 0 does not probe.
	Probe time.Duration
	// Progress, if given, is called after every batch with the records done so far.
	Progress func(done int)
}

// Report is what a run did.
type Report struct {
	Done    int
	Skipped int // not in the state any more in which they were frozen
	Left    int // not touched, because the probe failed or the run was interrupted
	Probe   record.ID
	Fate    string // of the probe, "" if there was none
}

// ErrProbe says that the first record failed again, so the rest was not touched.
var ErrProbe = errors.New("the probe failed, the rest was not touched")

const (
	probePoll = 200 * time.Millisecond
	// maxProbes bounds the search for a record that can still be acted on.
	maxProbes = 20
)

// Run acts on the frozen set. With an error the report says how far it came.
func (p Plan) Run(ctx context.Context, l Ledger, o Options) (Report, error) {
	report := Report{Left: len(p.Items)}
	rest := p.Items
	if o.Probe > 0 {
		var err error
		if rest, err = p.probe(ctx, l, o, &report); err != nil {
			return report, err
		}
	}
	size := min(MaxBatch, max(o.Rate, 1))
	for len(rest) > 0 {
		batch := rest[:min(size, len(rest))]
		rest = rest[len(batch):]
		done, err := apply(ctx, l, o.Act, batch)
		if err != nil {
			return report, fmt.Errorf("%d are done, %d are not; the same command goes on: %w", report.Done, report.Left, err)
		}
		report.count(len(done), len(batch))
		if o.Progress != nil {
			o.Progress(report.Done)
		}
		if len(rest) > 0 && clock.Sleep(ctx, time.Duration(len(batch))*time.Second/time.Duration(max(o.Rate, 1))) != nil {
			return report, fmt.Errorf("interrupted: %d are done, %d are not; the same command goes on: %w", report.Done, report.Left, ctx.Err())
		}
	}
	return report, nil
}

func (r *Report) count(done, of int) {
	r.Done += done
	r.Skipped += of - done
	r.Left -= of
}

// apply acts on those that are still as they were frozen. Who acts between the
// look and the act makes it illegal, or the act is the second of two people's.
func apply(ctx context.Context, l Ledger, act ledger.Act, batch []Item) ([]record.Record, error) {
	ids := make([]record.ID, len(batch))
	for i, item := range batch {
		ids[i] = item.ID
	}
	now, err := l.Records(ctx, ids)
	if err != nil {
		return nil, err
	}
	ids = ids[:0]
	for _, item := range batch {
		if r, ok := now[item.ID]; ok && r.Fence == item.Fence {
			ids = append(ids, item.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return l.Do(ctx, act, ids)
}

// probe acts on the first record that still allows it, waits for its fate, and
// returns the rest.
func (p Plan) probe(ctx context.Context, l Ledger, o Options, report *Report) ([]Item, error) {
	for i, item := range p.Items {
		if i == maxProbes {
			return nil, fmt.Errorf("%w: the first %d records have moved meanwhile; look again", ErrProbe, maxProbes)
		}
		done, err := apply(ctx, l, o.Act, []Item{item})
		if err != nil {
			return nil, err
		}
		report.count(len(done), 1)
		if len(done) == 0 {
			continue
		}
		report.Probe = item.ID
		if report.Fate, err = await(ctx, l, o, done[0]); err != nil {
			return nil, err
		}
		return p.Items[i+1:], nil
	}
	return nil, nil
}

// await polls until the probe's fate is known.
func await(whole context.Context, l Ledger, o Options, began record.Record) (string, error) {
	ctx, cancel := context.WithTimeout(whole, o.Probe)
	defer cancel()
	r, last := began, began
	for {
		if fate, known, err := fateOf(o.Act.Event, r); known {
			return fate, err
		}
		if clock.Sleep(ctx, probePoll) != nil {
			if whole.Err() != nil {
				return "", fmt.Errorf("interrupted while record %s was tried: %w", began.ID, whole.Err())
			}
			return stuck(o, r)
		}
		found, err := l.Records(ctx, []record.ID{began.ID})
		if err != nil && ctx.Err() == nil {
			return "", err
		}
		if r = found[began.ID]; r.ID != began.ID {
			r = last // the time was over while it was read
		}
		last = r
	}
}

// fateOf is the probe's fate once it is known.
func fateOf(event record.Event, r record.Record) (fate string, known bool, err error) {
	if event == record.SendRequeued {
		switch r.Outcome.State {
		case record.Acknowledged:
			return "the partner confirmed it", true, nil
		case record.Unacknowledged:
			return "", true, fmt.Errorf("%w: the partner did not confirm record %s again", ErrProbe, r.ID)
		}
		return "", false, nil
	}
	switch r.State {
	case record.Queued, record.Processing, record.Retrying:
		return "", false, nil
	case record.Processed, record.Superseded:
		return "it is " + string(r.State), true, nil
	default:
		return "", true, fmt.Errorf("%w: record %s is %s again: %s/%s: %s", ErrProbe, r.ID, r.State, r.Failure.Class, r.Failure.Code, r.Failure.Message)
	}
}

// stuck says what a probe without a fate waits for.
func stuck(o Options, r record.Record) (string, error) {
	switch {
	case o.Act.Event == record.SendRequeued:
		return "", fmt.Errorf("%w: record %s has not been confirmed within %s; is the acknowledger running?", ErrProbe, r.ID, o.Probe)
	case r.Failure.Class != record.ClassNone:
		return "", fmt.Errorf("%w: record %s failed again (%s/%s: %s) and is %s", ErrProbe, r.ID, r.Failure.Class, r.Failure.Code, r.Failure.Message, r.State)
	default:
		return "", fmt.Errorf("%w: record %s is still %s after %s; is a processor running?", ErrProbe, r.ID, r.State, o.Probe)
	}
}
