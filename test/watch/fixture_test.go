// Package watch_test lets running ingests on a real Postgres notice silence, wrong
// signatures and changed formats, and asks the command for it, as an operator does.
package watch_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/services/ingest"
	"waybill.internal/test/harness"
)

// patience bounds every wait on a machine that is busy with other tests.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	status := stacktest.Main(m)
	if err := goleak.Find(stacktest.Goroutines()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

const shop = `integration: shop
sources:
  - name: signed
    webhook: {path: /in/signed, verify: {scheme: github, secrets: ["${NEW}", "${OLD}"]}, expect: 1h}
    idempotency_key: body.id
  - name: keyed
    webhook: {path: /in/keyed, verify: {scheme: api-key, secrets: ["${PARTNER}"]}}
    idempotency_key: body.id
  - name: drop
    file: {from: drop, on_arrival: true, every: "* * * * *", timezone: Europe/Berlin, format: {csv: {}}}
    idempotency_key: body.id
  - name: list
    poll: {url: "${API}", items: /items, next: {}, every: 1s, allow_private: true, expect: "0 6 * * *"}
    idempotency_key: item.id
record:
  check: ["quantity != nil"]
`

// world is a ledger, a Sentry, a partner's API, and as many ingests as a test starts.
type world struct {
	*testing.T
	settings map[string]string
	db       *pgxpool.Pool
	sentry   *harness.Sentry
	asked    atomic.Int64 // requests of the poll
	client   *http.Client
	sources  int // of the integration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	url := stacktest.Postgres(t)
	brokers, prefix := stacktest.EmbeddedKafka(t)
	w := &world{T: t, sources: 4}
	api := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		w.asked.Add(1)
		_, _ = io.WriteString(out, `{"items": [{"id": "p1", "quantity": 1}, {"id": "p2"}]}`)
	}))
	t.Cleanup(api.Close)
	folder, drop := t.TempDir(), t.TempDir()
	w.must(os.WriteFile(filepath.Join(folder, "shop.yaml"), []byte(shop), 0o600))
	w.must(os.Mkdir(filepath.Join(drop, "drop"), 0o700))
	_, err := ledger.Migrate(t.Context(), url)
	w.must(err)
	w.db, err = pgxpool.New(t.Context(), url)
	w.must(err)
	t.Cleanup(w.db.Close)
	w.sentry, err = harness.NewSentry()
	w.must(err)
	t.Cleanup(w.sentry.Close)
	w.settings = map[string]string{"WAYBILL_POSTGRES_URL": url, "WAYBILL_KAFKA_BROKERS": brokers, "WAYBILL_KAFKA_PREFIX": prefix, "WAYBILL_INTEGRATIONS": folder,
		"WAYBILL_INGEST_ADDRESS": "127.0.0.1:0", "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0", "WAYBILL_INGEST_DROP": drop, "WAYBILL_SENTRY_DSN": w.sentry.DSN,
		"NEW": "the-new-secret", "OLD": "the-old-secret", "PARTNER": "partner-key", "API": api.URL + "/list", "USER": "kim"}
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport, Timeout: patience}
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// replica is an ingest that runs in this process.
type replica struct {
	*world
	url  string
	log  *lockedBuffer
	stop func()
}

func (w *world) start() replica {
	w.Helper()
	r := replica{world: w, log: &lockedBuffer{}}
	p, err := daemon.Start(w.Context(), ingest.Spec(), func(name string) (string, bool) { v, ok := w.settings[name]; return v, ok }, daemon.LogTo(r.log))
	w.must(err)
	r.url = "http://" + p.Address("http")
	r.stop = sync.OnceFunc(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			w.Errorf("ingest: %v", err)
		}
	})
	w.Cleanup(func() {
		r.stop()
		if w.Failed() {
			text := r.log.String()
			w.Logf("ingest's log, its end:\n%s", text[max(0, len(text)-5000):])
		}
	})
	w.await("the sources to be registered", func() bool { return one[int](w, `SELECT count(*) FROM source`) == w.sources })
	return r
}

// await polls until the condition holds.
func (w *world) await(what string, holds func() bool) {
	w.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			w.Fatalf("waited %s in vain for %s", patience, what)
		case <-tick.C:
		}
	}
}

// judgedAgain waits until a source was judged twice from now on: whatever was to be
// told of it is told.
func (w *world) judgedAgain(source string) {
	w.Helper()
	for range 2 {
		before := one[time.Time](w, `SELECT checked_at FROM source WHERE source = $1`, source)
		w.await("a judgement of "+source, func() bool {
			return one[bool](w, `SELECT checked_at > $2 FROM source WHERE source = $1`, source, before)
		})
	}
}

func (w *world) exec(sql string, args ...any) {
	w.Helper()
	_, err := w.db.Exec(w.Context(), sql, args...)
	w.must(err)
}

func one[T any](w *world, sql string, args ...any) (v T) {
	w.Helper()
	w.must(w.db.QueryRow(w.Context(), sql, args...).Scan(&v))
	return v
}

// alerts are the messages that Sentry got of a kind, at a level.
func (w *world) alerts(kind, level string) (list []string) {
	for _, a := range w.sentry.Alerts() {
		if len(a.Fingerprint) > 0 && a.Fingerprint[0] == kind && a.Level == level {
			list = append(list, a.Message)
		}
	}
	return list
}

func (w *world) awaitAlert(kind, level string, n int, says ...string) string {
	w.Helper()
	w.await(fmt.Sprintf("%s %s number %d", level, kind, n), func() bool { return len(w.alerts(kind, level)) >= n })
	got := w.alerts(kind, level)
	for _, text := range says {
		if !strings.Contains(got[n-1], text) {
			w.Errorf("%q is not in the alert %q", text, got[n-1])
		}
	}
	return got[n-1]
}

// only checks how many alerts of a kind there are in all.
func (w *world) only(kind string, n int) {
	w.Helper()
	if got := w.alerts(kind, "error"); len(got) != n {
		w.Errorf("%d alerts of kind %s, want %d: %q", len(got), kind, n, got)
	}
}

// post sends a body; headers are names and values.
func (r replica) post(path, body string, headers ...string) (status int, answer string, header http.Header) {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, r.url+path, strings.NewReader(body))
	r.must(err)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := r.client.Do(request)
	r.must(err)
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	r.must(err)
	return response.StatusCode, string(raw), response.Header
}

// signed posts an event with GitHub's signature until it gets another answer than 503.
func (r replica) signed(secret, body string) (status int) {
	r.Helper()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	r.await("another answer than 503", func() bool {
		status, _, _ = r.post("/in/signed", body, "X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		return status != http.StatusServiceUnavailable
	})
	return status
}

// command runs waybill as a process of its own.
func (w *world) command() func(code int, want string, args ...string) string {
	w.Helper()
	binary := filepath.Join(w.TempDir(), "waybill")
	if out, err := exec.CommandContext(w.Context(), "go", "build", "-o", binary, "waybill.internal/services/waybill/cmd/waybill").CombinedOutput(); err != nil {
		w.Fatalf("build waybill: %v\n%s", err, out)
	}
	return func(code int, want string, args ...string) string {
		w.Helper()
		c := exec.CommandContext(w.Context(), binary, args...)
		for name, value := range w.settings {
			c.Env = append(c.Env, name+"="+value)
		}
		out, err := c.CombinedOutput()
		text := strings.Join(strings.Fields(string(out)), " ")
		if got := c.ProcessState.ExitCode(); got != code || !strings.Contains(text, want) {
			w.Errorf("waybill %s: exit %d (%v), want %d and %q\n%s", strings.Join(args, " "), got, err, code, want, out)
		}
		return text
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
