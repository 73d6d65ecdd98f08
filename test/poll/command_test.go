package poll_test

import (
	"strings"
	"testing"
	"time"
)

// TestCommand asks for polls as an operator does.
func TestCommand(t *testing.T) {
	t.Parallel()
	a := newAPI(t, 1)
	a.fill(30, 72*time.Hour)
	a.fill(5, time.Minute)
	w := newPoller(t, strings.Replace(polled(a.URL, "cursor: /next", ", cursor: cursor", ""), "every: 1s", "every: 24h", 1))
	w.Says(0, "No source is polled", "poll", "list")
	w.start()
	w.Await("the first run", func() bool { return w.runs() > 0 })
	w.Says(0, "things/poll waiting", "poll", "list")
	w.Says(0, "done: 4 pages, 35 items: 30 received (0 of them rejected), 5 duplicates", "poll", "run", "things/poll", "--since", "7d")
	w.Says(0, `"state":"done","pages":4`, "--json", "poll", "run", "things/poll", "--since", "7d", "--until", "1d")
	a.set(func(a *api) { a.put(36) })
	w.Says(0, "things/poll waiting", "poll", "run", "things/poll")
	if n := len(w.keys()); n != 36 {
		t.Errorf("%d records, want 36", n)
	}
	w.Says(2, "there are things/poll", "poll", "run", "things/pol")
	w.Says(2, `"soon" is no time`, "poll", "run", "things/poll", "--since", "soon")
	w.Says(2, "the range is empty", "poll", "run", "things/poll", "--since", "1d", "--until", "2d")
	w.Says(2, "--until needs --since", "poll", "run", "things/poll", "--until", "1d")
	a.set(func(a *api) { a.lies.Broken = 100 })
	w.Says(1, "answered 500", "poll", "run", "things/poll")
}
