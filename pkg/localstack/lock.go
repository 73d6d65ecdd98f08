package localstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	lockPoll = 100 * time.Millisecond
	// sweepAge keeps the sweep away from folders that another process has made
	// but not locked yet.
	sweepAge   = 10 * time.Minute
	tempPrefix = "waybill-"
	tempLock   = "owner.lock"
)

var errLocked = errors.New("locked by another process")

// tryLock takes an exclusive lock on the file without waiting. Closing the file,
// or the death of the process, gives it back.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errLocked
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// waitLock is tryLock that waits until ctx ends.
func waitLock(ctx context.Context, path string) (*os.File, error) {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		f, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return f, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s, held by another process: %w", path, ctx.Err())
		}
	}
}

// home is a server's folder. A temporary one is locked while its owner lives and
// deleted with it.
type home struct {
	path string
	temp bool
	lock *os.File
}

// openHome makes the folder dir, or a temporary one when dir is empty. It returns
// [errLocked] wrapped when another process of this package uses dir.
func openHome(dir, kind string) (*home, error) {
	h := &home{path: dir, temp: dir == ""}
	if h.temp {
		sweepTemp()
		made, err := os.MkdirTemp("", tempPrefix+kind+"-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for %s: %w", kind, err)
		}
		h.path = made
		if err := os.Chmod(made, 0o755); err != nil { // the server may run as another user
			return nil, fmt.Errorf("open the folder of %s to its user: %w", kind, err)
		}
	}
	var err error
	if h.path, err = filepath.Abs(h.path); err != nil {
		return nil, fmt.Errorf("folder of %s: %w", kind, err)
	}
	if err := os.MkdirAll(h.path, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", kind, err)
	}
	if h.lock, err = tryLock(filepath.Join(h.path, tempLock)); err != nil {
		return nil, fmt.Errorf("%s folder %s: %w", kind, h.path, err)
	}
	return h, nil
}

// close gives the folder back, and deletes it if it was temporary.
func (h *home) close() error {
	var err error
	if h.temp {
		err = os.RemoveAll(h.path)
	}
	return errors.Join(err, h.lock.Close())
}

func (h *home) file(elem ...string) string {
	return filepath.Join(append([]string{h.path}, elem...)...)
}

// sweepTemp deletes temporary folders whose owner died before Stop. What cannot
// be deleted is another user's, and left.
func sweepTemp() {
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() || !strings.HasPrefix(entry.Name(), tempPrefix) || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		path := filepath.Join(os.TempDir(), entry.Name())
		lockPath := filepath.Join(path, tempLock)
		if _, err := os.Stat(lockPath); errors.Is(err, fs.ErrNotExist) {
			continue // not one of ours
		}
		if lock, err := tryLock(lockPath); err == nil {
			_ = os.RemoveAll(path)
			lock.Close()
		}
	}
}

// cacheDir is where fetched files are kept.
func cacheDir() (string, error) {
	if dir := os.Getenv("WAYBILL_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder (set WAYBILL_CACHE to one): %w", err)
	}
	return filepath.Join(dir, "waybill"), nil
}
