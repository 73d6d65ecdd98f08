//go:build unix

package poll_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestKilled runs two ingests, kills one or the other at any moment, and starts it
// again, while the partner's items change and its answers fail: in the end every
// item is there, each version once, and never did two poll at the same time.
func TestKilled(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "ingest")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "waybill.internal/services/ingest/cmd/ingest").CombinedOutput(); err != nil {
		t.Fatalf("build ingest: %v\n%s", err, out)
	}
	a := newAPI(t, 7)
	a.skew, a.size = 20*time.Minute, 5
	a.fill(400, time.Minute)
	w := newWorld(t, polled(a.URL, "cursor: /next", ", cursor: cursor", "      rate: 40/s"))
	a.lies = lies{Cut: 1, Broken: 1, Changed: 20}
	dice := rand.New(rand.NewPCG(3, 3))
	two := [2]*exec.Cmd{w.process(binary), w.process(binary)}
	for kill := range 5 {
		before := a.count()
		w.await("requests", func() bool { return a.count() > before+10+dice.IntN(30) })
		for k := range two {
			if kill%2 == 0 || dice.IntN(2) == k { // both, or one
				w.must(two[k].Process.Kill())
				_ = two[k].Wait()
				two[k] = w.process(binary)
			}
		}
	}
	a.set(func(a *api) { a.lies = lies{} })
	ended := one[*time.Time](w, `SELECT ended_at FROM poll`)
	for range 2 {
		last := ended
		w.await("a run", func() bool {
			ended = one[*time.Time](w, `SELECT ended_at FROM poll`)
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

// process starts the binary; it is killed at the end of the test if it still runs.
func (w *world) process(binary string) *exec.Cmd {
	w.Helper()
	c := exec.CommandContext(w.Context(), binary)
	for name, value := range w.settings {
		c.Env = append(c.Env, fmt.Sprintf("%s=%s", name, value))
	}
	c.Stderr = w.log
	w.must(c.Start())
	w.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return c
}
