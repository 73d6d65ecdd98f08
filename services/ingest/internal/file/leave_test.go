//go:build unix

package file

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

// TestIncompleteHoldsUp: where the order of files matters, none overtakes one that is not whole yet.
func TestIncompleteHoldsUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file *integration.File
		want string
	}{
		"ordered": {&integration.File{Mode: "snapshot"}, "1"},
		"skip":    {&integration.File{Unchanged: "skip"}, "1"},
		"delta":   {&integration.File{Mode: "delta"}, "1 3"},
	} {
		var taken []string
		s := &Source{Config: Config{Log: zap.NewNop()}, file: c.file, seen: map[string]*sighting{"1": {complete: true}, "2": {since: time.Now()}, "3": {complete: true}}}
		pending, err := s.takeAll(t.Context(), false, func(name string) (bool, error) { taken = append(taken, name); return true, nil })
		if got := strings.Join(taken, " "); got != c.want || !pending || err != nil {
			t.Errorf("%s: took %q, pending %t, %v; want %q", name, got, pending, err, c.want)
		}
	}
}

// TestNotPutAwayHoldsUp: a file that was read and lies there still would be read again after the next one.
func TestNotPutAwayHoldsUp(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{"snapshot": "1", "delta": "1 2"} {
		var taken []string
		s := &Source{Config: Config{Log: zap.NewNop()}, file: &integration.File{Mode: mode}, seen: map[string]*sighting{"1": {complete: true}, "2": {complete: true}}}
		pending, err := s.takeAll(t.Context(), false, func(name string) (bool, error) { taken = append(taken, name); return true, fs.ErrPermission })
		if got := strings.Join(taken, " "); got != want || !pending || err == nil {
			t.Errorf("%s: took %q, pending %t, %v; want %q", mode, got, pending, err, want)
		}
	}
}

// TestHeldUpIsTold: a person is told once of a file that has held up others for long.
func TestHeldUpIsTold(t *testing.T) {
	t.Parallel()
	var alerts []telemetry.Problem
	s := &Source{Config: Config{Log: zap.NewNop(), Alert: func(p telemetry.Problem) { alerts = append(alerts, p) }}, file: &integration.File{Mode: "snapshot"},
		seen: map[string]*sighting{"1": {since: time.Now()}, "2": {complete: true}}}
	look := func(want int) {
		t.Helper()
		if _, err := s.takeAll(t.Context(), false, func(string) (bool, error) { return true, nil }); err != nil || len(alerts) != want {
			t.Errorf("%d alerts, %v; want %d", len(alerts), err, want)
		}
	}
	look(0)
	s.seen["1"].since = time.Now().Add(-maxHeldUp)
	look(1)
	look(1)
	if p := alerts[0]; p.Code != "held_up" || !strings.Contains(p.Message, `"1"`) || p.Repair == "" {
		t.Errorf("the alert is %+v", p)
	}
	delete(s.seen, "2") // nothing is behind it
	s.seen["1"].told = false
	look(1)
}

// TestStaleMarkerIsLogged once, so that somebody can see why a file waits.
func TestStaleMarkerIsLogged(t *testing.T) {
	t.Parallel()
	root, dir := folderWith(t, map[string]string{"a.csv": "1", "a.csv.ok": ""})
	must(t, os.Chtimes(filepath.Join(dir, "a.csv"), time.Now(), time.Now().Add(time.Hour))) // a clock that is ahead
	core, logs := observer.New(zap.WarnLevel)
	s, _ := leaver(&integration.File{Match: "*.csv", Complete: integration.Complete{By: byMarker, Marker: "{name}.ok"}})
	s.Log = zap.New(core)
	for range 3 {
		if _, err := s.list(t.Context(), root); err != nil || s.seen["a.csv"].complete {
			t.Fatalf("%v, %+v", err, s.seen["a.csv"])
		}
	}
	if n := logs.FilterMessageSnippet("marker is older").Len(); n != 1 {
		t.Errorf("it is logged %d times, want 1", n)
	}
}

// leaver is a source that moves files, and what it told.
func leaver(f *integration.File) (*Source, *[]telemetry.Problem) {
	var alerts []telemetry.Problem
	return &Source{Config: Config{Log: zap.NewNop(), Alert: func(p telemetry.Problem) { alerts = append(alerts, p) }}, file: f, seen: map[string]*sighting{}, strange: map[string]bool{}}, &alerts
}

// TestMarkerOfTheNextFile: a file that took the name meanwhile keeps its own marker.
func TestMarkerOfTheNextFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(dir string)
		want      []string // names beside done
		done      []string
	}{
		"nothing": {func(string) {}, nil, []string{"a.csv", "a.csv.ok"}},
		"the file is replaced": {func(dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "next"), []byte("next"), 0o600))
			must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "a.csv")))
		}, []string{"a.csv"}, []string{"a.csv.ok"}}, // whose marker was of the one before
		"both are": {func(dir string) {
			for _, name := range []string{"a.csv", "a.csv.ok"} {
				must(t, os.WriteFile(filepath.Join(dir, "next"), []byte("next"), 0o600))
				must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, name)))
			}
		}, []string{"a.csv", "a.csv.ok"}, nil},
		"another replica moved it": {func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "a.csv")))
		}, nil, []string{"a.csv.ok"}},
		"... and the next one is here": {func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "a.csv")))
			must(t, os.Remove(filepath.Join(dir, "a.csv.ok")))
			must(t, os.WriteFile(filepath.Join(dir, "a.csv.ok"), []byte("next"), 0o600))
		}, []string{"a.csv.ok"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, dir := folderWith(t, map[string]string{"a.csv": "first", "a.csv.ok": ""})
			s, _ := leaver(&integration.File{Match: "*.csv", After: "move", Complete: integration.Complete{By: byMarker, Marker: "{name}.ok"}})
			if _, err := s.list(t.Context(), root); err != nil {
				t.Fatal(err)
			}
			d, err := s.openSeen(root, "a.csv")
			must(t, err)
			defer d.close()
			hash, err := d.hash(t.Context())
			must(t, err)
			c.meanwhile(dir)
			must(t, s.leave(t.Context(), nil, d, ledger.File{Hash: hash}, doneDir, s.Log))
			if got := names(t, dir); !slices.Equal(got, c.want) {
				t.Errorf("%q lie there, want %q", got, c.want)
			}
			if got := names(t, filepath.Join(dir, doneDir)); !slices.Equal(got, c.done) {
				t.Errorf("%q are done, want %q", got, c.done)
			}
		})
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			list = append(list, e.Name())
		}
	}
	return list
}

// TestWrittenToAtTheEnd: a file that grew after it was read is neither deleted nor taken for done.
func TestWrittenToAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"move", "delete"} {
		root, dir := folderWith(t, map[string]string{"a.csv": "first\n"})
		s, alerts := leaver(&integration.File{Match: "*.csv", After: after, Archive: filepath.Join(dir, "kept")})
		d := opened(t, root, "a.csv")
		hash, err := d.hash(t.Context())
		must(t, err)
		f, err := os.OpenFile(filepath.Join(dir, "a.csv"), os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString("second\n")
		must(t, err)
		must(t, f.Close())
		must(t, s.leave(t.Context(), nil, d, ledger.File{ID: 1, Hash: hash}, doneDir, s.Log))
		if got := content(t, filepath.Join(dir, failedDir, "a.csv")); got != "first\nsecond\n" {
			t.Errorf("%s: failed/ has %q", after, got)
		}
		if got := content(t, filepath.Join(dir, "kept", "1-a.csv")); got != "first\n" {
			t.Errorf("%s: the archive has %q, want what was read", after, got)
		}
		if len(*alerts) != 1 || (*alerts)[0].Code != "file_changed_late" {
			t.Errorf("%s: told %+v", after, *alerts)
		}
	}
}

// TestLongNames: a name as long as the file system allows is moved, also when it is taken.
func TestLongNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 125) + "b.csv" // 255 bytes
	root, dir := folderWith(t, map[string]string{long: "1"})
	for n := range 3 {
		must(t, os.WriteFile(filepath.Join(dir, long), []byte{byte('1' + n)}, 0o600))
		to, err := opened(t, root, long).moveTo(doneDir)
		must(t, err)
		if len(to) > len(doneDir)+1+255 || !strings.HasSuffix(to, ".csv") || strings.Contains(shown(to), "\uFFFD") {
			t.Errorf("moved to %q", to)
		}
	}
	if got := names(t, filepath.Join(dir, doneDir)); len(got) != 3 {
		t.Errorf("%d files are done, want 3", len(got))
	}
	noStem := "." + strings.Repeat("x", 254)
	must(t, os.WriteFile(filepath.Join(dir, noStem), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, doneDir, noStem), nil, 0o600))
	if _, err := opened(t, root, noStem).moveTo(doneDir); err != nil {
		t.Error(err)
	}
}

// TestOtherFileSystem: where a folder cannot be moved to, it is copied to.
func TestOtherFileSystem(t *testing.T) {
	t.Parallel()
	root, dir := folderWith(t, map[string]string{"a.csv": "first", "target": "", "outside": "secret"})
	must(t, os.Symlink("outside", filepath.Join(dir, "link")))
	d := opened(t, root, "a.csv")
	if err := d.copyTo("target"); err != nil || content(t, filepath.Join(dir, "target")) != "first" {
		t.Errorf("%v, and the copy has %q", err, content(t, filepath.Join(dir, "target")))
	}
	if err := d.copyTo("link"); err == nil || content(t, filepath.Join(dir, "outside")) != "secret" {
		t.Errorf("a link was written to: %v", err)
	}
}

// TestStrangeNames: names that mean something to a shell or a terminal are names.
func TestStrangeNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"-rf.csv", "a\nb.csv", "a\xff.csv", "..csv", "...csv", " .csv", "a;rm -rf.csv", "*.csv", "%s.csv", "\u202egpj.csv", "a\x00"[:1] + ".csv"} {
		root, dir := folderWith(t, map[string]string{name: "1"})
		d := opened(t, root, name)
		if to, err := d.moveTo(doneDir); err != nil || to != "done/"+name || content(t, filepath.Join(dir, doneDir, name)) != "1" {
			t.Errorf("%q was moved to %q, %v", name, to, err)
		}
		if made := safe(name); strings.ContainsAny(made, "/\n\x00") || strings.HasPrefix(made, ".") || made == "" {
			t.Errorf("%q becomes %q", name, made)
		}
	}
}

// TestFolderIsNoWayOut: what a partner puts where we move to or write to leads nowhere else.
func TestFolderIsNoWayOut(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	root, dir := folderWith(t, map[string]string{"a.csv": "1"})
	must(t, os.Symlink(outside, filepath.Join(dir, doneDir)))
	if to, err := opened(t, root, "a.csv").moveTo(doneDir); err == nil {
		t.Errorf("moved to %q", to)
	}
	must(t, os.Remove(filepath.Join(dir, doneDir)))
	must(t, os.Mkdir(filepath.Join(dir, doneDir), 0o700))
	must(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(dir, doneDir, "a.csv")))
	if to, err := opened(t, root, "a.csv").moveTo(doneDir); err != nil || to != "done/a-2.csv" {
		t.Errorf("moved to %q, %v", to, err)
	}
	if got := names(t, outside); got != nil {
		t.Errorf("outside are %q", got)
	}
}

// TestWriteWhole: a report is written whole whatever the partner put into the
// directory, and nothing is left over.
func TestWriteWhole(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("secret"), 0o600))
	for name, plant := range map[string]func(path string) error{
		"pipe":           func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":           func(path string) error { return os.Symlink(outside, path) },
		"dangling link":  func(path string) error { return os.Symlink("/nowhere/at/all", path) },
		"an older write": func(path string) error { return os.WriteFile(path, []byte("something longer than the report"), 0o600) },
	} {
		for _, at := range []string{".r.csv.tmp", "r.csv"} {
			root, dir := folderWith(t, nil)
			must(t, plant(filepath.Join(dir, at)))
			written := make(chan error, 1)
			go func() {
				written <- writeWhole(root, "r.csv", func(w io.Writer) error { _, err := io.WriteString(w, "report"); return err })
			}()
			select {
			case err := <-written:
				if err != nil || content(t, filepath.Join(dir, "r.csv")) != "report" {
					t.Errorf("%s at %s: %v", name, at, err)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s at %s: the write hangs", name, at)
			}
			if info, err := os.Lstat(filepath.Join(dir, "r.csv")); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%s at %s: %v, %v", name, at, info, err)
			}
		}
	}
	if content(t, outside) != "secret" {
		t.Error("a file outside was written to")
	}
	root, dir := folderWith(t, nil)
	if err := writeWhole(root, "r.csv", func(w io.Writer) error { return context.Canceled }); err == nil || len(names(t, dir)) != 0 {
		t.Errorf("%v, and %q are left over", err, names(t, dir))
	}
}

// TestReportKey: every try of a report has one key, and each end of a file another.
func TestReportKey(t *testing.T) {
	t.Parallel()
	first := time.Date(2026, 3, 1, 2, 3, 4, 5000, time.UTC)
	second := first.Add(time.Microsecond)
	keys := map[string]bool{}
	for _, f := range []ledger.FileStory{{TrackingID: "t", State: "failed", EndedAt: &first}, {TrackingID: "t", State: "failed", EndedAt: &second}, {TrackingID: "t", State: "done", EndedAt: &second}, {TrackingID: "u", State: "done", EndedAt: &second}} {
		keys[reportKey(f)] = true
		if strings.ContainsAny(reportKey(f), "\r\n ") {
			t.Errorf("the key is %q", reportKey(f))
		}
	}
	if len(keys) != 4 {
		t.Errorf("keys %v", keys)
	}
}

// TestFollowUps: a file that is not whole is looked for often at first, then for an hour, and then as scheduled.
func TestFollowUps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stand time.Duration
		n     int
		want  time.Duration
		more  bool
	}{{0, 0, settle, true}, {0, maxFollowUps - 1, settle, true}, {0, maxFollowUps, sweep, true}, {0, 2*maxFollowUps - 1, sweep, true}, {0, 2 * maxFollowUps, sweep, false}, {time.Hour, maxFollowUps, time.Hour, true}} {
		s := &Source{file: &integration.File{Complete: integration.Complete{For: c.stand}}, followUps: c.n}
		if after, more := s.followUp(); after != c.want || more != c.more {
			t.Errorf("after %d looks: %s, %t; want %s, %t", c.n, after, more, c.want, c.more)
		}
	}
}
