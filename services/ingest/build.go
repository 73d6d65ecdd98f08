package ingest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/stream"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/accept"
	"waybill.internal/services/ingest/internal/file"
	"waybill.internal/services/ingest/internal/poll"
	"waybill.internal/services/ingest/internal/topic"
	sources "waybill.internal/services/ingest/internal/watch"
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
	daemon.LimitMemory(c.MemoryLimit)
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
	var handler *webhook.Handler
	watch.sources = sources.New(sources.Config{Ledger: b.Ledger, Catalog: b.Catalog, Log: env.Log, Uses: func() []provider.Use { return handler.SecretUses() },
		Alert: env.Alerts.Alert, Resolved: env.Alerts.Resolved, CheckIn: env.Alerts.CheckIn})
	acceptor.Tell(watch.sources.Seen)
	handler, err = webhook.New(webhook.Config{Ledger: b.Ledger, Acceptor: acceptor, Catalog: b.Catalog, Log: env.Log, Alert: watch.alert, Count: watch.count, Proxies: c.Proxies,
		Paused: watch.sources.Paused, Unproven: watch.sources.Unproven})
	if err != nil {
		return nil, err
	}
	files, err := file.New(file.Config{Ledger: b.Ledger, Sessions: b.Sessions, Publisher: b.Publisher, Acceptor: acceptor, Catalog: b.Catalog,
		Root: c.Drop, Spool: c.Spool, Log: env.Log, Alert: env.Alerts.Alert, Count: watch.add, Heard: watch.sources.Heard, Round: watch.sources.Round})
	if err != nil {
		return nil, err
	}
	topics, err := topic.New(topic.Config{Kafka: b.Kafka, Quarantine: stream.NewQuarantine(b.Producer, b.Topics, watch.quarantined), Acceptor: acceptor, Catalog: b.Catalog,
		Now: b.Ledger.Now, Log: env.Log, Alert: env.Alerts.Alert, Count: watch.add})
	if err != nil {
		return nil, err
	}
	polls, err := poll.New(poll.Config{Ledger: b.Ledger, Sessions: b.Sessions, Publisher: b.Publisher, Acceptor: acceptor, Catalog: b.Catalog,
		Log: env.Log, Alert: env.Alerts.Alert, Count: watch.add, Runs: watch.polled, Round: watch.sources.Round, Missed: watch.missed})
	if err != nil {
		return nil, err
	}
	listener, err := env.Listen(ctx, "http", c.Address)
	if err != nil {
		return nil, err
	}
	parts := append(b.Parts(), daemon.Part{Name: "watch", Run: watch.sources.Run, Stop: 2 * stopTimeout}, daemon.AtEnd("acceptor", stopTimeout, acceptor.Close))
	for _, f := range files {
		parts = append(parts, daemon.Part{Name: f.Name(), Run: watch.pausable(f.Name(), f.Run), Stop: 2 * stopTimeout})
	}
	parts = append(parts, daemon.Part{Name: "file requests", Run: file.NewDesk(b.Ledger, b.Sessions, b.Catalog, env.Log, files).Run, Stop: stopTimeout})
	for _, t := range topics {
		parts = append(parts, daemon.Part{Name: t.Name(), Run: watch.pausable(t.Name(), t.Run), Stop: stopTimeout})
	}
	for _, p := range polls {
		parts = append(parts, daemon.Part{Name: p.Name(), Run: watch.pausable(p.Name(), p.Run), Stop: 2 * stopTimeout})
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
	env                 *daemon.Env
	arrivals, discarded *prometheus.CounterVec
	runs, found         *prometheus.CounterVec // of polls
	sources             *sources.Watch
}

// pausable runs a source while it is not paused; its part is called by its kind and
// integration/source.
func (w *watch) pausable(part string, run func(context.Context) error) func(context.Context) error {
	_, of, _ := strings.Cut(part, " ")
	integration, source, _ := strings.Cut(of, "/")
	return w.sources.Pausable(integration, source, run)
}

func newWatch(env *daemon.Env) (*watch, error) {
	arrivals, err := env.Metrics.Counter(telemetry.Arrivals)
	if err != nil {
		return nil, err
	}
	discarded, err := env.Metrics.Counter(telemetry.Quarantined)
	if err != nil {
		return nil, err
	}
	runs, err := env.Metrics.Counter(telemetry.PollRuns)
	if err != nil {
		return nil, err
	}
	found, err := env.Metrics.Counter(telemetry.PollMissed)
	return &watch{env: env, arrivals: arrivals, discarded: discarded, runs: runs, found: found}, err
}

func (w *watch) quarantined(q stream.Quarantined) {
	w.discarded.WithLabelValues(q.Topic).Add(float64(q.Count))
	w.env.Alerts.Alert(telemetry.Problem{Kind: telemetry.KindQuarantine, Code: "unreadable_message", Where: q.Topic, Message: q.String(), Count: q.Count,
		Repair: "waybill doctor"})
}

func (w *watch) count(integration, source, answer string) {
	w.add(integration, source, answer, 1)
}

func (w *watch) add(integration, source, answer string, n int) {
	w.arrivals.WithLabelValues(integration, source, answer).Add(float64(n))
	w.sources.Count(integration, source, answer, n)
}

func (w *watch) polled(integration, source, result string) {
	w.runs.WithLabelValues(integration, source, result).Inc()
}

func (w *watch) missed(integration, webhook string, n int) {
	w.found.WithLabelValues(integration, webhook).Add(float64(n))
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
