package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGenerated: each format holds as many rows as the generator says by the plain
// reader, has about the size that was asked for, and is the same every time.
func TestGenerated(t *testing.T) {
	t.Parallel()
	for _, format := range allFormats() {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			const size = 3 << 20
			dir := t.TempDir()
			first, err := generate(format, filepath.Join(dir, "first"), size)
			if err != nil {
				t.Fatal(err)
			}
			again, err := generate(format, filepath.Join(dir, "again"), size)
			if err != nil {
				t.Fatal(err)
			}
			a, errA := os.ReadFile(first.path)
			b, errB := os.ReadFile(again.path)
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("two files of %d and %d bytes differ: %v, %v", len(a), len(b), errA, errB)
			}
			if first.bytes < size*9/10 || first.bytes > size*11/10 {
				t.Errorf("%d bytes, asked for %d", first.bytes, size)
			}
			rows, err := plain(format, first.path)
			if err != nil || rows != first.rows || rows < 1000 {
				t.Errorf("%d rows of %d, %v", rows, first.rows, err)
			}
		})
	}
}

func TestGeneratedRows(t *testing.T) {
	t.Parallel()
	m, err := generateRows(filepath.Join(t.TempDir(), "rows.csv"), 50)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(m.path)
	if err != nil || bytes.Count(b, []byte("\n")) != 50 || strings.HasPrefix(string(b), columns[0]) {
		t.Errorf("%q, %v", b[:min(100, len(b))], err)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"-size 12", "-size 0MiB", "-size 99GiB", "-formats doc", "-repetitions 0", "more"} {
		if _, err := parse(strings.Fields(bad), io.Discard); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	o, err := parse(strings.Fields("-size 64MiB -formats csv,xlsx"), io.Discard)
	if err != nil || o.size != 64<<20 || len(o.formats) != 2 || o.xlsxSize()>>10 != 6400 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parse(nil, io.Discard); err != nil || o.size != 1<<30 || o.xlsxSize() != 100<<20 || len(o.formats) != 4 {
		t.Errorf("%+v, %v", o, err)
	}
}
