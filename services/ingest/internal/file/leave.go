package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
)

// What becomes of a file that was read.
const (
	afterKeep   = "keep"
	afterDelete = "delete"
)

// releaseTimeout bounds giving a name back, which is tried even when the source stops.
const releaseTimeout = 2 * time.Second

// leases tells whether names are leased before their files are read.
func (s *Source) leases() bool { return s.far || s.file.After == afterKeep }

func (s *Source) lease(ctx context.Context, session *ledger.Session, n ledger.FileName) (mine, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.Ledger.LeaseName(ctx, session.ID, n, s.asked)
}

// release gives a name back unread. If that fails, its lease ends with the session.
func (s *Source) release(session *ledger.Session, n ledger.FileName) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := s.Ledger.ReleaseName(ctx, session.ID, n); err != nil {
		s.Log.Warn("the name of a file could not be given back; it is free when the session ends", zap.String("file", n.Name), zap.Error(err))
	}
}

// leave does with a file that was read, to folder, what the integration says:
// archive it, then move, delete or remember it, and its marker with it. A crash in
// between is found at the next look, when the file is recognised.
func (s *Source) leave(ctx context.Context, session *ledger.Session, d *drop, f ledger.File, folder string, log *zap.Logger) error {
	if err := s.archive(ctx, d, f, log); err != nil {
		return fmt.Errorf("keep a copy of it in the archive: %w", err)
	}
	folder, err := s.stillRead(ctx, d, f, folder)
	if err != nil {
		return err
	}
	gone, err := s.clear(ctx, d, folder, log)
	if errors.Is(err, errors.ErrUnsupported) { // a web address: it can only be remembered
		gone, err = false, nil
	}
	if err != nil {
		return err
	}
	if gone {
		if err := s.clearMarker(ctx, d, folder); err != nil {
			return fmt.Errorf("its marker: %w", err)
		}
	}
	if d.leased == nil {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if gone {
		err = s.Ledger.ForgetName(call, session.ID, *d.leased)
	} else {
		err = s.Ledger.RememberName(call, session.ID, *d.leased, f.Hash, f.ID, folder == failedDir)
		if seen := s.seen[d.name]; err == nil && seen != nil {
			seen.kept = true
		}
	}
	if err == nil {
		d.leased = nil
	}
	return err
}

// stillRead sends a file that is done to failed/ if it was written to since its hash was
// confirmed: it was dropped too early, and what it holds now, nobody has read.
func (s *Source) stillRead(ctx context.Context, d *drop, f ledger.File, folder string) (string, error) {
	if folder != doneDir {
		return folder, nil
	}
	changed, err := d.changed(ctx, f.Hash)
	if err != nil || !changed {
		return folder, err
	}
	s.failedFile(f, "changed_late", "the file was written to after it had been read: what was added is not read; drop that as a file of its own, under a temporary name that is changed at the end")
	return failedDir, nil
}

// clear takes the file away from where it lies; gone is false if it stays there.
func (s *Source) clear(ctx context.Context, d *drop, folder string, log *zap.Logger) (gone bool, err error) {
	switch {
	case s.file.After == afterKeep:
		return false, nil
	case s.file.After == afterDelete && folder != failedDir: // one that failed is never deleted
		if d.far != nil {
			err = d.far.store.Delete(ctx, d.far.entry)
		} else {
			err = d.remove()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("delete it: %w", err)
		}
		log.Info("the file was deleted")
		return true, nil
	case d.far != nil:
		if err := d.far.store.Move(ctx, d.far.entry, folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("move it to %s: %w", folder, err)
		}
		log.Info("the file was moved", zap.String("to", folder))
		return true, nil
	default:
		return true, s.move(d, folder, log)
	}
}

// clearMarker lets the marker go where its file went: one that stayed would say
// of the next file of that name that it is whole.
func (s *Source) clearMarker(ctx context.Context, d *drop, folder string) error {
	if s.file.Complete.By != byMarker {
		return nil
	}
	remove := s.file.After == afterDelete && folder != failedDir
	var err error
	if d.far != nil {
		if d.far.marker == nil {
			return nil
		}
		if remove {
			err = d.far.store.Delete(ctx, *d.far.marker)
		} else {
			err = d.far.store.Move(ctx, *d.far.marker, folder)
		}
	} else {
		err = clearLocalMarker(d.root, s.markerOf(d.name), d.sign, folder, remove)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// clearLocalMarker leaves a marker that is another one by now: it belongs to the next file of the name.
func clearLocalMarker(root *os.Root, name string, sign fs.FileInfo, folder string, remove bool) error {
	m, err := openDrop(root, name)
	if err != nil {
		return err
	}
	defer m.close()
	if sign == nil || !same(m.info, sign) {
		return nil
	}
	if remove {
		return m.remove()
	}
	_, err = m.moveTo(folder)
	return err
}

// local is a directory of ours: relative ones lie below Config.Root.
func (s *Source) local(dir string) string {
	dir = filepath.FromSlash(dir)
	if filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(s.Root, dir)
}

// archive keeps a copy of the bytes that were read, whole or not at all. The
// name begins with the file's number, so that a copy is made once.
func (s *Source) archive(ctx context.Context, d *drop, f ledger.File, log *zap.Logger) error {
	if s.file.Archive == "" {
		return nil
	}
	folder := s.local(s.file.Archive)
	if err := os.MkdirAll(folder, folderMode); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	name := strconv.FormatInt(f.ID, 10) + "-" + safe(d.name)
	if info, err := root.Lstat(name); err == nil && info.Size() == d.info.Size() {
		return nil
	}
	write := func(w io.Writer) error { // what was added since it was read is not of it
		_, err := io.Copy(w, &untilDone{ctx: ctx, r: io.NewSectionReader(d.file, 0, d.info.Size())})
		return err
	}
	if err := writeWhole(root, name, write); err != nil {
		return err
	}
	log.Info("a copy of the file was kept", zap.String("in", name))
	return nil
}

// writeWhole writes a file under a name that is not looked at, makes it durable
// and gives it its own name. The first name is this call's alone: another process may
// write the same file, and strangers may put what they like into the folder.
func writeWhole(root *os.Root, name string, write func(io.Writer) error) error {
	temporary := "." + name + "." + strings.ToLower(rand.Text()[:8]) + ".tmp"
	out, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	err = write(out)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temporary))
	}
	return syncFolder(root)
}

// syncFolder makes the names in a folder durable.
func syncFolder(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) { // this file system cannot
		err = nil
	}
	return errors.Join(err, dir.Close())
}

// maxSafeName bounds a name that we make, in bytes: file systems take 255.
const maxSafeName = 180

// safe makes one element of a path of a name that a stranger gave.
func safe(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '/' || r == '\\' || r == ':' {
			return '_'
		}
		return r
	}, shown(name))
	if len(name) > maxSafeName {
		name = strings.ToValidUTF8(name[len(name)-maxSafeName:], "")
	}
	return strings.TrimLeft(name, ".")
}
