package file

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/ingest/internal/accept"
	"waybill.internal/services/ingest/internal/csvrows"
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
	mark    csvrows.Mark
}

// chunk is what one transaction accepts: full before a further row could make
// it larger than its bounds.
type chunk struct {
	items []item
	bytes int
}

func (c *chunk) add(i item) {
	c.items = append(c.items, i)
	c.bytes += len(i.arrival.Payload.Body)
}

func (c *chunk) full() bool { return len(c.items) >= chunkRows || c.bytes+maxBody > chunkBytes }

func (c *chunk) clear() {
	clear(c.items) // the publisher has what it needs
	c.items, c.bytes = c.items[:0], 0
}

// whole makes a record of a row that could be read.
func (r *reading) whole(row csvrows.Row) (item, error) {
	body, err := row.MarshalJSON()
	if err != nil {
		return item{}, err
	}
	if len(body) > maxBody {
		f := fault.New(fault.Data, string(csvrows.RowTooLong), "the row has %d bytes as JSON, at most %d are taken", len(body), maxBody)
		return r.rejected(row.Number, row.Line, body, f)
	}
	fields := make(map[string]any, len(row.Columns))
	for i, column := range row.Columns {
		fields[column] = row.Values[i]
	}
	arrival, err := r.Acceptor.Prepare(r.ctx, accept.Input{Entry: r.entry, Source: r.origin, Body: fields, Raw: body, ContentType: contentType,
		Headers: r.headers(row.Number, row.Line), FileHash: r.hash, Row: int64(row.Number), TrackingID: r.file.TrackingID})
	if err != nil {
		if _, ours := err.(*accept.Unavailable); ours {
			return item{}, err
		}
		f := fault.Of(err)
		if arrival.ID == (record.ID{}) {
			return r.rejected(row.Number, row.Line, body, f)
		}
		arrival.Failure = accept.Failure(f) // `invalid: refuse`: nobody waits who could be told
	}
	if arrival.Failure != nil {
		arrival.Failure = placed(arrival.Failure, row.Line)
	}
	return item{arrival: arrival, line: row.Line, number: row.Number}, nil
}

func (r *reading) broken(e *csvrows.RowError) (item, error) {
	return r.rejected(e.Number, e.Line, e.Raw, fault.New(fault.Data, string(e.Code), "%s", e.Message))
}

// rejected makes a record of a row that cannot be one: known by the file's
// content and its number, with what stood there as far as it is kept.
func (r *reading) rejected(number, line int, raw []byte, f *fault.Error) (item, error) {
	key, err := r.Ledger.InstallationKey(r.ctx)
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
	identity := r.hash + ":" + strconv.Itoa(number)
	return item{line: line, number: number, arrival: ledger.Arrival{
		ID: record.DeriveID(key, r.integration, identity), Integration: r.integration, Source: r.source,
		Key: identity, EntityKey: identity, Version: r.entry.Version, Failure: placed(accept.Failure(f), line),
		Payload: ledger.Payload{TrackingID: r.file.TrackingID, ContentType: contentType, Headers: r.headers(number, line), Body: body},
	}}, nil
}

func (r *reading) headers(number, line int) map[string]string {
	return map[string]string{headerName: r.file.Name, headerRow: strconv.Itoa(number), headerLine: strconv.Itoa(line)}
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
