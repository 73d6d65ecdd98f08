package journey_test

import (
	"testing"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/localstack"
	"waybill.internal/services/acknowledger"
	"waybill.internal/services/ingest"
	"waybill.internal/services/processor"
	"waybill.internal/test/world"
)

const everySource = `integration: everything
sources:
  - {name: posted, webhook: {path: /in/everything, verify: {scheme: standard-webhooks, secrets: ["${SECRET}"]}}}
  - {name: dropped, file: {from: ., on_arrival: true, format: {csv: {}}}, idempotency_key: body.id}
  - {name: ours, kafka: {topic: ours}}
  - {name: listed, poll: {url: "${CRM_URL}", items: /items, next: {}, every: 1s, allow_private: true}, idempotency_key: item.id}
destinations:
  crm: {url: "${CRM_URL}", allow_private: true}
process: {steps: [{call: {name: crm, to: crm, path: /orders, body: {no: body.no}}}]}
acknowledge: {post: {to: "${CRM_URL}", allow_private: true, confirmed: "true"}}
`

// TestStopAtAnyMoment: a service that is told to stop ends without an error and
// leaves nothing behind (world.Main looks), also before all its parts were started
// and while what it needs is not there.
func TestStopAtAnyMoment(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		without string // a setting that leads to nobody
		scheme  string // before its address
		ready   bool   // wait for it before the stop
	}{
		"at once":                   {},
		"when ready":                {ready: true},
		"at once, without a ledger": {without: "WAYBILL_POSTGRES_URL", scheme: "postgres://waybill:waybill@"},
		"at once, without Kafka":    {without: "WAYBILL_KAFKA_BROKERS"},
		"ready, without Kafka":      {without: "WAYBILL_KAFKA_BROKERS", ready: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newJourney(t, nil)
			w.Integration("everything", everySource)
			w.Settings["WAYBILL_INGEST_DROP"], w.Settings["WAYBILL_INGEST_SPOOL"] = t.TempDir(), t.TempDir()
			if tt.without != "" {
				nobody, release, err := localstack.ReservePort()
				w.Must(err)
				t.Cleanup(release)
				w.Settings[tt.without] = tt.scheme + nobody
			}
			stop(w, ingest.Spec(), tt.ready)
			stop(w, processor.Spec(), tt.ready)
			stop(w, acknowledger.Spec(), tt.ready)
		})
	}
}

func stop[C any](w *journey, spec daemon.Spec[C], ready bool) {
	w.Helper()
	s := world.Start(w, spec)
	if ready {
		s.AwaitReady()
	}
	s.Stop()
}
