package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

const (
	// maxNames bounds the files that one look keeps; further ones wait for the
	// next. Names that are not for us do not count.
	maxNames  = 10_000
	namesStep = 256
	// maxHidden bounds the unfinished files kept, since each new file is compared
	// with all of them; a file that was behind them must stand for a while.
	maxHidden = 1000
	// maxIdleLooks is how many looks in a row may find more than maxNames files
	// and take none, before a person is told: the others may never be seen. One
	// such look is usual, since files must stand for a while first.
	maxIdleLooks = 3
)

// sighting is a file as it stood when it was first seen like this.
type sighting struct {
	info     fs.FileInfo
	since    time.Time // of our monotonic clock
	complete bool
	hash     *[32]byte // once it was read through
}

func same(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// look takes every complete file. pending: there are files that another look
// may find complete, or free of the session that held them.
func (s *Source) look(ctx context.Context) (pending bool, err error) {
	root, err := s.open()
	if err != nil {
		return false, err
	}
	defer root.Close()
	if s.heard.IsZero() {
		s.heard = s.heardBefore(root)
	}
	capped, err := s.list(ctx, root)
	if err != nil {
		return false, err
	}
	pending = capped
	names := make([]string, 0, len(s.seen))
	for name := range s.seen {
		names = append(names, name)
	}
	slices.Sort(names)
	var failed []error
	taken := 0
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		if !s.seen[name].complete {
			pending = true
			continue
		}
		s.heard = s.Ledger.Now()
		ended, err := s.take(ctx, root, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // somebody took it away: another replica, or its owner
			taken++
		case err != nil:
			failed = append(failed, fmt.Errorf("file %s: %w", shown(name), err))
			pending = true
		case !ended:
			pending = true
		default:
			taken++
		}
	}
	err = errors.Join(failed[:min(len(failed), 5)]...)
	if ctx.Err() == nil && !errors.Is(err, errSessionEnded) { // otherwise it says nothing about the files
		s.checkStuck(capped, taken)
	}
	return pending, err
}

// checkStuck tells a person when the files that fill a look stay where they
// are, so that those behind them are not seen.
func (s *Source) checkStuck(capped bool, taken int) {
	if !capped || taken > 0 {
		s.idleLooks = 0
		return
	}
	if s.idleLooks++; s.idleLooks < maxIdleLooks {
		return
	}
	s.idleLooks = 0
	s.Alert(telemetry.Problem{Kind: telemetry.KindPart, Integration: s.integration, Code: "directory_full", Where: s.source,
		Message: fmt.Sprintf("the watched directory holds more than %d files and none of them could be taken at %d looks in a row; the others are not seen: move files away that are not to be taken",
			maxNames, maxIdleLooks),
		Repair: "waybill doctor"})
}

func (s *Source) open() (*os.Root, error) {
	if s.relative {
		if err := os.MkdirAll(s.folder, folderMode); err != nil {
			return nil, fmt.Errorf("make the watched directory: %w", err)
		}
	}
	root, err := os.OpenRoot(s.folder)
	if err != nil {
		return nil, fmt.Errorf("open the watched directory: %w", err)
	}
	return root, nil
}

// listing is what one look found. Each of its collections holds at most maxNames.
type listing struct {
	seen    map[string]*sighting
	hidden  []fs.FileInfo
	strange map[string]bool
	capped  bool // there were files beyond maxNames
}

// list brings seen up to date; capped: there are files beyond maxNames. All
// names are read, since those for us may come last.
func (s *Source) list(ctx context.Context, root *os.Root) (capped bool, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return false, fmt.Errorf("list the watched directory: %w", err)
	}
	defer dir.Close()
	l := listing{seen: map[string]*sighting{}, strange: map[string]bool{}}
	for ctx.Err() == nil {
		entries, err := dir.ReadDir(namesStep)
		for _, e := range entries {
			s.sight(root, e, &l)
		}
		if errors.Is(err, io.EOF) {
			s.seen, s.hidden, s.strange = l.seen, l.hidden, l.strange
			if l.capped {
				s.Log.Warn("the watched directory holds more files than one look takes; the others wait for the next", zap.Int("files", maxNames))
			}
			return l.capped, nil
		}
		if err != nil {
			return false, fmt.Errorf("list the watched directory: %w", err)
		}
	}
	return false, fmt.Errorf("list the watched directory: %w", ctx.Err())
}

// sight enters one name: a file, one that is still being written under a name
// of its own, or something strange.
func (s *Source) sight(root *os.Root, e fs.DirEntry, l *listing) {
	name := e.Name()
	temporary := unfinished(name)
	if matches, err := path.Match(s.file.Match, name); e.IsDir() || (!temporary && (err != nil || !matches)) {
		return
	}
	if temporary && len(l.hidden) == maxHidden {
		return
	}
	if !temporary && len(l.seen) == maxNames {
		l.capped = true
		return
	}
	info, err := root.Lstat(name)
	if err != nil || info.IsDir() {
		return // it is gone again
	}
	if temporary {
		l.hidden = append(l.hidden, info)
		return
	}
	if !info.Mode().IsRegular() {
		s.refuse(name, info, l)
		return
	}
	now := time.Now()
	before := s.seen[name]
	if before == nil || !same(before.info, info) {
		before = &sighting{info: info, since: now, complete: slices.ContainsFunc(s.hidden, func(h fs.FileInfo) bool { return same(h, info) })}
	}
	before.complete = before.complete || now.Sub(before.since) >= settle
	l.seen[name] = before
}

// refuse logs a name that is no file once, as long as it stays; those beyond
// maxNames are not logged.
func (s *Source) refuse(name string, info fs.FileInfo, l *listing) {
	if len(l.strange) == maxNames {
		return
	}
	if l.strange[name] = true; !s.strange[name] {
		s.Log.Warn("this is no regular file and is not taken", zap.String("file", shown(name)), zap.Stringer("mode", info.Mode()))
	}
}

// unfinished are the names under which partners write before they rename.
func unfinished(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".part")
}

// take reads a complete file, or moves it away if it was read before. ended is
// false while another session reads it.
func (s *Source) take(ctx context.Context, root *os.Root, name string) (ended bool, err error) {
	seen := s.seen[name]
	d, err := openDrop(root, name)
	if err != nil {
		return false, err
	}
	defer d.close()
	if !same(d.info, seen.info) {
		return false, nil // it is another file now: the next look sees that
	}
	if seen.hash == nil {
		hash, err := d.hash(ctx)
		if err != nil {
			return false, err
		}
		seen.hash = &hash
	}
	return s.taken(ctx, d, *seen.hash)
}

func (s *Source) taken(ctx context.Context, d *drop, hash [32]byte) (ended bool, err error) {
	session, err := s.Sessions.Current(ctx)
	if err != nil {
		return false, err
	}
	f, err := s.claim(ctx, session, d, hash)
	if err != nil {
		return false, err
	}
	log := s.Log.With(zap.String("file", shown(d.name)), zap.Int64("file_id", f.ID))
	switch {
	case f.Mine:
		return s.read(ctx, session, d, f, log)
	case f.State == stateDone:
		log.Info("this file was read before; it gives nothing new and is moved away", zap.Int64("rows", f.Rows))
		return true, s.move(d, doneDir, log)
	default:
		return false, nil
	}
}

func (s *Source) claim(ctx context.Context, session *ledger.Session, d *drop, hash [32]byte) (ledger.File, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.Ledger.TakeFile(ctx, session.ID, ledger.File{Integration: s.integration, Source: s.source, Name: shown(d.name),
		Size: d.info.Size(), Hash: hash, TrackingID: newTrackingID()})
}

// shown is a name for logs, headers and the ledger.
func shown(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
