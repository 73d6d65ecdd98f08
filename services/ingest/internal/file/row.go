package file

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/ingest/internal/accept"
	"waybill.internal/services/ingest/internal/rows"
)

const (
	// chunkRows and chunkBytes bound what one transaction accepts and what is in memory.
	chunkRows  = 1000
	chunkBytes = 4 << 20
	// maxBody bounds a row, in the file and as a record's body.
	maxBody = 1 << 20
	// maxRaw bounds what a rejected row that is no body keeps of itself.
	maxRaw = 4 << 10
)

// The headers of a file's record.
const (
	headerName = "file-name"
	headerRow  = "file-row"
	headerLine = "file-line"
)

const contentType = "application/json"

// item is a row that is to be accepted, and the place behind it.
type item struct {
	arrival ledger.Arrival
	line    int
	number  int
	mark    rows.Mark
}

// chunk is what one transaction accepts: full before a further row could make
// it larger than its bounds.
type chunk struct {
	items  []item
	bytes  int
	offset int64 // bytes of the file read for it
}

func (c *chunk) add(i item) {
	c.items = append(c.items, i)
	c.bytes += len(i.arrival.Payload.Body)
}

func (c *chunk) full() bool { return len(c.items) >= chunkRows || c.bytes+maxBody > chunkBytes }

// whole makes a record of a row that could be read.
func (r *reading) whole(ctx context.Context, row rows.Row) (item, error) {
	if len(row.Body) > maxBody {
		f := fault.New(fault.Data, string(rows.RowTooLong), "the row has %d bytes as JSON, at most %d are taken", len(row.Body), maxBody)
		return r.rejected(ctx, row.Number, row.Line, row.Body, f)
	}
	arrival, err := r.Acceptor.Prepare(ctx, accept.Input{Entry: r.entry, Source: r.origin, Body: row.Value, Raw: row.Body, ContentType: contentType,
		Headers: r.headers(row.Number, row.Line), FileHash: r.identity, Row: int64(row.Number), TrackingID: r.begun.TrackingID})
	if err != nil {
		if _, ours := err.(*accept.Unavailable); ours {
			return item{}, err
		}
		f := fault.Of(err)
		if arrival.ID == (record.ID{}) {
			return r.rejected(ctx, row.Number, row.Line, row.Body, f)
		}
		arrival.Failure = accept.Failure(f) // `invalid: refuse`: nobody waits who could be told
	}
	if arrival.Failure != nil {
		arrival.Failure = placed(arrival.Failure, row.Line)
	}
	arrival.Row, arrival.Line = int64(row.Number), int64(row.Line)
	return item{arrival: arrival, line: row.Line, number: row.Number}, nil
}

func (r *reading) broken(ctx context.Context, e *rows.RowError) (item, error) {
	r.Acceptor.Unread(r.integration, r.source, string(e.Code))
	return r.rejected(ctx, e.Number, e.Line, e.Raw, fault.New(fault.Data, string(e.Code), "%s", e.Message))
}

// rejected makes a record of a row that cannot be one: known by the file's
// content and its number, with what stood there as far as it is kept.
func (r *reading) rejected(ctx context.Context, number, line int, raw []byte, f *fault.Error) (item, error) {
	key, err := r.Ledger.InstallationKey(ctx)
	if err != nil {
		return item{}, err
	}
	body, err := json.Marshal(struct {
		Line int    `json:"line"`
		Raw  string `json:"raw"`
	}{line, strings.ToValidUTF8(string(raw[:min(len(raw), maxRaw)]), "\uFFFD")})
	if err != nil {
		return item{}, fmt.Errorf("row %d: %w", number, err)
	}
	identity := r.identity + ":" + strconv.Itoa(number)
	return item{line: line, number: number, arrival: ledger.Arrival{
		ID: record.DeriveID(key, r.integration, identity), Integration: r.integration, Source: r.source,
		Key: identity, EntityKey: identity, Version: r.entry.Version, Failure: placed(accept.Failure(f), line),
		Row: int64(number), Line: int64(line),
		Payload: ledger.Payload{TrackingID: r.begun.TrackingID, ContentType: contentType, Headers: r.headers(number, line), Body: body},
	}}, nil
}

func (r *reading) headers(number, line int) map[string]string {
	return map[string]string{headerName: r.begun.Name, headerRow: strconv.Itoa(number), headerLine: strconv.Itoa(line)}
}

// placed says in every reason at which line of the file it is.
func placed(f *record.Failure, line int) *record.Failure {
	var reasons []fault.Problem
	if err := json.Unmarshal(f.Detail, &reasons); err != nil || len(reasons) == 0 { // there is none but the failure itself
		reasons = []fault.Problem{{Code: f.Code, Message: f.Message}}
	}
	for i := range reasons {
		reasons[i].Line = line
	}
	out := *f
	out.Message = "line " + strconv.Itoa(line) + ": " + f.Message
	if detail, err := json.Marshal(reasons); err == nil {
		out.Detail = detail
	}
	return &out
}
