package localstack_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A server must not outlive the process that started it, not even one that is
// frozen and whose owner gets no chance to clean up.
func TestPostgresDiesWithItsOwner(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), orphanEnv+"="+openTempDir(t))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	pid, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	pid = strings.TrimSpace(pid)
	if !running(pid) {
		t.Fatalf("Postgres %s does not run", pid)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // "killed", as intended
	eventually(t, func(context.Context) error {
		if running(pid) {
			return fmt.Errorf("postgres %s outlived its owner", pid)
		}
		return nil
	})
}

// running is false for a zombie too: who reaps orphans is not our affair.
func running(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}
