package ingest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/accept"
	"waybill.internal/services/ingest/internal/file"
	"waybill.internal/services/ingest/internal/webhook"
)

const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 15 * time.Second
	idleTimeout   = 90 * time.Second
	maxHeader     = 32 << 10
	stopTimeout   = 8 * time.Second
)

// Spec is ingest as a value: the binary runs it, and so do tests and `waybill up`.
func Spec() daemon.Spec[Config] {
	return daemon.Spec[Config]{Name: "ingest", Summary: "Takes webhooks and files, and gives receipts.", AdminAddress: "127.0.0.1:9080", Load: load, Build: build}
}

// build is the wiring diagram: what comes first starts first and stops last.
func build(ctx context.Context, env *daemon.Env, c Config) ([]daemon.Part, error) {
	debug.SetMemoryLimit(c.MemoryLimit)
	b, err := backbone.Open(ctx, env, c.Config)
	if err != nil {
		return nil, err
	}
	acceptor, err := accept.New(b.Ledger, b.Sessions, b.Publisher, env.Log)
	if err != nil {
		return nil, err
	}
	watch, err := newWatch(env)
	if err != nil {
		return nil, err
	}
	handler, err := webhook.New(webhook.Config{Ledger: b.Ledger, Acceptor: acceptor, Catalog: b.Catalog, Log: env.Log, Alert: watch.alert, Count: watch.count})
	if err != nil {
		return nil, err
	}
	files, err := file.New(file.Config{Ledger: b.Ledger, Sessions: b.Sessions, Publisher: b.Publisher, Acceptor: acceptor, Catalog: b.Catalog,
		Root: c.Drop, Log: env.Log, Alert: env.Alerts.Alert, Count: watch.add})
	if err != nil {
		return nil, err
	}
	listener, err := env.Listen(ctx, "http", c.Address)
	if err != nil {
		return nil, err
	}
	parts := append(b.Parts(), daemon.AtEnd("acceptor", stopTimeout, acceptor.Close))
	for _, f := range files {
		parts = append(parts, daemon.Part{Name: f.Name(), Run: f.Run, Stop: 2 * stopTimeout})
	}
	return append(parts,
		daemon.Part{Name: "http", Run: serve(netutil.LimitListener(listener, c.Connections), handler, env.Log), Stop: 2 * stopTimeout},
	), nil
}

func serve(l net.Listener, h http.Handler, log *zap.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		server := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout + webhook.BodyTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: zap.NewStdLog(log)}
		failed := make(chan error, 1)
		go func() { failed <- server.Serve(l) }() // ends with Shutdown below
		select {
		case err := <-failed:
			return fmt.Errorf("serve partners: %w", err)
		case <-ctx.Done():
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			return fmt.Errorf("requests were still under way at the end of the drain: %w", err)
		}
		return nil
	}
}

// watch turns what happens into metrics and alerts, in one place.
type watch struct {
	env      *daemon.Env
	arrivals *prometheus.CounterVec
}

func newWatch(env *daemon.Env) (*watch, error) {
	arrivals, err := env.Metrics.Counter(telemetry.Arrivals)
	return &watch{env: env, arrivals: arrivals}, err
}

func (w *watch) count(integration, source, answer string) {
	w.add(integration, source, answer, 1)
}

func (w *watch) add(integration, source, answer string, n int) {
	w.arrivals.WithLabelValues(integration, source, answer).Add(float64(n))
}

func (w *watch) alert(kind, integration string, f *fault.Error, subject string) {
	problem := telemetry.Problem{Integration: integration, Class: f.Class, Code: f.Code, Message: f.Message, Where: "ingest", Stack: f.Stack,
		Records: []string{subject}, Repair: "waybill trace " + subject}
	switch kind {
	case "conflict":
		problem.Kind = telemetry.KindConflict
	case "rejected":
		problem.Kind = telemetry.KindRejected
	case "panic":
		problem.Kind = telemetry.KindPanic
	default:
		problem.Kind = telemetry.KindIntegrationInvalid
	}
	w.env.Alerts.Alert(problem)
}
