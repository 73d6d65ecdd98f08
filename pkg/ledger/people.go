package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// Act is what a person does to records; who and why are kept in their history.
type Act struct {
	Event  record.Event // Requeued, Replayed, Discard, Held or SendRequeued
	Actor  string
	Reason string
}

// Do applies an act to at most MaxBatch records in one transaction. Done holds
// those it was legal for; the others were in a state that does not allow it.
// Their messages are left to the relay, because a person's command does not
// live to publish them.
func (l *Ledger) Do(ctx context.Context, act Act, ids []record.ID) (done []record.Record, err error) {
	if err := bounded(string(act.Event)+" records", len(ids)); err != nil {
		return nil, err
	}
	err = l.transact(ctx, string(act.Event)+" records", func(tx pgx.Tx) error {
		done = nil
		rows, now, err := l.load(ctx, tx, "lock_records", ids)
		if err != nil {
			return err
		}
		m := &moves{now: now}
		for i, id := range ids {
			row, ok := rows[id]
			if !ok {
				continue
			}
			h := History{Kind: ActHistory, Actor: act.Actor, StartedAt: now, Failure: record.Failure{Message: act.Reason}}
			if to, ok := l.step(m, row, record.Fact{Event: act.Event}, h, i); ok {
				done = append(done, to)
			}
			delete(rows, id)
		}
		if err := l.write(ctx, tx, m); err != nil {
			return err
		}
		return l.doubt(ctx, tx, done)
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// Confirm closes an outcome that a partner confirmed late or over its own poll.
// An old outcome number closes nothing.
func (l *Ledger) Confirm(ctx context.Context, id record.ID, number int) (confirmed bool, err error) {
	err = l.transact(ctx, "confirm an outcome", func(tx pgx.Tx) error {
		rows, now, err := l.load(ctx, tx, "lock_records", []record.ID{id})
		if err != nil {
			return err
		}
		m := &moves{now: now}
		row, ok := rows[id]
		if !ok {
			return nil
		}
		_, confirmed = l.step(m, row, record.Fact{Event: record.Confirmed, Number: number}, History{Kind: NotifyHistory}, 0)
		return l.write(ctx, tx, m)
	})
	return confirmed, err
}

// Filter picks what waits for a person. Empty fields match everything.
type Filter struct {
	Kind        record.Wait // WaitDead, WaitUnacknowledged, WaitParked
	Integration string
	Class       string
	Code        string
}

// Reason is a line of the histogram of what waits for a person.
type Reason struct {
	Integration, Class, Code string
	Count                    int64
	Oldest, Newest           time.Time
}

func (f Filter) args() pgx.NamedArgs {
	return pgx.NamedArgs{"kind": string(f.Kind), "integration": f.Integration, "class": f.Class, "code": f.Code}
}

// Reasons counts what waits for a person, by reason, most frequent first.
func (l *Ledger) Reasons(ctx context.Context, f Filter) ([]Reason, error) {
	rows, err := l.pool.Query(ctx, l.queries["dead_histogram"], f.args())
	if err != nil {
		return nil, fmt.Errorf("ledger: count what waits for a person: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Reason])
}

// WaitingForPerson pages through what waits for a person, oldest first: pass
// the last page's last record, or nil to begin.
func (l *Ledger) WaitingForPerson(ctx context.Context, f Filter, after *Waiting, limit int) ([]Waiting, error) {
	args := f.args()
	args["after_since"], args["after_id"], args["rows"] = time.Time{}, pgtype.UUID{Valid: true}, limit
	if after != nil {
		args["after_since"], args["after_id"] = after.Since, nullUUID(after.Record.ID)
	}
	rows, err := l.pool.Query(ctx, l.queries["dead_letters"], args)
	if err != nil {
		return nil, fmt.Errorf("ledger: list what waits for a person: %w", err)
	}
	var ids []record.ID
	var sinces []time.Time
	var id pgtype.UUID
	var since time.Time
	if _, err := pgx.ForEachRow(rows, []any{&id, &since}, func() error {
		ids, sinces = append(ids, id.Bytes), append(sinces, since)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("ledger: list what waits for a person: %w", err)
	}
	found, err := l.Records(ctx, ids)
	if err != nil {
		return nil, err
	}
	list := make([]Waiting, 0, len(ids))
	for i, id := range ids {
		if r, ok := found[id]; ok {
			list = append(list, Waiting{Record: r, Since: sinces[i]})
		}
	}
	return list, nil
}

// Waiting is a record that waits for a person.
type Waiting struct {
	Record record.Record
	Since  time.Time
}
