package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

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

// headerJSON is the headers as a JSON object, names in order.
func headerJSON(h map[string]string) string {
	names := make([]string, 0, 8) // most have so few that they lie on the stack
	size := 2
	for name, value := range h {
		if !plainText(name, 200) || !plainText(value, 4096) {
			return cleanHeaderJSON(h)
		}
		names = append(names, name)
		size += len(name) + len(value) + len(`"":"",`)
	}
	slices.Sort(names)
	out := append(make([]byte, 0, size), '{')
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), name...), `":"`...)
		out = append(append(out, h[name]...), '"')
	}
	return string(append(out, '}'))
}

// plainText tells whether s stands in JSON as it is and has at most limit bytes.
func plainText(s string, limit int) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return len(s) <= limit
}

func cleanHeaderJSON(h map[string]string) string {
	clean := make(map[string]string, len(h))
	for k, v := range h {
		clean[cleanText(k, 200)] = cleanText(v, 4096)
	}
	b, err := json.Marshal(clean)
	if err != nil {
		return "{}" // strings always marshal
	}
	return string(b)
}
