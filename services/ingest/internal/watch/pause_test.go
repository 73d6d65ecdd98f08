package watch

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testPausable pauses and resumes a source that says when it runs and when it ends.
func testPausable(t *testing.T, w *Watch, s *source) {
	t.Helper()
	w.Log = zap.NewNop()
	began, ended := make(chan struct{}), make(chan struct{})
	part := w.Pausable(s.name.Integration, s.name.Source, func(ctx context.Context) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return errors.New("stopped in the middle") // is no reason to stop the process
	})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s.gate.set(&ledger.PausedSource{}) // before it ever ran
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	for range 3 {
		if !w.Paused(s.name.Integration, s.name.Source) {
			t.Error("it is paused")
		}
		select {
		case <-began:
			t.Error("it runs while it is paused")
		default:
		}
		if !s.gate.set(nil) || s.gate.set(nil) {
			t.Error("resuming changes something once")
		}
		<-began
		if !s.gate.set(&ledger.PausedSource{}) || s.gate.set(&ledger.PausedSource{}) {
			t.Error("pausing changes something once")
		}
		<-ended
	}
	s.gate.set(nil)
	<-began
	stop()
	<-ended
	if err := <-done; err == nil || err.Error() != "stopped in the middle" {
		t.Errorf("what it returned as the process stops: %v", err)
	}
	// One that fails by itself is not run again.
	failed := w.Pausable(s.name.Integration, s.name.Source, func(context.Context) error { return errors.New("cannot go on") })
	if err := failed(t.Context()); err == nil {
		t.Error("its error was lost")
	}
	unknown := w.Pausable("no", "body", func(context.Context) error { return nil })
	if err := unknown(t.Context()); err != nil {
		t.Error(err)
	}
}
