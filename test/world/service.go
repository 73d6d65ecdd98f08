package world

import (
	"maps"
	"sync"
	"time"

	"waybill.internal/pkg/daemon"
)

// Service is one that runs in the test's process.
type Service struct {
	*daemon.Process
	// Stop stops it, waits for its end, and fails the test on an error of that end;
	// later calls do nothing. The end of the test calls it.
	Stop func()

	world *World
	name  string
}

// Start runs a service with the settings as they are now; it does not wait until
// the service is ready. A replica is a second Start.
func Start[C any](of Holder, spec daemon.Spec[C]) *Service {
	w := of.self()
	w.Helper()
	p, err := daemon.Start(w.Context(), spec, w.snapshot(), daemon.LogTo(w.Logs))
	w.Must(err)
	s := &Service{Process: p, world: w, name: spec.Name}
	s.Stop = sync.OnceFunc(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			w.Errorf("%s: %v", spec.Name, err)
		}
	})
	w.Cleanup(s.Stop)
	return s
}

// snapshot looks up the settings of this moment: a service that runs looks while
// the test changes them for the next one.
func (w *World) snapshot() daemon.Lookup {
	settings := maps.Clone(w.Settings)
	return func(name string) (string, bool) { v, ok := settings[name]; return v, ok }
}

// AwaitReady waits until the service is ready; one that ends before ends the test.
func (s *Service) AwaitReady() *Service {
	s.world.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	select {
	case <-s.Ready():
	case <-s.Done():
		s.world.Fatalf("%s ended before it was ready: %v", s.name, s.Wait())
	case <-deadline.C:
		s.world.Fatalf("%s is not ready after %s", s.name, Patience)
	}
	return s
}

// URL is where the service takes requests, without a path.
func (s *Service) URL() string { return "http://" + s.Address("http") }
