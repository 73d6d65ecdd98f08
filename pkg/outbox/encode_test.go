package outbox

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
)

func sample(n byte) record.Record {
	now := time.Now()
	return record.Record{ID: record.ID{n}, Fence: 1, Integration: "shop", Source: "web", Key: "k", State: record.Rejected,
		Outcome: record.Outcome{Number: 1}, AcceptedAt: now, MovedAt: now}
}

func TestOneBrokenRecordHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	bad := sample(2)
	bad.Integration = ""
	b := ledger.Batch{Topic: "main.work", Items: []ledger.Item{{Record: sample(1)}, {Record: bad}, {Record: sample(3)}}}
	var broken []record.ID
	messages, _ := encode(b, func(ledger.Item) Source { return Source{Payload: ledger.Payload{Body: []byte("{}")}} },
		func(id record.ID, _ error) { broken = append(broken, id) })
	if len(messages) != 2 || len(broken) != 1 || broken[0] != bad.ID {
		t.Fatalf("%d messages, left out %v", len(messages), broken)
	}
}

func TestEnvelopeFits(t *testing.T) {
	t.Parallel()
	many, most := map[string]string{}, map[string]string{}
	for i := range maxHeaders + 1 {
		many[strconv.Itoa(i)] = "v"
		if i > 0 {
			most[strconv.Itoa(i)] = "v"
		}
	}
	for name, c := range map[string]struct {
		headers     map[string]string
		byReference bool
	}{
		"not UTF-8": {map[string]string{"a\xff": "b\xfe"}, false},
		"most":      {most, false},
		"too many":  {many, true},
		"too large": {map[string]string{"a": strings.Repeat("x", maxHeaderBytes)}, true},
	} {
		m, err := stream.EncodeRecord(envelope(ledger.Item{Record: sample(1)}, ledger.Payload{Body: []byte("{}"), ContentType: "text/\xff", Headers: c.headers}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r, err := stream.DecodeRecord(m)
		if err != nil || r.ByReference != c.byReference || (!c.byReference && len(r.Headers) != len(c.headers)) {
			t.Errorf("%s: by reference %v, %d headers, %v", name, r.ByReference, len(r.Headers), err)
		}
	}
}

func TestOutcomeDetailFits(t *testing.T) {
	t.Parallel()
	quoted := func(n int) []byte { return append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, n-2)...), '"') }
	for name, c := range map[string]struct {
		detail []byte
		want   int
	}{
		"largest": {quoted(maxDetailBytes), maxDetailBytes}, "too large": {quoted(maxDetailBytes + 1), 0}, "no JSON": {[]byte("{"), 0}, "none": {nil, 0},
	} {
		r := sample(1)
		r.Failure.Detail = c.detail
		m, err := stream.EncodeOutcome(outcome(r))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if o, err := stream.DecodeOutcome(m); err != nil || len(o.Detail) != c.want {
			t.Errorf("%s: %d bytes of detail, %v", name, len(o.Detail), err)
		}
	}
}
