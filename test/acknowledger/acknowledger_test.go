package acknowledger_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
)

func TestConfirmsAll(t *testing.T) {
	t.Parallel()
	p := newPartner(t, confirmAll)
	w := newSeeder(t, p.URL, options{})
	good, bad := w.processed(shop, "good", 25), w.rejected(shop, "bad", 5)
	w.start()
	list := slices.Concat(good, bad)
	w.Await("all are acknowledged", w.all(record.Acknowledged, list))
	told := map[string]status{}
	for _, r := range p.requests() {
		for _, s := range r.statuses {
			if _, twice := told[s.ID]; twice {
				t.Errorf("record %s was told twice", s.ID)
			}
			told[s.ID] = s
		}
	}
	if len(told) != len(list) {
		t.Fatalf("%d records were told, want %d", len(told), len(list))
	}
	s := told[good[0].String()]
	if s.State != "processed" || s.Outcome != 1 || s.IdempotencyKey != "good-0" || s.EntityKey != "entity-good-0" || s.Integration != shop ||
		s.Class != "" || s.Code != "" || s.Problems != nil || s.AcceptedAt.IsZero() || s.FinalAt.Before(s.AcceptedAt) {
		t.Errorf("status of a processed record: %+v", s)
	}
	s = told[bad[0].String()]
	if s.State != "rejected" || s.Class != "data" || s.Code != "schema" || s.Message != "the body does not match" || len(s.Problems) != 1 {
		t.Errorf("status of a rejected record: %+v", s)
	}
	w.traced(p.requests()[0])
}

// traced checks that the ledger has the try in its history, and the request under its tracking id.
func (w *seeder) traced(r request) {
	w.Helper()
	first, err := record.ParseID(r.statuses[0].ID)
	w.Must(err)
	tracking, err := record.ParseID(r.tracking)
	w.Must(err)
	found, err := w.ledger.ByTracking(w.Context(), tracking)
	w.Must(err)
	if found != first {
		w.Errorf("tracking id %s leads to record %s, want %s", r.tracking, found, first)
	}
	trace, err := w.ledger.Trace(w.Context(), first)
	w.Must(err)
	last := trace.History[len(trace.History)-1]
	if last.Kind != ledger.NotifyHistory || last.Event != record.Confirmed || last.Number != 1 || last.From != "sent" || last.To != "acknowledged" {
		w.Errorf("history ends with %+v", last)
	}
	if len(trace.Interactions) != 1 || trace.Interactions[0].Kind != "notify" || trace.Interactions[0].Status != 200 ||
		!strings.Contains(trace.Interactions[0].RequestBody, first.String()) || strings.Contains(string(trace.Interactions[0].RequestHeader), "sesame") {
		w.Errorf("interactions: %+v", trace.Interactions)
	}
}

// Until request `until`, the partner does something that must confirm nothing.
func TestSendsAgainUntilConfirmed(t *testing.T) {
	t.Parallel()
	const until = 3
	for _, test := range []struct {
		name   string
		code   string // in the history of an unconfirmed try
		answer func(w http.ResponseWriter, r request)
	}{
		{"some", "not_confirmed", func(w http.ResponseWriter, r request) { confirm(w, r.statuses[1:], own) }},
		{"redirect", "redirect", func(w http.ResponseWriter, r request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
			confirm(w, r.statuses, own)
		}},
		{"unrelated", "not_confirmed", func(w http.ResponseWriter, _ request) { _, _ = io.WriteString(w, "<h1>Welcome</h1>") }},
		{"list", "expression", func(w http.ResponseWriter, _ request) { _, _ = io.WriteString(w, `{"confirmed": 7}`) }},
		{"empty", "not_confirmed", func(w http.ResponseWriter, _ request) { w.WriteHeader(http.StatusNoContent) }},
		{"old", "not_confirmed", func(w http.ResponseWriter, r request) {
			confirm(w, r.statuses, func(s status) int { return s.Outcome - 1 })
		}},
		{"error", "http_500", func(w http.ResponseWriter, r request) {
			w.WriteHeader(http.StatusInternalServerError)
			confirm(w, r.statuses, own)
		}},
		{"hangup", "reset", func(http.ResponseWriter, request) { panic(http.ErrAbortHandler) }},
		{"flood", "response_too_large", func(w http.ResponseWriter, _ request) {
			_, _ = w.Write(bytes.Repeat([]byte(" "), 2<<20))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPartner(t, func(w http.ResponseWriter, r request) {
				if r.n < until {
					test.answer(w, r)
					return
				}
				confirmAll(w, r)
			})
			w := newSeeder(t, p.URL, options{})
			list := w.rejected(shop, "key", 5)
			w.start()
			w.Await("all are acknowledged", w.all(record.Acknowledged, list))
			if n := len(p.requests()); n < until {
				t.Fatalf("%d requests, want at least %d", n, until)
			}
			codes := map[string]bool{}
			for _, id := range list {
				trace, err := w.ledger.Trace(t.Context(), id)
				w.Must(err)
				for _, h := range trace.History {
					if h.Event == record.Unconfirmed {
						codes[h.Code] = true
					}
				}
			}
			if !codes[test.code] || len(codes) != 1 {
				t.Errorf("unconfirmed with %v, want %s", codes, test.code)
			}
		})
	}
}

func TestHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	p := newPartner(t, func(w http.ResponseWriter, r request) {
		if r.n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		confirmAll(w, r)
	})
	w := newSeeder(t, p.URL, options{})
	list := w.rejected(shop, "key", 3)
	w.start()
	w.Await("all are acknowledged", w.all(record.Acknowledged, list))
	for _, id := range list {
		trace, err := w.ledger.Trace(t.Context(), id)
		w.Must(err)
		refused := slices.IndexFunc(trace.History, func(h ledger.HistoryRow) bool { return h.Event == record.Unconfirmed && h.Code == "http_503" })
		if refused < 0 {
			continue // told in a later request
		}
		if gap := trace.History[len(trace.History)-1].StartedAt.Sub(trace.History[refused].EndedAt); gap < time.Second {
			t.Errorf("record %s was told again after %s, the partner asked for 1 s", id, gap)
		}
	}
	first, second := p.requests()[0], p.requests()[1]
	if len(first.statuses) == len(list) && len(second.statuses) == len(list) && first.message != second.message {
		t.Errorf("the same batch was told under %s and %s", first.message, second.message)
	}
}

// One status that the partner refuses the whole request for does not hold up the others.
func TestDividesRefusedRequest(t *testing.T) {
	t.Parallel()
	var poison string
	p := newPartner(t, func(w http.ResponseWriter, r request) {
		if slices.ContainsFunc(r.statuses, func(s status) bool { return s.IdempotencyKey == "key-3" }) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		confirmAll(w, r)
	})
	w := newSeeder(t, p.URL, options{})
	list := w.processed(shop, "key", 10)
	poison = list[3].String()
	w.start()
	others := slices.DeleteFunc(slices.Clone(list), func(id record.ID) bool { return id.String() == poison })
	w.Await("the others are acknowledged", w.all(record.Acknowledged, others))
	w.Await("the refused one has been tried", func() bool { return w.record(list[3]).Outcome.Try > 0 })
	if r := w.record(list[3]); r.Outcome.State == record.Acknowledged {
		t.Errorf("the refused one is %s", r.Outcome.State)
	}
}

// envelopes counts the events of a kind that reach Sentry.
func envelopes(t *testing.T) (dsn string, of func(kind string) []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read an envelope: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, string(body))
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "://", "://public@", 1) + "/1", func(kind string) []string {
		mu.Lock()
		defer mu.Unlock()
		var found []string
		for _, e := range seen {
			if strings.Contains(e, `"kind":"`+kind+`"`) {
				found = append(found, e)
			}
		}
		return found
	}
}

func TestGivesUpLoudly(t *testing.T) {
	t.Parallel()
	p := newPartner(t, func(w http.ResponseWriter, _ request) { _, _ = io.WriteString(w, `{"confirmed": []}`) })
	dsn, alerts := envelopes(t)
	w := newSeeder(t, p.URL, options{giveUpAfter: "1s", sentry: dsn})
	list := w.rejected(shop, "key", 40)
	process := w.start()
	w.Await("all are unacknowledged", w.all(record.Unacknowledged, list))
	w.Await("the alert", func() bool { return len(alerts("partner_gave_up")) > 0 })
	process.Stop()
	w.Must(process.Wait())
	got := alerts("partner_gave_up")
	if len(got) > 2 { // the first, and at the stop what was counted since
		t.Errorf("%d alerts for one partner", len(got))
	}
	if !strings.Contains(got[0], "waybill dead requeue --kind unacknowledged --integration shop") {
		t.Errorf("the alert names no repair: %s", got[0])
	}
	if strings.Contains(got[0], "entity-key") || strings.Contains(got[0], "sesame") {
		t.Errorf("the alert quotes a record or a secret: %s", got[0])
	}
	waiting, err := w.ledger.WaitingForPerson(t.Context(), ledger.Filter{Kind: record.WaitUnacknowledged, Integration: shop}, nil, 100)
	w.Must(err)
	if len(waiting) != len(list) {
		t.Errorf("%d wait for a person, want %d", len(waiting), len(list))
	}
}

// An outcome whose integration is gone is never dropped silently.
func TestRemovedIntegrationIsLoud(t *testing.T) {
	t.Parallel()
	p := newPartner(t, confirmAll)
	dsn, alerts := envelopes(t)
	w := newSeeder(t, p.URL, options{others: map[string]string{"gone": p.URL}, sentry: dsn})
	orphans, kept := w.rejected("gone", "key", 3), w.rejected(shop, "key", 3)
	dir := t.TempDir()
	w.Settings["WAYBILL_INTEGRATIONS"] = dir
	w.integration(shop, options{})
	w.start()
	w.Await("shop's are acknowledged", w.all(record.Acknowledged, kept))
	w.Await("the others are given up on", w.all(record.Unacknowledged, orphans))
	w.Await("the alert", func() bool { return len(alerts("partner_gave_up")) == 1 })
	if got := alerts("partner_gave_up")[0]; !strings.Contains(got, "--integration gone") {
		t.Errorf("the alert does not name the integration: %s", got)
	}
}

// A partner that never answers holds up its own outcomes only, in whatever order they stand on the topic.
func TestStuckPartnerHoldsUpNobody(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	stuck := newPartner(t, func(w http.ResponseWriter, r request) {
		<-release
		confirmAll(w, r)
	})
	p := newPartner(t, confirmAll)
	w := newSeeder(t, p.URL, options{others: map[string]string{"stuck": stuck.URL}, inFlight: "60", timeout: "30s"})
	slow := w.rejected("stuck", "slow", 300)
	quick := w.rejected(shop, "quick", 50)
	w.start()
	w.Await("the quick partner has all", w.all(record.Acknowledged, quick))
	if n := len(stuck.requests()); n > 2 {
		t.Errorf("%d requests at the stuck partner, its concurrency is 2", n)
	}
	close(release)
	w.Await("the slow partner has all", w.all(record.Acknowledged, slow))
}

func TestQuarantinesWhatIsNoOutcome(t *testing.T) {
	t.Parallel()
	p := newPartner(t, confirmAll)
	dsn, alerts := envelopes(t)
	w := newSeeder(t, p.URL, options{sentry: dsn})
	_, err := w.producer.Publish(t.Context(), w.topics.Result(), []stream.Message{
		{Value: []byte("poison")}, {Value: nil}, {Value: bytes.Repeat([]byte{0xff}, 1000)}})
	w.Must(err)
	list := w.rejected(shop, "key", 20)
	w.start()
	w.Await("all are acknowledged", w.all(record.Acknowledged, list))
	w.Await("the alert", func() bool { return len(alerts("quarantine")) > 0 })
}

func TestNothingIsLostOverRestart(t *testing.T) {
	t.Parallel()
	silent := make(chan struct{})
	asked := make(chan struct{}, 1000)
	p := newPartner(t, func(w http.ResponseWriter, r request) {
		if r.n > 3 {
			asked <- struct{}{}
			<-silent // the first process dies waiting
			return
		}
		confirmAll(w, r)
	})
	w := newSeeder(t, p.URL, options{})
	list := slices.Concat(w.rejected(shop, "bad", 60), w.processed(shop, "good", 60))
	first := w.start()
	<-asked
	first.Stop()
	w.Must(first.Wait())
	close(silent)
	if w.all(record.Acknowledged, list)() {
		t.Fatal("the partner confirmed three requests, and all are acknowledged")
	}
	mended := newPartner(t, confirmAll)
	w.Settings["SHOP_URL"] = mended.URL
	w.takeOver()
	w.start()
	w.Await("all are acknowledged", w.all(record.Acknowledged, list))
}
