// Package http_test posts to a running ingest on a real Postgres, and holds the
// OpenAPI document against every answer.
package http_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/signature"
	"waybill.internal/services/ingest"
	"waybill.internal/test/world"
)

const (
	secret  = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	partner = "partner-key"
	reader  = "reader-key"
	another = "another-partner-key"
)

func TestMain(m *testing.M) { world.Main(m) }

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

// door is a world with an ingest that takes requests, and what a client knows of it.
type door struct {
	*world.World
	url      string
	contract *contract
	client   *http.Client
	lost     string // the file of a secret
	down     bool   // the ledger is, on purpose
}

func newDoor(t *testing.T, settings ...string) *door {
	t.Helper()
	w := &door{World: world.New(t), lost: filepath.Join(t.TempDir(), "lost"), contract: newContract(t)}
	for name, text := range map[string]string{"shop": shop, "contact": contact, "other": other, "ordered": ordered} {
		w.Integration(name, text)
	}
	maps.Copy(w.Settings, map[string]string{"WAYBILL_INGEST_DROP": t.TempDir(), "SECRET": secret, "PARTNER": partner, "READER": reader,
		"ANOTHER": another, "TOKEN": "token:let-me-in", "ADYEN": "0123456789abcdef", "LOST_FILE": w.lost})
	w.Must(os.WriteFile(w.lost, []byte(secret), 0o600))
	for i := 0; i < len(settings); i += 2 {
		w.Settings[settings[i]] = settings[i+1]
	}
	w.url = world.Start(w, ingest.Spec()).URL()
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport, Timeout: world.Patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.Await("the ledger to be ready for arrivals", func() bool {
		return w.send("POST", "/in/other", "", "X-Api-Key", another, "Content-Type", "text/plain").status == http.StatusUnsupportedMediaType
	})
	return w
}

// answer is what a request got; its body has been held against the contract.
type answer struct {
	*door
	status int
	header http.Header
	body   []byte
}

// send makes a request with the headers given as names and values; on a machine
// that is busy with other tests it does as senders should, and repeats what got a 503.
func (w *door) send(method, path, body string, header ...string) (a answer) {
	w.Helper()
	if w.down {
		return w.once(method, path, body, header...)
	}
	w.Await("another answer than 503", func() bool {
		a = w.once(method, path, body, header...)
		return a.status != http.StatusServiceUnavailable
	})
	return a
}

func (w *door) once(method, path, body string, header ...string) answer {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	w.Must(err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return w.do(r)
}

func (w *door) do(r *http.Request) answer {
	w.Helper()
	resp, err := w.client.Do(r)
	w.Must(err)
	return w.read(r, resp)
}

func (w *door) read(r *http.Request, resp *http.Response) answer {
	w.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	w.Must(err)
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

func (w *door) signed(path, id, body string, header ...string) answer {
	w.Helper()
	h := sign(w, id, body)
	if slices.Contains(header, "Content-Type") {
		h = h[:len(h)-2]
	}
	return w.send("POST", path, body, append(h, header...)...)
}

func (w *door) keyed(path, body string, header ...string) answer {
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

func (w *door) expect(what string, got, want any) {
	w.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("%s: got %v, want %v", what, got, want)
	}
}
