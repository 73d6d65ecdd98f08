// Package journey_test runs ingest and processor in this process, on a real
// Postgres and an embedded Kafka, between a sender and a third party that do
// what a test says. Each test is one promise about the order in which things
// become true.
package journey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/services/ingest"
	"waybill.internal/services/processor"
	"waybill.internal/test/harness"
)

// patience bounds every wait: only a test that fails waits so long.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	status := stacktest.Main(m)
	if err := goleak.Find(stacktest.Goroutines()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

const file = `integration: orders
sources:
  - webhook: {path: /in/orders, verify: {scheme: standard-webhooks, secrets: ["${SECRET}"]}}
destinations:
  crm: {url: "${CRM_URL}", concurrency: 64, timeout: 50s, allow_private: true}
process:
  steps:
    - call: {name: crm, to: crm, path: /orders, body: {no: body.no}}
  retry: {delays: [100ms, 200ms], attempts: 5, give_up_after: 1h}
`

// world is one test's installation.
type world struct {
	*testing.T
	vars   map[string]string
	db     *pgxpool.Pool
	client *http.Client
}

func newWorld(t *testing.T, crm http.HandlerFunc) *world {
	t.Helper()
	server := httptest.NewServer(crm)
	t.Cleanup(server.Close)
	brokers, prefix := stacktest.EmbeddedKafka(t)
	url := stacktest.Postgres(t)
	w := &world{T: t, client: &http.Client{Transport: &http.Transport{}, Timeout: patience}, vars: map[string]string{
		"SECRET": harness.Secret, "CRM_URL": server.URL, "WAYBILL_POSTGRES_URL": url, "WAYBILL_KAFKA_BROKERS": brokers, "WAYBILL_KAFKA_PREFIX": prefix,
		"WAYBILL_INTEGRATIONS": t.TempDir(), "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0", "WAYBILL_INGEST_ADDRESS": "127.0.0.1:0",
	}}
	t.Cleanup(w.client.CloseIdleConnections)
	w.must(os.WriteFile(filepath.Join(w.vars["WAYBILL_INTEGRATIONS"], "orders.yaml"), []byte(file), 0o600))
	_, err := ledger.Migrate(t.Context(), url)
	w.must(err)
	w.db, err = pgxpool.New(t.Context(), url)
	w.must(err)
	t.Cleanup(w.db.Close)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// start runs a service until the end of the test, and returns when it is ready.
func start[C any](w *world, spec daemon.Spec[C]) *daemon.Process {
	w.Helper()
	log := &lockedBuffer{}
	p, err := daemon.Start(context.Background(), spec, func(name string) (string, bool) { v, ok := w.vars[name]; return v, ok }, daemon.LogTo(log))
	w.must(err)
	w.Cleanup(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			w.Errorf("stop %s: %v", spec.Name, err)
		}
		if w.Failed() {
			text := log.String()
			w.Logf("%s, the end of its log:\n%s", spec.Name, text[max(0, len(text)-3000):])
		}
	})
	select {
	case <-p.Ready():
	case <-p.Done():
		w.Fatalf("%s ended: %v", spec.Name, p.Wait())
	case <-time.After(patience):
		w.Fatalf("%s is not ready after %s", spec.Name, patience)
	}
	return p
}

func (w *world) ingest() (url string) {
	w.Helper()
	return "http://" + start(w, ingest.Spec()).Address("http") + "/in/orders"
}

func (w *world) processor() {
	w.Helper()
	start(w, processor.Spec())
}

type receipt struct {
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`
}

// post sends one signed event.
func (w *world) post(url, id, body string) (int, receipt) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	w.must(err)
	r.Header = harness.Sign(id, time.Now(), []byte(body))
	r.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(r)
	w.must(err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	w.must(err)
	var got receipt
	w.must(json.Unmarshal(raw, &got))
	return resp.StatusCode, got
}

func (w *world) exec(sql string) {
	w.Helper()
	_, err := w.db.Exec(w.Context(), sql)
	w.must(err)
}

func one[T any](w *world, sql string, args ...any) (v T) {
	w.Helper()
	w.must(w.db.QueryRow(w.Context(), sql, args...).Scan(&v))
	return v
}

// await polls until the condition holds.
func (w *world) await(what string, holds func() bool) {
	w.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			w.Fatalf("waited %s in vain for %s", patience, what)
		case <-tick.C:
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
