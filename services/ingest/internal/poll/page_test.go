package poll

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

func TestNextLink(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"": "",
		`<https://x.example/?page=2>; rel="next", <https://x.example/?page=9>; rel="last"`:     "https://x.example/?page=2",
		`<https://x.example/?a=1,2>; rel=prev,<https://x.example/?a=3,4>;title="a,b";rel=NEXT`: "https://x.example/?a=3,4",
		`<https://x.example/?page=2>; rel="prev next"`:                                         "https://x.example/?page=2",
		`<https://x.example/?page=2>; rel="nextish"`:                                           "",
		`<https://x.example/?page=2`:                                                           "",
		`<a>`:                                                                                  "",
		`<<<>>>; rel=next`:                                                                     "<<",
		`<a>; rel=prev, <b>; rel=next`:                                                         "b",
		strings.Repeat("<>", 32<<10) + `<c>; rel=next`:                                         "c",
	} {
		if got := nextLink(http.Header{"Link": {value}}); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	const doc = ` {"a": {"b/c": [1, {"~": "x"}]}, "n": null, "": 3} `
	for pointer, want := range map[string]string{
		"": strings.TrimSpace(doc), "/a/b~1c/0": "1", "/a/b~1c/1/~0": `"x"`, "/n": "null", "/": "3",
		"/a/x": "none", "/a/b~1c/2": "none", "/a/b~1c/-1": "none", "/n/x": "none",
	} {
		got, ok := find([]byte(doc), pointer)
		if !ok {
			got = []byte("none")
		}
		if string(got) != want {
			t.Errorf("%s: %s, want %s", pointer, got, want)
		}
	}
}

// TestPagesAreBounded: what is small in the answer does not become large in memory.
func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	config := &integration.Poll{URL: "https://x.example/list", Items: "/data", Next: integration.Next{Page: true}}
	for name, c := range map[string]struct{ body, want string }{
		"so many items":   {`{"data": [` + strings.Repeat("0,", maxItems-1) + `0]}`, ""},
		"one more":        {`{"data": [` + strings.Repeat("0,", maxItems) + `0]}`, "more than 50000 items"},
		"many more":       {`{"data": [` + strings.Repeat("0,", 7<<20) + `0]}`, "more than 50000 items"},
		"many keys":       {`{` + strings.Repeat(`"a":0,`, 2<<20) + `"data": [1]}`, ""},
		"a repeated key":  {`{"data": 1, "data": [1]}`, ""},
		"nested too deep": {`{"data": [` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `]}`, "no JSON"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readPage(config, place{}, http.Header{}, []byte(c.body))
		runtime.ReadMemStats(&after)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		t.Logf("%s: %d MiB allocated for %d KiB", name, (after.TotalAlloc-before.TotalAlloc)>>20, len(c.body)>>10)
	}
}

// TestStoppedBetweenDetails: a page whose details were not all asked for is not done.
func TestStoppedBetweenDetails(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, items := range map[string][]item{
		"at the first":   {{raw: []byte(`1`)}, {raw: []byte(`2`)}},
		"behind a known": {{known: true}, {raw: []byte(`2`)}},
	} {
		s := &turn{Source: &Source{}, ctx: ctx, config: &integration.Poll{Detail: &integration.Detail{}}, mark: mark{Run: &run{}}}
		ready, err := s.details(items, [16]byte{})
		if !errors.Is(err, context.Canceled) || len(ready) != len(items)-strings.Count(name, "first")-1 {
			t.Errorf("%s: %d ready, %v", name, len(ready), err)
		}
	}
}

// TestLoopsAreToldInTheEnd: pages that lead back are no progress, however many there are.
func TestLoopsAreToldInTheEnd(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int{codeLoop: 3, "bad_page": 1} {
		told := 0
		s := &turn{Source: &Source{Config: Config{Log: zap.NewNop(), Alert: func(telemetry.Problem) { told++ }, Runs: func(string, string, string) {}}},
			config: &integration.Poll{}, poll: ledger.Poll{Failures: 2}, mark: mark{Run: &run{}}, at: mark{Run: &run{}}, pages: 7}
		if end := s.failure(fault.New(fault.System, code, "x")); end.Failures != want || told != max(0, want-2) {
			t.Errorf("%s: %d failures in a row, told %d times", code, end.Failures, told)
		}
	}
}

// FuzzReadPage: no answer makes it panic, and a page that is not the last names a place.
func FuzzReadPage(f *testing.F) {
	for _, seed := range []string{`{"data": [1], "next": "a"}`, `[]`, `{"data": null}`, `{"data": [{"id": {}}], "more": true}`, `{"data": [], "next": 1e999}`} {
		f.Add([]byte(seed), `<x>; rel=next`)
	}
	polls := []integration.Next{{}, {Cursor: "/next"}, {CursorFrom: "/id", More: "/more"}, {Page: true}, {Offset: true}, {Link: true}, {URL: "/next"}}
	f.Fuzz(func(t *testing.T, body []byte, link string) {
		for _, next := range polls {
			config := &integration.Poll{URL: "https://x.example/list", Items: "/data", Next: next}
			p, err := readPage(config, place{}, http.Header{"Link": {link}}, body)
			if err == nil && p.last == p.next.kept() {
				t.Errorf("%+v: last %t, and next is %+v", next, p.last, p.next)
			}
			if err != nil && fault.Of(err).Class != fault.System && fault.Of(err).Class != fault.Data {
				t.Errorf("%+v: %v", next, err)
			}
		}
	})
}

func TestMarkMovesForwardOnly(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	config := &integration.Poll{Since: &integration.Since{Field: "/at"}}
	without := &integration.Poll{Since: &integration.Since{}}
	for name, c := range map[string]struct {
		config *integration.Poll
		run    run
		want   int
	}{
		"the highest item":                    {config, run{Began: at(50), Seen: at(40)}, 40},
		"no item":                             {config, run{Began: at(50)}, 30},
		"an older item":                       {config, run{Began: at(50), Seen: at(20)}, 30},
		"an item from the future":             {config, run{Began: at(50), Seen: at(59)}, 50},
		"... and a partner's clock behind":    {config, run{Began: at(50), Clock: at(35), Seen: at(59)}, 35},
		"one that is left for the next run":   {config, run{Began: at(50), Seen: at(45), Held: at(42)}, 42},
		"without a field":                     {without, run{Began: at(50)}, 50},
		"... and a partner's clock behind us": {without, run{Began: at(50), Clock: at(45)}, 45},
		"... and a partner's clock ahead":     {without, run{Began: at(50), Clock: at(55)}, 50},
	} {
		m := mark{High: at(30), Run: &c.run}
		if m.end(c.config); !m.High.Equal(at(c.want)) || m.Run != nil {
			t.Errorf("%s: the mark is at %s, want %s", name, m.High, at(c.want))
		}
	}
}

func TestNextRun(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	cadence := func(cron string) integration.Cadence {
		in, err := integration.FromDocument([]byte(`{"integration":"x","sources":[{"idempotency_key":"body.id","poll":{"url":"https://x.example","every":"`+cron+`"}}]}`), func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}
		return in.Sources[0].Poll.Every
	}
	for _, c := range []struct{ cron, now, want string }{
		{"30 2 * * *", "2026-03-28T12:00:00+01:00", "2026-03-29T03:30:00+02:00"}, // the clock jumps over 02:30
		{"30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}, // the clock shows 02:30 twice
		{"*/15 * * * *", "2026-10-25T02:50:00+02:00", "2026-10-25T02:00:00+01:00"},
		{"0 6 * * *", "2026-06-01T06:00:00+02:00", "2026-06-02T06:00:00+02:00"},
	} {
		now, _ := time.Parse(time.RFC3339, c.now)
		if got := nextRun(cadence(c.cron), berlin, now, now).Format(time.RFC3339); got != c.want {
			t.Errorf("%s after %s: %s, want %s", c.cron, c.now, got, c.want)
		}
	}
	began := time.Now()
	if got := nextRun(cadence("10m"), time.UTC, began, began.Add(time.Minute)); !got.Equal(began.Add(10 * time.Minute)) {
		t.Errorf("every 10m: %s after the run began", got.Sub(began))
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	system, wrong := fault.New(fault.System, "x", "x"), fault.New(fault.Credentials, "x", "x")
	asked := fault.New(fault.System, "x", "x")
	asked.RetryAfter = time.Hour
	for _, c := range []struct {
		failures    int
		f           *fault.Error
		least, most time.Duration
	}{
		{1, system, firstWait, firstWait * 6 / 5}, {3, system, 4 * firstWait, 5 * firstWait}, {1000, system, maxWait, maxWait * 6 / 5},
		{1, wrong, slowWait, slowWait * 6 / 5}, {1000, wrong, maxSlow, maxSlow * 6 / 5}, {1, asked, time.Hour, time.Hour * 6 / 5},
	} {
		if got := backoff(c.failures, c.f); got < c.least || got > c.most {
			t.Errorf("%d failures of class %s: %s, want %s to %s", c.failures, c.f.Class, got, c.least, c.most)
		}
	}
}
