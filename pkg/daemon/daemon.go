package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/telemetry"
)

// Spec is a program as a value.
type Spec[C any] struct {
	Name         string // of the binary
	Summary      string // one sentence for --help
	Version      string // "" is "dev"
	AdminAddress string // default of WAYBILL_ADMIN_ADDRESS; "" is a free port on loopback
	Load         func(*Settings) (C, error)
	// Build wires the parts. Its ctx ends when the process begins to stop: what
	// must last until the last part has stopped must not hang on it.
	Build func(ctx context.Context, env *Env, config C) ([]Part, error)
}

// Part is one running thing of a process.
type Part struct {
	Name string
	// Run works until ctx ends and returns nil then. Returning earlier, with or
	// without an error, stops the process. It is called once for every part, so it
	// may be what closes a thing that Build made: when the process is to stop before
	// the part's turn, it is called with a ctx that has ended.
	Run func(ctx context.Context) error
	// Ready says why the part is not ready, nil when it is. A nil function means
	// ready while running. It is asked often and must not block.
	Ready func() error
	// Stop is how long the part may take to return after its ctx has ended; 10 s if 0.
	Stop time.Duration
	// Await starts the parts behind this one only when it is ready.
	Await bool
}

// endMargin is what a part of AtEnd may take beyond its own bound.
const endMargin = 2 * time.Second

// AtEnd is a part that only has something to do at the end: stop, within so
// long, while the parts before it still run.
func AtEnd(name string, within time.Duration, stop func(ctx context.Context) error) Part {
	return Part{Name: name, Stop: within + endMargin, Run: func(ctx context.Context) error {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		return stop(ctx)
	}}
}

// Env is what Build gets.
type Env struct {
	Name    string
	Version string
	Log     *zap.Logger
	Metrics *telemetry.Registry
	Alerts  *telemetry.Alerts
	Lookup  Lookup
	Now     func() time.Time

	mu        sync.Mutex
	listeners map[string]net.Listener
}

// Listen binds a TCP address under a name, which Process.Address gives back.
// The listener is closed at the end of the process, whoever else closes it.
func (e *Env) Listen(ctx context.Context, name, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for %s on %s: %w; is another process there?", name, address, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listeners[name] != nil {
		return nil, errors.Join(fmt.Errorf("listen for %s: there is a listener of this name", name), l.Close())
	}
	e.listeners[name] = l
	return l, nil
}

func (e *Env) closeListeners() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.listeners {
		_ = l.Close() // mostly closed already by the part that served it
	}
}

// Option of Start and Run.
type Option func(*options)

type options struct {
	log io.Writer
	now func() time.Time
}

// LogTo writes the log to w instead of standard error.
func LogTo(w io.Writer) Option { return func(o *options) { o.log = w } }

// Clock replaces time.Now in Env.Now.
func Clock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// Run starts the program and waits for its end: ctx ending stops it. The error
// is nil after a clean stop; ExitCode translates it.
func Run[C any](ctx context.Context, spec Spec[C], lookup Lookup, opts ...Option) error {
	p, err := Start(ctx, spec, lookup, opts...)
	if err != nil {
		return err
	}
	return p.Wait()
}

// own are the settings that every binary has.
type own struct {
	level       zapcore.Level
	admin       string
	pprof       bool
	dsn         telemetry.Secret
	environment string
	drainDelay  time.Duration
}

func loadOwn(s *Settings, adminDefault string) own {
	if adminDefault == "" {
		adminDefault = "127.0.0.1:0"
	}
	o := own{
		admin:       s.Address("WAYBILL_ADMIN_ADDRESS", adminDefault, "where /healthz, /readyz and /metrics listen"),
		pprof:       s.Bool("WAYBILL_ADMIN_PPROF", false, "serve /debug/pprof also when the admin address is not loopback"),
		dsn:         s.Secret("WAYBILL_SENTRY_DSN", "where alerts go; empty: only to the log"),
		environment: s.String("WAYBILL_ENVIRONMENT", "development", "named in alerts"),
		drainDelay:  s.Duration("WAYBILL_DRAIN_DELAY", 0, 0, time.Minute, "between becoming unready and stopping, for load balancers"),
	}
	level := s.OneOf("WAYBILL_LOG_LEVEL", "info", "least level that is logged", "debug", "info", "warn", "error")
	if err := o.level.Set(level); err != nil {
		s.Problem("WAYBILL_LOG_LEVEL", err.Error(), "give info")
	}
	return o
}

// load reads every setting, the process' own and the program's, and returns all
// mistakes as one *ConfigError.
func load[C any](spec Spec[C], s *Settings) (own, C, error) {
	o := loadOwn(s, spec.AdminAddress)
	config, err := spec.Load(s)
	var known *ConfigError
	if err != nil && !errors.As(err, &known) { // else its problems are s's own already
		s.problems = append(s.problems, err.Error())
	} else if known != nil && len(s.problems) == 0 {
		s.problems = append(s.problems, known.Problems...)
	}
	return o, config, s.Err()
}

// Start loads, builds and starts the program and returns while it runs. ctx
// ending, or Process.Stop, stops it.
func Start[C any](ctx context.Context, spec Spec[C], lookup Lookup, opts ...Option) (*Process, error) {
	settings := options{log: os.Stderr, now: time.Now}
	for _, o := range opts {
		o(&settings)
	}
	if spec.Version == "" {
		spec.Version = "dev"
	}
	own, config, err := load(spec, NewSettings(lookup))
	if err != nil {
		return nil, err
	}
	if err := planted.Allowed(own.environment); err != nil {
		return nil, err
	}
	env := &Env{Name: spec.Name, Version: spec.Version, Lookup: lookup, Now: settings.now, listeners: map[string]net.Listener{},
		Log: telemetry.NewLogger(spec.Name, own.level, settings.log)}
	if env.Metrics, err = telemetry.NewRegistry(spec.Name, spec.Version); err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // only named in alerts: empty will do
	env.Alerts, err = telemetry.NewAlerts(telemetry.AlertOptions{DSN: own.dsn, Service: spec.Name, Release: spec.Version,
		Environment: own.environment, ServerName: host, Log: env.Log, Now: settings.now})
	if err != nil {
		return nil, &ConfigError{Problems: []string{"WAYBILL_SENTRY_DSN: " + err.Error()}}
	}
	p := newProcess(ctx, env, own)
	if err := p.startAdmin(own); err != nil {
		return nil, errors.Join(err, p.abandon())
	}
	parts, err := build(p.ctx, spec, env, config)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("build %s: %w", spec.Name, err), p.abandon())
	}
	go p.life(parts) // ends by p.ctx or the first part that returns; Wait waits for it
	return p, nil
}

func build[C any](ctx context.Context, spec Spec[C], env *Env, config C) (parts []Part, err error) {
	defer env.Alerts.Recover("", "build "+spec.Name, &err)
	parts, err = spec.Build(ctx, env, config)
	for i := range parts {
		if err == nil && (parts[i].Name == "" || parts[i].Run == nil) {
			err = fault.New(fault.Bug, "part_incomplete", "part %d has no name or no Run", i+1)
		}
	}
	return parts, err
}
