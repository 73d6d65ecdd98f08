package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/formats"
	"waybill.internal/services/ingest/internal/remote"
	"waybill.internal/services/ingest/internal/rows"
)

const (
	// tryNames bounds the names that a trial looks at, tryFetch the bytes that it
	// brings here to look into a file that lies afar.
	tryNames = 10_000
	tryFetch = 256 << 20
)

// Trial is what a source would take, and how its first file reads; nothing is moved or kept.
type Trial struct {
	Place string // where it was looked
	Files []TriedFile
	More  bool // there are more than were looked at
	Read  string
	Rows  []TriedRow
	Error string // why the file cannot be read on
}

// TriedFile is a file that a look finds.
type TriedFile struct {
	Name string
	Size int64 // -1: not told
	At   time.Time
}

// TriedRow is one row as a record would hold it.
type TriedRow struct {
	Number, Line int
	Body         []byte // JSON; nil: the row is broken
	Key, Entity  string // with <hash> where the hash of the whole file stands
	Problem      string
	BodyProblems []integration.Problem
}

// TryOptions of Try.
type TryOptions struct {
	Root  string // of relative directories; empty: the working directory
	Local string // a file on this machine, instead of one where the source looks
	Rows  int    // that are read at most
}

// Try looks where the source looks, and reads the first rows of the first file.
func Try(ctx context.Context, e catalog.Entry, src *integration.Source, o TryOptions) (trial Trial, err error) {
	f := src.File
	if o.Local != "" {
		trial.Place, trial.Read = filepath.Dir(o.Local), filepath.Base(o.Local)
		file, err := os.OpenFile(o.Local, os.O_RDONLY|syscall.O_NONBLOCK, 0) // not waiting for a pipe's writer
		if err != nil {
			return trial, err
		}
		defer file.Close()
		err = trial.read(e, src, file, o)
		return trial, err
	}
	if isFar(f.From) {
		err = trial.afar(ctx, e, src, o)
		return trial, err
	}
	trial.Place = filepath.FromSlash(f.From)
	if !filepath.IsAbs(trial.Place) {
		trial.Place = filepath.Join(o.Root, trial.Place)
	}
	root, err := os.OpenRoot(trial.Place)
	if err != nil {
		return trial, err
	}
	defer root.Close()
	if err := trial.here(root, f); err != nil || len(trial.Files) == 0 {
		return trial, err
	}
	trial.Read = trial.Files[0].Name
	d, err := openDrop(root, trial.Read)
	if err != nil {
		return trial, err
	}
	defer d.close()
	err = trial.read(e, src, d.file, o)
	return trial, err
}

func (t *Trial) here(root *os.Root, f *integration.File) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	for seen := 0; ; {
		entries, err := dir.ReadDir(namesStep)
		for _, entry := range entries {
			if matches, bad := path.Match(f.Match, entry.Name()); bad != nil || !matches || unfinished(entry.Name()) || isMarker(f, entry.Name()) || !entry.Type().IsRegular() {
				continue
			}
			info, gone := entry.Info()
			if gone != nil {
				continue
			}
			t.Files = append(t.Files, TriedFile{shown(entry.Name()), info.Size(), info.ModTime()})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if seen += len(entries); seen >= tryNames {
			t.More = true
			break
		}
	}
	slices.SortFunc(t.Files, func(a, b TriedFile) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func (t *Trial) afar(ctx context.Context, e catalog.Entry, src *integration.Source, o TryOptions) error {
	t.Place = src.File.From
	store, err := remote.Open(ctx, src.File, remote.Options{Source: e.Name + "/" + src.Name, MaxFile: tryFetch})
	if err != nil {
		return err
	}
	defer store.Close()
	entries, more, err := store.List(ctx, src.File.Match, tryNames)
	if err != nil {
		return err
	}
	t.More = more
	entries = slices.DeleteFunc(entries, func(e remote.Entry) bool { return isMarker(src.File, e.Name) })
	for _, entry := range entries {
		t.Files = append(t.Files, TriedFile{entry.Name, entry.Size, entry.ModTime})
	}
	if len(entries) == 0 {
		return nil
	}
	t.Read = entries[0].Name
	if entries[0].Size > tryFetch {
		t.Error = fmt.Sprintf("it has %d bytes; a trial fetches at most %d: give a part of it as FILE", entries[0].Size, int64(tryFetch))
		return nil
	}
	spool, err := os.CreateTemp("", "waybill-try-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(spool.Name()) }()
	defer spool.Close()
	if _, err := store.Fetch(ctx, entries[0], spool, 0); err != nil {
		return err
	}
	return t.read(e, src, spool, o)
}

// read reads the first rows. What is wrong with the file is not an error of Try.
func (t *Trial) read(e catalog.Entry, src *integration.Source, file *os.File, o TryOptions) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file: %w", t.Read, fs.ErrInvalid)
	}
	r, err := formats.Open(&src.File.Format, formats.Input{Name: t.Read, Stream: io.NewSectionReader(file, 0, info.Size()), Random: file, Size: info.Size()}, maxBody, nil)
	if err != nil {
		return t.wrong(err)
	}
	for len(t.Rows) < o.Rows && err == nil {
		var row rows.Row
		row, err = r.Next()
		broken, isBroken := errors.AsType[*rows.RowError](err)
		switch {
		case isBroken:
			t.Rows = append(t.Rows, TriedRow{Number: broken.Number, Line: broken.Line, Problem: broken.Message})
			err = nil
		case err == nil:
			t.Rows = append(t.Rows, triedRow(e, src, row))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(t.wrong(err), r.Close())
}

func (t *Trial) wrong(err error) error {
	if bad, ok := errors.AsType[*rows.FileError](err); ok {
		t.Error = bad.Error()
		return nil
	}
	return err
}

func triedRow(e catalog.Entry, src *integration.Source, row rows.Row) TriedRow {
	out := TriedRow{Number: row.Number, Line: row.Line, Body: slices.Clone(row.Body), BodyProblems: e.Validate(row.Value)}
	var err error
	if out.Key, out.Entity, err = e.Keys(src, integration.Input{Body: row.Value, Headers: map[string]string{}, FileHash: "<hash>", Row: int64(row.Number)}); err != nil {
		out.Problem = err.Error()
	}
	return out
}
