package simulated

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// ThirdPartyConfig configures a ThirdParty.
type ThirdPartyConfig struct {
	Seed       uint64
	Script     Script
	Journal    *Journal         // may be nil
	MaxKeys    int              // default 2,000,000; beyond it new keys get 503
	ThingField string           // names the thing a request is about, default "request_no"
	Now        func() time.Time // default time.Now
}

// ThirdPartyState is what GET /state tells.
type ThirdPartyState struct {
	Requests      int64            `json:"requests"`
	Executed      int64            `json:"executed"`       // effects
	DistinctKeys  int64            `json:"distinct_keys"`  // keys that came with a readable body
	Things        int64            `json:"things"`         // distinct things with an effect
	RepeatThings  int64            `json:"repeat_things"`  // effects on a thing that had one, under another key
	Replayed      int64            `json:"replayed"`       // repeats of an executed key: answered again, no effect
	OtherBody     int64            `json:"other_body"`     // violations: a known key with another body
	MissingKey    int64            `json:"missing_key"`    // violations: no Idempotency-Key
	KeysRefused   int64            `json:"keys_refused"`   // above MaxKeys
	JournalErrors int64            `json:"journal_errors"` // the journal is not complete if this is not 0
	Outcomes      map[string]int64 `json:"outcomes"`       // by what was shown
	Dead          bool             `json:"dead"`
}

// thirdLine is one line of the third party's journal.
type thirdLine struct {
	At       time.Time `json:"at"`
	Key      string    `json:"key"`
	Body     string    `json:"body"` // hash of the body
	Thing    string    `json:"thing,omitempty"`
	Attempt  uint64    `json:"attempt"` // how often this key came, this time included
	Outcome  string    `json:"outcome"`
	Executed bool      `json:"executed"` // this request had the effect
}

type keyEntry struct {
	body     digest
	attempts uint32
	executed bool
}

// ThirdParty is a destination that honours Idempotency-Key and misbehaves.
type ThirdParty struct {
	cfg    ThirdPartyConfig
	closed chan struct{}
	once   sync.Once

	mu        sync.Mutex
	script    Script
	deadUntil time.Time
	keys      map[digest]keyEntry
	things    map[digest]digest // thing -> the key of its last effect
	state     ThirdPartyState
}

// NewThirdParty makes a third party.
func NewThirdParty(c ThirdPartyConfig) (*ThirdParty, error) {
	if err := c.Script.check(); err != nil {
		return nil, fmt.Errorf("simulated: third party: %w", err)
	}
	if c.MaxKeys <= 0 {
		c.MaxKeys = defaultKeys
	}
	if c.ThingField == "" {
		c.ThingField = "request_no"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &ThirdParty{cfg: c, closed: make(chan struct{}), script: c.Script, keys: map[digest]keyEntry{},
		things: map[digest]digest{}, state: ThirdPartyState{Outcomes: map[string]int64{}}}, nil
}

// Close ends hanging requests; call it before the server's Shutdown.
func (t *ThirdParty) Close() { t.once.Do(func() { close(t.closed) }) }

// Handler serves the third party.
func (t *ThirdParty) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /requests", t.serve)
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, t.State()) })
	mux.HandleFunc("GET /control", loopbackOnly(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, t.Script()) }))
	mux.HandleFunc("POST /control", loopbackOnly(t.serveControl))
	return mux
}

// State gives the counters.
func (t *ThirdParty) State() ThirdPartyState {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state
	s.Outcomes = make(map[string]int64, len(t.state.Outcomes))
	for k, v := range t.state.Outcomes {
		s.Outcomes[k] = v
	}
	s.DistinctKeys, s.Things = int64(len(t.keys)), int64(len(t.things))
	s.Dead = t.cfg.Now().Before(t.deadUntil)
	return s
}

// Script gives the script in force.
func (t *ThirdParty) Script() Script {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.script
}

// SetScript changes the misbehaviour.
func (t *ThirdParty) SetScript(s Script) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("simulated: third party: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.script = s
	return nil
}

// Die cuts every connection for d.
func (t *ThirdParty) Die(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deadUntil = t.cfg.Now().Add(d)
}

// Mend ends all misbehaviour, bug and death included.
func (t *ThirdParty) Mend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.script, t.deadUntil = Script{}, time.Time{}
}

// thirdControl is the body of POST /control; the parts given are done in order.
type thirdControl struct {
	Mend      bool    `json:"mend"`
	Script    *Script `json:"script"`
	DeadForMS int     `json:"dead_for_ms"`
}

func (t *ThirdParty) serveControl(w http.ResponseWriter, r *http.Request) {
	b, ok := readBody(w, r)
	if !ok {
		return
	}
	var c thirdControl
	if err := decodeStrict(b, &c); err != nil {
		refuse(w, http.StatusBadRequest, `give {"mend": true}, {"script": {…}} or {"dead_for_ms": n}: `+err.Error())
		return
	}
	if c.DeadForMS < 0 || c.DeadForMS > 24*3600*1000 {
		refuse(w, http.StatusBadRequest, "dead_for_ms must lie between 0 and a day")
		return
	}
	if c.Mend {
		t.Mend()
	}
	if c.Script != nil {
		if err := t.SetScript(*c.Script); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	if c.DeadForMS > 0 {
		t.Die(time.Duration(c.DeadForMS) * time.Millisecond)
	}
	answer(w, http.StatusOK, t.Script())
}

// verdict is what happens to one request.
type verdict struct {
	outcome  string
	status   int // 0: reset
	executed bool
	replayed bool
	wait     time.Duration
	attempt  uint64
	script   Script
}

func (t *ThirdParty) serve(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	if !ok {
		t.count("unreadable")
		return
	}
	key := r.Header.Get("Idempotency-Key")
	var body map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err := d.Decode(&body)
	if err == nil && (body == nil || d.Decode(&struct{}{}) != io.EOF) {
		err = errors.New("not one JSON object")
	}
	v := t.decide(key, raw, body, err)
	if v.wait > 0 && v.outcome == "slow" {
		hang(r, t.closed, v.wait)
		v = t.execute(v, key, body)
	}
	line := thirdLine{At: t.cfg.Now().UTC(), Key: key, Body: digestOf(raw).String(), Thing: t.thing(body), Attempt: v.attempt, Outcome: v.outcome, Executed: v.executed}
	if len(line.Key) > maxKeyBytes {
		line.Key = line.Key[:maxKeyBytes]
	}
	if err := t.cfg.Journal.Write(line); err != nil {
		t.mu.Lock()
		t.state.JournalErrors++
		t.mu.Unlock()
	}
	t.show(w, r, key, v)
}

func (t *ThirdParty) show(w http.ResponseWriter, r *http.Request, key string, v verdict) {
	switch v.outcome {
	case "timeout":
		hang(r, t.closed, v.wait)
		refuse(w, http.StatusGatewayTimeout, "took too long")
	case "dead", "reset":
		reset(w)
	case "unavailable", "full":
		unavailable(w, max(1, v.script.RetryAfterS), "busy, come again")
	case "created", "slow":
		if v.replayed {
			w.Header().Set("Idempotent-Replayed", "true")
		}
		answer(w, http.StatusCreated, map[string]string{"id": "crm-" + digestOf([]byte(key)).String()[:16], "status": "created"})
	default:
		refuse(w, v.status, v.outcome)
	}
}

func (t *ThirdParty) count(outcome string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Requests++
	t.state.Outcomes[outcome]++
}

func (t *ThirdParty) thing(body map[string]any) string {
	v, ok := body[t.cfg.ThingField]
	if !ok {
		return ""
	}
	text := fmt.Sprint(v)
	return text[:min(len(text), maxKeyBytes)]
}

// decide settles what a request gets, and has its effect, in one critical
// section: two requests with one key never both execute.
func (t *ThirdParty) decide(key string, raw []byte, body map[string]any, bodyErr error) verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Requests++
	v := t.decideLocked(key, raw, body, bodyErr)
	v.script = t.script
	if v.outcome != "slow" { // counted when it executes
		t.state.Outcomes[v.outcome]++
	}
	return v
}

func (t *ThirdParty) decideLocked(key string, raw []byte, body map[string]any, bodyErr error) verdict {
	switch {
	case t.cfg.Now().Before(t.deadUntil):
		return verdict{outcome: "dead"}
	case key == "" || len(key) > maxKeyBytes:
		t.state.MissingKey++
		return verdict{outcome: "missing_key", status: http.StatusBadRequest}
	case bodyErr != nil:
		return verdict{outcome: "not_json", status: http.StatusBadRequest}
	}
	kd, bd := digestOf([]byte(key)), digestOf(raw)
	e, known := t.keys[kd]
	switch {
	case !known && len(t.keys) >= t.cfg.MaxKeys:
		t.state.KeysRefused++
		return verdict{outcome: "full"}
	case known && e.body != bd:
		t.state.OtherBody++
		return verdict{outcome: "other_body", status: http.StatusUnprocessableEntity}
	}
	e.body = bd
	e.attempts++
	t.keys[kd] = e
	v := verdict{attempt: uint64(e.attempts)}
	if t.script.Bug.matches(body) && !e.executed {
		v.outcome, v.status = "bug", http.StatusInternalServerError
		return v
	}
	return t.misbehave(v, key, body)
}

// misbehave rolls the dice; called with the lock held.
func (t *ThirdParty) misbehave(v verdict, key string, body map[string]any) verdict {
	s := t.script
	x := roll(t.cfg.Seed, "third-party", key, v.attempt)
	switch {
	case x < s.TimeoutRate:
		v.outcome, v.wait = "timeout", time.Duration(s.TimeoutMS)*time.Millisecond
		return v
	case x < s.TimeoutRate+s.UnavailableRate:
		v.outcome = "unavailable"
		return v
	case x < s.TimeoutRate+s.UnavailableRate+s.LateErrorRate:
		v.outcome, v.status = "late_error", http.StatusInternalServerError
	case x < s.TimeoutRate+s.UnavailableRate+s.LateErrorRate+s.ResetRate:
		v.outcome = "reset"
	case x < s.TimeoutRate+s.UnavailableRate+s.LateErrorRate+s.ResetRate+s.SlowRate:
		v.outcome, v.wait = "slow", time.Duration(s.SlowMS)*time.Millisecond
		if v.wait > 0 {
			return v // executes after the wait
		}
		t.state.Outcomes["slow"]++
	default:
		v.outcome = "created"
	}
	return t.effect(v, key, body)
}

// execute has the effect of a request that waited.
func (t *ThirdParty) execute(v verdict, key string, body map[string]any) verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Outcomes[v.outcome]++
	return t.effect(v, key, body)
}

// effect has the one effect of a key; called with the lock held.
func (t *ThirdParty) effect(v verdict, key string, body map[string]any) verdict {
	kd := digestOf([]byte(key))
	e := t.keys[kd]
	if e.executed {
		t.state.Replayed++
		v.replayed = true
		return v
	}
	e.executed = true
	t.keys[kd] = e
	t.state.Executed++
	v.executed = true
	if thing := t.thing(body); thing != "" {
		td := digestOf([]byte(thing))
		if _, had := t.things[td]; had {
			t.state.RepeatThings++
		}
		t.things[td] = kd // at most one per key, so bounded by MaxKeys
	}
	return v
}
