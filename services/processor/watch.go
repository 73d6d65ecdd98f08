package processor

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
	"waybill.internal/pkg/telemetry"
)

// watch turns what happens into metrics, log lines and alerts, in one place.
type watch struct {
	env                                         *daemon.Env
	settledCount, failures, redrives, discarded *prometheus.CounterVec
	unaccounted, states                         *prometheus.GaugeVec
}

func newWatch(env *daemon.Env) (*watch, error) {
	w := &watch{env: env}
	for name, counter := range map[telemetry.Metric]**prometheus.CounterVec{
		telemetry.Settled: &w.settledCount, telemetry.Failures: &w.failures, telemetry.Redriven: &w.redrives, telemetry.Quarantined: &w.discarded,
	} {
		var err error
		if *counter, err = env.Metrics.Counter(name); err != nil {
			return nil, err
		}
	}
	var err error
	if w.unaccounted, err = env.Metrics.Gauge(telemetry.Unaccounted); err != nil {
		return nil, err
	}
	w.states, err = env.Metrics.Gauge(telemetry.RecordsInState)
	return w, err
}

// settled is told of every attempt's end.
func (w *watch) settled(r record.Record, f record.Fact, stack string) {
	w.settledCount.WithLabelValues(r.Integration, string(r.State)).Inc()
	if f.Event == record.Succeeded {
		return
	}
	failure := r.Failure
	w.failures.WithLabelValues(r.Integration, string(failure.Class), failure.Code).Inc()
	problem := telemetry.Problem{Integration: r.Integration, Class: failure.Class, Code: failure.Code, Message: failure.Message,
		Records: []string{r.ID.String()}, Stack: stack}
	switch {
	case stack != "" && r.State != record.Dead:
		problem.Kind, problem.Repair = telemetry.KindPanic, "waybill trace "+r.ID.String()
	case r.State == record.Dead:
		problem.Kind, problem.Repair = telemetry.KindDeadLetters, requeueCommand(r)
		w.env.Log.Error("a record is dead and waits for a person", zap.Stringer(telemetry.FieldRecord, r.ID), zap.String("code", failure.Code), zap.String("repair", problem.Repair))
	case r.State == record.Rejected:
		problem.Kind, problem.Repair = telemetry.KindRejected, "waybill trace "+r.ID.String()
	case r.State == record.Parked && failure.Class == record.ClassCredentials:
		problem.Kind, problem.Repair = telemetry.KindCredentials, "waybill trace "+r.ID.String()
	default:
		return
	}
	if stack != "" && r.State == record.Dead {
		panicked := problem
		panicked.Kind = telemetry.KindPanic
		w.env.Alerts.Alert(panicked)
	}
	w.env.Alerts.Alert(problem)
}

func requeueCommand(r record.Record) string {
	return fmt.Sprintf("waybill dead requeue --integration %s --code %s", r.Integration, r.Failure.Code)
}

func (w *watch) redriven(reason string, records int) {
	if records > 0 {
		w.redrives.WithLabelValues(reason).Add(float64(records))
	}
}

func (w *watch) quarantined(q stream.Quarantined) {
	w.discarded.WithLabelValues(q.Topic).Add(float64(q.Count))
	w.env.Alerts.Alert(telemetry.Problem{Kind: telemetry.KindQuarantine, Code: "unreadable_message", Where: q.Topic, Message: q.String(), Count: q.Count,
		Repair: "waybill doctor"})
}

func (w *watch) hangs(h stream.Hang) {
	w.env.Alerts.Alert(telemetry.Problem{Kind: telemetry.KindPart, Code: "claim_hangs", Where: h.Topic, Message: h.String(), Repair: "waybill doctor"})
}

func (w *watch) kafka(err error) {
	w.env.Log.Warn("kafka: it is tried again", zap.Error(err))
}

func (w *watch) audited(a ledger.Audit) {
	for name, count := range a.Integrations {
		for _, state := range record.States() {
			w.states.WithLabelValues(name, string(state)).Set(float64(count.States[state]))
		}
	}
	w.unaccounted.WithLabelValues("").Set(float64(a.Unaccounted))
	if a.Unaccounted == 0 {
		return
	}
	problem := telemetry.Problem{Kind: telemetry.KindUnaccounted, Code: "conservation", Message: a.Differences[0], Count: int(a.Unaccounted), Repair: "waybill audit"}
	for _, id := range a.Overdue[:min(len(a.Overdue), 5)] {
		problem.Records = append(problem.Records, id.String())
	}
	w.env.Alerts.Alert(problem)
}
