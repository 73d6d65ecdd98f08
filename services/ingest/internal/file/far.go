package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"waybill.internal/services/ingest/internal/remote"
)

const (
	spoolMode   = 0o700
	spoolSuffix = ".part"
	// maxSpoolAge is how long the beginning of a file that nobody asks for any more is kept.
	maxSpoolAge = 3 * 24 * time.Hour
)

// far is where a file lies of which we read a copy.
type far struct {
	store  remote.Store
	entry  remote.Entry
	marker *remote.Entry
}

func isFar(from string) bool { return strings.Contains(from, "://") }

// lookFar is look for a place that is not a local directory. It opens the place
// anew, so that a changed secret is taken up.
func (s *Source) lookFar(ctx context.Context) (pending bool, err error) {
	s.clearSpool()
	last := s.last
	if s.asked { // one that failed is given although it has not changed
		last = remote.Entry{}
	}
	store, err := remote.Open(ctx, s.file, remote.Options{Source: s.integration + "/" + s.source, Log: s.Log, Last: last})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	capped, err := s.listFar(ctx, store)
	if err != nil {
		return false, err
	}
	return s.takeAll(ctx, capped, func(name string) (bool, error) { return s.takeFar(ctx, store, name) })
}

func (s *Source) listFar(ctx context.Context, store remote.Store) (capped bool, err error) {
	entries, capped, err := store.List(ctx, s.file.Match, maxNames)
	if err != nil {
		return false, err
	}
	markers, err := s.markers(ctx, store)
	if err != nil {
		return false, err
	}
	now, seen := time.Now(), make(map[string]*sighting, len(entries))
	for _, e := range entries {
		if isMarker(s.file, e.Name) {
			continue
		}
		before := s.seen[e.Name]
		if before == nil || !before.entry.Same(e) {
			before = &sighting{entry: e, since: now}
		}
		switch s.file.Complete.By {
		case byRename:
			before.complete = true
		case byMarker:
			m, ok := markers[s.markerOf(e.Name)]
			if before.complete, before.marker = ok && !older(m.ModTime, e.ModTime), nil; before.complete {
				before.marker = &m
			}
			s.tellStale(e.Name, before, ok)
		default:
			before.complete = before.complete || now.Sub(before.since) >= s.standing()
		}
		seen[e.Name] = before
	}
	s.seen = seen
	return capped, nil
}

func (s *Source) markers(ctx context.Context, store remote.Store) (map[string]remote.Entry, error) {
	if s.file.Complete.By != byMarker {
		return nil, nil
	}
	before, after := markerEnds(s.file)
	list, _, err := store.List(ctx, before+"*"+after, maxNames)
	if err != nil {
		return nil, err
	}
	markers := make(map[string]remote.Entry, len(list))
	for _, e := range list {
		markers[e.Name] = e
	}
	return markers, nil
}

// farStamp is what the server says of the file's content; if it says nothing,
// the file is another one at each look.
func (s *Source) farStamp(e remote.Entry) string {
	if e.Size < 0 && e.ModTime.IsZero() && e.Tag == "" {
		return "seen " + s.Ledger.Now().Format(time.RFC3339Nano)
	}
	return fmt.Sprintf("%d %d %s", e.Size, e.ModTime.UnixNano(), e.Tag)
}

func (s *Source) takeFar(ctx context.Context, store remote.Store, name string) (ended bool, err error) {
	seen := s.seen[name]
	stamp := s.farStamp(seen.entry)
	ended, err = s.visit(ctx, seen, name, stamp, func(ctx context.Context) (*drop, error) { return s.fetch(ctx, store, seen, stamp) })
	if ended && err == nil || seen.kept { // otherwise the server must give it again
		s.last = seen.entry
	}
	return ended, err
}

// fetch brings a copy here, or goes on where an earlier look broke off: what came
// is kept under a name made of hashes, never of the server's name. nil: another
// process of this machine fetches it.
func (s *Source) fetch(ctx context.Context, store remote.Store, seen *sighting, stamp string) (*drop, error) {
	if err := s.makeSpool(); err != nil {
		return nil, err
	}
	prefix := s.spoolPrefix()
	path := filepath.Join(s.Spool, fmt.Sprintf("%s%x%s", prefix, sha256.Sum256([]byte(seen.entry.Name+"\x00"+stamp)), spoolSuffix))
	spool, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the copy that is under way: %w", err)
	}
	if err := syscall.Flock(int(spool.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, spool.Close()
	}
	info, err := spool.Stat()
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	s.Log.Info("fetching a file", zap.String("file", shown(seen.entry.Name)), zap.Int64("bytes", seen.entry.Size), zap.Int64("bytes_here", info.Size()))
	got, err := store.Fetch(ctx, seen.entry, spool, info.Size())
	if err == nil {
		info, err = spool.Stat()
	}
	if err == nil && got.Size >= 0 && info.Size() != got.Size {
		err = fmt.Errorf("%d bytes came, the server has %d; it is fetched again", info.Size(), got.Size)
	}
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return &drop{name: seen.entry.Name, file: spool, info: info, stamp: stamp, far: &far{store: store, entry: got, marker: seen.marker}}, nil
}

// makeSpool makes the folder for copies, and for what must be unpacked to a file.
func (s *Source) makeSpool() error {
	if err := os.MkdirAll(s.Spool, spoolMode); err != nil {
		return fmt.Errorf("make the folder for files under way (WAYBILL_INGEST_SPOOL): %w", err)
	}
	return nil
}

// forgetSpool removes the copy of a file that ended.
func (d *drop) forgetSpool() {
	if d.far != nil {
		_ = os.Remove(d.file.Name()) // one that stays is cleared by age
	}
}

func (s *Source) spoolPrefix() string {
	sum := sha256.Sum256([]byte(s.integration + "\x00" + s.source))
	return fmt.Sprintf("%x-", sum[:8])
}

// clearSpool removes what was begun so long ago that nobody goes on with it.
func (s *Source) clearSpool() {
	paths, err := filepath.Glob(filepath.Join(s.Spool, s.spoolPrefix()+"*"+spoolSuffix))
	if err != nil {
		return // the pattern is ours
	}
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > maxSpoolAge {
			_ = os.Remove(path)
		}
	}
}
