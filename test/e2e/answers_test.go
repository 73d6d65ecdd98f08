package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"waybill.internal/test/harness"
)

func request(t *testing.T, ctx context.Context, method, url string, header http.Header, body []byte) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(raw)
}

// TestAnswers: what each arrival is told, and that it is kept under its tracking id.
func TestAnswers(t *testing.T) {
	t.Parallel()
	s, ctx := start(t, harness.Options{})
	if _, _, _, err := s.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	url := s.IngestURL() + "/in/service-requests"
	good := harness.NewEvent("evt-1", "SR-1")
	bad := []byte(`{"request_no":"","product":7,"opened_at":"2026-01-02T10:00:00Z","closed_at":"2026-01-01T10:00:00Z"}`)
	signed := func(id string, body []byte) http.Header { return harness.Sign(id, time.Now(), body) }
	large := bytes.Repeat([]byte("x"), 1<<20+1)
	tests := []struct {
		name   string
		header http.Header
		body   []byte
		status int
		says   string
		kept   bool
	}{
		{"unsigned", nil, good.Body, 401, "missing", true},
		{"signed by somebody else", http.Header{"Webhook-Id": {"evt-1"}, "Webhook-Timestamp": {fmt.Sprint(time.Now().Unix())}, "Webhook-Signature": {"v1,AAAA"}}, good.Body, 401, "signature", true},
		{"signed an hour ago", harness.Sign("evt-1", time.Now().Add(-time.Hour), good.Body), good.Body, 401, "timestamp", true},
		{"no JSON", signed("evt-2", []byte(`{"request_no":`)), []byte(`{"request_no":`), 400, "unreadable", true},
		{"a field twice", signed("evt-2", []byte(`{"a":1,"a":2}`)), []byte(`{"a":1,"a":2}`), 400, "unreadable", true},
		{"too large", signed("evt-2", large), large, 413, "body_too_large", true},
		{"good", signed(good.ID, good.Body), good.Body, 202, `"state":"queued"`, true},
		{"wrong data", signed("evt-3", bad), bad, 202, `"state":"rejected"`, true},
	}
	for _, test := range tests {
		status, header, body := request(t, ctx, http.MethodPost, url, test.header, test.body)
		tracking := header.Get("Trackingid")
		if status != test.status || !strings.Contains(body, test.says) || tracking == "" {
			t.Errorf("%s: %d, tracking id %q, %s", test.name, status, tracking, body)
			continue
		}
		if out, err := s.Waybill(ctx, "trace", tracking); err != nil {
			t.Errorf("%s: waybill trace %s: %v\n%s", test.name, tracking, err, out)
		}
	}
	for _, reason := range []string{"/request_no", "/product", "/closed_at"} { // all at once
		_, _, body := request(t, ctx, http.MethodPost, url, signed("evt-3", bad), bad)
		if !strings.Contains(body, reason) {
			t.Errorf("the receipt does not name %s: %s", reason, body)
		}
	}
	if status, header, _ := request(t, ctx, http.MethodGet, url, nil, nil); status != 405 || header.Get("Trackingid") == "" {
		t.Errorf("GET: %d", status)
	}
	if status, header, _ := request(t, ctx, http.MethodPost, s.IngestURL()+"/nowhere", nil, nil); status != 404 || header.Get("Trackingid") == "" {
		t.Errorf("nowhere: %d", status)
	}
}

// TestDuplicates: the same event again, a corrected one, another body, and A, B, A.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	s, ctx := start(t, harness.Options{})
	if _, _, _, err := s.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	client := harness.Client(4)
	first := s.Post(ctx, client, harness.NewEvent("evt-1", "SR-1"))
	again := s.Post(ctx, client, harness.NewEvent("evt-1", "SR-1"))
	if first.Status != 202 || again.Status != 200 || !again.Receipt.Duplicate || again.Receipt.ID != first.Receipt.ID {
		t.Errorf("first %d %s, again %d %s", first.Status, first.Body, again.Status, again.Body)
	}
	if other := s.Post(ctx, client, harness.NewEvent("evt-1", "SR-OTHER")); other.Status != 200 || !strings.Contains(string(other.Body), `"conflict":true`) {
		t.Errorf("another body under a known key: %d %s", other.Status, other.Body)
	}
	wrong := harness.Event{ID: "evt-2", Body: []byte(`{"request_no":"SR-2","product":7}`)}
	if a := s.Post(ctx, client, wrong); a.Receipt.State != "rejected" {
		t.Errorf("wrong data: %s", a.Body)
	}
	if a := s.Post(ctx, client, wrong); a.Status != 200 || a.Receipt.State != "rejected" {
		t.Errorf("the same wrong data again: %d %s", a.Status, a.Body)
	}
	if a := s.Post(ctx, client, harness.NewEvent("evt-2", "SR-2")); a.Status != 202 || a.Receipt.State != "queued" {
		t.Errorf("corrected data: %d %s", a.Status, a.Body)
	}
	for _, e := range []harness.Event{harness.NewEvent("a1", "SR-A"), harness.NewEvent("b1", "SR-B"), harness.NewEvent("a2", "SR-A")} {
		if a := s.Post(ctx, client, e); a.Status != 202 {
			t.Errorf("A, B, A: %s answers %d %s", e.ID, a.Status, a.Body)
		}
	}
	if err := s.AwaitClosed(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Count(ctx, `SELECT count(*) FROM record WHERE state = 'processed' AND outcome_state = 'acknowledged'`); err != nil || n != 5 {
		t.Errorf("%d records are processed and acknowledged, want 5, %v", n, err)
	}
	out, err := s.Waybill(ctx, "audit", "--grace", "0s", "--json")
	if err != nil {
		t.Errorf("waybill audit: %v\n%s", err, out)
	}
}

// TestReceipt: the partner's key reads the partner's records and nothing else.
func TestReceipt(t *testing.T) {
	t.Parallel()
	s, ctx := start(t, harness.Options{})
	if _, _, _, err := s.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	a := s.Post(ctx, harness.Client(1), harness.NewEvent("evt-1", "SR-1"))
	if err := s.AwaitClosed(ctx); err != nil {
		t.Fatal(err)
	}
	url := s.IngestURL() + "/v1/receipts/"
	key := func(k string) http.Header { return http.Header{"Authorization": {"Bearer " + k}} }
	status, header, body := request(t, ctx, http.MethodGet, url+a.Receipt.ID, key(harness.ReceiptKey), nil)
	var receipt struct {
		ID, State string
		Outcome   struct {
			Number int
			State  string
		}
	}
	if err := json.Unmarshal([]byte(body), &receipt); err != nil || status != 200 || receipt.State != "processed" || receipt.Outcome.State != "acknowledged" || header.Get("Trackingid") == "" {
		t.Errorf("%d %s %v", status, body, err)
	}
	for name, want := range map[string]struct {
		id, key string
		status  int
	}{
		"no key":       {a.Receipt.ID, "", 401},
		"a wrong key":  {a.Receipt.ID, harness.Secret, 401},
		"no id":        {"abc", harness.ReceiptKey, 400},
		"a strange id": {"00000000-0000-8000-8000-000000000000", harness.ReceiptKey, 404},
	} {
		if status, _, body := request(t, ctx, http.MethodGet, url+want.id, key(want.key), nil); status != want.status {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}
