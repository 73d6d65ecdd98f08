package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// row is a record with the batch that holds it.
type row struct {
	record.Record
	batch [16]byte
}

// scanRow reads the columns of lock_records and read_records, and the server's time.
func scanRow(rows pgx.CollectableRow) (row, time.Time, error) {
	var (
		r      row
		id     pgtype.UUID
		batch  pgtype.UUID
		since  pgtype.Timestamptz
		detail pgtype.Text
		now    time.Time
	)
	err := rows.Scan(&id, &r.Seq, &r.Day, &r.Integration, &r.Source, &r.Key, &r.EntityKey, &r.Version, &r.Revision,
		&r.State, &r.Fence, &r.Attempt, &r.Losses, &r.Session, &r.Failure.Class, &r.Failure.Code, &r.Failure.Message, &detail,
		&r.Outcome.Number, &r.Outcome.State, &r.Outcome.Try, &since, &r.AcceptedAt, &r.Since, &r.MovedAt, &batch, &now)
	r.ID, r.batch, r.Outcome.Since = id.Bytes, batch.Bytes, since.Time
	if detail.Valid {
		r.Failure.Detail = []byte(detail.String)
	}
	return r, now, err
}

// load runs lock_records or read_records and returns the rows by id, and the ledger's time.
func (l *Ledger) load(ctx context.Context, q querier, query string, ids []record.ID) (map[record.ID]row, time.Time, error) {
	now := l.Now()
	rows, err := q.Query(ctx, l.queries[query], pgx.NamedArgs{"ids": uuids(ids)})
	if err != nil {
		return nil, now, err
	}
	found := make(map[record.ID]row, len(ids))
	_, err = pgx.CollectRows(rows, func(c pgx.CollectableRow) (struct{}, error) {
		r, at, err := scanRow(c)
		if err == nil {
			found[r.ID], now = r, at
		}
		return struct{}{}, err
	})
	return found, now, err
}

// Records reads records by id, without a lock; an id without a row is absent.
func (l *Ledger) Records(ctx context.Context, ids []record.ID) (map[record.ID]record.Record, error) {
	rows, _, err := l.load(ctx, l.pool, "read_records", ids)
	if err != nil {
		return nil, err
	}
	found := make(map[record.ID]record.Record, len(rows))
	for id, r := range rows {
		found[id] = r.Record
	}
	return found, nil
}
