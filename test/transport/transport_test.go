package transport

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"waybill.internal/pkg/fault"
	"waybill.internal/services/ingest"
)

// TestMain lets more tests run at a time than there are processors: they wait for
// slow servers most of the time.
func TestMain(m *testing.M) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy writes to a logger of its own
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// kinds are the places that list folders, which all keep the same promises.
func kinds() map[string]func(t *testing.T) *place {
	return map[string]func(t *testing.T) *place{
		"ftp":           func(t *testing.T) *place { return ftpPlace(t, "", false) },
		"ftp-old":       func(t *testing.T) *place { return ftpPlace(t, "", true) },
		"ftps":          func(t *testing.T) *place { return ftpPlace(t, "explicit", false) },
		"ftps-implicit": func(t *testing.T) *place { return ftpPlace(t, "implicit", false) },
		"sftp":          func(t *testing.T) *place { p, _ := sftpPlace(t); return p },
		"s3":            bucketPlace,
	}
}

// all adds the place that is one file.
func all() map[string]func(t *testing.T) *place {
	k := kinds()
	k["http"] = func(t *testing.T) *place { return webPlace(t, nil) }
	return k
}

// content is the same bytes for the same length, and compresses badly.
func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b) // it never fails
	return b
}

func open(t *testing.T, p *place, o ingest.RemoteOptions) ingest.RemoteStore {
	t.Helper()
	return openAs(t, p, p.yaml+", allow_private: true", o)
}

func openAs(t *testing.T, p *place, yaml string, o ingest.RemoteOptions) ingest.RemoteStore {
	t.Helper()
	o.Source = "orders/file"
	store, err := ingest.OpenRemote(t.Context(), p.source(t, yaml), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func spool(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func length(t *testing.T, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func holds(t *testing.T, f *os.File, want []byte) {
	t.Helper()
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("the file has %d bytes and is not the %d bytes that were put there", len(got), len(want))
	}
}

func list(t *testing.T, store ingest.RemoteStore, limit int) ([]ingest.RemoteEntry, bool) {
	t.Helper()
	entries, more, err := store.List(t.Context(), "*.csv", limit)
	if err != nil {
		t.Fatal(err)
	}
	return entries, more
}

// only gives the one file that is there.
func only(t *testing.T, store ingest.RemoteStore) ingest.RemoteEntry {
	t.Helper()
	entries, _ := list(t, store, 10)
	if len(entries) != 1 {
		t.Fatalf("%d files are listed, want 1: %v", len(entries), entries)
	}
	return entries[0]
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return fault.Of(err).Code
}

func names(entries []ingest.RemoteEntry) string {
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		out = append(out, e.Name)
	}
	return strings.Join(out, " ")
}

// TestList: the files of the folder that match, sorted and bounded, and nothing else.
func TestList(t *testing.T) {
	t.Parallel()
	for kind, start := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			for _, name := range []string{"b.csv", "a.csv", "Größe 1.csv", ".hidden.csv", "c.csv.tmp", "d.csv.part", "other.xml"} {
				p.put(t, name, []byte(name))
			}
			store := open(t, p, ingest.RemoteOptions{})
			entries, more := list(t, store, 10)
			if got := names(entries); got != "Größe 1.csv a.csv b.csv" || more {
				t.Errorf("listed %q (more: %t)", got, more)
			}
			for _, e := range entries {
				if e.Size != int64(len(e.Name)) || time.Since(e.ModTime) > 48*time.Hour {
					t.Errorf("%s: size %d, time %s", e.Name, e.Size, e.ModTime)
				}
			}
			if few, more := list(t, store, 2); names(few) != "Größe 1.csv a.csv" || !more {
				t.Errorf("listed %q of two (more: %t)", names(few), more)
			}
			again, _ := list(t, open(t, p, ingest.RemoteOptions{}), 10)
			if !slices.EqualFunc(entries, again, ingest.RemoteEntry.Same) {
				t.Errorf("the second look differs: %v and %v", entries, again)
			}
			f := spool(t)
			if _, err := store.Fetch(t.Context(), entries[0], f, 0); err != nil {
				t.Fatal(err)
			}
			holds(t, f, []byte(entries[0].Name))
		})
	}
}

// TestMove: into a folder beside it, never over another file, and only what was listed.
func TestMove(t *testing.T) {
	t.Parallel()
	for kind, start := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			store := open(t, p, ingest.RemoteOptions{})
			for _, text := range []string{"first", "second one"} {
				p.put(t, "orders.csv", []byte(text))
				if err := store.Move(t.Context(), only(t, store), "done"); err != nil {
					t.Fatal(err)
				}
				if p.get(t, "orders.csv") != nil {
					t.Fatal("the file is still there")
				}
			}
			if got := p.get(t, "done/orders.csv"); string(got) != "first" {
				t.Errorf("done/orders.csv holds %q: it was written over", got)
			}
			if got := p.moved(t, "orders-"); string(got) != "second one" {
				t.Errorf("the second file is %q", got)
			}
			p.put(t, "orders.csv", []byte("third"))
			e := only(t, store)
			p.put(t, "orders.csv", []byte("another third"))
			for act, err := range map[string]error{"move": store.Move(t.Context(), e, "done"), "delete": store.Delete(t.Context(), e)} {
				if codeOf(err) != "file_changed" {
					t.Errorf("%s of a file that is another by now: %v", act, err)
				}
			}
			if got := p.get(t, "orders.csv"); string(got) != "another third" {
				t.Errorf("the new file is %q", got)
			}
			if err := store.Delete(t.Context(), only(t, store)); err != nil {
				t.Fatal(err)
			}
			if p.get(t, "orders.csv") != nil {
				t.Error("the file is still there")
			}
			if err := store.Delete(t.Context(), e); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("delete of a file that is gone: %v", err)
			}
		})
	}
}

// moved finds the file in done/ that has a longer name, through the place itself.
func (p *place) moved(t *testing.T, prefix string) []byte {
	t.Helper()
	folder := strings.Replace(strings.Replace(p.yaml, "/out%20box/", "/out%20box/done/", 1), "/in/", "/in/done/", 1)
	store := openAs(t, p, folder+", allow_private: true", ingest.RemoteOptions{})
	entries, _, err := store.List(t.Context(), prefix+"*", 10)
	if err != nil || len(entries) != 1 {
		t.Fatalf("done/ holds %v besides the first file (%v)", entries, err)
	}
	return p.get(t, "done/"+entries[0].Name)
}

// TestFetchChanged: a file that is another by now is never taken for the listed one.
func TestFetchChanged(t *testing.T) {
	t.Parallel()
	for kind, start := range all() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.put(t, "orders.csv", content(5000))
			e := only(t, open(t, p, ingest.RemoteOptions{}))
			p.put(t, "orders.csv", content(7000))
			f := spool(t)
			store := open(t, p, ingest.RemoteOptions{})
			if _, err := store.Fetch(t.Context(), e, f, 0); codeOf(err) != "file_changed" {
				t.Errorf("it was fetched: %v", err)
			}
			e = only(t, store)
			if _, err := store.Fetch(t.Context(), e, f, length(t, f)); err != nil {
				t.Fatal(err)
			}
			holds(t, f, content(7000))
			if _, err := store.Fetch(t.Context(), e, f, 7000); err != nil {
				t.Fatal(err)
			}
			holds(t, f, content(7000))
		})
	}
}

// TestBounds: what is larger than it may be is refused, what is empty is taken.
func TestBounds(t *testing.T) {
	t.Parallel()
	for kind, start := range all() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.put(t, "orders.csv", content(5000))
			store := open(t, p, ingest.RemoteOptions{MaxFile: 4999})
			f := spool(t)
			_, err := store.Fetch(t.Context(), only(t, store), f, 0)
			if codeOf(err) != "file_too_large" || fault.Of(err).Class != fault.Data || length(t, f) > 4999 {
				t.Errorf("%d bytes were taken: %v", length(t, f), err)
			}
			p.put(t, "orders.csv", nil)
			got, err := store.Fetch(t.Context(), only(t, store), f, 0)
			if err != nil || got.Size != 0 || length(t, f) != 0 {
				t.Errorf("an empty file: %d bytes, %v", length(t, f), err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, _, err := store.List(ctx, "*.csv", 1); codeOf(err) != "canceled" {
				t.Errorf("a look that was given up: %v", err)
			}
			only(t, store) // and it works again
		})
	}
}
