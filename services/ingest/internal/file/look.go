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
)

const (
	// maxNames bounds the names of one look; further ones wait for the next.
	maxNames  = 10_000
	namesStep = 256
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
	pending, err = s.list(root)
	if err != nil {
		return pending, err
	}
	names := make([]string, 0, len(s.seen))
	for name := range s.seen {
		names = append(names, name)
	}
	slices.Sort(names)
	var failed []error
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
			continue
		case err != nil:
			failed = append(failed, fmt.Errorf("file %s: %w", shown(name), err))
			pending = true
		case !ended:
			pending = true
		}
	}
	return pending, errors.Join(failed[:min(len(failed), 5)]...)
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

// list brings seen up to date; more: there are names beyond maxNames.
func (s *Source) list(root *os.Root) (more bool, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return false, fmt.Errorf("list the watched directory: %w", err)
	}
	defer dir.Close()
	seen, strange := map[string]*sighting{}, map[string]bool{}
	var hidden []fs.FileInfo
	for n := 0; n < maxNames; n += namesStep {
		entries, err := dir.ReadDir(namesStep)
		for _, e := range entries {
			info := s.sight(root, e, seen, strange)
			if info != nil {
				hidden = append(hidden, info)
			}
		}
		if errors.Is(err, io.EOF) {
			s.seen, s.hidden, s.strange = seen, hidden, strange
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("list the watched directory: %w", err)
		}
	}
	s.seen, s.hidden, s.strange = seen, hidden, strange
	s.Log.Warn("the watched directory holds more names than one look takes; the others wait for the next", zap.Int("names", maxNames))
	return true, nil
}

// sight enters one name; a file that is still being written under a name of its
// own is returned instead.
func (s *Source) sight(root *os.Root, e fs.DirEntry, seen map[string]*sighting, strange map[string]bool) (hidden fs.FileInfo) {
	name := e.Name()
	temporary := unfinished(name)
	if matches, err := path.Match(s.file.Match, name); e.IsDir() || (!temporary && (err != nil || !matches)) {
		return nil
	}
	info, err := root.Lstat(name)
	if err != nil || info.IsDir() {
		return nil // it is gone again
	}
	if temporary {
		return info
	}
	if !info.Mode().IsRegular() {
		if strange[name] = true; !s.strange[name] {
			s.Log.Warn("this is no regular file and is not taken", zap.String("file", shown(name)), zap.Stringer("mode", info.Mode()))
		}
		return nil
	}
	now := time.Now()
	before := s.seen[name]
	if before == nil || !same(before.info, info) {
		before = &sighting{info: info, since: now, complete: slices.ContainsFunc(s.hidden, func(h fs.FileInfo) bool { return same(h, info) })}
	}
	before.complete = before.complete || now.Sub(before.since) >= settle
	seen[name] = before
	return nil
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
