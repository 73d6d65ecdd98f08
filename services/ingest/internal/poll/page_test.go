package poll

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
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
