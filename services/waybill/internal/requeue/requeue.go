// Package requeue does what a person asks to the records that wait for one:
// it freezes the set, tries one record first, and then goes on in throttled
// batches.
//
// The set is frozen before anything is done, so what fails again while it runs
// is not taken up again. A record that meanwhile left the state in which it was
// frozen is skipped. Interrupted, the same command goes on where it stopped:
// what was done does not match the filter any more.
package requeue

import (
	"context"
	"fmt"
	"time"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

const (
	// MaxFrozen bounds the records of one run, and with it its memory.
	MaxFrozen = 1_000_000
	// MaxBatch bounds the records of one transaction.
	MaxBatch = 500
	// sampleSize is how many records a plan shows.
	sampleSize = 5
	// page is how many records are read at once.
	page = 2000
)

// Ledger is what is used of it.
type Ledger interface {
	Reasons(ctx context.Context, f ledger.Filter) ([]ledger.Reason, error)
	WaitingForPerson(ctx context.Context, f ledger.Filter, after *ledger.Waiting, limit int) ([]ledger.Waiting, error)
	Records(ctx context.Context, ids []record.ID) (map[record.ID]record.Record, error)
	Do(ctx context.Context, act ledger.Act, ids []record.ID) ([]record.Record, error)
}

// Plan is a frozen set of records.
type Plan struct {
	Items   []Item
	Reasons []ledger.Reason // most frequent first
	Sample  []record.Record
	// Unknown counts the records whose last call ended without an answer: the
	// third party may have done what it was asked.
	Unknown int64
}

// Item is a record as it was frozen.
type Item struct {
	ID    record.ID
	Fence int64
}

// Freeze takes everything that matches the filter, oldest first.
func Freeze(ctx context.Context, l Ledger, f ledger.Filter) (Plan, error) {
	var p Plan
	var last *ledger.Waiting
	for {
		list, err := l.WaitingForPerson(ctx, f, last, page)
		if err != nil {
			return p, err
		}
		for _, w := range list {
			p.add(w.Record)
		}
		if len(p.Items) > MaxFrozen {
			return p, fmt.Errorf("more than %d records match: narrow the filter, and do the rest afterwards", MaxFrozen)
		}
		if len(list) == 0 { // a page is shorter when a record has gone meanwhile
			break
		}
		last = &list[len(list)-1]
	}
	var err error
	p.Reasons, err = l.Reasons(ctx, f)
	p.countUnknown()
	return p, err
}

// FreezeRecords takes these records, in this order.
func FreezeRecords(records []record.Record) Plan {
	var p Plan
	places := map[ledger.Reason]int{}
	for _, r := range records {
		p.add(r)
		key := ledger.Reason{Integration: r.Integration, Class: string(r.Failure.Class), Code: r.Failure.Code}
		at, ok := places[key]
		if !ok {
			at = len(p.Reasons)
			places[key] = at
			first := key
			first.Oldest, first.Newest = r.MovedAt, r.MovedAt
			p.Reasons = append(p.Reasons, first)
		}
		reason := &p.Reasons[at]
		reason.Count++
		if r.MovedAt.Before(reason.Oldest) {
			reason.Oldest = r.MovedAt
		}
		if r.MovedAt.After(reason.Newest) {
			reason.Newest = r.MovedAt
		}
	}
	p.countUnknown()
	return p
}

func (p *Plan) add(r record.Record) {
	p.Items = append(p.Items, Item{r.ID, r.Fence})
	if len(p.Sample) < sampleSize {
		p.Sample = append(p.Sample, r)
	}
}

func (p *Plan) countUnknown() {
	p.Unknown = 0
	for _, r := range p.Reasons {
		if (&egress.Error{Code: egress.Code(r.Code)}).MayHaveExecuted() {
			p.Unknown += r.Count
		}
	}
}

// Duration is how long a run takes at least: it is throttled to rate records a second.
func (p Plan) Duration(rate int) time.Duration {
	return time.Duration(len(p.Items)) * time.Second / time.Duration(max(rate, 1))
}
