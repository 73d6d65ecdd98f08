// Package journey_test runs ingest and processor in this process, on a real
// Postgres and an embedded Kafka, between a sender and a third party that do
// what a test says. Each test is one promise about the order in which things
// become true.
package journey_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"waybill.internal/services/ingest"
	"waybill.internal/services/processor"
	"waybill.internal/test/harness"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

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

// journey is a world between a sender and a third party.
type journey struct {
	*world.World
	client *http.Client
}

func newJourney(t *testing.T, crm http.HandlerFunc) *journey {
	t.Helper()
	server := httptest.NewServer(crm)
	t.Cleanup(server.Close)
	w := &journey{World: world.New(t), client: &http.Client{Transport: &http.Transport{}, Timeout: world.Patience}}
	t.Cleanup(w.client.CloseIdleConnections)
	w.Integration("orders", file)
	w.Settings["SECRET"], w.Settings["CRM_URL"] = harness.Secret, server.URL
	return w
}

// ingest runs one until the end of the test, and returns when it is ready.
func (w *journey) ingest() (url string) {
	w.Helper()
	return world.Start(w, ingest.Spec()).AwaitReady().URL() + "/in/orders"
}

// processor runs one until the end of the test, and returns when it is ready.
func (w *journey) processor() {
	w.Helper()
	world.Start(w, processor.Spec()).AwaitReady()
}

type receipt struct {
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`
}

// post sends one signed event.
func (w *journey) post(url, id, body string) (int, receipt) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	w.Must(err)
	r.Header = harness.Sign(id, time.Now(), []byte(body))
	r.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(r)
	w.Must(err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	w.Must(err)
	var got receipt
	w.Must(json.Unmarshal(raw, &got))
	return resp.StatusCode, got
}
