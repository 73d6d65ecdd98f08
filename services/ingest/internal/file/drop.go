package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"waybill.internal/pkg/ledger"
)

const (
	// maxSuffix bounds the numbers tried for a name that is taken.
	maxSuffix = 10_000
	// maxFileName is the longest name that file systems take, in bytes; what follows the last
	// dot counts as its ending up to maxExt.
	maxFileName = 255
	maxExt      = 32
)

// drop is a file that lies in the watched directory, or a copy of one that lies
// afar, open for reading.
type drop struct {
	root   *os.Root // nil: it lies afar
	name   string
	file   *os.File
	info   fs.FileInfo // when it was opened
	stamp  string      // which very file it is
	far    *far
	sign   fs.FileInfo      // the marker that said that it is whole; nil: none did
	leased *ledger.FileName // its name is this session's until it is settled
}

// stampOf tells a file from others that had or will have its name.
func stampOf(info fs.FileInfo) string {
	inode := uint64(0)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = stat.Ino
	}
	return fmt.Sprintf("%d %d %d", info.Size(), info.ModTime().UnixNano(), inode)
}

// openDrop opens a regular file without following a link and without waiting
// for a pipe's writer, whatever is put in its place meanwhile.
func openDrop(root *os.Root, name string) (*drop, error) {
	named, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !named.Mode().IsRegular() {
		return nil, fmt.Errorf("it is no regular file: %w", fs.ErrNotExist)
	}
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || !os.SameFile(info, named)) {
		err = fmt.Errorf("another file took its place: %w", fs.ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &drop{root: root, name: name, file: file, info: info, stamp: stampOf(info)}, nil
}

func (d *drop) close() { _ = d.file.Close() } // it was only read

// hash reads the file through, in constant memory.
func (d *drop) hash(ctx context.Context) (sum [32]byte, err error) {
	h := sha256.New()
	section := io.NewSectionReader(d.file, 0, 1<<62)
	if _, err := io.Copy(h, &untilDone{ctx: ctx, r: section}); err != nil {
		return sum, fmt.Errorf("read it through: %w", err)
	}
	copy(sum[:], h.Sum(nil))
	return sum, nil
}

// changed reports whether the bytes are others than those of hash. They are
// read only if size or time say that they might be.
func (d *drop) changed(ctx context.Context, hash [32]byte) (bool, error) {
	if d.far != nil {
		return false, nil // the copy is ours alone
	}
	info, err := d.file.Stat()
	if err != nil || same(info, d.info) {
		return false, err
	}
	if info.Size() != d.info.Size() {
		return true, nil
	}
	now, err := d.hash(ctx)
	if err == nil && now == hash {
		d.info = info
	}
	return now != hash, err
}

// moveTo moves the file into a folder beside it and returns its name there. What
// lies there is never written over: the new name is made first, as an empty
// file that is ours. A file that took this one's name meanwhile is put back.
func (d *drop) moveTo(folder string) (string, error) {
	named, err := d.root.Lstat(d.name)
	if err != nil {
		return "", err
	}
	if !os.SameFile(named, d.info) {
		return "", fmt.Errorf("another file took its name: %w", fs.ErrNotExist)
	}
	if err := d.root.Mkdir(folder, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	target, err := d.reserve(folder)
	if err != nil {
		return "", err
	}
	err = d.root.Rename(d.name, target)
	if errors.Is(err, syscall.EXDEV) { // the folder is on another file system
		if err = d.copyTo(target); err == nil {
			return target, d.remove()
		}
	}
	if err != nil {
		return "", errors.Join(err, d.root.Remove(target))
	}
	moved, err := d.root.Lstat(target)
	if err != nil || os.SameFile(moved, d.info) {
		return target, err
	}
	if err := d.root.Link(target, d.name); err != nil {
		return target, fmt.Errorf("a file that has not been read was moved to %s and could not be put back; do that by hand: %w", target, err)
	}
	return "", d.root.Remove(target)
}

// copyTo fills an empty file that is ours with the bytes of this one, durably.
func (d *drop) copyTo(target string) error {
	named, err := d.root.Lstat(target)
	if err != nil {
		return err
	}
	out, err := d.root.OpenFile(target, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if info, err := out.Stat(); err != nil || !info.Mode().IsRegular() || !os.SameFile(info, named) {
		return errors.Join(fmt.Errorf("%s is another file by now", target), err, out.Close())
	}
	if _, err = io.Copy(out, io.NewSectionReader(d.file, 0, 1<<62)); err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// remove deletes the file unless another one took its name.
func (d *drop) remove() error {
	named, err := d.root.Lstat(d.name)
	if err != nil {
		return err
	}
	if !os.SameFile(named, d.info) {
		return fmt.Errorf("another file took its name: %w", fs.ErrNotExist)
	}
	return d.root.Remove(d.name)
}

// reserve makes an empty file under a free name.
func (d *drop) reserve(folder string) (string, error) {
	ext := path.Ext(d.name)
	if len(ext) > maxExt {
		ext = ""
	}
	stem := strings.TrimSuffix(d.name, ext)
	for n := 1; n <= maxSuffix; n++ {
		target := path.Join(folder, d.name)
		if n > 1 {
			target = path.Join(folder, numbered(stem, n, ext))
		}
		file, err := d.root.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		return target, file.Close()
	}
	return "", fmt.Errorf("%d files of this name are in %s already; clear it", maxSuffix, folder)
}

// numbered puts a number into a name. One that would be too long for a file system
// loses the end of its stem, at the beginning of a character.
func numbered(stem string, n int, ext string) string {
	end := "-" + strconv.Itoa(n) + ext
	if most := maxFileName - len(end); len(stem) > most {
		for most > 0 && !utf8.RuneStart(stem[most]) {
			most--
		}
		stem = stem[:most]
	}
	return stem + end
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
