package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/remote"
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
	// maxTold bounds the files that one alert names.
	maxTold = 5
	// maxHeldUp is how long a file that is not whole may hold up those after it before a person is told.
	maxHeldUp = 15 * time.Minute
)

// sighting is a file as it stood when it was first seen like this.
type sighting struct {
	info     fs.FileInfo  // of a file that lies here
	entry    remote.Entry // of one that lies afar
	since    time.Time    // of our monotonic clock
	complete bool
	kept     bool          // it was read, and stays where it is
	told     bool          // that it holds up others
	stale    bool          // its marker is older than it, which was logged
	hash     *[32]byte     // once it was read through
	marker   *remote.Entry // afar: the file that says that this one is whole
	sign     fs.FileInfo   // here: that file
}

func same(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// look takes every complete file. pending: there are files that another look
// may find complete, or free of the session that held them.
func (s *Source) look(ctx context.Context) (pending bool, err error) {
	if s.far {
		return s.lookFar(ctx)
	}
	root, err := s.open()
	if err != nil {
		return false, err
	}
	defer root.Close()
	capped, err := s.list(ctx, root)
	if err != nil {
		return false, err
	}
	return s.takeAll(ctx, capped, func(name string) (bool, error) { return s.take(ctx, root, name) })
}

// takeAll takes the complete files of the last listing, in the order of their names.
func (s *Source) takeAll(ctx context.Context, capped bool, take func(name string) (ended bool, err error)) (pending bool, err error) {
	pending, s.waiting = capped, 0
	var failed []error
	taken := 0
	names := slices.Sorted(maps.Keys(s.seen))
	for i, name := range names {
		seen := s.seen[name]
		if ctx.Err() != nil {
			break
		}
		if seen.kept && !s.asked {
			continue
		}
		if !seen.complete {
			pending, s.waiting = true, s.waiting+1
			if s.file.Ordered() {
				s.waiting += s.holdUp(name, seen, names[i+1:])
				break // what comes after it must not overtake it
			}
			continue
		}
		ended, err := take(name)
		stuck := !ended && !seen.kept && !errors.Is(err, fs.ErrNotExist)
		switch {
		case errors.Is(err, fs.ErrNotExist): // somebody took it away: another replica, or its owner
			taken++
		case err != nil:
			failed = append(failed, fmt.Errorf("file %s: %w", shown(name), err))
			pending, s.waiting = true, s.waiting+1
		case seen.kept && !ended:
			continue // nothing was heard
		case !ended:
			pending, s.waiting = true, s.waiting+1
		default:
			taken++
			s.ended++
		}
		s.hear()
		if s.file.Ordered() && (stuck || err != nil && !errors.Is(err, fs.ErrNotExist)) {
			break // what comes after it must not overtake it; one that ended and lies there still would be read again after it
		}
	}
	err = errors.Join(failed[:min(len(failed), maxTold)]...)
	if ctx.Err() == nil && !errors.Is(err, errSessionEnded) { // otherwise it says nothing about the files
		s.checkStuck(capped, taken)
	}
	return pending, err
}

// holdUp counts the files behind one that is not whole, and tells a person once
// when it has held them up for long: its marker may never come.
func (s *Source) holdUp(name string, seen *sighting, behind []string) (waiting int) {
	for _, other := range behind {
		if !s.seen[other].kept {
			waiting++
		}
	}
	if stood := time.Since(seen.since); waiting > 0 && stood >= maxHeldUp && !seen.told {
		seen.told = true
		s.Alert(telemetry.Problem{Kind: telemetry.KindPart, Integration: s.integration, Code: "held_up", Where: s.source,
			Message: fmt.Sprintf("the file %q is not whole for %s and holds up %d files after it, which are not to overtake it: let its sender end it, or take it away", shown(name), stood.Round(time.Minute), waiting),
			Repair:  "waybill source test " + s.integration + "/" + s.source})
	}
	return waiting
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
	if isMarker(s.file, name) || temporary && len(l.hidden) == maxHidden {
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
		before = &sighting{info: info, since: now, complete: s.file.Complete.By != byMarker && slices.ContainsFunc(s.hidden, func(h fs.FileInfo) bool { return same(h, info) })}
	}
	switch s.file.Complete.By {
	case byRename:
		before.complete = true
	case byMarker:
		sign, err := root.Lstat(s.markerOf(name))
		before.sign, before.complete = sign, err == nil && sign.Mode().IsRegular() && !older(sign.ModTime(), info.ModTime())
		s.tellStale(name, before, err == nil && sign.Mode().IsRegular())
	default:
		before.complete = before.complete || now.Sub(before.since) >= s.standing()
	}
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

// take reads a complete file that lies here, or moves it away if it was read
// before. ended is false while another session reads it.
func (s *Source) take(ctx context.Context, root *os.Root, name string) (ended bool, err error) {
	seen := s.seen[name]
	return s.visit(ctx, seen, name, stampOf(seen.info), func(context.Context) (*drop, error) { return s.openSeen(root, name) })
}

// openSeen opens a file as the last look saw it; nil: it is another one now, which the next look sees.
func (s *Source) openSeen(root *os.Root, name string) (*drop, error) {
	seen := s.seen[name]
	d, err := openDrop(root, name)
	if err != nil {
		return nil, err
	}
	if !same(d.info, seen.info) {
		d.close()
		return nil, nil
	}
	d.sign = seen.sign
	return d, nil
}

// visit reads a file. Its name is leased in the ledger first if it is to be
// fetched, or if it is to be remembered because it stays where it is.
func (s *Source) visit(ctx context.Context, seen *sighting, name, stamp string, open func(context.Context) (*drop, error)) (ended bool, err error) {
	session, err := s.Sessions.Current(ctx)
	if err != nil {
		return false, err
	}
	leased := ledger.FileName{Integration: s.integration, Source: s.source, Name: shown(name), Stamp: stamp}
	if !s.leases() {
		leased.Stamp = ""
	} else {
		mine, known, err := s.lease(ctx, session, leased)
		if seen.kept = known; err != nil || known || !mine {
			return false, err
		}
	}
	// A fetch takes long: it ends with the session, whose lease another one may have then.
	under, stop := context.WithCancel(ctx)
	defer context.AfterFunc(session.Context(), stop)()
	defer stop()
	d, err := open(under)
	if !session.Alive() {
		err = errors.Join(errSessionEnded, err)
	}
	if d != nil {
		defer d.close()
	}
	if d != nil && err == nil {
		if leased.Stamp != "" {
			d.leased = &leased
		}
		if ended, err = s.taken(ctx, session, d, seen); ended && err == nil {
			d.forgetSpool()
		}
	}
	if leased.Stamp != "" && (d == nil || d.leased != nil) {
		s.release(session, leased)
	}
	return ended, err
}

func (s *Source) taken(ctx context.Context, session *ledger.Session, d *drop, seen *sighting) (ended bool, err error) {
	if seen.hash == nil || d.far != nil {
		hash, err := d.hash(ctx)
		if err != nil {
			return false, err
		}
		seen.hash = &hash
	}
	f, err := s.claim(ctx, session, d, *seen.hash)
	if err != nil {
		return false, err
	}
	log := s.Log.With(zap.String("file", shown(d.name)), zap.Int64("file_id", f.ID))
	switch {
	case f.Mine:
		return s.read(ctx, session, d, f, log)
	case f.State == stateDone:
		log.Info("this file was read before; it gives nothing new", zap.String("read_as", f.Name), zap.Int64("rows", f.Rows))
		return true, s.leave(ctx, session, d, f, doneDir, log)
	default:
		return false, nil
	}
}

func (s *Source) claim(ctx context.Context, session *ledger.Session, d *drop, hash [32]byte) (ledger.File, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name := shown(d.name)
	f, err := s.Ledger.TakeFile(ctx, session.ID, s.terms(ledger.File{Integration: s.integration, Source: s.source, Name: name,
		Size: d.info.Size(), Hash: hash, TrackingID: newTrackingID(), Place: d.stamp + " " + name, Request: s.request}))
	f.Name = name // as it is called today
	return f, err
}

// terms are what the source decides about each of its files.
func (s *Source) terms(f ledger.File) ledger.File {
	f.Ordered, f.Snapshot, f.Reports = s.file.Ordered(), s.file.Mode == "snapshot", s.file.Report != nil
	return f
}

// shown is a name for logs, headers and the ledger.
func shown(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
