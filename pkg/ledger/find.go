package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

const maxTraceRows = 500

// ErrNotFound says that the ledger knows nothing under this name.
var ErrNotFound = errors.New("the ledger knows nothing under this name")

// Trace is everything that the ledger keeps about one record.
type Trace struct {
	Record       record.Record
	Payloads     []StoredPayload
	History      []HistoryRow
	Interactions []Interaction
}

// StoredPayload is one revision of a payload.
type StoredPayload struct {
	Revision    int32
	TrackingID  [16]byte
	ContentType string
	Headers     string // JSON
	Body        []byte
	ArrivedAt   time.Time
}

// HistoryRow is one claim, one try at telling the partner, or one human act.
type HistoryRow struct {
	Fence                int64
	Kind                 HistoryKind
	Number               int
	Event                record.Event
	From, To             string
	Session              int64
	Actor                string
	Class, Code, Message string
	Steps                string
	StartedAt, EndedAt   time.Time
}

// Trace reads a record's whole story, or ErrNotFound. At most maxTraceRows of
// its interactions are returned, oldest first.
func (l *Ledger) Trace(ctx context.Context, id record.ID) (Trace, error) {
	found, err := l.Records(ctx, []record.ID{id})
	if err != nil {
		return Trace{}, err
	}
	r, ok := found[id]
	if !ok {
		return Trace{}, fmt.Errorf("record %s: %w", id, ErrNotFound)
	}
	t := Trace{Record: r}
	place := pgx.NamedArgs{"day": r.Day, "seq": r.Seq, "rows": maxTraceRows}
	if t.Payloads, err = collect(ctx, l, "payload_revisions", place, scanPayload); err != nil {
		return t, err
	}
	if t.History, err = collect(ctx, l, "attempts_of", place, pgx.RowToStructByPos[HistoryRow]); err != nil {
		return t, err
	}
	t.Interactions, err = collect(ctx, l, "interactions_of", place, func(c pgx.CollectableRow) (Interaction, error) { return scanInteraction(c) })
	return t, err
}

func scanPayload(c pgx.CollectableRow) (StoredPayload, error) {
	var p StoredPayload
	var tracking pgtype.UUID
	err := c.Scan(&p.Revision, &tracking, &p.ContentType, &p.Headers, &p.Body, &p.ArrivedAt)
	p.TrackingID = tracking.Bytes
	return p, err
}

func collect[T any](ctx context.Context, l *Ledger, query string, args pgx.NamedArgs, scan pgx.RowToFunc[T]) ([]T, error) {
	rows, err := l.pool.Query(ctx, l.queries[query], args)
	if err != nil {
		return nil, fmt.Errorf("ledger: %s: %w", query, err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("ledger: %s: %w", query, err)
	}
	return list, nil
}

// ByTracking finds the record that an interaction brought or was about, or
// ErrNotFound. The interaction of a refused request is about none.
func (l *Ledger) ByTracking(ctx context.Context, trackingID [16]byte) (record.ID, error) {
	args := pgx.NamedArgs{"tracking_id": nullUUID(trackingID), "day": trackingDay(trackingID)}
	ids, err := collect(ctx, l, "record_by_tracking", args, pgx.RowTo[pgtype.UUID])
	if err == nil && len(ids) == 1 {
		return ids[0].Bytes, nil
	}
	if err != nil {
		return record.ID{}, err
	}
	i, found, err := l.Interaction(ctx, trackingID)
	if err != nil {
		return record.ID{}, err
	}
	if !found || i.Seq == 0 {
		return record.ID{}, fmt.Errorf("tracking id %s: %w", record.ID(trackingID), ErrNotFound)
	}
	ids, err = collect(ctx, l, "record_by_place", pgx.NamedArgs{"day": i.Day, "seq": i.Seq}, pgx.RowTo[pgtype.UUID])
	if err != nil || len(ids) == 0 {
		return record.ID{}, errors.Join(err, ErrNotFound)
	}
	return ids[0].Bytes, nil
}

// trackingDay is the UTC day of a UUIDv7's time.
func trackingDay(id [16]byte) int32 {
	ms := int64(binary.BigEndian.Uint64(id[:8]) >> 16)
	return int32(min(max(ms/86_400_000, 0), 2_000_000))
}

// Step of a record's history, as `tail` shows it.
type Passing struct {
	ID          record.ID
	Key         string
	Integration string
	Kind        HistoryKind
	Number      int
	Event       record.Event
	From, To    string
	Class, Code string
	At          time.Time
	Fence       int64
}

// Tail reads what ended after the given time, oldest first: limit rows, and those
// that ended at the very time of the last one. Pass that time to go on. What a
// slow transaction commits with an earlier time is not shown; Trace has it.
func (l *Ledger) Tail(ctx context.Context, after time.Time, limit int) ([]Passing, error) {
	return collect(ctx, l, "recent_attempts", pgx.NamedArgs{"after": after, "rows": limit}, func(c pgx.CollectableRow) (Passing, error) {
		var p Passing
		var id pgtype.UUID
		err := c.Scan(&id, &p.Key, &p.Integration, &p.Kind, &p.Number, &p.Event, &p.From, &p.To, &p.Class, &p.Code, &p.At, &p.Fence)
		p.ID = id.Bytes
		return p, err
	})
}
