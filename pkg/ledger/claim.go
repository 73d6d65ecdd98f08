package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/record"
)

// Ref names what a message is about: a record at a fence. If the record has
// moved since, the message is stale and claims nothing.
type Ref struct {
	ID    record.ID
	Fence int64
	// Version to pin if this is the record's first attempt.
	Version int64
}

// Claim takes the records whose fence still matches, for one session. The
// result is in the order of refs; a zero Fence says that the record is not
// ours: already claimed, settled, requeued or unknown.
func (l *Ledger) Claim(ctx context.Context, session int64, refs []Ref) ([]record.Record, error) {
	return l.take(ctx, "claim records", session, refs, record.Claimed)
}

// Isolate notes that the session begins a suspected record that it has claimed, and
// nothing beside it. Not held: the record is somebody else's by now.
func (l *Ledger) Isolate(ctx context.Context, session int64, ref Ref) (begun record.Record, held bool, err error) {
	taken, err := l.take(ctx, "begin a record alone", session, []Ref{ref}, record.Isolated)
	if err != nil {
		return begun, false, err
	}
	return taken[0], taken[0].Fence != 0, nil
}

// ClaimOutcomes takes due outcomes for one session, to tell the partner.
func (l *Ledger) ClaimOutcomes(ctx context.Context, session int64, refs []Ref) ([]record.Record, error) {
	return l.take(ctx, "claim outcomes", session, refs, record.Sent)
}

func (l *Ledger) take(ctx context.Context, act string, session int64, refs []Ref, event record.Event) ([]record.Record, error) {
	if err := bounded(act, len(refs)); err != nil {
		return nil, err
	}
	var claimed []record.Record
	err := l.transact(ctx, act, func(tx pgx.Tx) error {
		claimed = make([]record.Record, len(refs))
		ids := make([]record.ID, len(refs))
		for i, ref := range refs {
			ids[i] = ref.ID
		}
		rows, now, err := l.load(ctx, tx, "lock_records", ids)
		if err != nil {
			return err
		}
		m := &moves{session: session, now: now}
		for i, ref := range refs {
			row, ok := rows[ref.ID]
			if !ok || row.Fence != ref.Fence && !planted.FenceDropped {
				continue
			}
			fact := record.Fact{Event: event, Session: session, Version: ref.Version}
			if to, ok := l.step(m, row, fact, History{}, i); ok {
				claimed[i] = to
				delete(rows, ref.ID) // the same message twice in one batch claims once
			}
		}
		return l.write(ctx, tx, m)
	})
	if err != nil {
		return nil, splitOnAnswer(err) // a row that somebody keeps locked is not the others' matter
	}
	return claimed, nil
}

// Previous is what earlier attempts left of a record's steps.
type Previous struct {
	State    []byte // JSON, as the settlement's History.Steps gave it
	Requeued bool   // a person or a corrected arrival put it back to work since
	Replayed bool   // a person asked since for everything to be done again
}

// Steps reads the step results that earlier attempts committed, and what people
// did since.
func (l *Ledger) Steps(ctx context.Context, ids []record.ID) (map[record.ID]Previous, error) {
	rows, err := l.pool.Query(ctx, l.queries["last_steps"], pgx.NamedArgs{"ids": uuids(ids)})
	if err != nil {
		return nil, fmt.Errorf("ledger: read step results: %w", err)
	}
	found := make(map[record.ID]Previous)
	_, err = pgx.CollectRows(rows, func(c pgx.CollectableRow) (struct{}, error) {
		var id pgtype.UUID
		var p Previous
		err := c.Scan(&id, &p.State, &p.Requeued, &p.Replayed)
		if p.State != nil || p.Requeued {
			found[id.Bytes] = p
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("ledger: read step results: %w", err)
	}
	return found, nil
}
