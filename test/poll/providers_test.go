package poll_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.internal/test/world"
)

const (
	webhookSecret = "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29r"
	hooks         = "/repos/owner/name/hooks/1/deliveries"
)

// event is one that a provider has sent, or tried to.
type event struct {
	id      int // of the delivery
	key     string
	at      time.Time
	kind    string
	body    []byte
	visible time.Time // in the list
}

// provider behaves like GitHub's deliveries and Stripe's events.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	events  []event // oldest first
	details map[string]int
	wrong   []string // requests that the real one would not take
	gone    map[string]bool
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{details: map[string]int{}, gone: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+hooks, p.deliveries)
	mux.HandleFunc("GET "+hooks+"/{id}", p.delivery)
	mux.HandleFunc("GET /v1/events", p.list)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) seen(from time.Time) []event {
	var list []event
	for _, e := range slices.Backward(p.events) {
		if !e.visible.After(time.Now()) && !e.at.Before(from) {
			list = append(list, e)
		}
	}
	return list
}

// deliveries is GET /repos/{owner}/{repo}/hooks/{hook_id}/deliveries: newest first,
// no since, a cursor in the Link header, no payloads.
func (p *provider) deliveries(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	p.check(r, "application/vnd.github+json", q.Get("per_page") == "100")
	list := p.seen(time.Time{})
	if cursor, err := strconv.Atoi(strings.TrimPrefix(q.Get("cursor"), "v1_")); err == nil {
		list = slices.DeleteFunc(list, func(e event) bool { return e.id >= cursor })
	}
	const size = 3 // fewer than asked for, which is allowed
	if len(list) > size {
		q.Set("cursor", fmt.Sprintf("v1_%d", list[size-1].id))
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, p.URL, r.URL.Path, q.Encode()))
		list = list[:size]
	}
	out := []map[string]any{}
	for _, e := range list {
		out = append(out, map[string]any{"id": e.id, "guid": e.key, "delivered_at": e.at.UTC().Format(time.RFC3339), "redelivery": false, "duration": 0.27,
			"status": "timed out", "status_code": 0, "event": e.kind, "action": nil, "installation_id": nil, "repository_id": 5, "throttled_at": nil})
	}
	answer(w, out)
}

// delivery is GET .../deliveries/{delivery_id}.
func (p *provider) delivery(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if strconv.Itoa(e.id) != r.PathValue("id") {
			continue
		}
		p.details[e.key]++
		if p.gone[e.key] {
			break
		}
		answer(w, map[string]any{"id": e.id, "guid": e.key, "delivered_at": e.at.UTC().Format(time.RFC3339), "event": e.kind,
			"request":  map[string]any{"headers": map[string]any{"X-GitHub-Delivery": e.key, "X-GitHub-Event": e.kind, "X-Hub-Signature-256": "sha256=abc"}, "payload": json.RawMessage(e.body)},
			"response": map[string]any{"headers": nil, "payload": ""}})
		return
	}
	http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
}

// list is GET /v1/events: newest first, created[gte], starting_after, has_more.
func (p *provider) list(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	from, err := strconv.ParseInt(q.Get("created[gte]"), 10, 64)
	p.check(r, "application/json", q.Get("limit") == "100" && err == nil)
	list := p.seen(time.Unix(from, 0))
	if after := q.Get("starting_after"); after != "" {
		k := slices.IndexFunc(list, func(e event) bool { return e.key == after })
		if k < 0 {
			w.WriteHeader(http.StatusBadRequest)
			answer(w, map[string]any{"error": map[string]any{"type": "invalid_request_error", "message": "No such event: " + after}})
			return
		}
		list = list[k+1:]
	}
	const size = 3
	more := len(list) > size
	out := []json.RawMessage{}
	for _, e := range list[:min(size, len(list))] {
		out = append(out, bytes.Replace(e.body, []byte(`"pending_webhooks":1`), []byte(`"pending_webhooks":0`), 1))
	}
	answer(w, map[string]any{"object": "list", "url": "/v1/events", "has_more": more, "data": out})
}

func (p *provider) check(r *http.Request, accept string, ok bool) {
	if !ok || r.Header.Get("Authorization") != "Bearer the-api-key" || r.Header.Get("Accept") != accept {
		p.wrong = append(p.wrong, fmt.Sprintf("%s %s %v", r.Method, r.URL, r.Header))
	}
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client has gone: nobody is told
}

func (p *provider) add(e event) event {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.id = 12345678000 + len(p.events)
	p.events = append(p.events, e)
	return e
}

func githubEvent(n int, age time.Duration) event {
	return event{key: fmt.Sprintf("0b989ba4-242f-11e5-81e1-%012d", n), at: time.Now().Add(-age), kind: "issues",
		body: fmt.Appendf(nil, `{"action": "opened",  "issue": {"number": %d}, "repository": {"full_name": "owner/name"}}`, n)}
}

func stripeEvent(n int, age time.Duration) event {
	at := time.Now().Add(-age)
	key := fmt.Sprintf("evt_%06d", n)
	return event{key: key, at: at, kind: "charge.succeeded",
		body: fmt.Appendf(nil, `{"id":%q,"object":"event","created":%d,"pending_webhooks":1,"type":"charge.succeeded","data":{"object":{"id":"ch_%d"}}}`, key, at.Unix(), n)}
}

func sign(text string) string {
	mac := hmac.New(sha256.New, []byte(webhookSecret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// deliver posts the event as its provider does.
func (w *poller) deliver(base, path string, e event) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), http.MethodPost, base+path, bytes.NewReader(e.body))
	w.Must(err)
	r.Header.Set("Content-Type", "application/json")
	if path == "/in/github" {
		r.Header.Set("X-GitHub-Delivery", e.key)
		r.Header.Set("X-GitHub-Event", e.kind)
		r.Header.Set("X-Hub-Signature-256", "sha256="+sign(string(e.body)))
	} else {
		stamp := strconv.FormatInt(time.Now().Unix(), 10)
		r.Header.Set("Stripe-Signature", "t="+stamp+",v1="+sign(stamp+"."+string(e.body)))
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	w.Must(err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted && res.StatusCode != http.StatusOK {
		w.Fatalf("the webhook %s was answered %s", e.key, res.Status)
	}
}

// example loads a configuration that the repository ships, for a provider on loopback.
func example(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "deploy", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "every: 10m", "every: 10m\n      allow_private: true", 1)
	return strings.Replace(strings.Replace(text, "rate: 1/s", "rate: 100/s", 1), "rate: 5/s", "rate: 100/s", 1)
}

// TestMissedWebhooks loses some of a provider's webhooks, and lets the shipped
// configurations find them.
func TestMissedWebhooks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file, path, source string
		make                     func(int, time.Duration) event
		details                  bool
	}{
		{"GitHub", "github-deliveries.yaml", "/in/github", "deliveries", githubEvent, true},
		{"Stripe", "stripe-events.yaml", "/in/stripe", "events", stripeEvent, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			w := newPoller(t, example(t, c.file))
			for name, value := range map[string]string{"GITHUB_API_URL": p.URL, "STRIPE_API_URL": p.URL, "GITHUB_WEBHOOK_SECRET": webhookSecret,
				"STRIPE_WEBHOOK_SECRET": webhookSecret, "GITHUB_TOKEN": "the-api-key", "STRIPE_KEY": "the-api-key"} {
				w.Settings[name] = value
			}
			in := w.start()
			w.Await("the first run", func() bool { return w.runs() == 1 })
			base := in.URL()
			var want, lost []string
			for n := range 10 {
				e := p.add(c.make(n, time.Hour-time.Duration(n)*time.Minute))
				want = append(want, e.key)
				if n%3 == 0 {
					lost = append(lost, e.key)
					continue
				}
				w.deliver(base, c.path, e)
			}
			p.add(c.make(90, time.Second))     // on its way
			late := c.make(91, 30*time.Minute) // becomes visible late
			late.visible = time.Now().Add(time.Hour)
			late = p.add(late)
			if c.details {
				ping := c.make(92, 40*time.Minute)
				ping.kind = "ping"
				p.add(ping)
			}
			w.hurry(2)
			if got := w.keys(); !slices.Equal(got, want) {
				t.Errorf("records\n%s, want\n%s", got, want)
			}
			if !w.Logs.Has("missed_webhooks", fmt.Sprintf("%d webhooks of webhook had not arrived", len(lost))) {
				t.Error("no alert says how many had not arrived")
			}
			polled := world.All[string](w, `SELECT key FROM record WHERE source = $1 ORDER BY key`, c.source)
			if !slices.Equal(polled, lost) {
				t.Errorf("found by the poll: %s, want %s", polled, lost)
			}
			p.mu.Lock()
			for _, request := range p.wrong {
				t.Errorf("the provider would not take %s", request)
			}
			for key, n := range p.details {
				if n != 1 || !slices.Contains(lost, key) {
					t.Errorf("the detail of %s was asked for %d times", key, n)
				}
			}
			for k := range p.events {
				if p.events[k].key == late.key {
					p.events[k].visible = time.Time{}
				}
			}
			p.mu.Unlock()
			w.hurry(3)
			if n := world.One[int](w, `SELECT count(*) FROM record WHERE key = $1`, late.key); n != 1 {
				t.Error("what became visible late was not found")
			}
			// What the poll was first with arrives after all: a duplicate, and no conflict.
			w.deliver(base, c.path, p.events[0])
			if n := world.One[int64](w, `SELECT coalesce(sum(delta), 0)::bigint FROM tally WHERE measure = 'conflict'`); n != 0 {
				t.Errorf("%d conflicts: a copy of an event is none", n)
			}
			if n := world.One[int](w, `SELECT count(*) FROM record`); n != len(want)+1 {
				t.Errorf("%d records, want %d", n, len(want)+1)
			}
			if c.details {
				w.asTheWebhook(lost[0])
			}
		})
	}
}

// asTheWebhook checks that steps see of a found event what they see of a webhook.
func (w *poller) asTheWebhook(key string) {
	w.Helper()
	const query = `SELECT headers->>'x-github-event' || ' ' || (convert_from(body, 'UTF8')::json->>'action') || ' ' || entity_key FROM payload JOIN record USING (day, seq) WHERE key = $1`
	if got := world.One[string](w, query, key); got != "issues opened owner/name" {
		w.Errorf("the found event is %q", got)
	}
	if n := world.One[int](w, `SELECT count(*) FROM payload WHERE headers::text LIKE '%sha256=abc%'`); n != 0 {
		w.Error("the signature of the delivery is kept")
	}
}

// hurry makes a run due and waits until it has ended; n is its number.
func (w *poller) hurry(n int) {
	w.Helper()
	w.Exec(`UPDATE poll SET next_at = now()`)
	w.Await(fmt.Sprintf("run %d", n), func() bool { return w.runs() >= n })
}
