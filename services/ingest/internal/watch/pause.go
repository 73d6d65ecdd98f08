package watch

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

// gate is shut while a source is paused.
type gate struct {
	mu     sync.Mutex
	paused *ledger.PausedSource
	open   chan struct{} // closed while the source may take something
	shut   chan struct{} // closed while it may not
}

// set reports whether anything changed.
func (g *gate) set(paused *ledger.PausedSource) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if (g.paused == nil) == (paused == nil) {
		return false
	}
	if g.paused = paused; paused != nil {
		g.open = make(chan struct{})
		close(g.shut)
	} else {
		g.shut = make(chan struct{})
		close(g.open)
	}
	return true
}

func (g *gate) state() (paused *ledger.PausedSource, open, shut <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.paused, g.open, g.shut
}

// Paused tells whether a person has paused the source.
func (w *Watch) Paused(integration, source string) bool {
	s := w.source(integration, source)
	if s == nil {
		return false
	}
	paused, _, _ := s.gate.state()
	return paused != nil
}

// Pausable runs a source only while it is not paused: its context ends with the
// pause, as it does when the process stops, and it is run again afterwards. What run
// returns otherwise is returned.
func (w *Watch) Pausable(integration, name string, run func(context.Context) error) func(context.Context) error {
	s := w.source(integration, name)
	if s == nil {
		return run
	}
	return func(ctx context.Context) error {
		for {
			_, open, _ := s.gate.state()
			select {
			case <-ctx.Done():
				return nil
			case <-open:
			}
			paused, err := s.whileOpen(ctx, run)
			if !paused || ctx.Err() != nil {
				return err
			}
			if err != nil {
				w.Log.Warn("a source ended with an error as it was paused", zap.Stringer(telemetry.FieldSource, s.name), zap.Error(err))
			}
		}
	}
}

func (s *source) whileOpen(ctx context.Context, run func(context.Context) error) (paused bool, err error) {
	_, _, shut := s.gate.state()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	watching := make(chan struct{})
	go func() { // ends when run has returned
		defer close(watching)
		select {
		case <-shut:
			cancel()
		case <-ended:
		}
	}()
	err = run(ctx)
	close(ended)
	<-watching
	paused = ctx.Err() != nil
	cancel()
	return paused, err
}

// lookForPauses asks the ledger until ctx ends.
func (w *Watch) lookForPauses(ctx context.Context) {
	ticker := time.NewTicker(Look)
	defer ticker.Stop()
	for {
		if err := w.LookNow(ctx); err != nil && ctx.Err() == nil {
			w.Log.Warn("the ledger could not say which sources are paused; they stay as they are", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// LookNow asks the ledger which sources are paused.
func (w *Watch) LookNow(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	list, err := w.Ledger.PausedSources(call)
	if err != nil {
		return err
	}
	paused := make(map[ledger.SourceName]*ledger.PausedSource, len(list))
	for i := range list {
		paused[list[i].SourceName] = &list[i]
	}
	for _, name := range w.names {
		s := w.sources[name]
		p := paused[name]
		if !s.gate.set(p) {
			continue
		}
		if p != nil {
			w.Log.Warn("a source is paused", zap.Stringer(telemetry.FieldSource, name), zap.String("by", p.By), zap.String(telemetry.FieldReason, p.Why))
		} else {
			w.Log.Info("a source is resumed", zap.Stringer(telemetry.FieldSource, name))
		}
	}
	return nil
}
