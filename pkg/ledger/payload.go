package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// payloadColumns are the arrays of insert_payloads.
type payloadColumns struct {
	days                  []int32
	seqs                  []int64
	revisions             []int32
	trackingIDs           []pgtype.UUID
	contentTypes, headers []string
	bodies, hashes        [][]byte
}

func (c *payloadColumns) add(r record.Record, p Payload) {
	c.days, c.seqs, c.revisions = append(c.days, r.Day), append(c.seqs, r.Seq), append(c.revisions, p.Revision)
	c.trackingIDs, c.contentTypes = append(c.trackingIDs, nullUUID(p.TrackingID)), append(c.contentTypes, cleanText(p.ContentType, 200))
	c.headers, c.bodies, c.hashes = append(c.headers, headerJSON(p.Headers)), append(c.bodies, p.bytes()), append(c.hashes, p.hash())
}

func (c *payloadColumns) queue(l *Ledger, b *pgx.Batch) {
	if len(c.seqs) > 0 {
		b.Queue(l.queries["insert_payloads"], pgx.NamedArgs{"days": c.days, "seqs": c.seqs, "revisions": c.revisions, "tracking_ids": c.trackingIDs,
			"content_types": c.contentTypes, "headers": c.headers, "bodies": c.bodies, "hashes": c.hashes})
	}
}

// Payloads reads the newest payload revision of each record, for retries from
// the ledger and for people. An id without a payload is absent.
func (l *Ledger) Payloads(ctx context.Context, ids []record.ID) (map[record.ID]Payload, error) {
	found, err := l.payloads(ctx, l.pool, ids)
	if err != nil {
		return nil, fmt.Errorf("ledger: read payloads: %w", err)
	}
	return found, nil
}

func (l *Ledger) payloads(ctx context.Context, q querier, ids []record.ID) (map[record.ID]Payload, error) {
	rows, err := q.Query(ctx, l.queries["newest_payloads"], pgx.NamedArgs{"ids": uuids(ids)})
	if err != nil {
		return nil, err
	}
	found := make(map[record.ID]Payload, len(ids))
	_, err = pgx.CollectRows(rows, func(c pgx.CollectableRow) (struct{}, error) {
		var id, tracking pgtype.UUID
		var p Payload
		var headers, hash []byte
		if err := c.Scan(&id, &p.Revision, &tracking, &p.ContentType, &headers, &p.Body, &hash); err != nil {
			return struct{}{}, err
		}
		err := json.Unmarshal(headers, &p.Headers)
		p.TrackingID = tracking.Bytes
		found[id.Bytes] = p
		return struct{}{}, err
	})
	return found, err
}
