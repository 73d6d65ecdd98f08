package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// MaxInteractionBody bounds, in bytes, the part of a body that an interaction keeps.
const MaxInteractionBody = 4096

// Interaction is one exchange over an API, ours or a third party's, found by
// its tracking id. Headers are JSON and already redacted; bodies are capped.
type Interaction struct {
	TrackingID     [16]byte
	Kind           string // refused, duplicate, call, notify, read
	Integration    string
	Method         string
	URL            string
	Status         int // 0: no answer came
	Duration       time.Duration
	RequestHeader  []byte
	RequestBody    string
	ResponseHeader []byte
	ResponseBody   string
	Error          string
	At             time.Time

	record *record.Record
	// Fence is the claim's during which the call was made, 0 for none: the history
	// row of that attempt carries the next one.
	Fence int64
	// Seq and Day name the record when an interaction is read; 0 for none.
	Seq int64
	Day int32
}

// about ties the interaction to a record.
func (i Interaction) about(r record.Record, kind string) Interaction {
	i.record, i.Fence, i.Kind, i.Integration = &r, r.Fence, kind, r.Integration
	return i
}

// ReadInteraction is the Kind of a request that brought nothing: it asked for a
// receipt, or for something that is not there.
const ReadInteraction = "read"

// Refuse keeps requests that became no record, each in a row of its own: refused
// ones, which it counts, and those that brought nothing (ReadInteraction).
func (l *Ledger) Refuse(ctx context.Context, refused []Interaction) error {
	if err := bounded("keep refused requests", len(refused)); err != nil {
		return err
	}
	columns, counts := &interactionColumns{}, tally{}
	for _, i := range refused {
		if i.Kind != ReadInteraction {
			i.Kind = "refused"
			counts.add(i.Integration, "refused", 1)
		}
		columns.add(i)
	}
	return l.transact(ctx, "keep refused requests", func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		columns.queue(l, b)
		counts.queue(l, b)
		return tx.SendBatch(ctx, b).Close()
	})
}

// interactionColumns are the arrays of insert_interactions.
type interactionColumns struct {
	trackingIDs                                               []pgtype.UUID
	seqs, fences                                              []pgtype.Int8
	days                                                      []pgtype.Int4
	kinds, integrations, methods, urls                        []string
	statuses, mss                                             []int32
	requestHeaders, requestBodies, responseHeaders, responses []pgtype.Text
	errors                                                    []string
	ats                                                       []time.Time
}

func (c *interactionColumns) add(i Interaction) {
	c.trackingIDs = append(c.trackingIDs, nullUUID(i.TrackingID))
	seq, day, fence := pgtype.Int8{}, pgtype.Int4{}, pgtype.Int8{}
	if i.record != nil {
		seq, day = pgtype.Int8{Int64: i.record.Seq, Valid: true}, pgtype.Int4{Int32: i.record.Day, Valid: true}
		fence = pgtype.Int8{Int64: i.Fence, Valid: true}
	}
	c.seqs, c.days, c.fences = append(c.seqs, seq), append(c.days, day), append(c.fences, fence)
	c.kinds, c.integrations = append(c.kinds, i.Kind), append(c.integrations, i.Integration)
	c.methods, c.urls = append(c.methods, cleanText(i.Method, 32)), append(c.urls, cleanText(i.URL, 2048))
	c.statuses, c.mss = append(c.statuses, int32(i.Status)), append(c.mss, int32(min(i.Duration.Milliseconds(), 1<<31-1)))
	c.requestHeaders, c.responseHeaders = append(c.requestHeaders, nullJSON(i.RequestHeader)), append(c.responseHeaders, nullJSON(i.ResponseHeader))
	c.requestBodies = append(c.requestBodies, nullText([]byte(cleanText(i.RequestBody, MaxInteractionBody))))
	c.responses = append(c.responses, nullText([]byte(cleanText(i.ResponseBody, MaxInteractionBody))))
	c.errors, c.ats = append(c.errors, cleanText(i.Error, maxMessageBytes)), append(c.ats, i.At)
}

func (c *interactionColumns) queue(l *Ledger, b *pgx.Batch) {
	if len(c.ats) > 0 {
		b.Queue(l.queries["insert_interactions"], pgx.NamedArgs{
			"tracking_ids": c.trackingIDs, "seqs": c.seqs, "record_days": c.days, "fences": c.fences, "kinds": c.kinds,
			"integrations": c.integrations, "methods": c.methods, "urls": c.urls, "statuses": c.statuses, "mss": c.mss,
			"request_headers": c.requestHeaders, "request_bodies": c.requestBodies, "response_headers": c.responseHeaders,
			"response_bodies": c.responses, "errors": c.errors, "ats": c.ats})
	}
}

// Interaction finds one exchange by its tracking id; false: none is kept.
func (l *Ledger) Interaction(ctx context.Context, trackingID [16]byte) (Interaction, bool, error) {
	rows, err := l.pool.Query(ctx, l.queries["interaction_by_tracking"], pgx.NamedArgs{"tracking_id": nullUUID(trackingID)})
	if err != nil {
		return Interaction{}, false, fmt.Errorf("ledger: find an interaction: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(c pgx.CollectableRow) (Interaction, error) {
		var seq int64
		var day int32
		i, err := scanInteraction(c, &seq, &day)
		i.Seq, i.Day = seq, day
		return i, err
	})
	if err != nil || len(found) == 0 {
		return Interaction{}, false, err
	}
	return found[0], true, nil
}

func scanInteraction(c pgx.CollectableRow, more ...any) (Interaction, error) {
	var i Interaction
	var id pgtype.UUID
	var ms int64
	var requestHeader, responseHeader string
	err := c.Scan(append([]any{&id, &i.Fence, &i.Kind, &i.Integration, &i.Method, &i.URL, &i.Status, &ms,
		&requestHeader, &i.RequestBody, &responseHeader, &i.ResponseBody, &i.Error, &i.At}, more...)...)
	i.TrackingID, i.Duration = id.Bytes, time.Duration(ms)*time.Millisecond
	i.RequestHeader, i.ResponseHeader = []byte(requestHeader), []byte(responseHeader)
	return i, err
}
