package acknowledger

import (
	"context"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/stream"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/acknowledger/internal/confirm"
	"waybill.internal/services/acknowledger/internal/notify"
)

const (
	// settleStop is how long what is judged may take to be committed at the stop.
	settleStop = 10 * time.Second
	margin     = 2 * time.Second
	// linger is the least time between two polls of Kafka. Outcomes are gathered for the
	// partner anyway: a poll and a claim for each would only cost.
	linger = 50 * time.Millisecond
)

// Spec is the acknowledger as a value: for its binary, for tests and for `waybill up`.
func Spec() daemon.Spec[Config] {
	return daemon.Spec[Config]{Name: "acknowledger", Summary: "tells partners how their records ended, until they confirm",
		AdminAddress: "127.0.0.1:9082", Load: load, Build: Build}
}

// Build wires the parts, in the order in which they start:
//
//	backbone ─▶ settler ─▶ notifier ─▶ claims ─▶ consumer
//
// They stop in reverse: nothing new comes, then what is gathered is told, then
// what was answered is settled, and then the session ends.
func Build(ctx context.Context, env *daemon.Env, c Config) ([]daemon.Part, error) {
	b, err := backbone.Open(ctx, env, c.Backbone)
	if err != nil {
		return nil, err
	}
	count, err := counters(env.Metrics)
	if err != nil {
		return nil, err
	}
	quarantine, err := newQuarantine(env, b)
	if err != nil {
		return nil, err
	}
	settler, err := confirm.NewSettler(b.Ledger, b.Publisher, env.Log)
	if err != nil {
		return nil, err
	}
	claims, err := notify.NewClaims(&notify.Claimer{Ledger: b.Ledger, Session: leases(b.Sessions)})
	if err != nil {
		return nil, err
	}
	reporter := confirm.Reporter{Count: count, Alert: env.Alerts.Alert, Log: env.Log}
	notifier, err := notify.New(notify.Config{
		Integrations: b.Catalog.Entries(), InFlight: c.InFlight, Drain: c.Drain,
		Claim: claims.Claim, Settle: settler.Settle, Quarantine: quarantine.Put, Told: reporter.Told,
		Now: b.Ledger.Now, UserAgent: "waybill/" + env.Version, Alerts: env.Alerts, Log: env.Log,
	})
	if err != nil {
		return nil, err
	}
	consumer, err := newConsumer(env, b, notifier)
	if err != nil {
		return nil, err
	}
	return append(b.Parts(),
		daemon.AtEnd("settler", settleStop, settler.Close),
		daemon.Part{Name: "notifier", Run: notifier.Run, Stop: c.Drain + ledger.SessionLapse + margin},
		daemon.AtEnd("claims", settleStop, claims.Close),
		daemon.Part{Name: "consumer", Run: consumer.Run},
	), nil
}

func newConsumer(env *daemon.Env, b *backbone.Backbone, n *notify.Notifier) (*stream.Consumer, error) {
	return b.Kafka.NewConsumer(stream.ConsumerConfig{
		Group: b.Topics.ResultGroup(), Topics: []string{b.Topics.Result()}, Handle: n.Handle, Linger: linger,
		OnHang: func(h stream.Hang) {
			env.Log.Warn("outcomes are not taken from the topic", zap.Stringer(telemetry.FieldReason, h))
		},
		Report: func(err error) {
			env.Log.Warn("the topic of outcomes is not read; it is tried again", zap.Error(err))
		},
	})
}

func leases(s *ledger.Sessions) func(context.Context) (confirm.Lease, error) {
	return func(ctx context.Context) (confirm.Lease, error) {
		session, err := s.Current(ctx)
		if err != nil {
			return confirm.Lease{}, err
		}
		return confirm.LeaseOf(session), nil
	}
}

func counters(metrics *telemetry.Registry) (func(integration, result string, n int), error) {
	sent, err := metrics.Counter(telemetry.OutcomesSent)
	if err != nil {
		return nil, err
	}
	acknowledged, err := metrics.Counter(telemetry.Acknowledged)
	if err != nil {
		return nil, err
	}
	return func(integration, result string, n int) {
		sent.WithLabelValues(integration, result).Add(float64(n))
		if result == confirm.ResultConfirmed {
			acknowledged.WithLabelValues(integration).Add(float64(n))
		}
	}, nil
}

func newQuarantine(env *daemon.Env, b *backbone.Backbone) (*stream.Quarantine, error) {
	quarantined, err := env.Metrics.Counter(telemetry.Quarantined)
	if err != nil {
		return nil, err
	}
	return stream.NewQuarantine(b.Producer, b.Topics, func(q stream.Quarantined) {
		quarantined.WithLabelValues(q.Topic).Add(float64(q.Count))
		env.Alerts.Alert(telemetry.Problem{Kind: telemetry.KindQuarantine, Where: q.Topic, Count: q.Count, Message: q.String(), Repair: "waybill doctor"})
	}), nil
}
