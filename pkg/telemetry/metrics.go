package telemetry

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry makes the metrics of names.go. Asking twice gives the same metric.
type Registry struct {
	prom *prometheus.Registry
	defs map[Metric]definition
}

// NewRegistry returns a registry with Go's, the process' and the build's own metrics.
func NewRegistry(service, version string) (*Registry, error) {
	r := &Registry{prom: prometheus.NewRegistry(), defs: map[Metric]definition{}}
	for _, d := range definitions() {
		r.defs[d.name] = d
	}
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := r.prom.Register(c); err != nil {
			return nil, fmt.Errorf("register runtime metrics: %w", err)
		}
	}
	info, err := r.Gauge(BuildInfo)
	if err != nil {
		return nil, err
	}
	info.WithLabelValues(service, version).Set(1)
	return r, nil
}

// Counter returns the counter of that name.
func (r *Registry) Counter(name Metric) (*prometheus.CounterVec, error) {
	d, err := r.definition(name, counter)
	if err != nil {
		return nil, err
	}
	return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: string(name), Help: d.help}, d.labels))
}

// Gauge returns the gauge of that name.
func (r *Registry) Gauge(name Metric) (*prometheus.GaugeVec, error) {
	d, err := r.definition(name, gauge)
	if err != nil {
		return nil, err
	}
	return register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: string(name), Help: d.help}, d.labels))
}

// Histogram returns the histogram of that name. Its buckets double: from 1 ms
// to 33 s for seconds, from 1 to 1024 for the rest.
func (r *Registry) Histogram(name Metric) (*prometheus.HistogramVec, error) {
	d, err := r.definition(name, histogram)
	if err != nil {
		return nil, err
	}
	buckets := prometheus.ExponentialBuckets(1, 2, 11)
	if name != CommitBatch {
		buckets = prometheus.ExponentialBuckets(0.001, 2, 16)
	}
	return register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: string(name), Help: d.help, Buckets: buckets}, d.labels))
}

// Handler serves the metrics in the Prometheus text format.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{Registry: r.prom, MaxRequestsInFlight: 4})
}

func (r *Registry) definition(name Metric, kind metricKind) (definition, error) {
	d, ok := r.defs[name]
	if !ok || d.kind != kind {
		return d, fmt.Errorf("metric %s of this kind is not listed in telemetry/names.go; add it there", name)
	}
	return d, nil
}

func register[C prometheus.Collector](r *Registry, c C) (C, error) {
	err := r.prom.Register(c)
	var twice prometheus.AlreadyRegisteredError
	if errors.As(err, &twice) {
		if existing, ok := twice.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return c, err
}
