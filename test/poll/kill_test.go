//go:build unix

package poll_test

import (
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"

	"waybill.internal/test/world"
)

// TestKilled runs two ingests, kills one or the other at any moment, and starts it
// again, while the partner's items change and its answers fail: in the end every
// item is there, each version once, and never did two poll at the same time.
func TestKilled(t *testing.T) {
	t.Parallel()
	a := newAPI(t, 7)
	a.skew, a.size = 20*time.Minute, 5
	a.fill(400, time.Minute)
	w := newPoller(t, polled(a.URL, "cursor: /next", ", cursor: cursor", "      rate: 40/s"))
	a.lies = lies{Cut: 1, Broken: 1, Changed: 20}
	dice := rand.New(rand.NewPCG(3, 3))
	two := [2]*exec.Cmd{w.Process("ingest"), w.Process("ingest")}
	for kill := range 5 {
		before := a.count()
		w.Await("requests", func() bool { return a.count() > before+10+dice.IntN(30) })
		for k := range two {
			if kill%2 == 0 || dice.IntN(2) == k { // both, or one
				w.Must(two[k].Process.Kill())
				_ = two[k].Wait()
				two[k] = w.Process("ingest")
			}
		}
	}
	a.set(func(a *api) { a.lies = lies{} })
	ended := world.One[*time.Time](w, `SELECT ended_at FROM poll`)
	for range 2 {
		last := ended
		w.Await("a run", func() bool {
			ended = world.One[*time.Time](w, `SELECT ended_at FROM poll`)
			return ended != nil && (last == nil || ended.After(*last))
		})
	}
	w.covers(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.atOnce > 1 {
		t.Errorf("%d requests at once: two ingests polled", a.atOnce)
	}
	t.Logf("%d requests, %d items", a.requests, len(a.list))
}
