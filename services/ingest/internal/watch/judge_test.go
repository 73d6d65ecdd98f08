package watch

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

// expectOf reads an expectation as an integration file has it.
func expectOf(t *testing.T, text string) integration.Expectation {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(path, []byte(`integration: shop
sources:
  - webhook: {path: /in/shop, verify: {scheme: github, secrets: ["${NEW}", "${OLD}"]}, expect: "`+text+`"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := integration.Load(path, func(string) (string, bool) { return "x", true })
	if err != nil {
		t.Fatal(err)
	}
	return in.Sources[0].Expect()
}

func start() time.Time { return time.Date(2026, 3, 10, 6, 0, 0, 0, time.UTC) }

func shop(t *testing.T, expect string) about {
	a := about{name: ledger.SourceName{Integration: "shop", Source: "webhook"}, zone: time.UTC, kind: "webhook", scheme: "github", secrets: []string{"NEW", "OLD"}}
	if expect != "" {
		a.expect = expectOf(t, expect)
	}
	return a
}

// told judges at a time after start, and gives what is said, with + for what is over.
func told(a about, s *ledger.SourceState, after time.Duration) string {
	s.Now, s.Told = start().Add(after), ""
	var out []string
	for _, v := range a.judge(s) {
		text := v.problem.Message
		if v.over {
			text = "+" + text
		}
		out = append(out, text)
	}
	return strings.Join(out, "\n")
}

func at(after time.Duration) *time.Time { t := start().Add(after); return &t }

func has(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%q is not in %q", w, got)
		}
	}
	if len(want) == 0 && got != "" {
		t.Errorf("nothing was to be told: %q", got)
	}
}

func TestSilenceForSoLong(t *testing.T) {
	t.Parallel()
	a, s := shop(t, "24h"), &ledger.SourceState{RegisteredAt: start()}
	has(t, told(a, s, 24*time.Hour-time.Second))
	has(t, told(a, s, 24*time.Hour), "nothing came to shop/webhook (webhook) for 24h", "nothing ever came", "2026-03-10 06:00")
	has(t, told(a, s, 30*24*time.Hour)) // once a silence
	s.HeardAt = at(31 * 24 * time.Hour)
	has(t, told(a, s, 31*24*time.Hour+time.Minute), "+shop/webhook speaks again, after 744h")
	has(t, told(a, s, 32*24*time.Hour-time.Second))
	has(t, told(a, s, 32*24*time.Hour), "for 24h: the last thing came 2026-04-10 06:00 UTC")
}

func TestSilenceAfterASchedule(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	a := shop(t, "0 8 * * *") // 07:00 UTC
	a.zone = berlin
	s := &ledger.SourceState{RegisteredAt: start()}
	has(t, told(a, s, 2*time.Hour-time.Second)) // an hour's grace after it
	s.HeardAt = at(30 * time.Minute)            // before the run: that was something else
	has(t, told(a, s, 2*time.Hour), "within 1h after 2026-03-10 08:00 CET", `"0 8 * * *"`)
	has(t, told(a, s, 26*time.Hour)) // the next run passes in the same silence
	s.HeardAt = at(27 * time.Hour)
	has(t, told(a, s, 27*time.Hour), "+shop/webhook speaks again")
	has(t, told(a, s, 50*time.Hour-time.Second))
	has(t, told(a, s, 50*time.Hour), "2026-03-12 08:00 CET")

	often := shop(t, "*/10 * * * *") // half of ten minutes
	s = &ledger.SourceState{RegisteredAt: start()}
	has(t, told(often, s, 15*time.Minute-time.Second))
	has(t, told(often, s, 15*time.Minute), "within 5m after 2026-03-10 06:10 UTC")
}

// TestSilenceWhenClocksChange: 2026-10-25 has 02:30 twice in Berlin, 2026-03-29 has it not at all; each is one run.
func TestSilenceWhenClocksChange(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	a := shop(t, "30 2 * * *")
	a.zone = berlin
	instant := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, c := range []struct{ name, heard, quiet, told string }{
		{"clocks go back, it came after the first", "2026-10-25T00:35:00Z", "2026-10-26T02:29:00Z", "2026-10-26T02:30:00Z"},
		{"clocks go back, it came an hour later", "2026-10-25T01:10:00Z", "2026-10-26T02:29:00Z", "2026-10-26T02:30:00Z"},
		{"clocks go back, nothing came", "2026-10-24T12:00:00Z", "2026-10-25T01:29:00Z", "2026-10-25T01:30:00Z"},
		{"clocks go forward", "2026-03-28T12:00:00Z", "2026-03-29T02:29:00Z", "2026-03-29T02:30:00Z"},
	} {
		heard := instant(c.heard)
		s := &ledger.SourceState{RegisteredAt: heard.Add(-time.Hour), HeardAt: &heard}
		if got := told(a, s, instant(c.quiet).Sub(start())); got != "" {
			t.Errorf("%s: at %s it is told: %s", c.name, c.quiet, got)
		}
		if got := told(a, s, instant(c.told).Sub(start())); !strings.Contains(got, "nothing came") {
			t.Errorf("%s: at %s it is not told", c.name, c.told)
		}
	}
}

func TestAPausedSourceIsNotSilent(t *testing.T) {
	t.Parallel()
	a, s := shop(t, "1h"), &ledger.SourceState{RegisteredAt: start(), HeardAt: at(0), PausedAt: at(time.Minute)}
	has(t, told(a, s, 10*time.Hour))
	s.PausedAt, s.ResumedAt = nil, at(10*time.Hour)
	has(t, told(a, s, 11*time.Hour-time.Second))
	has(t, told(a, s, 11*time.Hour), "it was resumed 2026-03-10 16:00 UTC")
	s.ResumedAt = at(12 * time.Hour) // paused and resumed again: no sign of life, but a new silence
	has(t, told(a, s, 12*time.Hour))
	has(t, told(a, s, 13*time.Hour), "for 1h")
	none := shop(t, "")
	has(t, told(none, s, 1000*time.Hour))
}

func TestSecretRotated(t *testing.T) {
	t.Parallel()
	a, s := shop(t, ""), &ledger.SourceState{RegisteredAt: start(), Secrets: map[string]time.Time{"OLD": start()}}
	s.Unproven = MaxUnproven - 1
	has(t, told(a, s, time.Minute))
	s.Unproven = MaxUnproven
	got := told(a, s, time.Minute)
	has(t, got, "was the secret rotated? 20 requests to shop/webhook (github) within 5m", "NEW never fitted, OLD last fitted 2026-03-10 06:00 UTC", "verify.secrets")
	if len(got) > 500 {
		t.Errorf("an alert has 500 bytes at most, this has %d", len(got))
	}
	s.Unproven = 5000
	has(t, told(a, s, time.Hour)) // once
	s.VerifiedAt, s.Unproven = at(2*time.Hour), 0
	has(t, told(a, s, 2*time.Hour), "+a secret of shop/webhook fits again")
	s.Unproven = MaxUnproven
	has(t, told(a, s, 3*time.Hour), "was the secret rotated?")
}

// seenFields are bodies as processes note them, over two notes.
func seenFields(t *testing.T, usual, rejected []string, reasons ...string) []byte {
	t.Helper()
	kept := []byte("{}")
	for range 2 {
		var f fields
		n := newNamer()
		for _, body := range usual {
			f.Usual.add(decoded(t, body), n)
		}
		for _, body := range rejected {
			f.Now.Fields.add(decoded(t, body), n)
		}
		for _, r := range reasons {
			f.Now.because(r, 1)
		}
		kept = readFields(kept).add(f, start().Unix(), int64(Recent/time.Second))
	}
	return kept
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	v, err := integration.DecodeJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFormatChanged(t *testing.T) {
	t.Parallel()
	a := shop(t, "")
	calm := ledger.SourceState{RegisteredAt: start(), UsualArrivals: 1000, UsualRejected: 40, Arrivals: 100, Rejected: 30,
		Fields: seenFields(t, []string{`{"id": 1, "qty": 2, "who": {"mail": "a@b.example"}, "lines": [{"sku": "x"}]}`, `{"id": 2, "qty": null, "who": {"mail": "c@d.example"}}`},
			[]string{`{"id": "7", "quantity": 2, "qty": "2", "lines": [{"sku": 5}], "4711-private@example.com": 1}`}, "/quantity required", "/id type", "/id type")}
	for name, change := range map[string]func(*ledger.SourceState){
		"too few now":     func(s *ledger.SourceState) { s.Arrivals, s.Rejected = 49, 49 },
		"too small":       func(s *ledger.SourceState) { s.Rejected = 29 },
		"always like it":  func(s *ledger.SourceState) { s.UsualRejected = 50 },
		"nothing usual":   func(s *ledger.SourceState) { s.UsualArrivals, s.UsualRejected = 0, 0 },
		"it was told":     func(s *ledger.SourceState) { s.DriftSince = at(0) },
		"not over, small": func(s *ledger.SourceState) { s.DriftSince, s.Arrivals, s.Rejected = at(0), 19, 0 },
	} {
		s := calm
		change(&s)
		if got := told(a, &s, time.Minute); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	s := calm
	got := told(a, &s, time.Minute)
	has(t, got, "did their format change? 30 % of 100 arrivals of shop/webhook were rejected within 10m, before 4.0 %",
		"New fields: * (number), quantity (number)", "Missing fields: who (object), who.mail (string)",
		"Other types: id (number, now string), lines[].sku (string, now number), qty (null or number, now string)",
		"Most frequent reasons: /id type, /quantity required")
	for _, value := range []string{"@", "4711", "private"} {
		if strings.Contains(got+string(calm.Fields), value) {
			t.Errorf("%q is a value: %q %s", value, got, calm.Fields)
		}
	}
	s.Arrivals, s.Rejected = 20, 2
	has(t, told(a, &s, time.Hour), "+shop/webhook is understood again: 10 % of 20")

	same := calm
	same.Fields = seenFields(t, []string{`{"id": 1}`}, []string{`{"id": 1}`}, "/id minimum")
	has(t, told(a, &same, time.Minute), "The fields are the same as before, so it is their values. Most frequent reasons: /id minimum")
	unread := calm
	unread.Fields = []byte("not what it was")
	has(t, told(a, &unread, time.Minute), "did their format change?")
}

func TestProfileIsBounded(t *testing.T) {
	t.Parallel()
	n := newNamer()
	var p profile
	for round := range 5 {
		body := map[string]any{}
		for i := range 1000 {
			name := "field_" + strings.Repeat("x", round) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
			body[name] = map[string]any{"inner": 1}
		}
		p.add(body, n)
	}
	if len(p.Names) != MaxNames || p.Bodies != 5 {
		t.Errorf("%d names of %d bodies", len(p.Names), p.Bodies)
	}
	var r recent
	for i := range 1000 {
		r.because(strings.Repeat("r", i), 1)
	}
	if len(r.Reasons) != maxReasons {
		t.Errorf("%d reasons", len(r.Reasons))
	}
	var heavy fields
	heavy.Usual.add(map[string]any{"a": 1}, n)
	kept := []byte("{}")
	for range 3 * maxBodies {
		kept = readFields(kept).add(heavy, 0, 600)
	}
	if f := readFields(kept); f.Usual.Bodies > maxBodies || f.Usual.share("a") < 0.9 {
		t.Errorf("it weighs %d bodies, a has %v", f.Usual.Bodies, f.Usual.share("a"))
	}
}

func TestOldRejectsAreForgotten(t *testing.T) {
	t.Parallel()
	var seen fields
	seen.Now.because("old", 1)
	kept := readFields(nil).add(seen, 0, 600)
	seen = fields{}
	seen.Now.because("new", 1)
	half := readFields(kept).add(seen, 400, 600)
	if got := readFields(half).rejected(400, 600).top(5); strings.Join(got, " ") != "new old" {
		t.Errorf("half a window later: %q", got)
	}
	long := readFields(half).add(seen, 2000, 600)
	if got := readFields(long).rejected(2000, 600).top(5); strings.Join(got, " ") != "new" {
		t.Errorf("much later: %q", got)
	}
	if got := readFields(half).rejected(4000, 600).top(5); len(got) != 0 {
		t.Errorf("when nothing came since: %q", got)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	n := newNamer()
	for key, want := range map[string]string{"order_no": "order_no", "@type": "@type", "Größe": "Größe", "a.b c": "a.b c", "ada@example.com": other, "42": other, "": other,
		"key4711081512": other, strings.Repeat("x", 65): other, "a\nb": other, "a(b)": other} {
		if got := n.name(key); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
	if got := n.reason(integration.Problem{Pointer: "/lines/3/ada@example.com/sku", Code: "type"}); got != "/lines/*/*/sku type" {
		t.Errorf("a pointer: %q", got)
	}
	text, err := json.Marshal(field{2, kindOf("") | kindOf(nil)})
	if err != nil || string(text) != `{"seen":2,"types":"null|string"}` {
		t.Errorf("%s %v", text, err)
	}
}

func TestPausable(t *testing.T) {
	t.Parallel()
	name := ledger.SourceName{Integration: "shop", Source: "file"}
	s := newSource(name, &integration.Source{Name: "file", Kafka: &integration.Kafka{}})
	w := &Watch{sources: map[ledger.SourceName]*source{name: s}}
	testPausable(t, w, s)
	if w.Paused("shop", "nobody") || w.Paused("shop", "file") {
		t.Error("it is not paused")
	}
	var rounds []telemetry.CheckIn
	w.CheckIn = func(c telemetry.CheckIn) { rounds = append(rounds, c) }
	w.Round("shop", "file", start(), telemetry.RunDone)
	if len(rounds) != 0 {
		t.Error("a source without a schedule has no monitor")
	}
	s.schedule.Crontab = "0 6 * * *"
	w.Round("shop", "file", start(), telemetry.RunDone)
	if len(rounds) != 1 || rounds[0].Monitor != "waybill-shop-file" || rounds[0].Timezone != "UTC" || rounds[0].State != telemetry.RunDone {
		t.Errorf("%+v", rounds)
	}
}
