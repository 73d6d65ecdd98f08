package ledger

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// maxLastBody bounds, in bytes, the last body that MissingEntities gives with an entity.
const maxLastBody = 64 << 10

func tracked(arrivals []Arrival) bool {
	return slices.ContainsFunc(arrivals, func(a Arrival) bool { return a.Content != nil })
}

// acceptTracked is Accept for integrations that keep the latest version of each
// entity: that version is written in the transaction that accepts it.
func (l *Ledger) acceptTracked(ctx context.Context, session int64, arrivals []Arrival) (receipts []Receipt, batches []Batch, err error) {
	err = l.transact(ctx, fmt.Sprintf("accept %d arrivals", len(arrivals)), func(tx pgx.Tx) error {
		receipts = make([]Receipt, len(arrivals))
		if batches, err = l.insertAndHeal(ctx, tx, session, arrivals, receipts); err != nil {
			return err
		}
		return l.keepLatest(ctx, tx, arrivals, receipts, File{})
	})
	if err != nil {
		return nil, nil, splitOnDataFault(err)
	}
	return receipts, batches, nil
}

// insertAndHeal answers every arrival inside a transaction of the caller's.
func (l *Ledger) insertAndHeal(ctx context.Context, tx pgx.Tx, session int64, arrivals []Arrival, receipts []Receipt) ([]Batch, error) {
	return l.insertThenHeal(ctx, tx, "accept", session, arrivals, receipts, func() error { return nil })
}

// insertThenHeal is insertAndHeal by a statement of the caller's choice, see insert.
// inserted is called in between, and its error ends it.
func (l *Ledger) insertThenHeal(ctx context.Context, tx pgx.Tx, statement string, session int64, arrivals []Arrival, receipts []Receipt, inserted func() error) ([]Batch, error) {
	batches, known, err := l.insert(ctx, tx, statement, session, arrivals, receipts)
	if err == nil {
		err = inserted()
	}
	if err != nil || len(known) == 0 {
		return batches, err
	}
	healed, err := l.duplicates(ctx, tx, session, arrivals, known, receipts)
	return append(batches, healed...), err
}

type entityKey struct{ integration, key string }

// keepLatest writes what the arrivals make the latest version of their entities,
// as far as their integrations keep that: what was accepted, not what was rejected
// or known. For a snapshot's file, all of them are noted as being in it.
func (l *Ledger) keepLatest(ctx context.Context, tx pgx.Tx, arrivals []Arrival, receipts []Receipt, f File) error {
	latest := map[entityKey]int{}
	var present []string
	for i, a := range arrivals {
		if a.Content == nil {
			continue
		}
		r := receipts[i]
		if (!r.Duplicate || r.Revived) && r.Record.State != record.Rejected {
			latest[entityKey{a.Integration, a.EntityKey}] = i
		} else if f.Snapshot {
			present = append(present, a.EntityKey)
		}
	}
	if len(latest) > 0 {
		if _, err := tx.Exec(ctx, l.queries["keep_entities"], latestColumns(latest, arrivals, receipts, f)); err != nil {
			return err
		}
	}
	if len(present) == 0 {
		return nil
	}
	slices.Sort(present)
	_, err := tx.Exec(ctx, l.queries["touch_entities"], pgx.NamedArgs{"integration": f.Integration, "source": f.Source, "file": f.ID, "keys": slices.Compact(present)})
	return err
}

func latestColumns(latest map[entityKey]int, arrivals []Arrival, receipts []Receipt, f File) pgx.NamedArgs {
	var integrations, keys []string
	var contents [][]byte
	var seqs []int64
	var ids []pgtype.UUID
	for k, i := range latest {
		seq := receipts[i].Record.Seq
		if receipts[i].Revived {
			seq = 0 // the record is old, its content is not: it gets the next number
		}
		integrations, keys = append(integrations, k.integration), append(keys, k.key)
		contents, seqs = append(contents, arrivals[i].Content[:]), append(seqs, seq)
		ids = append(ids, pgtype.UUID{Bytes: arrivals[i].ID, Valid: true})
	}
	args := pgx.NamedArgs{"integrations": integrations, "keys": keys, "contents": contents, "seqs": seqs, "ids": ids, "source": "", "file": int64(0)}
	if f.Snapshot {
		args["source"], args["file"] = f.Source, f.ID
	}
	return args
}

// changed gives the indexes of the rows that differ from the latest accepted
// version of their entity, the rows of the same chunk before them included. The
// entities stay locked, so that this holds when the rows are accepted.
func (l *Ledger) changed(ctx context.Context, tx pgx.Tx, f File, arrivals []Arrival) ([]int, error) {
	var keys []string
	for _, a := range arrivals {
		if a.Content != nil {
			keys = append(keys, a.EntityKey)
		}
	}
	latest := map[string][32]byte{}
	if len(keys) > 0 {
		rows, err := tx.Query(ctx, l.queries["lock_entities"], pgx.NamedArgs{"integration": f.Integration, "keys": keys})
		if err != nil {
			return nil, err
		}
		var key string
		var content []byte
		if _, err := pgx.ForEachRow(rows, []any{&key, &content}, func() error {
			latest[key] = [32]byte(content)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	fresh := make([]int, 0, len(arrivals))
	for i, a := range arrivals {
		if a.Content != nil && a.Failure == nil {
			if before, known := latest[a.EntityKey]; known && before == *a.Content {
				continue
			}
			latest[a.EntityKey] = *a.Content
		}
		fresh = append(fresh, i)
	}
	return fresh, nil
}

// doubt lets what arrives next be compared with nothing, where a record that is put back
// to work is not its entity's latest version: its content may be the entity's in the end.
func (l *Ledger) doubt(ctx context.Context, tx pgx.Tx, done []record.Record) error {
	var ids []record.ID
	for _, r := range done {
		if r.State == record.Queued {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, l.queries["doubt_entities"], pgx.NamedArgs{"ids": uuids(ids)})
	return err
}

// ForgetEntities drops the latest versions of an integration that keeps none any
// more, in transactions of at most MaxBatch.
func (l *Ledger) ForgetEntities(ctx context.Context, integration string) error {
	for {
		tag, err := l.pool.Exec(ctx, l.queries["forget_entities"], pgx.NamedArgs{"integration": integration, "rows": MaxBatch})
		if err != nil {
			return fmt.Errorf("ledger: forget the entities of %s: %w", integration, err)
		}
		if tag.RowsAffected() < MaxBatch {
			return nil
		}
	}
}

// CountMissing counts the entities of the file's source that this snapshot does not have.
func (l *Ledger) CountMissing(ctx context.Context, f File) (n int64, err error) {
	err = l.pool.QueryRow(ctx, l.queries["count_missing"], pgx.NamedArgs{"integration": f.Integration, "source": f.Source, "file": f.ID}).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("ledger: count what file %d does not have: %w", f.ID, err)
	}
	return n, nil
}

// Missing is an entity that a snapshot does not have any more.
type Missing struct {
	Key  string
	Body []byte // of its latest accepted version; nil if that is gone, or larger than 64 KiB
}

// MissingEntities gives a page of the entities that the snapshot does not have, by key.
func (l *Ledger) MissingEntities(ctx context.Context, f File, after string, limit int) ([]Missing, error) {
	return collect(ctx, l, "missing_entities", pgx.NamedArgs{"integration": f.Integration, "source": f.Source, "file": f.ID, "after": after, "rows": limit,
		"max_body": maxLastBody}, pgx.RowToStructByPos[Missing])
}

// AcceptDeletes accepts records that say that entities disappeared, and forgets
// the entities, in one transaction: what a crash leaves is still missing.
func (l *Ledger) AcceptDeletes(ctx context.Context, session int64, f File, arrivals []Arrival) (receipts []Receipt, batches []Batch, err error) {
	if err := bounded("accept the deletions of "+f.Name, len(arrivals)); err != nil {
		return nil, nil, err
	}
	keys := make([]string, len(arrivals))
	for i, a := range arrivals {
		keys[i] = a.EntityKey
	}
	err = l.transact(ctx, "accept the deletions of "+f.Name, func(tx pgx.Tx) error {
		receipts = make([]Receipt, len(arrivals))
		if batches, err = l.insertAndHeal(ctx, tx, session, arrivals, receipts); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, l.queries["drop_entities"], pgx.NamedArgs{"integration": f.Integration, "source": f.Source, "file": f.ID, "keys": keys}); err != nil {
			return err
		}
		made, _, _ := countRows(receipts)
		tag, err := tx.Exec(ctx, l.queries["move_deleted"], pgx.NamedArgs{"id": f.ID, "session": session, "deleted": made})
		if err == nil && tag.RowsAffected() != 1 {
			err = ErrFileLost
		}
		return err
	})
	if err != nil {
		return nil, nil, splitOnDataFault(err)
	}
	return receipts, batches, nil
}
