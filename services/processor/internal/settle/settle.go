// Package settle ends claims: outcome, next attempt and message in one
// transaction, many records at a time.
package settle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/groupcommit"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/record"
)

const (
	maxItems  = 500
	maxBytes  = 8 << 20
	queueSize = 20_000
	// workers is how many settlements commit at once: while one waits for the disk
	// the next is being written.
	workers = 2
	// gather is the least time between the starts of two settlements at a low rate,
	// gatherBusy at a high one: no sender waits for a settlement, and a transaction for
	// each record would cost the most. A settlement's record holds its place so long.
	gather     = 20 * time.Millisecond
	gatherBusy = 10 * time.Millisecond
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// Item is one claim to end.
type Item struct {
	Session    *ledger.Session
	Settlement ledger.Settlement
	Source     outbox.Source // for the message that the settlement may cause
}

// Settler gathers settlements. It is safe for concurrent use.
type Settler struct {
	ledger    *ledger.Ledger
	publisher *outbox.Publisher
	log       *zap.Logger
	group     *groupcommit.Group[Item, ledger.Settled]
}

// New starts a settler; Close flushes and stops it.
func New(l *ledger.Ledger, p *outbox.Publisher, log *zap.Logger) (*Settler, error) {
	s := &Settler{ledger: l, publisher: p, log: log}
	var err error
	s.group, err = groupcommit.New(groupcommit.Config[Item, ledger.Settled]{
		Commit: s.commit, Size: size, MaxItems: maxItems, MaxBytes: maxBytes, QueueItems: queueSize, Workers: workers,
		Interval: gatherBusy, LowInterval: gather,
	})
	return s, err
}

// Close commits what waits.
func (s *Settler) Close(ctx context.Context) error { return s.group.Close(ctx) }

func size(i Item) int {
	n := 500 + len(i.Settlement.History.Steps)
	for _, u := range i.Settlement.Upserts {
		n += len(u.Row)
	}
	for _, c := range i.Settlement.Interactions {
		n += len(c.RequestBody) + len(c.ResponseBody) + len(c.RequestHeader) + len(c.ResponseHeader)
	}
	return n
}

func (s *Settler) commit(ctx context.Context, items []Item) ([]ledger.Settled, error) {
	settlements := make([]ledger.Settlement, len(items))
	for i, item := range items {
		settlements[i] = item.Settlement
	}
	settled, batches, err := s.ledger.Settle(ctx, items[len(items)-1].Session.ID, settlements)
	if err != nil {
		return nil, err
	}
	s.publisher.Enqueue(batches, func(i ledger.Item) outbox.Source { return items[i.Index].Source })
	return settled, nil
}

// Settle returns when the settlement is committed, or when the session has
// lapsed: then the claim is somebody else's, who does the work again. Values
// that the table refuses reject the record instead; a table that cannot be
// written at all fails the attempt.
func (s *Settler) Settle(item Item) (ledger.Settled, error) {
	// Not an attempt's context: what was done must be written while the session lives.
	ctx := item.Session.Context()
	wait := firstRetry
	for {
		settled, err := s.group.Do(ctx, item)
		switch {
		case err == nil:
			return settled, nil
		case ledger.RowFault(err) && len(item.Settlement.Upserts) > 0:
			item.Settlement = without(item.Settlement, upsertFailure(err))
			continue
		case (ledger.RowFault(err) || errors.Is(err, groupcommit.ErrTooLarge)) && hasExtras(item.Settlement):
			item.Settlement = without(item.Settlement, record.Failure{Class: record.ClassBug, Code: "settlement_unwritable",
				Message: "what the attempt leaves cannot be written: " + ledger.DataFaultText(err)})
			item.Settlement.History.Steps, item.Settlement.Interactions = nil, nil
			continue
		case errors.Is(err, groupcommit.ErrClosed):
			return ledger.Settled{}, err
		}
		s.log.Warn("a settlement failed and is tried again while the session lives", zap.Stringer("record", item.Settlement.ID), zap.Error(err))
		if clock.Sleep(ctx, wait) != nil || !item.Session.Alive() {
			return ledger.Settled{}, fmt.Errorf("settle record %s: the session has lapsed: %w", item.Settlement.ID, err)
		}
		wait = min(2*wait, lastRetry)
	}
}

func hasExtras(s ledger.Settlement) bool {
	return len(s.History.Steps) > 0 || len(s.Interactions) > 0
}

// upsertFailure is whose fault it is that the row was not written.
func upsertFailure(err error) record.Failure {
	if ledger.DataFault(err) {
		return record.Failure{Class: record.ClassData, Code: "upsert_refused", Message: ledger.DataFaultText(err)}
	}
	return record.Failure{Class: fault.Of(err).Class, Code: "upsert_failed", Message: ledger.DataFaultText(err)}
}

// without turns a settlement that cannot be written into a failed attempt.
func without(s ledger.Settlement, f record.Failure) ledger.Settlement {
	s.Upserts = nil
	s.Fact = record.Fact{Event: record.Failed, Failure: f}
	return s
}
