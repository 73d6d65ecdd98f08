// Package http_test posts to a running ingest on a real Postgres, and holds the
// OpenAPI document against every answer.
package http_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/pkg/signature"
	"waybill.internal/services/ingest"
)

// patience bounds every wait on a machine that is busy with other tests.
const patience = 2 * time.Minute

const (
	secret  = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	partner = "partner-key"
	reader  = "reader-key"
	another = "another-partner-key"
)

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
    webhook: {path: /in/signed, verify: {scheme: standard-webhooks, secrets: ["${SECRET}"]}, max_body: 4MiB, max_items: 50}
  - name: keyed
    webhook: {path: /in/keyed, verify: {scheme: api-key, secrets: ["${PARTNER}"]}, max_body: 16MiB, max_items: 3000}
    idempotency_key: body.id
  - name: strict
    webhook: {path: /in/strict, verify: {scheme: api-key, secrets: ["${PARTNER}"]}, invalid: refuse, conflict: refuse}
    idempotency_key: body.id
  - name: whole
    webhook: {path: /in/whole, verify: {scheme: standard-webhooks, secrets: ["${SECRET}"]}, batch: false}
  - name: paced
    webhook: {path: /in/paced, verify: {scheme: api-key, secrets: ["${PARTNER}"]}, rate: 2/h}
    idempotency_key: body.id
  - name: text
    webhook: {path: /in/text, verify: {scheme: api-key, secrets: ["${PARTNER}"]}}
    idempotency_key: string(body.id)
  - name: narrow
    webhook: {path: /in/narrow, verify: {scheme: api-key, secrets: ["${PARTNER}"]}, connections: 1}
    idempotency_key: body.id
  - name: joined
    webhook: {path: /in/joined, verify: {scheme: api-key, secrets: ["${PARTNER}"]}}
    idempotency_key: body.id + "-joined"
  - name: named
    webhook: {path: /in/named, verify: {scheme: api-key, header: X-Partner-Id, secrets: ["${PARTNER}"]}}
    idempotency_key: body.id
  - name: paddle
    webhook: {path: /in/paddle, verify: {scheme: paddle, secrets: ["${PARTNER}"]}}
  - name: adyen
    webhook: {path: /in/adyen, verify: {scheme: adyen, secrets: ["${ADYEN}"]}, max_body: 16MiB}
  - name: lost
    webhook: {path: /in/lost, verify: {scheme: stripe, secrets: ["${LOST}"]}}
  - name: meta
    webhook: {path: /in/meta, verify: {scheme: meta, secrets: ["${SECRET}", "${TOKEN}"]}}
    idempotency_key: body.id
record:
  entity_key: body.thing ?? "none"
  check: ["amount == nil || amount >= 0"]
receipts: {keys: ["${READER}"]}
`

const contact = `integration: contact
sources:
  - name: page
    webhook: {path: /in/contact, verify: {scheme: none}, form: {page: "<h1>Danke</h1>", origin: "https://www.example.com"}}
  - name: redirect
    webhook: {path: /in/redirect, verify: {scheme: none}, form: {redirect: "https://www.example.com/thanks", max_file: 1KiB}}
    idempotency_key: body.email
  - name: files
    webhook: {path: /in/files, verify: {scheme: none}, form: {max_file: 512KiB}}
  - name: plain
    webhook: {path: /in/plain, verify: {scheme: none}, form: {rate: 3/h}}
record:
  check: ["email != nil"]
`

const ordered = `integration: ordered
sources:
  - webhook: {path: /in/ordered, verify: {scheme: api-key, secrets: ["${PARTNER}"]}}
    idempotency_key: body.id + "-ordered"
record: {entity_key: body.thing, order: per-entity}
`

const other = `integration: other
sources:
  - webhook: {path: /in/other, verify: {scheme: api-key, secrets: ["${ANOTHER}"]}}
    idempotency_key: body.id
`

type world struct {
	*testing.T
	url      string
	db       *pgxpool.Pool
	log      *lockedBuffer
	contract *contract
	client   *http.Client
	lost     string // the file of a secret
	down     bool   // the ledger is, on purpose
}

func newWorld(t *testing.T, settings ...string) *world {
	t.Helper()
	url := stacktest.Postgres(t)
	brokers, prefix := stacktest.EmbeddedKafka(t)
	w := &world{T: t, lost: filepath.Join(t.TempDir(), "lost"), log: &lockedBuffer{}, contract: newContract(t)}
	dir := t.TempDir()
	for name, text := range map[string]string{"shop.yaml": shop, "contact.yaml": contact, "other.yaml": other, "ordered.yaml": ordered} {
		w.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	_, err := ledger.Migrate(t.Context(), url)
	w.must(err)
	w.db, err = pgxpool.New(t.Context(), url)
	w.must(err)
	t.Cleanup(w.db.Close)
	vars := map[string]string{"WAYBILL_POSTGRES_URL": url, "WAYBILL_KAFKA_BROKERS": brokers, "WAYBILL_KAFKA_PREFIX": prefix, "WAYBILL_INTEGRATIONS": dir,
		"WAYBILL_INGEST_ADDRESS": "127.0.0.1:0", "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0", "WAYBILL_INGEST_DROP": t.TempDir(),
		"SECRET": secret, "PARTNER": partner, "READER": reader, "ANOTHER": another, "TOKEN": "token:let-me-in", "ADYEN": "0123456789abcdef", "LOST_FILE": w.lost}
	w.must(os.WriteFile(w.lost, []byte(secret), 0o600))
	for i := 0; i < len(settings); i += 2 {
		vars[settings[i]] = settings[i+1]
	}
	p, err := daemon.Start(t.Context(), ingest.Spec(), func(name string) (string, bool) { v, ok := vars[name]; return v, ok }, daemon.LogTo(w.log))
	w.must(err)
	t.Cleanup(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			t.Errorf("ingest: %v", err)
		}
		if t.Failed() {
			text := w.log.String()
			t.Logf("ingest's log, its end:\n%s", text[max(0, len(text)-4000):])
		}
	})
	w.url = "http://" + p.Address("http")
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.await("the ledger to be ready for arrivals", func() bool {
		return w.send("POST", "/in/other", "", "X-Api-Key", another, "Content-Type", "text/plain").status == http.StatusUnsupportedMediaType
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
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

func one[T any](w *world, sql string, args ...any) (v T) {
	w.Helper()
	w.must(w.db.QueryRow(w.Context(), sql, args...).Scan(&v))
	return v
}

// answer is what a request got; its body has been held against the contract.
type answer struct {
	*world
	status int
	header http.Header
	body   []byte
}

// send makes a request with the headers given as names and values; on a machine
// that is busy with other tests it does as senders should, and repeats what got a 503.
func (w *world) send(method, path, body string, header ...string) (a answer) {
	w.Helper()
	if w.down {
		return w.once(method, path, body, header...)
	}
	w.await("another answer than 503", func() bool {
		a = w.once(method, path, body, header...)
		return a.status != http.StatusServiceUnavailable
	})
	return a
}

func (w *world) once(method, path, body string, header ...string) answer {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	w.must(err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return w.do(r)
}

func (w *world) do(r *http.Request) answer {
	w.Helper()
	resp, err := w.client.Do(r)
	w.must(err)
	return w.read(r, resp)
}

func (w *world) read(r *http.Request, resp *http.Response) answer {
	w.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	w.must(err)
	w.contract.check(w.T, r, resp, body)
	return answer{w, resp.StatusCode, resp.Header, body}
}

// sign gives the headers of Standard Webhooks.
func sign(t testing.TB, id, body string) []string {
	t.Helper()
	key, err := signature.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	h, err := signature.Sign([]signature.Key{key}, id, time.Now(), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for name := range h {
		list = append(list, name, h.Get(name))
	}
	return append(list, "Content-Type", "application/json")
}

func (w *world) signed(path, id, body string, header ...string) answer {
	w.Helper()
	h := sign(w, id, body)
	if slices.Contains(header, "Content-Type") {
		h = h[:len(h)-2]
	}
	return w.send("POST", path, body, append(h, header...)...)
}

func (w *world) keyed(path, body string, header ...string) answer {
	w.Helper()
	if !slices.Contains(header, "Content-Type") {
		header = append(header, "Content-Type", "application/json")
	}
	return w.send("POST", path, body, append(header, "X-Api-Key", partner)...)
}

func (a answer) is(status int, says ...string) answer {
	a.Helper()
	if a.status != status {
		a.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, text := range says {
		if !strings.Contains(string(a.body), text) {
			a.Errorf("%q is not in the answer (%d): %s", text, a.status, a.body)
		}
	}
	return a
}

func (a answer) has(name, value string) answer {
	a.Helper()
	if got := a.header.Get(name); got != value {
		a.Errorf("header %s is %q, want %q", name, got, value)
	}
	return a
}

func decode[T any](a answer) (v T) {
	a.Helper()
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.Fatalf("%v in %s", err, a.body)
	}
	return v
}

type receipt struct {
	ID, State      string
	IdempotencyKey string `json:"idempotency_key"`
	Duplicate      bool
	Code           string
}

type problem struct {
	Status     int
	Code       string
	Detail     string
	Header     string
	TrackingID string `json:"tracking_id"`
	Errors     []struct {
		Pointer, Code, Message string
		Line                   int
	}
}

type batch struct {
	Items []struct {
		Index, Status int
		Receipt       *receipt
		Problem       *problem
	}
}

func (b batch) statuses() (list []int) {
	for _, i := range b.Items {
		list = append(list, i.Status)
	}
	return list
}

func (w *world) expect(what string, got, want any) {
	w.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("%s: got %v, want %v", what, got, want)
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
