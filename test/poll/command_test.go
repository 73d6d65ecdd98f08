package poll_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCommand asks for polls as an operator does.
func TestCommand(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "waybill")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "waybill.internal/services/waybill/cmd/waybill").CombinedOutput(); err != nil {
		t.Fatalf("build waybill: %v\n%s", err, out)
	}
	a := newAPI(t, 1)
	a.fill(30, 72*time.Hour)
	a.fill(5, time.Minute)
	w := newWorld(t, strings.Replace(polled(a.URL, "cursor: /next", ", cursor: cursor", ""), "every: 1s", "every: 24h", 1))
	waybill := func(code int, want string, args ...string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), binary, args...)
		for name, value := range w.settings {
			c.Env = append(c.Env, fmt.Sprintf("%s=%s", name, value))
		}
		out, err := c.CombinedOutput()
		if got := c.ProcessState.ExitCode(); got != code || !strings.Contains(strings.Join(strings.Fields(string(out)), " "), want) {
			t.Errorf("waybill %s: exit %d (%v), want %d and %q\n%s", strings.Join(args, " "), got, err, code, want, out)
		}
	}
	waybill(0, "No source is polled", "poll", "list")
	w.start()
	w.await("the first run", func() bool { return w.runs() > 0 })
	waybill(0, "things/poll waiting", "poll", "list")
	waybill(0, "done: 4 pages, 35 items: 30 received (0 of them rejected), 5 duplicates", "poll", "run", "things/poll", "--since", "7d")
	waybill(0, `"state":"done","pages":4`, "--json", "poll", "run", "things/poll", "--since", "7d", "--until", "1d")
	a.set(func(a *api) { a.put(36) })
	waybill(0, "things/poll waiting", "poll", "run", "things/poll")
	if n := len(w.keys()); n != 36 {
		t.Errorf("%d records, want 36", n)
	}
	waybill(2, "there are things/poll", "poll", "run", "things/pol")
	waybill(2, `"soon" is no time`, "poll", "run", "things/poll", "--since", "soon")
	waybill(2, "the range is empty", "poll", "run", "things/poll", "--since", "1d", "--until", "2d")
	waybill(2, "--until needs --since", "poll", "run", "things/poll", "--until", "1d")
	a.set(func(a *api) { a.lies.Broken = 100 })
	waybill(1, "answered 500", "poll", "run", "things/poll")
}
