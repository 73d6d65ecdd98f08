//go:build unix

package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/integration"
)

func folderWith(t *testing.T, files map[string]string) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, root *os.Root, name string) *drop {
	t.Helper()
	d, err := openDrop(root, name)
	must(t, err)
	t.Cleanup(d.close)
	return d
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// TestMoveWritesNothingOver: neither what lies in the folder nor what took the
// file's name meanwhile is lost.
func TestMoveWritesNothingOver(t *testing.T) {
	t.Parallel()
	root, dir := folderWith(t, map[string]string{"a.csv": "first", "next": "second", "third": "third"})
	d := opened(t, root, "a.csv")
	if to, err := d.moveTo("done"); err != nil || to != "done/a.csv" {
		t.Fatalf("moved to %q: %v", to, err)
	}
	must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "a.csv")))
	d = opened(t, root, "a.csv")
	must(t, os.Rename(filepath.Join(dir, "third"), filepath.Join(dir, "a.csv")))
	if to, err := d.moveTo("done"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that took the name was moved to %q: %v", to, err)
	}
	if to, err := opened(t, root, "a.csv").moveTo("done"); err != nil || to != "done/a-2.csv" {
		t.Errorf("moved to %q: %v", to, err)
	}
	if got := content(t, filepath.Join(dir, "done", "a.csv")) + content(t, filepath.Join(dir, "done", "a-2.csv")); got != "firstthird" {
		t.Errorf("the folder holds %q", got)
	}
}

// TestMoveStaysInside: a folder that a partner replaced by a link leads nowhere.
func TestMoveStaysInside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	root, dir := folderWith(t, map[string]string{"a.csv": "first"})
	must(t, os.Symlink(outside, filepath.Join(dir, "done")))
	if to, err := opened(t, root, "a.csv").moveTo("done"); err == nil {
		t.Errorf("moved to %q", to)
	}
	entries, err := os.ReadDir(outside)
	must(t, err)
	if len(entries) != 0 || content(t, filepath.Join(dir, "a.csv")) != "first" {
		t.Errorf("%d files lie outside", len(entries))
	}
}

// TestOpenRefuses what is no regular file, without waiting for it.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	root, dir := folderWith(t, map[string]string{"a.csv": "first"})
	must(t, os.Symlink("a.csv", filepath.Join(dir, "link.csv")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe.csv"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "folder.csv"), 0o700))
	for _, name := range []string{"link.csv", "pipe.csv", "folder.csv", "missing.csv", "../a.csv"} {
		if d, err := openDrop(root, name); err == nil {
			d.close()
			t.Errorf("%s was opened", name)
		}
	}
}

// TestComplete: a file must stand for a while, unless it was renamed into place.
func TestComplete(t *testing.T) {
	t.Parallel()
	root, dir := folderWith(t, map[string]string{"fresh.csv": "1", "whole.csv.part": "2"})
	s := &Source{Config: Config{Log: zap.NewNop()}, file: &integration.File{Match: "*.csv"}, seen: map[string]*sighting{}, strange: map[string]bool{}}
	look := func(want map[string]bool) {
		t.Helper()
		if _, err := s.list(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		if len(s.seen) != len(want) {
			t.Errorf("%d files are seen, want %d", len(s.seen), len(want))
		}
		for name, complete := range want {
			if s.seen[name] == nil || s.seen[name].complete != complete {
				t.Errorf("%s: %+v, want complete=%t", name, s.seen[name], complete)
			}
		}
	}
	look(map[string]bool{"fresh.csv": false})
	must(t, os.Rename(filepath.Join(dir, "whole.csv.part"), filepath.Join(dir, "whole.csv")))
	s.seen["fresh.csv"].since = time.Now().Add(-settle)
	look(map[string]bool{"fresh.csv": true, "whole.csv": true})
	must(t, os.WriteFile(filepath.Join(dir, "fresh.csv"), []byte("12"), 0o600))
	look(map[string]bool{"fresh.csv": false, "whole.csv": true})
}
