package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/telemetry"
)

// ErrHung is in the error of a process with a part that did not stop in time.
var ErrHung = errors.New("did not stop in time")

const (
	defaultStop  = 10 * time.Second
	alertsFlush  = 5 * time.Second
	readinessGap = 20 * time.Millisecond // between looks at a part's readiness
)

// Process is a started program.
type Process struct {
	env    *Env
	delay  time.Duration
	ctx    context.Context // ends when the process is to stop
	cancel context.CancelFunc
	admin  *running
	ready  chan struct{}
	done   chan struct{}
	err    error // of the whole life, once done is closed

	mu      sync.Mutex
	phase   string // why nothing is ready, whatever the parts say; "" in normal life
	running []*running
}

// running is one part under way.
type running struct {
	part   Part
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

func newProcess(ctx context.Context, env *Env, o own) *Process {
	p := &Process{env: env, delay: o.drainDelay, ready: make(chan struct{}), done: make(chan struct{}), phase: "starting"}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// Ready is closed when every part is ready for the first time.
func (p *Process) Ready() <-chan struct{} { return p.ready }

// Done is closed at the end of the process.
func (p *Process) Done() <-chan struct{} { return p.done }

// Address returns the bound address of the listener of that name ("admin" is
// the admin listener), "" if there is none.
func (p *Process) Address(name string) string {
	p.env.mu.Lock()
	defer p.env.mu.Unlock()
	if l := p.env.listeners[name]; l != nil {
		return l.Addr().String()
	}
	return ""
}

// Stop begins the stop; Wait waits for its end.
func (p *Process) Stop() { p.cancel() }

// Wait returns at the end of the process: nil after a clean stop.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

func (p *Process) startAdmin(o own) error {
	l, err := p.env.Listen(p.ctx, "admin", o.admin)
	if err != nil {
		return err
	}
	p.admin = p.start(context.WithoutCancel(p.ctx), HTTP("admin", l, p.adminHandler(o.pprof || isLoopback(o.admin)), p.env.Log))
	p.env.Log.Info("admin listener", zap.String(telemetry.FieldAddress, l.Addr().String()))
	return nil
}

// start runs a part on a context of its own below ctx. That is not the process'
// context, which would end all parts at once: they are stopped one by one, in
// reverse order.
func (p *Process) start(ctx context.Context, part Part) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{part: part, cancel: cancel, done: make(chan struct{})}
	go func() { // ends by r.cancel or by itself; stop waits for it
		defer close(r.done)
		r.err = p.guard(ctx, part)
	}()
	return r
}

func (p *Process) guard(ctx context.Context, part Part) (err error) {
	defer p.env.Alerts.Recover("", part.Name, &err)
	return part.Run(ctx)
}

func (r *running) ready() error {
	select {
	case <-r.done:
		return errors.New("not running")
	default:
	}
	if r.part.Ready == nil {
		return nil
	}
	return r.part.Ready()
}

// life is the process from the first part's start to the last one's end.
func (p *Process) life(parts []Part) {
	defer close(p.done)
	first := make(chan *running, len(parts)+1)
	go p.report(p.admin, first) // ends with the part
	err := p.startParts(parts, first)
	var failed error
	if err == nil {
		go p.awaitAll() // ends with p.ctx or when all are ready
		failed = p.untilStopped(first)
	}
	p.setPhase("stopping")
	p.cancel()
	if failed == nil && err == nil && p.delay > 0 {
		timer := time.NewTimer(p.delay)
		select {
		case <-timer.C:
		case r := <-first:
			failed = ended(r)
		}
		timer.Stop()
	}
	p.err = errors.Join(err, failed, p.stopParts(parts), p.abandon())
}

func (p *Process) report(r *running, first chan<- *running) {
	<-r.done
	first <- r // has room for every part
}

func (p *Process) startParts(parts []Part, first chan *running) error {
	for _, part := range parts {
		if p.ctx.Err() != nil {
			return nil
		}
		r := p.start(context.WithoutCancel(p.ctx), part)
		go p.report(r, first) // ends with the part
		p.mu.Lock()
		p.running = append(slices.Clone(p.running), r)
		p.mu.Unlock()
		if part.Await {
			p.setPhase("waiting for " + part.Name)
			if stopped := p.awaitOne(r, first); stopped != nil {
				return stopped
			}
		}
	}
	p.setPhase("")
	p.env.Log.Info("started", zap.Int("parts", len(parts)))
	return nil
}

// awaitOne waits until a part is ready or the process is to stop; an error when
// a part ended meanwhile.
func (p *Process) awaitOne(r *running, first <-chan *running) error {
	ticker := time.NewTicker(readinessGap)
	defer ticker.Stop()
	for r.ready() != nil {
		select {
		case <-ticker.C:
		case <-p.ctx.Done():
			return nil
		case r := <-first:
			return ended(r)
		}
	}
	return nil
}

func (p *Process) awaitAll() {
	ticker := time.NewTicker(readinessGap)
	defer ticker.Stop()
	for len(p.notReady()) > 0 {
		select {
		case <-ticker.C:
		case <-p.ctx.Done():
			return
		}
	}
	p.env.Log.Info("ready")
	close(p.ready)
}

func (p *Process) untilStopped(first <-chan *running) error {
	select {
	case <-p.ctx.Done():
		p.env.Log.Info("stopping")
		return nil
	case r := <-first:
		err := ended(r)
		p.env.Log.Error("a part ended; stopping all", zap.String(telemetry.FieldPart, r.part.Name), zap.Error(err))
		// A panic has its alert already.
		if f := fault.Of(err); f.Stack == "" {
			p.env.Alerts.Alert(telemetry.Problem{Kind: telemetry.KindPart, Class: f.Class, Code: f.Code, Where: r.part.Name,
				Message: err.Error(), Repair: "waybill doctor"})
		}
		return err
	}
}

func ended(r *running) error {
	if r.err == nil {
		return fmt.Errorf("part %s ended without being asked to", r.part.Name)
	}
	return fmt.Errorf("part %s failed: %w", r.part.Name, r.err)
}

// stopParts stops the parts in reverse order of their start. Those whose turn had
// not come run too, on the process' context, which has ended: they close what Build
// made for them. A part that hangs is named and left behind, so that the others
// still get their chance.
func (p *Process) stopParts(parts []Part) error {
	p.mu.Lock()
	started := p.running
	p.mu.Unlock()
	var errs []error
	for _, part := range slices.Backward(parts[len(started):]) {
		errs = append(errs, p.stop(p.start(p.ctx, part)))
	}
	for _, r := range slices.Backward(started) {
		if isDone(r) { // by itself: reported by ended
			continue
		}
		errs = append(errs, p.stop(r))
	}
	return errors.Join(errs...)
}

func isDone(r *running) bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (p *Process) stop(r *running) error {
	r.cancel()
	limit := r.part.Stop
	if limit <= 0 {
		limit = defaultStop
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.done:
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			return fmt.Errorf("stop part %s: %w", r.part.Name, r.err)
		}
		return nil
	case <-timer.C:
		p.env.Log.Error("a part hangs; leaving it behind", zap.String(telemetry.FieldPart, r.part.Name), zap.Duration(telemetry.FieldDuration, limit))
		return fmt.Errorf("part %s %w (%s)", r.part.Name, ErrHung, limit)
	}
}

// abandon ends what every process has: admin listener, alerts, listeners.
func (p *Process) abandon() error {
	p.cancel()
	var err error
	if p.admin != nil {
		err = p.stop(p.admin)
	}
	p.env.closeListeners()
	ctx, cancel := context.WithTimeout(context.Background(), alertsFlush)
	defer cancel()
	if flush := p.env.Alerts.Close(ctx); flush != nil { // no reason for another exit code
		p.env.Log.Warn("alerts", zap.Error(flush))
	}
	p.env.Log.Info("stopped", zap.Error(err))
	_ = p.env.Log.Sync() // a terminal cannot be synced
	return err
}

func (p *Process) setPhase(phase string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase = phase
}
