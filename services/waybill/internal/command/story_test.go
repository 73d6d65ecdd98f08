package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func at(ms int) time.Time {
	return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("WAYBILL_UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; WAYBILL_UPDATE=1 writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s differs (WAYBILL_UPDATE=1 writes it anew):\n%s\nwant:\n%s", name, got, want)
	}
}

func theTrace() ledger.Trace {
	id := record.DeriveID([]byte("key"), "shop", "evt_1")
	return ledger.Trace{
		Record: record.Record{ID: id, Integration: "shop", Source: "webhook", Key: "evt_1", EntityKey: "SR-1", Version: 3, State: record.Dead, Fence: 9, Attempt: 2,
			Failure: record.Failure{Class: record.ClassSystem, Code: "http_503", Message: "answered 503\x1b[31m", Detail: []byte(`[{"pointer":"/a","message":"is wrong"},{"line":7,"message":"too few columns"}]`)},
			Outcome: record.Outcome{Number: 1, State: record.OutcomeDue, Try: 1}, AcceptedAt: at(0), MovedAt: at(9000)},
		Payloads: []ledger.StoredPayload{{TrackingID: record.DeriveID([]byte("k"), "t", "1"), ContentType: "application/json", Headers: `{"webhook-id":"evt_1","a":"b"}`, Body: []byte("{\n\"a\": 1}"), ArrivedAt: at(0)},
			{Revision: 1, TrackingID: record.DeriveID([]byte("k"), "t", "2"), Headers: `{}`, Body: []byte{0xff, 0xfe}, ArrivedAt: at(4000)}},
		History: []ledger.HistoryRow{
			{Fence: 2, Kind: ledger.ProcessHistory, Number: 1, Event: record.Failed, From: "processing", To: "retrying", Session: 4, Class: "system", Code: "http_503", Message: "answered 503",
				Steps: `{"key":{"done":true,"result":"PK"},"crm":{"unknown":true}}`, StartedAt: at(20), EndedAt: at(1020)},
			{Fence: 4, Kind: ledger.ProcessHistory, Number: 2, Event: record.GaveUp, From: "processing", To: "dead", Class: "system", Code: "http_503", StartedAt: at(6020), EndedAt: at(6030)},
			{Fence: 6, Kind: ledger.NotifyHistory, Number: 1, Event: record.Unconfirmed, From: "sent", To: "due", Class: "system", Code: "http_500", StartedAt: at(7000), EndedAt: at(7200)},
			{Fence: 7, Kind: ledger.ActHistory, Event: record.Held, From: "dead", To: "dead", Actor: "eve", Message: "let it be", StartedAt: at(8000), EndedAt: at(8000)},
		},
		Interactions: []ledger.Interaction{
			{TrackingID: record.DeriveID([]byte("k"), "t", "3"), Kind: "call", Fence: 1, Method: "POST", URL: "http://crm/requests", Status: 503, Duration: 980 * time.Millisecond, RequestBody: `{"x":1}`, ResponseBody: "busy", At: at(30)},
			{TrackingID: record.DeriveID([]byte("k"), "t", "4"), Kind: "duplicate", Method: "POST", URL: "/in/shop", Status: 200, At: at(-5)},
			{TrackingID: record.DeriveID([]byte("k"), "t", "5"), Kind: "notify", Fence: 5, Method: "POST", URL: "http://partner/status", Error: "timeout", Duration: 200 * time.Millisecond, At: at(7000)},
		},
	}
}

func TestStory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		bodies bool
	}{{"story.txt", false}, {"story-payload.txt", true}} {
		s := storyOf(theTrace(), "record id")
		if !c.bodies {
			s.hideBodies()
		}
		var out strings.Builder
		s.write(&out, at(69000))
		golden(t, c.name, out.String())
	}
}

func TestRefusedInteraction(t *testing.T) {
	t.Parallel()
	v := interactionViewOf(ledger.Interaction{TrackingID: record.DeriveID([]byte("k"), "t", "6"), Kind: "refused", Integration: "shop", Method: "POST", URL: "/in/shop", Status: 422, Duration: 3 * time.Millisecond,
		RequestHeader: []byte(`{"a":"b"}`), RequestBody: `{"a":`, ResponseBody: `{"title":"Unprocessable","detail":"2 problems","errors":[{"pointer":"/a","detail":"is missing"}]}`, At: at(0)})
	var out strings.Builder
	v.writeAlone(&out, true)
	golden(t, "refused.txt", out.String())
}

func TestAuditTable(t *testing.T) {
	t.Parallel()
	a := ledger.Audit{At: at(0), Unaccounted: 3, Differences: []string{"shop: one difference"}, Integrations: map[string]*ledger.Count{
		"shop": {Received: 1200, Duplicates: 30, Refused: 4, Conflicts: 1,
			States:   map[record.State]int64{record.Processed: 1000, record.Rejected: 100, record.Dead: 10, record.Queued: 50, record.Processing: 20, record.Retrying: 10, record.Parked: 5},
			Outcomes: map[record.OutcomeState]int64{record.Acknowledged: 900, record.OutcomeDue: 200, record.Unacknowledged: 10, record.NoOutcome: 90}},
		"": {Refused: 2, States: map[record.State]int64{}, Outcomes: map[record.OutcomeState]int64{}},
	}}
	for i := range 12 {
		a.Overdue = append(a.Overdue, record.DeriveID([]byte("k"), "o", string(rune('a'+i))))
	}
	view := auditOf(a)
	// 1,195 of the 1,200 received have a state: five more are unaccounted for.
	if view.Unaccounted != 8 || len(view.Differences) != 2 {
		t.Errorf("unaccounted %d, differences %q", view.Unaccounted, view.Differences)
	}
	var out strings.Builder
	view.write(&out)
	golden(t, "audit.txt", out.String())
}

func TestFile(t *testing.T) {
	t.Parallel()
	end := at(2000)
	f := ledger.FileStory{Name: "orders\x1b[31m.csv", Integration: "shop", Source: "file", Size: 123456, State: "failed", Rows: 1200, Received: 1100, Rejected: 3, Duplicates: 100,
		Error: "line 1202 has no end\x1b[2J", StartedAt: at(0), EndedAt: &end}
	var out strings.Builder
	fileViewOf(f).write(&out, at(62000))
	golden(t, "file.txt", out.String())
	f.State = "reading" // dropped again
	if v := fileViewOf(f); v.EndedAt != nil {
		t.Errorf("it is read, and ended at %s", v.EndedAt)
	}
}

func TestWhyItWaits(t *testing.T) {
	t.Parallel()
	told := record.Record{State: record.Processed, Outcome: record.Outcome{Number: 2, State: record.Unacknowledged, Try: 3}}
	refused := told
	refused.State, refused.Outcome.Try = record.Rejected, 1
	refused.Failure = record.Failure{Class: record.ClassData, Code: "invalid"}
	for _, c := range []struct {
		kind record.Wait
		of   record.Record
		want string
	}{
		{record.WaitUnacknowledged, told, "the partner did not confirm outcome 2 (3 tries)"},
		{record.WaitUnacknowledged, refused, "the partner did not confirm outcome 2 (1 try); data/invalid"},
		{record.WaitDead, refused, "data/invalid"},
	} {
		if got := whyWaits(c.kind, c.of); got != c.want {
			t.Errorf("%s: %q, want %q", c.kind, got, c.want)
		}
	}
}

func TestWarningsAreClean(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	in := &invocation{Surroundings: Surroundings{Stderr: &out}}
	in.warn("cannot be read: %v", "a\x1b[31m\nb")
	if got, want := out.String(), "waybill: cannot be read: a [31m\nb\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
