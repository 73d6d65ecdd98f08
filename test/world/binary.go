package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// binaries are those that this process has built: a package variable is the one
// place that all tests of a process have in common.
var binaries sync.Map // name -> func() (path string, err error)

// Binary is the path of a service's binary, or of the command `waybill`: the one in
// WAYBILL_BIN if that names a folder, else one that is built once for all tests of
// the process, and removed by [Main].
func Binary(t testing.TB, name string) string {
	t.Helper()
	if folder := os.Getenv("WAYBILL_BIN"); folder != "" {
		return filepath.Join(folder, name)
	}
	build, _ := binaries.LoadOrStore(name, sync.OnceValues(func() (string, error) { return build(name) }))
	path, err := build.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(name string) (path string, err error) {
	folder, err := os.MkdirTemp("", "waybill-"+name+"-")
	if err != nil {
		return "", err
	}
	path = filepath.Join(folder, name)
	if out, err := exec.Command("go", "build", "-o", path, "waybill.internal/services/"+name+"/cmd/"+name).CombinedOutput(); err != nil {
		_ = os.RemoveAll(folder) // a temporary folder: the system clears it if this fails
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

func removeBinaries() {
	binaries.Range(func(_, build any) bool {
		if path, err := build.(func() (string, error))(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path)) // as above
		}
		return true
	})
}

// Command prepares a run of a binary with the settings as its environment; ctx ends it.
func (w *World) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	w.Helper()
	c := exec.CommandContext(ctx, Binary(w, name), args...)
	c.Env = make([]string, 0, len(w.Settings)) // not nil: that would be the test's own environment
	for name, value := range w.Settings {
		c.Env = append(c.Env, name+"="+value)
	}
	return c
}

// Run runs a command to its end, and ends the test if its exit code is another than
// the one that is wanted.
func Run(t testing.TB, c *exec.Cmd, code int) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", c.Args, err)
	}
	if got := c.ProcessState.ExitCode(); got != code {
		t.Fatalf("%q: exit code %d, want %d:\n%s%s", c.Args, got, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// Process starts a service as a process of its own, which writes to [World.Logs]. It
// is for the test to kill; at the end of the test it is killed if it still runs.
func (w *World) Process(name string) *exec.Cmd {
	w.Helper()
	c := w.Command(w.Context(), name)
	c.Stderr = w.Logs
	w.Must(c.Start())
	w.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return c
}

// Says runs `waybill` and checks its exit code and that it prints a text. It gives
// all that was printed; there, as in the text, white space of any kind is one blank.
func (w *World) Says(code int, want string, args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), Patience)
	defer cancel()
	c := w.Command(ctx, "waybill", args...)
	out, err := c.CombinedOutput()
	text := strings.Join(strings.Fields(string(out)), " ")
	if got := c.ProcessState.ExitCode(); got != code || !strings.Contains(text, want) {
		w.Errorf("waybill %s: exit %d (%v), want %d and %q\n%s", strings.Join(args, " "), got, err, code, want, out)
	}
	return text
}
