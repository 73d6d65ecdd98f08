package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// child, when set, makes the test binary a daemon: see TestSignals.
const child = "DAEMON_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(child); mode != "" {
		Main(childSpec(mode))
	}
	goleak.VerifyTestMain(m)
}

func childSpec(mode string) Spec[struct{}] {
	return spec(func(context.Context, *Env, struct{}) ([]Part, error) {
		return []Part{{Name: "worker", Stop: time.Minute, Run: func(ctx context.Context) error {
			fmt.Println("running")
			<-ctx.Done()
			fmt.Println("draining")
			if mode == "hang" {
				select {}
			}
			return nil
		}}}, nil
	})
}

func spec(build func(context.Context, *Env, struct{}) ([]Part, error)) Spec[struct{}] {
	return Spec[struct{}]{Name: "testd", Summary: "a test.", Build: build,
		Load: func(s *Settings) (struct{}, error) { return struct{}{}, s.Err() }}
}

func nothing(string) (string, bool) { return "", false }

func env(pairs ...string) Lookup {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *lockedBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func TestSignals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode    string
		signals int
		code    int
	}{{"clean", 1, 0}, {"hang", 2, ExitSecondSignal}} {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), child+"="+tt.mode)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			expect := func(word string) {
				t.Helper()
				line := make([]byte, len(word)+1)
				if _, err := io.ReadFull(out, line); err != nil || string(line) != word+"\n" {
					t.Fatalf("got %q, %v, want %s", line, err, word)
				}
			}
			expect("running")
			for n := range tt.signals {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					expect("draining")
				}
			}
			err = cmd.Wait()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
		})
	}
}

func get(t *testing.T, p *Process, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + p.Address("admin") + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestLife(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var story []string
	tell := func(s string) { mu.Lock(); defer mu.Unlock(); story = append(story, s) }
	var up atomic.Bool
	part := func(name string, ready func() error, await bool) Part {
		return Part{Name: name, Ready: ready, Await: await, Run: func(ctx context.Context) error {
			tell("start " + name)
			<-ctx.Done()
			tell("stop " + name)
			return nil
		}}
	}
	p, err := Start(t.Context(), spec(func(ctx context.Context, e *Env, _ struct{}) ([]Part, error) {
		l, err := e.Listen(ctx, "api", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		return []Part{part("ledger", func() error {
			if !up.Load() {
				return errors.New("no schema at postgres://u:canary@h")
			}
			return nil
		}, true), part("stream", nil, true), HTTP("api", l, http.NotFoundHandler(), e.Log)}, nil
	}), nothing, LogTo(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := get(t, p, "/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if code, body := get(t, p, "/readyz"); code != 503 || strings.Contains(body, "canary") {
		t.Errorf("readyz: %d %s", code, body)
	}
	select {
	case <-p.Ready():
		t.Error("ready too early")
	default:
	}
	up.Store(true)
	<-p.Ready()
	up.Store(false)
	if code, body := get(t, p, "/readyz"); code != 503 || !strings.Contains(body, `"part":"ledger"`) || !strings.Contains(body, "no schema") || strings.Contains(body, "canary") {
		t.Errorf("readyz: %d %s", code, body)
	}
	up.Store(true)
	if code, body := get(t, p, "/readyz"); code != 200 || !strings.Contains(body, `"ready":true`) {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, body := get(t, p, "/metrics"); code != 200 || !strings.Contains(body, "waybill_build_info") {
		t.Errorf("metrics: %d", code)
	}
	if code, _ := get(t, p, "/debug/pprof/"); code != 200 {
		t.Errorf("pprof: %d", code)
	}
	if p.Address("api") == "" || p.Address("none") != "" {
		t.Error("addresses")
	}
	p.Stop()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(story, ", "); got != "start ledger, start stream, stop stream, stop ledger" {
		t.Error(got)
	}
}

// A part that only closes what Build made does so also when the process is told to
// stop, or fails, before the part's turn.
func TestStopBeforeAllHaveStarted(t *testing.T) {
	t.Parallel()
	broken := errors.New("no ledger")
	for name, awaited := range map[string]func(ctx context.Context, p *Process) error{
		"told":  func(ctx context.Context, p *Process) error { p.Stop(); return wait(ctx) },
		"fails": func(context.Context, *Process) error { return broken },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var story []string // each part runs after the other
			process := make(chan *Process, 1)
			p, err := Start(t.Context(), spec(func(context.Context, *Env, struct{}) ([]Part, error) {
				return []Part{
					{Name: "ledger", Await: true, Ready: func() error { return broken }, Run: func(ctx context.Context) error {
						err := awaited(ctx, <-process)
						story = append(story, "ledger")
						return err
					}},
					AtEnd("publisher", time.Second, func(ctx context.Context) error { story = append(story, "publisher"); return ctx.Err() }),
					{Name: "http", Run: func(ctx context.Context) error {
						if ctx.Err() == nil {
							t.Error("started although the part before it was never ready")
						}
						story = append(story, "http")
						return nil
					}},
				}, nil
			}), nothing, LogTo(io.Discard))
			if err != nil {
				t.Fatal(err)
			}
			process <- p
			err = p.Wait()
			want := "http publisher ledger"
			if name == "fails" {
				want = "ledger http publisher" // it ended by itself
			}
			if got := strings.Join(story, " "); got != want || errors.Is(err, broken) != (name == "fails") || (err != nil && name == "told") {
				t.Errorf("%q stopped with %v, want %q", got, err, want)
			}
		})
	}
}

func wait(ctx context.Context) error { <-ctx.Done(); return nil }

func TestEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broker lost")
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	tests := map[string]struct {
		parts []Part
		build error
		code  int
		says  string
	}{
		"a part fails":        {[]Part{{Name: "a", Run: wait}, {Name: "b", Run: func(context.Context) error { return broken }}}, nil, ExitFailed, "part b failed: broker lost"},
		"a part ends":         {[]Part{{Name: "a", Run: wait}, {Name: "b", Run: func(context.Context) error { return nil }}}, nil, ExitFailed, "part b ended without being asked to"},
		"a part panics":       {[]Part{{Name: "a", Run: func(context.Context) error { panic("boom") }}}, nil, ExitFailed, "part a failed: panic"},
		"fails while awaited": {[]Part{{Name: "a", Await: true, Ready: func() error { return broken }, Run: func(context.Context) error { return broken }}}, nil, ExitFailed, "part a failed"},
		"a part hangs": {[]Part{{Name: "slow", Stop: time.Millisecond, Run: func(context.Context) error { <-release; return nil }},
			{Name: "b", Run: func(context.Context) error { return broken }}}, nil, ExitHung, "part slow did not stop in time"},
		"no Run": {[]Part{{Name: "a"}}, nil, ExitFailed, "no Run"},
		"build":  {nil, broken, ExitFailed, "build testd: broker lost"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &lockedBuffer{}
			err := Run(t.Context(), spec(func(context.Context, *Env, struct{}) ([]Part, error) { return tt.parts, tt.build }), nothing, LogTo(log))
			if ExitCode(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("code %d, %v", ExitCode(err), err)
			}
			if tt.code == ExitHung && !strings.Contains(log.String(), `"part":"slow"`) {
				t.Errorf("the log does not name the part: %s", log)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewSettings(env("A", "x", "N", "7", "D", "90s", "B", "2MiB", "S_FILE", file, "L", "a, b", "U", "https://h/x", "Y", "true", "O", "two", "H", ":0", "E", ""))
	got := fmt.Sprint(s.String("A", "d", ""), s.Int("N", 1, 0, 9, ""), s.Duration("D", 0, 0, time.Hour, ""), s.Bytes("B", 0, 0, 4<<20, ""),
		s.Secret("S", "").Reveal(), s.List("L", nil, ""), s.URL("U", "", "", "https"), s.Bool("Y", false, ""), s.OneOf("O", "one", "", "one", "two"),
		s.Address("H", "", ""), s.String("E", "default", ""), s.Int("UNSET", 3, 0, 9, ""))
	if want := "x71m30s2097152canary[a b]https://h/xtruetwo:0default3"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got %s", got)
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

func TestEveryMistakeAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sp := spec(nil)
	sp.Load = func(s *Settings) (struct{}, error) {
		s.Int("N", 1, 0, 9, "")
		s.Duration("D", 0, 0, time.Hour, "")
		s.Bytes("B", 0, 0, 100, "")
		s.Secret("S", "")
		s.Secret("T", "")
		s.List("L", nil, "")
		s.URL("U", "", "", "https")
		s.String("R", "", "")
		s.Require("R")
		return struct{}{}, s.Err()
	}
	_, err := Start(t.Context(), sp, env("N", "canary", "D", "2h", "B", "1GiB", "S_FILE", dir, "T", "x", "T_FILE", dir, "L", "a,,b", "U", "canary",
		"WAYBILL_LOG_LEVEL", "loud", "WAYBILL_ADMIN_ADDRESS", "here"))
	var config *ConfigError
	if !errors.As(err, &config) || len(config.Problems) != 10 || ExitCode(err) != ExitConfig {
		t.Fatalf("%v", err)
	}
	for _, name := range []string{"N:", "D:", "B:", "S_FILE:", "T:", "L:", "U:", "R:", "WAYBILL_LOG_LEVEL:", "WAYBILL_ADMIN_ADDRESS:"} {
		if !strings.Contains(err.Error(), "  "+name) {
			t.Errorf("%s is not named", name)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Error("a value is shown")
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	sp := spec(func(context.Context, *Env, struct{}) ([]Part, error) { return nil, errors.New("unwanted") })
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, 0, "WAYBILL_SENTRY_DSN"},
		{[]string{"--version"}, 0, "testd dev"},
		{[]string{"--vresion"}, ExitConfig, "--help"},
		{[]string{"extra"}, ExitConfig, `unexpected argument "extra"`},
		{nil, ExitFailed, "unwanted"},
	} {
		out := &lockedBuffer{}
		code := run(sp, tt.args, nothing, out, out, nil, nil)
		if code != tt.code || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%v: code %d, %s", tt.args, code, out)
		}
	}
}
