package poll_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waybill.internal/test/world"
)

// TestTrouble answers with one kind of trouble, and looks at what a person is told.
func TestTrouble(t *testing.T) {
	t.Parallel()
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			return true
		}
	}
	text := func(body string, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			fmt.Fprint(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		way    string
		answer func(http.ResponseWriter, *http.Request) bool
		code   string // of the failure that is kept
		kind   string // of the alert; "": none at the first failure
		slow   bool   // not tried again within 50 s
	}{
		"401":                        {"cursor", status(401), "credentials are not accepted", "credentials", true},
		"403":                        {"cursor", status(403), "may not read the list", "credentials", true},
		"403 of a rate limit":        {"cursor", status(403, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix())), "rate limit", "", true},
		"429 for a minute":           {"cursor", status(429, "Retry-After", "60"), "answered 429", "", true},
		"500":                        {"cursor", status(500), "answered 500", "", false},
		"a redirect":                 {"cursor", status(302, "Location", "http://127.0.0.1/x"), "redirects are not followed", "credentials", true},
		"the request is wrong":       {"cursor", status(400), "is not understood", "part", true},
		"no list":                    {"cursor", text(`{"data": {"id": 1}}`), "no list", "", false},
		"nothing there":              {"cursor", text(`{"items": []}`), "nothing at /data", "", false},
		"a page of HTML":             {"cursor", text(`<html>maintenance</html>`), "no JSON", "", false},
		"another host":               {"url", text(`{"data": [], "next_url": "https://evil.example/next"}`), "another host (evil.example)", "part", true},
		"another host in a link":     {"link", text(`{"data": []}`, "Link", `<https://evil.example/next>; rel="next"`), "another host (evil.example)", "part", true},
		"the same cursor for ever":   {"cursor", text(`{"data": [], "next": "again"}`), "read already", "", false},
		"the last page for ever":     {"page", text(`{"data": [{"id": 1, "version": 1, "updated_at": "2026-01-01T00:00:00Z"}]}`), "twice in a row", "", false},
		"a cursor that is an object": {"cursor", text(`{"data": [], "next": {"a": 1}}`), "neither a text nor a number", "", false},
		"a page beyond the bound":    {"cursor", text(`{"data": ["` + strings.Repeat("x", 17<<20) + `"]}`), "larger than allowed", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, 1)
			a.fill(3, time.Minute)
			a.answer = c.answer
			way := ways()[c.way]
			w := newPoller(t, polled(a.URL, way[0], way[1], ""))
			w.start()
			w.Await("a failure", func() bool { return world.One[string](w, `SELECT coalesce(max(error), '') FROM poll`) != "" })
			if got := world.One[string](w, `SELECT error FROM poll`); !strings.Contains(got, c.code) {
				t.Errorf("kept: %q, want something with %q", got, c.code)
			}
			if c.slow != (world.One[float64](w, `SELECT extract(epoch FROM next_at - now())::float8 FROM poll`) > 50) {
				t.Errorf("slow: %t, and tried again in %s", c.slow, world.One[string](w, `SELECT (next_at - now())::text FROM poll`))
			}
			told := w.Logs.Has(`"message":"problem"`, `"where":"poll"`)
			if told != (c.kind != "") || told && !w.Logs.Has(`"message":"problem"`, `"kind":"`+c.kind+`"`) {
				t.Errorf("an alert: %t, want kind %q", told, c.kind)
			}
			// It heals by itself.
			a.set(func(a *api) { a.answer = nil })
			w.Exec(`UPDATE poll SET next_at = now()`)
			w.Await("the items", func() bool { return len(w.keys()) >= 3 })
			w.Await("health", func() bool { return world.One[string](w, `SELECT error FROM poll`) == "" })
		})
	}
}

// TestBadItems: what cannot be a record is a rejected one, once, and stops nothing.
func TestBadItems(t *testing.T) {
	t.Parallel()
	a := newAPI(t, 1)
	page := `{"data": [{"id": 1, "version": 1}, 7, null, {"id": 2, "id": 2, "version": 1}, {"version": 3}, {"id": "text", "version": 1}, {"id": 4, "version": 1, "note": "\u0000"},
		{"id": 5, "version": 1, "note": "` + strings.Repeat("x", 1<<20) + `"}, {"id": 6, "version": 1}]}`
	a.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprint(w, page)
		return true
	}
	w := newPoller(t, strings.Replace(polled(a.URL, "cursor: /next", ", cursor: cursor", ""), `string(body.id) + "/" + string(body.version)`, `'body.id == nil ? nil : string(body.id) + "/" + string(body.version)'`, 1))
	w.start()
	w.Await("three runs", func() bool { return w.runs() >= 3 })
	got := world.All[string](w, `SELECT CASE WHEN key LIKE 'unidentified:%' THEN 'unidentified' ELSE key END || ' ' || state || ' ' || code FROM record ORDER BY 1`)
	want := []string{"1/1 queued ", "4/1 queued ", "6/1 queued ", "text/1 rejected invalid", "unidentified rejected unidentified", "unidentified rejected unidentified",
		"unidentified rejected unidentified", "unidentified rejected unreadable", "unidentified rejected unreadable"}
	if !slices.Equal(got, want) {
		t.Errorf("records\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := world.One[int64](w, `SELECT sum(delta)::bigint FROM tally WHERE measure = 'received'`); n != int64(len(want)) {
		t.Errorf("%d received, want %d", n, len(want))
	}
}

// TestRange polls a range by request, which moves no mark, and works beside the regular runs.
func TestRange(t *testing.T) {
	t.Parallel()
	for name, way := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, 1)
			a.fill(50, 72*time.Hour) // older than the first run asks
			a.fill(5, time.Minute)
			w := newPoller(t, polled(a.URL, way[0], way[1], ""))
			w.start()
			w.Await("the first run", func() bool { return w.runs() > 0 })
			if n := len(w.keys()); n != 5 {
				t.Fatalf("%d records before the range, want 5", n)
			}
			var from, to thing
			a.set(func(a *api) { from, to = a.list[11], a.list[40] })
			w.Exec(`INSERT INTO poll_request (integration, source, since, until, actor) VALUES ('things', 'poll', $1, $2, 'test')`, from.Updated, to.Updated)
			w.Await("the range", func() bool { return world.One[string](w, `SELECT state FROM poll_request`) == "done" })
			var want []string
			a.set(func(a *api) {
				for _, item := range a.list {
					if item.ID > 50 || !item.Updated.Before(from.Updated) && !item.Updated.After(to.Updated.Add(time.Millisecond)) {
						want = append(want, item.key())
					}
				}
			})
			slices.Sort(want)
			if got := w.keys(); !slices.Equal(got, want) {
				t.Errorf("records %s, want %s", got, want)
			}
			if n := world.One[int64](w, `SELECT received FROM poll_request`); n != 30 {
				t.Errorf("the request received %d, want 30", n)
			}
			if at := world.One[time.Time](w, `SELECT reached FROM poll`); at.Before(time.Now().Add(-2 * time.Minute)) {
				t.Errorf("the mark was moved to %s", at)
			}
		})
	}
}

// TestLate: an item from the future does not move the mark past what comes later.
func TestLate(t *testing.T) {
	t.Parallel()
	a := newAPI(t, 1)
	a.skew = -2 * time.Hour
	a.fill(3, time.Minute)
	a.set(func(a *api) {
		a.list[4] = thing{ID: 4, Version: 1, Updated: time.Now().AddDate(50, 0, 0).Truncate(time.Microsecond)}
		a.hidden = -100 * 365 * 24 * time.Hour
	})
	w := newPoller(t, polled(a.URL, "cursor: /next", ", cursor: cursor", ""))
	w.start()
	w.Await("two runs", func() bool { return w.runs() >= 2 && len(w.keys()) == 4 })
	a.set(func(a *api) { a.put(5) })
	w.Await("what comes later", func() bool { return len(w.keys()) == 5 })
}

// TestEndless: pages that never end do not keep a run, or the process, busy for ever.
func TestEndless(t *testing.T) {
	t.Parallel()
	a := newAPI(t, 1)
	var n atomic.Int64
	a.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		at := n.Add(1)
		fmt.Fprintf(w, `{"data": [{"id": 1, "version": 1}%s], "next": "c%d"}`, strings.Repeat(" ", int(at)), at)
		return true
	}
	w := newPoller(t, polled(a.URL, "cursor: /next", ", cursor: cursor", "      max_pages: 7"))
	w.start()
	w.Await("the end of the first turn", func() bool {
		return n.Load() > 0 && world.One[int64](w, `SELECT coalesce(max(session), 1) FROM poll`) == 0
	})
	if got := n.Load(); got != 7 {
		t.Errorf("%d pages in one run, want 7", got)
	}
	// What is left comes with the next one, behind the cursor, until nothing new has come for too long.
	w.Await("the next turns", func() bool { return n.Load() >= 21 })
	w.Await("the end of the run", func() bool {
		// Between two turns: one that is under way writes its own mark over it.
		w.Exec(`UPDATE poll SET mark = jsonb_set(mark::jsonb, '{run,barren}', '9999')::json WHERE session = 0 AND mark->>'run' IS NOT NULL`)
		return world.One[bool](w, `SELECT error LIKE '%brought nothing new%' AND mark->>'run' IS NULL FROM poll`)
	})
}
