// Package processor_test proves what a processor promises about steps: what is
// finished is not run again, a call keeps its key and its bytes, and a panic
// takes nothing down.
package processor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/processor"
	"waybill.internal/test/harness"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

// bench is a world with a processor, fed through the ledger.
type bench struct {
	*world.World
	ctx     context.Context
	ledger  *ledger.Ledger
	catalog *catalog.Catalog
	sentry  *harness.Sentry
}

// third is a third party whose answers the test scripts.
type third struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
}

type call struct{ key, body string }

func thirdParty(t *testing.T, answer func(nth int, c call, w http.ResponseWriter)) *third {
	p := &third{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		c := call{r.Header.Get("Idempotency-Key"), string(body)}
		p.mu.Lock()
		p.calls = append(p.calls, c)
		nth := len(p.calls)
		p.mu.Unlock()
		answer(nth, c, w)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *third) seen() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]call(nil), p.calls...)
}

func start(t *testing.T, yaml string, options ...processor.Option) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	b := &bench{World: world.New(t), ctx: ctx}
	var err error
	b.sentry, err = harness.NewSentry()
	b.Must(err)
	t.Cleanup(b.sentry.Close)
	b.Settings["WAYBILL_SENTRY_DSN"], b.Settings["KEY"] = b.sentry.DSN, "a-key-of-sixteen-bytes"
	b.Integration("orders", yaml)
	b.catalog = catalog.New(integration.Lookup(b.Lookup))
	b.Must(b.catalog.LoadDir(b.Settings["WAYBILL_INTEGRATIONS"]))
	b.ledger, err = ledger.Open(ctx, b.Settings["WAYBILL_POSTGRES_URL"], ledger.Options{Terms: b.catalog.Terms, Name: "test"})
	b.Must(err)
	t.Cleanup(b.ledger.Close)
	b.Must(b.catalog.Register(ctx, b.ledger))
	b.Exec(`CREATE TABLE orders (no text PRIMARY KEY, amount integer CHECK (amount < 1000), note text)`)
	world.Start(b, processor.Spec(options...)).AwaitReady()
	return b
}

// accept puts a record into the ledger; with session 0 the relay publishes it.
func (b *bench) accept(key, body string) record.ID {
	b.Helper()
	installation, err := b.ledger.InstallationKey(b.ctx)
	b.Must(err)
	e, _ := b.catalog.Get("orders")
	id := record.DeriveID(installation, "orders", key)
	_, _, err = b.ledger.Accept(b.ctx, 0, []ledger.Arrival{{ID: id, Integration: "orders", Source: "webhook", Key: key, EntityKey: key, Version: e.Version,
		Payload: ledger.Payload{TrackingID: uuid.Must(uuid.NewV7()), ContentType: "application/json", Body: []byte(body)}}})
	b.Must(err)
	return id
}

// reaches waits until a record is in a state.
func (b *bench) reaches(id record.ID, want record.State) record.Record {
	b.Helper()
	var last record.Record
	err := harness.Poll(b.ctx, func() (bool, error) {
		found, err := b.ledger.Records(b.ctx, []record.ID{id})
		last = found[id]
		return last.State == want, err
	})
	if err != nil {
		b.Fatalf("record %s is %s (%s: %s), not %s: %v", id, last.State, last.Failure.Code, last.Failure.Message, want, err)
	}
	return last
}

const head = `integration: orders
sources: [{webhook: {path: /in/orders, verify: {scheme: api-key, secrets: ["${KEY}"]}}}]
record: {idempotency_key: body.no}
`

func orders(url, steps string) string {
	return head + `destinations: {shop: {url: "` + url + `", allow_private: true, timeout: 2s}}
process:
  retry: {delays: [100ms, 200ms, 1500ms], attempts: 4}
  steps:
` + steps
}

const callAndUpsert = `    - call: {name: first, to: shop, path: /first, body: {no: body.no, amount: body.amount}, keep: {id: response.body.id}}
    - call: {name: second, to: shop, path: /second, body: {no: body.no, first: steps.first.id}}
    - map: {no: body.no, amount: body.amount, note: body.note}
    - upsert: {table: orders, key: [no]}
`

// TestRetryResumes: the first call is finished and not made again; the second
// keeps its key and its bytes over every try.
func TestRetryResumes(t *testing.T) {
	t.Parallel()
	shop := thirdParty(t, func(nth int, c call, w http.ResponseWriter) {
		if strings.HasSuffix(c.key, "-second") && nth < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"id":%d}`, nth)
	})
	b := start(t, orders(shop.URL, callAndUpsert))
	id := b.accept("A-1", `{"no":"A-1","amount":5}`)
	r := b.reaches(id, record.Processed)
	calls := shop.seen()
	if r.Attempt != 3 || len(calls) != 4 {
		t.Fatalf("%d attempts, calls %v", r.Attempt, calls)
	}
	if calls[0].key != id.String()+"-first" {
		t.Errorf("key %s", calls[0].key)
	}
	for _, c := range calls[1:] {
		if c.key != id.String()+"-second" || c.body != calls[1].body {
			t.Errorf("the second call changed: %v, then %v", calls[1], c)
		}
	}
}

// TestRefusedRow: a value that the table refuses rejects its record, and only it.
func TestRefusedRow(t *testing.T) {
	t.Parallel()
	shop := thirdParty(t, func(_ int, _ call, w http.ResponseWriter) { fmt.Fprint(w, `{"id":1}`) })
	b := start(t, orders(shop.URL, callAndUpsert))
	good, bad := b.accept("A-1", `{"no":"A-1","amount":5}`), b.accept("A-2", `{"no":"A-2","amount":5000}`)
	b.reaches(good, record.Processed)
	if r := b.reaches(bad, record.Rejected); r.Failure.Code != "upsert_refused" || r.Failure.Class != record.ClassData {
		t.Errorf("%+v", r.Failure)
	}
	if rows := world.One[int](b, `SELECT count(*) FROM orders`); rows != 1 {
		t.Errorf("%d rows", rows)
	}
}

// TestTableThatSaysNo: a row that a trigger refuses fails its own record, however
// often, and none of those that are settled together with it.
func TestTableThatSaysNo(t *testing.T) {
	t.Parallel()
	b := start(t, orders("http://127.0.0.1:1", "    - map: {no: body.no, amount: body.amount, note: body.note}\n    - upsert: {table: orders, key: [no]}\n"))
	b.Exec(`CREATE FUNCTION no_thirteen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.amount = 13 THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER no_thirteen BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION no_thirteen()`)
	ids := make([]record.ID, 30)
	for i := range ids {
		ids[i] = b.accept(fmt.Sprintf("A-%d", i), fmt.Sprintf(`{"no":"A-%d","amount":%d}`, i, i))
	}
	for i, id := range ids {
		if i == 13 {
			if r := b.reaches(id, record.Dead); r.Failure.Code != "upsert_failed" || r.Attempt != 4 {
				t.Errorf("attempt %d, %+v", r.Attempt, r.Failure)
			}
			continue
		}
		b.reaches(id, record.Processed)
	}
}

// TestConflictAnswer: a 409 is a duplicate at the first try, and our own echo
// after a try whose outcome is unknown.
func TestConflictAnswer(t *testing.T) {
	t.Parallel()
	shop := thirdParty(t, func(_ int, c call, w http.ResponseWriter) { w.WriteHeader(http.StatusConflict) })
	step := "    - call: {name: only, to: shop, path: /, body: {no: body.no}}\n"
	b := start(t, orders(shop.URL, step))
	if r := b.reaches(b.accept("A-1", `{"no":"A-1"}`), record.Rejected); r.Failure.Class != record.ClassDuplicate {
		t.Errorf("at the first try: %+v", r.Failure)
	}
	echo := thirdParty(t, func(nth int, _ call, w http.ResponseWriter) {
		if nth == 1 {
			panic(http.ErrAbortHandler) // it did it, and the answer was lost
		}
		w.WriteHeader(http.StatusConflict)
	})
	b = start(t, orders(echo.URL, step))
	b.reaches(b.accept("A-1", `{"no":"A-1"}`), record.Processed)
}

// TestLargeBody: above 256 KiB the message carries a reference.
func TestLargeBody(t *testing.T) {
	t.Parallel()
	b := start(t, orders("http://127.0.0.1:1", "    - map: {no: body.no, amount: body.amount}\n    - upsert: {table: orders, key: [no]}\n"))
	id := b.accept("A-1", `{"no":"A-1","amount":7,"note":"`+strings.Repeat("x", 700<<10)+`"}`)
	b.reaches(id, record.Processed)
}

// TestPanic: a step that panics is a bug of its record: tried once more alone,
// then dead, with the stack in Sentry; the records beside it are processed.
func TestPanic(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tries := 0
	fragile := func(_ context.Context, env integration.Env, _ map[string]any) (any, error) {
		body, _ := env.Body.(map[string]any)
		if body["no"] == "A-13" {
			mu.Lock()
			tries++
			mu.Unlock()
			panic("thirteen")
		}
		return map[string]any{"ok": true}, nil
	}
	b := start(t, head+"process:\n  retry: {delays: [100ms, 200ms, 300ms], attempts: 9}\n  steps:\n    - custom: {name: fragile}\n", processor.WithStep("fragile", fragile))
	var ids []record.ID
	for i := range 30 {
		ids = append(ids, b.accept(fmt.Sprintf("A-%d", i), fmt.Sprintf(`{"no":"A-%d"}`, i)))
	}
	for i, id := range ids {
		if i == 13 {
			if r := b.reaches(id, record.Dead); r.Failure.Class != record.ClassBug || r.Attempt != 2 {
				t.Errorf("attempt %d, %+v", r.Attempt, r.Failure)
			}
			continue
		}
		b.reaches(id, record.Processed)
	}
	mu.Lock()
	defer mu.Unlock()
	if tries != 2 {
		t.Errorf("%d tries", tries)
	}
	if err := harness.Poll(b.ctx, func() (bool, error) {
		all := b.sentry.Everything()
		return strings.Contains(all, `"panic"`) && strings.Contains(all, `"dead_letters"`) && strings.Contains(all, "processor_test") && strings.Contains(all, "waybill dead requeue"), nil
	}); err != nil {
		t.Errorf("the panic, its stack and the repair are not in Sentry: %v\n%s", err, b.sentry.Everything())
	}
}

// TestRequeue: what a call finished is kept over a requeue whose request is the
// same; a replay makes the call again under a new key.
func TestRequeue(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	broken := true
	shop := thirdParty(t, func(nth int, c call, w http.ResponseWriter) {
		mu.Lock()
		defer mu.Unlock()
		if broken && strings.Contains(c.key, "-second") {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, `{"id":1}`)
	})
	b := start(t, orders(shop.URL, callAndUpsert))
	id := b.accept("A-1", `{"no":"A-1","amount":5}`)
	b.reaches(id, record.Dead)
	mu.Lock()
	broken = false
	mu.Unlock()
	before := len(shop.seen())
	done, err := b.ledger.Do(b.ctx, ledger.Act{Event: record.Requeued, Actor: "test", Reason: "mended"}, []record.ID{id})
	if err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	b.reaches(id, record.Processed)
	calls := shop.seen()
	if len(calls) != before+1 || calls[before].key != id.String()+"-second" {
		t.Errorf("after the requeue: %v", calls[before:])
	}
	if _, err := b.ledger.Do(b.ctx, ledger.Act{Event: record.Replayed, Actor: "test", Reason: "again"}, []record.ID{id}); err != nil {
		t.Fatal(err)
	}
	if err := harness.Poll(b.ctx, func() (bool, error) { return len(shop.seen()) == before+3, nil }); err != nil {
		t.Fatalf("a replay made %d calls, want 2: %v", len(shop.seen())-before-1, shop.seen()[before+1:])
	}
	for _, c := range shop.seen()[before+1:] {
		if !strings.HasSuffix(c.key, "-2") {
			t.Errorf("a replay used the old key %s", c.key)
		}
	}
	b.reaches(id, record.Processed)
	trace, err := b.ledger.Trace(b.ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	acts := 0
	for _, h := range trace.History {
		if h.Kind == ledger.ActHistory && h.Actor == "test" && h.Message != "" {
			acts++
		}
	}
	if document, _ := json.Marshal(trace.History); acts != 2 {
		t.Errorf("%d acts are kept with who and why: %s", acts, document)
	}
}
