// Package watch_test lets running ingests on a real Postgres notice silence, wrong
// signatures and changed formats, and asks the command for it, as an operator does.
package watch_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waybill.internal/services/ingest"
	"waybill.internal/test/harness"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

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

// watch is a world with a Sentry, a partner's API, and as many ingests as a test starts.
type watch struct {
	*world.World
	sentry  *harness.Sentry
	asked   atomic.Int64 // requests of the poll
	client  *http.Client
	sources int // of the integration
}

func newWatch(t *testing.T) *watch {
	t.Helper()
	w := &watch{World: world.New(t), sources: 4}
	w.Integration("shop", shop)
	api := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		w.asked.Add(1)
		_, _ = io.WriteString(out, `{"items": [{"id": "p1", "quantity": 1}, {"id": "p2"}]}`)
	}))
	t.Cleanup(api.Close)
	drop := t.TempDir()
	w.Must(os.Mkdir(filepath.Join(drop, "drop"), 0o700))
	var err error
	w.sentry, err = harness.NewSentry()
	w.Must(err)
	t.Cleanup(w.sentry.Close)
	maps.Copy(w.Settings, map[string]string{"WAYBILL_INGEST_DROP": drop, "WAYBILL_SENTRY_DSN": w.sentry.DSN,
		"NEW": "the-new-secret", "OLD": "the-old-secret", "PARTNER": "partner-key", "API": api.URL + "/list", "USER": "kim"})
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport, Timeout: world.Patience}
	return w
}

// replica is one of the ingests.
type replica struct {
	*watch
	*world.Service
}

// start runs an ingest, and waits until the sources are registered.
func (w *watch) start() replica {
	w.Helper()
	r := replica{w, world.Start(w, ingest.Spec())}
	w.Await("the sources to be registered", func() bool { return world.One[int](w, `SELECT count(*) FROM source`) == w.sources })
	return r
}

// judgedAgain waits until a source was judged twice from now on: whatever was to be
// told of it is told.
func (w *watch) judgedAgain(source string) {
	w.Helper()
	for range 2 {
		before := world.One[time.Time](w, `SELECT checked_at FROM source WHERE source = $1`, source)
		w.Await("a judgement of "+source, func() bool {
			return world.One[bool](w, `SELECT checked_at > $2 FROM source WHERE source = $1`, source, before)
		})
	}
}

// alerts are the messages that Sentry got of a kind, at a level.
func (w *watch) alerts(kind, level string) (list []string) {
	for _, a := range w.sentry.Alerts() {
		if len(a.Fingerprint) > 0 && a.Fingerprint[0] == kind && a.Level == level {
			list = append(list, a.Message)
		}
	}
	return list
}

func (w *watch) awaitAlert(kind, level string, n int, says ...string) string {
	w.Helper()
	w.Await(fmt.Sprintf("%s %s number %d", level, kind, n), func() bool { return len(w.alerts(kind, level)) >= n })
	got := w.alerts(kind, level)
	for _, text := range says {
		if !strings.Contains(got[n-1], text) {
			w.Errorf("%q is not in the alert %q", text, got[n-1])
		}
	}
	return got[n-1]
}

// only checks how many alerts of a kind there are in all.
func (w *watch) only(kind string, n int) {
	w.Helper()
	if got := w.alerts(kind, "error"); len(got) != n {
		w.Errorf("%d alerts of kind %s, want %d: %q", len(got), kind, n, got)
	}
}

// post sends a body; headers are names and values.
func (r replica) post(path, body string, headers ...string) (status int, answer string, header http.Header) {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, r.URL()+path, strings.NewReader(body))
	r.Must(err)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := r.client.Do(request)
	r.Must(err)
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	r.Must(err)
	return response.StatusCode, string(raw), response.Header
}

// signed posts an event with GitHub's signature until it gets another answer than 503.
func (r replica) signed(secret, body string) (status int) {
	r.Helper()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	r.Await("another answer than 503", func() bool {
		status, _, _ = r.post("/in/signed", body, "X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		return status != http.StatusServiceUnavailable
	})
	return status
}
