package file

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"waybill.internal/pkg/clock"
)

const (
	// sweep is the longest time between two looks of a source that looks on arrival:
	// the only way to see what a server gets, and what a watched directory did not tell of.
	sweep = time.Minute
	// calm is the least time between two looks that changes in a directory cause.
	calm = 250 * time.Millisecond
)

// watcher tells of changes in a directory. The zero watcher tells nothing.
type watcher struct {
	notify *fsnotify.Watcher
	folder string
	wake   chan struct{} // holds one
	done   chan struct{}
}

// newWatcher never fails: without it, the sweep finds what comes.
func newWatcher(folder string, log *zap.Logger) *watcher {
	w := &watcher{folder: folder, wake: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		log.Warn("the directory cannot be watched; it is looked into every minute", zap.Error(err))
		close(w.done)
		return w
	}
	go w.run(log) // ends with close
	return w
}

func (w *watcher) run(log *zap.Logger) {
	defer close(w.done)
	for {
		select {
		case _, ok := <-w.notify.Events:
			if !ok {
				return
			}
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			log.Warn("some changes in the watched directory were not told; it is looked into", zap.Error(err))
		}
		select {
		case w.wake <- struct{}{}:
		default: // a look is to come anyway
		}
	}
}

// add watches the directory, also when it was made anew since.
func (w *watcher) add(log *zap.Logger) {
	if w == nil || w.notify == nil || len(w.notify.WatchList()) > 0 {
		return
	}
	if err := w.notify.Add(w.folder); err != nil {
		log.Debug("the directory cannot be watched now; it is looked into every minute", zap.Error(err))
	}
}

func (w *watcher) close() {
	if w == nil {
		return
	}
	if w.notify != nil {
		_ = w.notify.Close() // nothing is lost with it
	}
	<-w.done
}

// channel is nil, which never tells, for a source that is not watched.
func (w *watcher) channel() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.wake
}

// nap waits for d, or for what comes first.
func (s *Source) nap(ctx context.Context, d time.Duration) (why reason) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return stopped
	case <-t.C:
		return slept
	case r := <-s.requests:
		s.pulled = &r
		return requested
	case <-s.watch.channel():
		if clock.Sleep(ctx, calm) != nil {
			return stopped
		}
		return changedDir
	}
}

// reason is why a nap ended.
type reason int

const (
	slept reason = iota
	stopped
	requested
	changedDir
)
