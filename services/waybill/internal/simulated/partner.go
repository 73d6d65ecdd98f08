package simulated

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"waybill.internal/pkg/signature"
)

// PartnerScript says how a partner's status API misbehaves. First it refuses
// (503) for RefuseRequests requests and for RefuseForMS after the first one; then
// it misbehaves by the rates for MisbehaveRequests requests; then it behaves.
type PartnerScript struct {
	RefuseRequests    int     `json:"refuse_requests"`
	RefuseForMS       int     `json:"refuse_for_ms"`
	RetryAfterS       int     `json:"retry_after_s"`
	MisbehaveRequests int     `json:"misbehave_requests"`
	SkipRate          float64 `json:"skip_rate"`         // of statuses: not confirmed
	WrongNumberRate   float64 `json:"wrong_number_rate"` // of statuses: confirmed under another outcome number
	LieRate           float64 `json:"lie_rate"`          // of requests: 200 with an unrelated body
	RedirectRate      float64 `json:"redirect_rate"`     // of requests: 302
}

func (s PartnerScript) check() error {
	for _, r := range []float64{s.SkipRate, s.WrongNumberRate, s.LieRate, s.RedirectRate} {
		if !(r >= 0 && r <= 1) {
			return errors.New("a rate must lie between 0 and 1")
		}
	}
	switch {
	case s.SkipRate+s.WrongNumberRate > 1.000001 || s.LieRate+s.RedirectRate > 1.000001:
		return errors.New("the rates of statuses, and those of requests, must not add up to more than 1")
	case s.RefuseRequests < 0 || s.MisbehaveRequests < 0 || s.RefuseForMS < 0 || s.RefuseForMS > 24*3600*1000:
		return errors.New("counts and refuse_for_ms must not be negative, refuse_for_ms at most a day")
	case s.RetryAfterS < 0 || s.RetryAfterS > 3600:
		return errors.New("retry_after_s must lie between 0 and 3600")
	}
	return nil
}

// PartnerConfig configures a Partner.
type PartnerConfig struct {
	Seed    uint64
	Keys    []string // whsec_ or whpk_ keys statuses are signed with, 1 to 16
	Script  PartnerScript
	Journal *Journal
	MaxIDs  int              // default 2,000,000; beyond it new ids are not confirmed
	Now     func() time.Time // default time.Now
}

// PartnerState is what GET /state tells.
type PartnerState struct {
	Requests      int64 `json:"requests"`
	Unsigned      int64 `json:"unsigned"`  // 401: violations of whoever sends statuses
	Malformed     int64 `json:"malformed"` // 400: signed, but not a batch of statuses
	Refused       int64 `json:"refused"`   // 503
	Lies          int64 `json:"lies"`
	Redirects     int64 `json:"redirects"`
	Statuses      int64 `json:"statuses"` // seen in requests that were read
	Confirmed     int64 `json:"confirmed"`
	Reconfirmed   int64 `json:"reconfirmed"` // told again although confirmed
	Skipped       int64 `json:"skipped"`
	WrongNumber   int64 `json:"wrong_number"`
	DistinctIDs   int64 `json:"distinct_ids"`
	ConfirmedIDs  int64 `json:"confirmed_ids"`  // ids whose newest outcome seen is confirmed
	StateChanged  int64 `json:"state_changed"`  // violations: one id and outcome number under two states
	OldOutcomes   int64 `json:"old_outcomes"`   // told after a newer outcome of the same id
	IDsRefused    int64 `json:"ids_refused"`    // above MaxIDs
	JournalErrors int64 `json:"journal_errors"` // the journal is not complete if this is not 0
}

// maxBatch bounds the statuses of one request.
const maxBatch = 1000

// status is what we read of one status; more fields are welcome.
type status struct {
	ID             string `json:"id"`
	Outcome        int64  `json:"outcome"`
	State          string `json:"state"`
	IdempotencyKey string `json:"idempotency_key"`
}

type confirmation struct {
	ID      string `json:"id"`
	Outcome int64  `json:"outcome"`
}

type partnerLine struct {
	At        time.Time      `json:"at"`
	Message   string         `json:"message"` // webhook-id
	Answer    string         `json:"answer"`
	Statuses  []status       `json:"statuses,omitempty"`
	Confirmed []confirmation `json:"confirmed,omitempty"`
}

type idEntry struct {
	outcome   int64
	state     digest
	seen      uint32
	confirmed bool
}

// Partner is a partner's status API that refuses, forgets and lies before it
// behaves.
type Partner struct {
	cfg      PartnerConfig
	verifier *signature.Verifier

	mu     sync.Mutex
	script PartnerScript
	since  time.Time // first request under this script
	served int       // requests under this script
	ids    map[digest]idEntry
	state  PartnerState
}

// NewPartner makes a partner.
func NewPartner(c PartnerConfig) (*Partner, error) {
	if err := c.Script.check(); err != nil {
		return nil, fmt.Errorf("simulated: partner: %w", err)
	}
	keys := make([]signature.Key, 0, len(c.Keys))
	for _, text := range c.Keys {
		k, err := signature.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("simulated: partner: %w", err)
		}
		keys = append(keys, k)
	}
	v, err := signature.NewVerifier(keys, 0)
	if err != nil {
		return nil, fmt.Errorf("simulated: partner: %w", err)
	}
	if c.MaxIDs <= 0 {
		c.MaxIDs = defaultKeys
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Partner{cfg: c, verifier: v, script: c.Script, ids: map[digest]idEntry{}}, nil
}

// Handler serves the partner.
func (p *Partner) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /status", p.serve)
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, p.State()) })
	mux.HandleFunc("GET /control", loopbackOnly(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, p.Script()) }))
	mux.HandleFunc("POST /control", loopbackOnly(p.serveControl))
	return mux
}

// State gives the counters.
func (p *Partner) State() PartnerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.state
	s.DistinctIDs = int64(len(p.ids))
	return s
}

// Script gives the script in force.
func (p *Partner) Script() PartnerScript {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.script
}

// SetScript starts another script from its beginning.
func (p *Partner) SetScript(s PartnerScript) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("simulated: partner: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script, p.served, p.since = s, 0, time.Time{}
	return nil
}

// Mend makes the partner behave.
func (p *Partner) Mend() { _ = p.SetScript(PartnerScript{}) } // the zero script is always valid

type partnerControl struct {
	Mend   bool           `json:"mend"`
	Script *PartnerScript `json:"script"`
}

func (p *Partner) serveControl(w http.ResponseWriter, r *http.Request) {
	b, ok := readBody(w, r)
	if !ok {
		return
	}
	var c partnerControl
	if err := decodeStrict(b, &c); err != nil {
		refuse(w, http.StatusBadRequest, `give {"mend": true} or {"script": {…}}: `+err.Error())
		return
	}
	if c.Mend {
		p.Mend()
	}
	if c.Script != nil {
		if err := p.SetScript(*c.Script); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	answer(w, http.StatusOK, p.Script())
}

func (p *Partner) serve(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	if !ok {
		return
	}
	now := p.cfg.Now()
	line := partnerLine{At: now.UTC()}
	verified, err := p.verifier.Verify(raw, r.Header, now)
	line.Message = verified.ID
	line.Answer = p.decide(&line, raw, err)
	if err := p.cfg.Journal.Write(line); err != nil {
		p.mu.Lock()
		p.state.JournalErrors++
		p.mu.Unlock()
	}
	switch line.Answer {
	case "unsigned":
		refuse(w, http.StatusUnauthorized, err.Error())
	case "malformed":
		refuse(w, http.StatusBadRequest, fmt.Sprintf(`the body must be {"statuses":[{"id":…,"outcome":1,"state":…}]} with 1 to %d statuses`, maxBatch))
	case "refused":
		unavailable(w, max(1, p.Script().RetryAfterS), "maintenance")
	case "lie":
		answer(w, http.StatusOK, map[string]string{"message": "Welcome to our new website"})
	case "redirect":
		w.Header().Set("Location", "/login")
		w.WriteHeader(http.StatusFound)
	default:
		if line.Confirmed == nil {
			line.Confirmed = []confirmation{}
		}
		answer(w, http.StatusOK, map[string]any{"confirmed": line.Confirmed})
	}
}

// decide gives the answer and fills the line.
func (p *Partner) decide(line *partnerLine, raw []byte, sigErr error) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Requests++
	if sigErr != nil {
		p.state.Unsigned++
		return "unsigned"
	}
	batch, err := readBatch(raw)
	if err != nil {
		p.state.Malformed++
		return "malformed"
	}
	line.Statuses = batch
	s := p.script
	if p.since.IsZero() {
		p.since = line.At
	}
	p.served++
	if p.served <= s.RefuseRequests || line.At.Sub(p.since) < time.Duration(s.RefuseForMS)*time.Millisecond {
		p.state.Refused++
		p.served = min(p.served, s.RefuseRequests) // refusals by time do not use up the bad manners after them
		return "refused"
	}
	bad := p.served <= s.RefuseRequests+s.MisbehaveRequests
	if bad {
		x := roll(p.cfg.Seed, "partner", "", uint64(p.served))
		switch {
		case x < s.LieRate:
			p.state.Lies++
			return "lie"
		case x < s.LieRate+s.RedirectRate:
			p.state.Redirects++
			return "redirect"
		}
	}
	for _, st := range batch {
		if c, ok := p.take(st, bad); ok {
			line.Confirmed = append(line.Confirmed, c)
		}
	}
	return "confirmed"
}

// take notes one status and says how it is confirmed; called with the lock held.
func (p *Partner) take(st status, bad bool) (confirmation, bool) {
	p.state.Statuses++
	id, state := digestOf([]byte(st.ID)), digestOf([]byte(st.State))
	e, known := p.ids[id]
	if !known && len(p.ids) >= p.cfg.MaxIDs {
		p.state.IDsRefused++
		return confirmation{}, false
	}
	switch {
	case !known || st.Outcome > e.outcome:
		if e.confirmed {
			p.state.ConfirmedIDs--
		}
		e = idEntry{outcome: st.Outcome, state: state}
	case st.Outcome < e.outcome:
		p.state.OldOutcomes++
	case e.state != state:
		p.state.StateChanged++
	}
	e.seen++
	newest := st.Outcome == e.outcome
	defer func() { p.ids[id] = e }()
	if bad {
		x := roll(p.cfg.Seed, "status", st.ID, uint64(e.seen))
		switch {
		case x < p.script.SkipRate:
			p.state.Skipped++
			return confirmation{}, false
		case x < p.script.SkipRate+p.script.WrongNumberRate:
			p.state.WrongNumber++
			return confirmation{ID: st.ID, Outcome: st.Outcome + 1}, true
		}
	}
	p.state.Confirmed++
	if newest {
		if e.confirmed {
			p.state.Reconfirmed++
		} else {
			p.state.ConfirmedIDs++
		}
		e.confirmed = true
	}
	return confirmation{ID: st.ID, Outcome: st.Outcome}, true
}

// readBatch reads the body of a status request; unknown fields are welcome.
func readBatch(raw []byte) ([]status, error) {
	var b struct {
		Statuses []status `json:"statuses"`
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	if len(b.Statuses) == 0 || len(b.Statuses) > maxBatch {
		return nil, errors.New("no statuses or too many")
	}
	for _, s := range b.Statuses {
		if s.ID == "" || len(s.ID) > maxKeyBytes || s.Outcome < 1 || s.State == "" {
			return nil, errors.New("a status without id, outcome or state")
		}
	}
	return b.Statuses, nil
}
