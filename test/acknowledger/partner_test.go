package acknowledger_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"waybill.internal/pkg/signature"
)

type status struct {
	ID             string            `json:"id"`
	Outcome        int               `json:"outcome"`
	State          string            `json:"state"`
	IdempotencyKey string            `json:"idempotency_key"`
	EntityKey      string            `json:"entity_key"`
	Integration    string            `json:"integration"`
	AcceptedAt     time.Time         `json:"accepted_at"`
	FinalAt        time.Time         `json:"final_at"`
	Class          string            `json:"class"`
	Code           string            `json:"code"`
	Message        string            `json:"message"`
	Problems       []json.RawMessage `json:"problems"`
}

// request is what the partner saw.
type request struct {
	n        int    // from 1
	message  string // webhook-id
	tracking string
	statuses []status
}

// partner is a status API; script answers the requests that are signed and read.
type partner struct {
	*httptest.Server
	t      *testing.T
	script func(w http.ResponseWriter, r request)

	mu   sync.Mutex
	seen []request
}

func newPartner(t *testing.T, script func(http.ResponseWriter, request)) *partner {
	t.Helper()
	p := &partner{t: t, script: script}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *partner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut short
	}
	k, err := signature.ParseKey(key)
	if err != nil {
		p.t.Error(err)
	}
	verifier, err := signature.NewVerifier([]signature.Key{k}, 0)
	if err != nil {
		p.t.Error(err)
		return
	}
	verified, err := verifier.Verify(body, r.Header, time.Now())
	if err != nil {
		p.t.Errorf("the request is not signed: %v", err)
	}
	if got := r.Header.Get("Authorization"); got != "Bearer sesame" {
		p.t.Errorf("Authorization is %q", got)
	}
	var read struct {
		Statuses []status `json:"statuses"`
	}
	if err := json.Unmarshal(body, &read); err != nil || len(read.Statuses) == 0 || len(read.Statuses) > 10 {
		p.t.Errorf("%d statuses, want 1 to 10 (%v)", len(read.Statuses), err)
	}
	p.mu.Lock()
	seen := request{n: len(p.seen) + 1, message: verified.ID, tracking: r.Header.Get("Trackingid"), statuses: read.Statuses}
	p.seen = append(p.seen, seen)
	p.mu.Unlock()
	p.script(w, seen)
}

func (p *partner) requests() []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]request(nil), p.seen...)
}

// confirm answers as the protocol wants, with the numbers given by number.
func confirm(w http.ResponseWriter, list []status, number func(status) int) {
	type line struct {
		ID      string `json:"id"`
		Outcome int    `json:"outcome"`
	}
	lines := []line{}
	for _, s := range list {
		lines = append(lines, line{s.ID, number(s)})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"confirmed": lines})
}

func own(s status) int { return s.Outcome }

func confirmAll(w http.ResponseWriter, r request) { confirm(w, r.statuses, own) }
