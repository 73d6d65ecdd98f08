package command_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func says(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, s := range all {
		if !strings.Contains(text, s) {
			t.Errorf("it does not say %q:\n%s", s, text)
		}
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	out, _ := d.waybill(0, "migrate")
	says(t, out, "up to date")
}

func TestTraceByEveryKindOfID(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	r := d.dead("http_500", "order 1")[0]
	trace, err := d.l.Trace(t.Context(), r.ID)
	d.must(err)
	tracking := record.ID(trace.Payloads[0].TrackingID).String()
	call := record.ID(trace.Interactions[0].TrackingID).String()
	for name, by := range map[string]string{r.ID.String(): "record id", strings.ToUpper(r.ID.String()): "record id", tracking: "tracking id", call: "tracking id", "order 1": "idempotency key"} {
		out, _ := d.waybill(0, "trace", name)
		says(t, out, r.ID.String(), "found by "+by, "arrival", "attempt 1", "processing → dead", "https://crm.example/requests", "whether the third party did it is unknown")
		if strings.Contains(out, `{"no"`) {
			t.Errorf("the body is printed without --payload:\n%s", out)
		}
	}
	out, _ := d.waybill(0, "trace", "order 1", "--payload", "--integration", "shop")
	says(t, out, `{"no":"order 1"}`)
	type story struct {
		Record struct {
			ID    string
			State string
		}
		Stages []struct{ Kind string }
	}
	s := document[story](d, 0, "trace", "order 1")
	if s.Record.ID != r.ID.String() || s.Record.State != "dead" || len(s.Stages) != 2 || s.Stages[1].Kind != "process" {
		t.Errorf("as JSON: %+v", s)
	}
}

func TestTraceOfWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, errs := d.waybill(1, "trace", "nothing")
	says(t, errs, "tried it as idempotency key of shop")
	_, errs = d.waybill(1, "trace", uuid.NewString())
	says(t, errs, "record id; tracking id; idempotency key of shop")
	tracking := uuid.Must(uuid.NewV7())
	d.must(d.l.Refuse(t.Context(), []ledger.Interaction{{TrackingID: tracking, Integration: "shop", Method: "POST", URL: "/in/shop", Status: 401, At: time.Now(),
		RequestBody: `{"no":"sesame"}`, ResponseBody: `{"title":"Unauthorized","detail":"the signature is stale"}`}}))
	for _, payload := range []bool{false, true} {
		args := []string{"trace", tracking.String(), "--json"}
		if payload {
			args = append(args, "--payload")
		}
		out, _ := d.waybill(0, args...)
		says(t, out, `"status":401`)
		if strings.Contains(out, "sesame") != payload || strings.Contains(out, "stale") != payload {
			t.Errorf("%q: %s", args, out)
		}
	}
	out, _ := d.waybill(0, "trace", tracking.String())
	says(t, out, "refused", "401", "the signature is stale", "about no record")
	_, errs = d.waybill(1, "receipt", tracking.String())
	says(t, errs, "it has no receipt")
}

func TestReceiptAndTail(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	r := d.dead("http_500", "a")[0]
	out, _ := d.waybill(0, "receipt", "a")
	says(t, out, r.ID.String(), "dead", "system/http_500", "outcome 1 due")
	out, _ = d.waybill(0, "tail")
	says(t, out, r.ID.String(), "processing → dead")
	if out, _ = d.waybill(0, "tail", "--integration", "other"); out != "" {
		t.Errorf("another integration's tail: %s", out)
	}
}

type audit struct {
	Unaccounted  int64
	Differences  []string
	Integrations []struct {
		Arrivals, Received, Duplicates int64
		States                         map[string]int64
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.dead("http_500", "a", "b")
	d.accept("a", "c")
	out, _ := d.waybill(0, "audit")
	says(t, out, "unaccounted 0", "arrivals =", "in flight")
	a := document[audit](d, 0, "audit")
	i := a.Integrations[0]
	if a.Unaccounted != 0 || i.Arrivals != 4 || i.Received != 3 || i.Duplicates != 1 || i.States["dead"] != 2 || i.States["queued"] != 1 {
		t.Errorf("%+v", a)
	}
	// A record vanishes behind the ledger's back.
	_, err := d.db.Exec(t.Context(), `DELETE FROM record WHERE key = 'c'`)
	d.must(err)
	a = document[audit](d, 1, "audit")
	if a.Unaccounted == 0 || len(a.Differences) == 0 {
		t.Errorf("a record is gone: %+v", a)
	}
	out, _ = d.waybill(1, "audit")
	says(t, out, "3 records were received, but the ledger holds 2 rows")
}

func TestDoctorWithoutKafkaOrSchema(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.dead("http_500", "a")
	d.env = append(d.env, "WAYBILL_KAFKA_BROKERS=127.0.0.1:1")
	out, _ := d.waybill(3, "doctor")
	says(t, out, "ok           fsync", "1 record waits for a person", "waybill dead list --kind dead", "start: ingest, processor, acknowledger", "unreachable  kafka")
	_, err := d.db.Exec(t.Context(), `UPDATE goose_db_version SET is_applied = false`)
	d.must(err)
	out, _ = d.waybill(3, "doctor")
	says(t, out, "waybill migrate")
	_, errs := d.waybill(1, "audit")
	says(t, errs, "waybill migrate")
}

// TestTraceOfAFile: its rows' records carry its tracking id too, but the file is what is meant.
func TestTraceOfAFile(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	tracking := uuid.Must(uuid.NewV7())
	file, err := d.l.TakeFile(t.Context(), d.session, ledger.File{Integration: "shop", Source: "file", Name: "orders.csv", Size: 30, Hash: [32]byte{1}, TrackingID: tracking})
	d.must(err)
	row := ledger.Arrival{ID: d.id("a"), Integration: "shop", Source: "file", Key: "a", EntityKey: "a", Version: 1,
		Payload: ledger.Payload{TrackingID: tracking, ContentType: "text/csv", Body: []byte("a")}}
	_, _, err = d.l.AcceptRows(t.Context(), d.session, file, map[string]int{"offset": 9}, 1, []ledger.Arrival{row})
	d.must(err)
	d.must(d.l.EndFile(t.Context(), d.session, file, "line 3 has no end"))
	out, _ := d.waybill(0, "trace", tracking.String())
	says(t, out, "orders.csv", "found by tracking id", "integration  shop, source file", "failed at", "1 read: 1 received", "line 3 has no end")
	s := document[struct {
		FoundBy string `json:"found_by"`
		File    struct {
			Name, State, Error string
			Rows, Received     int64
		}
	}](d, 0, "trace", tracking.String())
	if s.FoundBy != "tracking id" || s.File.Name != "orders.csv" || s.File.State != "failed" || s.File.Error != "line 3 has no end" || s.File.Rows != 1 || s.File.Received != 1 {
		t.Errorf("as JSON: %+v", s)
	}
	_, errs := d.waybill(1, "receipt", tracking.String())
	says(t, errs, "is a file of shop: it has no receipt")
	_, errs = d.waybill(1, "dead", "show", tracking.String())
	says(t, errs, "is a file of shop, not a record")
	_, errs = d.waybill(1, "dead", "requeue", tracking.String())
	says(t, errs, "is a file of shop, not a record; nothing was done")
}
