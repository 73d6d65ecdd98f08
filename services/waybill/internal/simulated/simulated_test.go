package simulated_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"waybill.internal/pkg/signature"
	"waybill.internal/services/waybill/internal/simulated"
)

const key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site serves a handler on a real socket with a client of its own.
func site(t *testing.T, h http.Handler, closing func()) (string, *http.Client) {
	t.Helper()
	s := httptest.NewServer(h)
	c := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		c.CloseIdleConnections()
		if closing != nil {
			closing()
		}
		s.Close()
	})
	return s.URL, c
}

func post(t *testing.T, c *http.Client, url string, h http.Header, body string) (status int, answer string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func idem(k string) http.Header { return http.Header{"Idempotency-Key": {k}} }

func thirdParty(t *testing.T, c simulated.ThirdPartyConfig) (*simulated.ThirdParty, string, *http.Client) {
	t.Helper()
	p, err := simulated.NewThirdParty(c)
	if err != nil {
		t.Fatal(err)
	}
	url, client := site(t, p.Handler(), p.Close)
	return p, url, client
}

func TestThirdPartyHonoursTheKey(t *testing.T) {
	t.Parallel()
	p, url, c := thirdParty(t, simulated.ThirdPartyConfig{MaxKeys: 2})
	first, answer, _ := post(t, c, url+"/requests", idem("k1"), `{"request_no":"A"}`)
	again, same, h := post(t, c, url+"/requests", idem("k1"), `{"request_no":"A"}`)
	if first != 201 || again != 201 || answer != same || h.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("%d %s, then %d %s", first, answer, again, same)
	}
	for _, x := range []struct {
		key, body string
		status    int
	}{
		{"k1", `{"request_no":"B"}`, 422}, {"", `{}`, 400}, {strings.Repeat("k", 600), `{}`, 400}, {"k2", `{`, 400}, {"k2", `[]`, 400},
		{"k2", `null`, 400}, {"k2", `{} {}`, 400}, {"k2", `{"request_no":"A"}`, 201}, {"k3", `{"request_no":"C"}`, 503},
		{"k1", strings.Repeat(" ", 1<<20+1), 413},
	} {
		if got, text, _ := post(t, c, url+"/requests", idem(x.key), x.body); got != x.status {
			t.Errorf("%.20s %.20s: %d %s, want %d", x.key, x.body, got, text, x.status)
		}
	}
	s := p.State()
	if s.Executed != 2 || s.Replayed != 1 || s.OtherBody != 1 || s.MissingKey != 2 || s.RepeatThings != 1 || s.Things != 1 || s.KeysRefused != 1 || s.DistinctKeys != 2 || s.Requests != 12 {
		t.Fatalf("%+v", s)
	}
}

func TestThirdPartyOneEffectUnderConcurrency(t *testing.T) {
	t.Parallel()
	p, url, c := thirdParty(t, simulated.ThirdPartyConfig{Seed: 3, Script: simulated.Script{LateErrorRate: 0.3, ResetRate: 0.2, UnavailableRate: 0.2}})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			k := fmt.Sprintf("k%d", i%20)
			post(t, c, url+"/requests", idem(k), fmt.Sprintf(`{"request_no":"R%d"}`, i%20))
		})
	}
	wg.Wait()
	s := p.State()
	if s.DistinctKeys != 20 || s.Executed > 20 || s.RepeatThings != 0 || s.OtherBody != 0 || s.Outcomes["late_error"] == 0 || s.Outcomes["reset"] == 0 || s.Outcomes["unavailable"] == 0 {
		t.Fatalf("%+v", s)
	}
}

func TestThirdPartyEachMisbehaviour(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name     string
		script   simulated.Script
		status   int
		executed int64
	}{
		{"unavailable", simulated.Script{UnavailableRate: 1, RetryAfterS: 7}, 503, 0},
		{"late_error", simulated.Script{LateErrorRate: 1}, 500, 1},
		{"reset", simulated.Script{ResetRate: 1}, 0, 1},
		{"slow", simulated.Script{SlowRate: 1, SlowMS: 1}, 201, 1},
		{"timeout", simulated.Script{TimeoutRate: 1, TimeoutMS: 1}, 504, 0},
		{"bug", simulated.Script{Bug: &simulated.Bug{Field: "product", Equals: "x"}}, 500, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			p, url, c := thirdParty(t, simulated.ThirdPartyConfig{Script: x.script})
			status, _, h := post(t, c, url+"/requests", idem("k"), `{"product":"x"}`)
			if s := p.State(); status != x.status || s.Executed != x.executed || s.Outcomes[x.name] != 1 {
				t.Fatalf("%d, %+v", status, s)
			}
			if x.name == "unavailable" && h.Get("Retry-After") != "7" {
				t.Fatalf("Retry-After %q", h.Get("Retry-After"))
			}
			p.Mend()
			if status, text, _ := post(t, c, url+"/requests", idem("k"), `{"product":"x"}`); status != 201 || p.State().Executed != 1 {
				t.Fatalf("after mending: %d %s %+v", status, text, p.State())
			}
		})
	}
}

func TestThirdPartyHangEndsOnClose(t *testing.T) {
	t.Parallel()
	p, url, c := thirdParty(t, simulated.ThirdPartyConfig{Script: simulated.Script{TimeoutRate: 1, TimeoutMS: 300_000}})
	done := make(chan int, 1)
	go func() { // ends when Close frees the request
		s, _, _ := post(t, c, url+"/requests", idem("k"), `{}`)
		done <- s
	}()
	for deadline := time.Now().Add(30 * time.Second); p.State().Requests == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("no request came")
		}
	}
	p.Close()
	if s := <-done; s != 504 {
		t.Fatalf("got %d", s)
	}
}

func TestThirdPartyDeadAndControl(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Unix(1000, 0)
	p, url, c := thirdParty(t, simulated.ThirdPartyConfig{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	if s, text, _ := post(t, c, url+"/control", nil, `{"dead_for_ms":10000,"script":{"bug":{"field":"request_no","modulo":5}}}`); s != 200 {
		t.Fatal(text)
	}
	if s, _, _ := post(t, c, url+"/requests", idem("k"), `{}`); s != 0 || !p.State().Dead {
		t.Fatalf("alive: %d", s)
	}
	mu.Lock()
	now = now.Add(10 * time.Second)
	mu.Unlock()
	failed := 0
	for i := range 100 {
		if s, _, _ := post(t, c, url+"/requests", idem(fmt.Sprint(i)), fmt.Sprintf(`{"request_no":"R%d"}`, i)); s == 500 {
			failed++
		}
	}
	if failed < 10 || failed > 35 || p.State().Outcomes["bug"] != int64(failed) {
		t.Fatalf("the bug hit %d of 100", failed)
	}
	for _, bad := range []string{``, `{"x":1}`, `{"script":{"timeout_rate":2}}`, `{"script":{"bug":{"field":"a"}}}`, `{"dead_for_ms":-1}`,
		`{"script":{"slow_ms":-1}}`, `{"script":{"slow_rate":0.6,"reset_rate":0.6}}`, `{} {}`} {
		if s, _, _ := post(t, c, url+"/control", nil, bad); s != 400 {
			t.Errorf("%s: %d", bad, s)
		}
	}
	if s, _, _ := post(t, c, url+"/control", nil, `{"mend":true}`); s != 200 || p.Script().Bug != nil {
		t.Fatal("not mended")
	}
	r := httptest.NewRequest(http.MethodPost, "/control", strings.NewReader(`{"mend":true}`))
	r.RemoteAddr = "192.0.2.1:999"
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Fatalf("a stranger may control: %d", w.Code)
	}
}

// The same requests in another order and at another concurrency get the same
// treatment.
func TestThirdPartyIsDeterministic(t *testing.T) {
	t.Parallel()
	script := simulated.Script{UnavailableRate: 0.3, LateErrorRate: 0.2, SlowRate: 0.2}
	treat := func(seed uint64, backwards bool) map[string]int {
		p, err := simulated.NewThirdParty(simulated.ThirdPartyConfig{Seed: seed, Script: script})
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]int{}
		for i := range 100 {
			if backwards {
				i = 99 - i
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/requests", strings.NewReader(`{}`))
			r.Header.Set("Idempotency-Key", fmt.Sprint(i))
			p.Handler().ServeHTTP(w, r)
			out[fmt.Sprint(i)] = w.Code
		}
		return out
	}
	a, b, other := treat(1, false), treat(1, true), treat(2, false)
	if fmt.Sprint(a) != fmt.Sprint(b) || fmt.Sprint(a) == fmt.Sprint(other) {
		t.Fatalf("same seed equal: %v; other seed equal: %v", fmt.Sprint(a) == fmt.Sprint(b), fmt.Sprint(a) == fmt.Sprint(other))
	}
}

func TestJournalTellsEveryRequest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "third.ndjson")
	j, err := simulated.OpenJournal(path, true)
	if err != nil {
		t.Fatal(err)
	}
	p, url, c := thirdParty(t, simulated.ThirdPartyConfig{Seed: 9, Journal: j, Script: simulated.Script{LateErrorRate: 0.5}})
	for i := range 50 {
		post(t, c, url+"/requests", idem(fmt.Sprint(i%30)), `{"request_no":"R"}`)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	executed := map[string]int{}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, l := range lines {
		var line struct {
			Key      string
			Executed bool
		}
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			t.Fatal(err)
		}
		if line.Executed {
			executed[line.Key]++
		}
	}
	s := p.State()
	if len(lines) != 50 || len(executed) != 30 || s.Executed != 30 || s.JournalErrors != 0 {
		t.Fatalf("%d lines, %d executed, %+v", len(lines), len(executed), s)
	}
	post(t, c, url+"/requests", idem("late"), `{}`)
	if p.State().JournalErrors != 1 {
		t.Fatal("a failed journal goes unnoticed")
	}
}

type told struct {
	ID      string `json:"id"`
	Outcome int64  `json:"outcome"`
	State   string `json:"state"`
}

func tell(t *testing.T, c *http.Client, url, id string, batch ...told) (int, []told) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"statuses": batch})
	if err != nil {
		t.Fatal(err)
	}
	k, err := signature.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	h, err := signature.Sign([]signature.Key{k}, id, time.Now(), body)
	if err != nil {
		t.Fatal(err)
	}
	status, text, _ := post(t, c, url+"/status", h, string(body))
	var got struct{ Confirmed []told }
	_ = json.Unmarshal([]byte(text), &got) // a lie has no confirmations
	return status, got.Confirmed
}

func TestPartnerRefusesMisbehavesThenBehaves(t *testing.T) {
	t.Parallel()
	p, err := simulated.NewPartner(simulated.PartnerConfig{Seed: 5, Keys: []string{key}, Script: simulated.PartnerScript{
		RefuseRequests: 3, MisbehaveRequests: 60, SkipRate: 0.3, WrongNumberRate: 0.2, LieRate: 0.2, RedirectRate: 0.2}})
	if err != nil {
		t.Fatal(err)
	}
	url, c := site(t, p.Handler(), nil)
	statuses := map[int]int{}
	wrong, right := 0, 0
	for i := range 63 {
		s, confirmed := tell(t, c, url, fmt.Sprintf("m%d", i), told{"a", 1, "processed"}, told{"b", 2, "rejected"})
		statuses[s]++
		for _, x := range confirmed {
			if (x.ID == "a" && x.Outcome == 1) || (x.ID == "b" && x.Outcome == 2) {
				right++
			} else {
				wrong++
			}
		}
	}
	s := p.State()
	if statuses[503] != 3 || statuses[302] == 0 || int64(statuses[302]) != s.Redirects || s.Lies == 0 || s.Skipped == 0 || wrong == 0 || int64(wrong) != s.WrongNumber || right == 0 {
		t.Fatalf("%v, %+v", statuses, s)
	}
	for i := range 20 {
		if code, confirmed := tell(t, c, url, "m", told{fmt.Sprint("x", i), 1, "dead"}); code != 200 || len(confirmed) != 1 || confirmed[0].Outcome != 1 {
			t.Fatalf("still misbehaves: %d %v", code, confirmed)
		}
	}
	if s := p.State(); s.ConfirmedIDs != 22 || s.DistinctIDs != 22 {
		t.Fatalf("%+v", s)
	}
}

func TestPartnerWatchesItsSender(t *testing.T) {
	t.Parallel()
	p, err := simulated.NewPartner(simulated.PartnerConfig{Keys: []string{key}, MaxIDs: 2})
	if err != nil {
		t.Fatal(err)
	}
	url, c := site(t, p.Handler(), nil)
	if s, _, _ := post(t, c, url+"/status", nil, `{"statuses":[{"id":"a","outcome":1,"state":"dead"}]}`); s != 401 {
		t.Fatalf("unsigned: %d", s)
	}
	for _, bad := range [][]told{nil, {{"", 1, "x"}}, {{"a", 0, "x"}}, {{"a", 1, ""}}} {
		if s, _ := tell(t, c, url, "m", bad...); s != 400 {
			t.Errorf("%v: %d", bad, s)
		}
	}
	tell(t, c, url, "m1", told{"a", 1, "dead"})
	tell(t, c, url, "m2", told{"a", 1, "processed"}) // the same number, another state
	tell(t, c, url, "m3", told{"a", 2, "processed"})
	if s := p.State(); s.ConfirmedIDs != 1 {
		t.Fatalf("%+v", s)
	}
	tell(t, c, url, "m4", told{"a", 1, "dead"}) // old
	tell(t, c, url, "m5", told{"a", 2, "processed"}, told{"b", 1, "dead"})
	if _, confirmed := tell(t, c, url, "m6", told{"c", 1, "dead"}); len(confirmed) != 0 {
		t.Fatal("confirmed beyond the cap")
	}
	s := p.State()
	if s.Unsigned != 1 || s.Malformed != 4 || s.StateChanged != 1 || s.OldOutcomes != 1 || s.ConfirmedIDs != 2 || s.IDsRefused != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestPartnerRefusesForATime(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	p, err := simulated.NewPartner(simulated.PartnerConfig{Keys: []string{key}, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	if err != nil {
		t.Fatal(err)
	}
	url, c := site(t, p.Handler(), nil)
	if s, text, _ := post(t, c, url+"/control", nil, `{"script":{"refuse_for_ms":5000}}`); s != 200 {
		t.Fatal(text)
	}
	for range 3 {
		if s, _ := tell(t, c, url, "m", told{"a", 1, "dead"}); s != 503 {
			t.Fatalf("got %d", s)
		}
	}
	mu.Lock()
	now = now.Add(5 * time.Second)
	mu.Unlock()
	if s, confirmed := tell(t, c, url, "m", told{"a", 1, "dead"}); s != 200 || len(confirmed) != 1 {
		t.Fatalf("got %d", s)
	}
}
