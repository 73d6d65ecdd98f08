// Package acknowledger_test runs the real acknowledger in this process, with a
// real Postgres, an embedded Kafka and a partner that does what a test scripts.
package acknowledger_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
	"waybill.internal/services/acknowledger"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

const (
	look = 20 * time.Millisecond // for what is due
	key  = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	shop = "shop"
)

// file is an integration that acknowledges to ${PARTNER_URL}.
const file = `
integration: %s
sources:
  - webhook: {path: /in/%s, verify: {scheme: standard-webhooks, secrets: ["${KEY}"]}}
acknowledge:
  post:
    to: ${%s}
    batch: 10
    every: 20ms
    timeout: %s
    sign: {scheme: standard-webhooks, secrets: ["${KEY}"]}
    auth: {bearer: "${TOKEN}"}
    confirmed: any(response.body.confirmed ?? [], .id == item.id && .outcome == item.outcome)
    retry: {first: 50ms, max: 500ms, give_up_after: %s}
    allow_private: true
`

type options struct {
	giveUpAfter string            // 1h
	timeout     string            // 10s
	inFlight    string            // 2000
	others      map[string]string // further integrations and their partners' addresses
	sentry      string
}

// seeder is a world, and what ingest and processor would be in it: the test starts
// the acknowledger.
type seeder struct {
	*world.World
	ledger    *ledger.Ledger
	catalog   *catalog.Catalog
	session   int64
	publisher *outbox.Publisher
	producer  *stream.Producer
	topics    stream.Topics
	key       []byte
}

func newSeeder(t *testing.T, partner string, o options) *seeder {
	t.Helper()
	w := &seeder{World: world.New(t)}
	maps.Copy(w.Settings, map[string]string{"KEY": key, "TOKEN": "sesame", "SHOP_URL": partner,
		"WAYBILL_ACKNOWLEDGER_IN_FLIGHT": o.inFlight, "WAYBILL_SENTRY_DSN": o.sentry, "WAYBILL_ACKNOWLEDGER_DRAIN": "1s"})
	w.integration(shop, o)
	for name, address := range o.others {
		w.Settings[strings.ToUpper(name)+"_URL"] = address
		w.integration(name, o)
	}
	w.open()
	return w
}

func (w *seeder) integration(name string, o options) {
	w.Helper()
	giveUp, timeout := o.giveUpAfter, o.timeout
	if giveUp == "" {
		giveUp = "1h"
	}
	if timeout == "" {
		timeout = "10s"
	}
	w.Integration(name, fmt.Sprintf(file, name, name, strings.ToUpper(name)+"_URL", timeout, giveUp))
}

// open makes what ingest and processor would be: a ledger with a session, and a publisher.
func (w *seeder) open() {
	w.Helper()
	var err error
	w.catalog = catalog.New(integration.Lookup(w.Lookup))
	w.Must(w.catalog.LoadDir(w.Settings["WAYBILL_INTEGRATIONS"]))
	w.ledger, err = ledger.Open(w.Context(), w.Settings["WAYBILL_POSTGRES_URL"], ledger.Options{Terms: w.catalog.Terms, Name: "seeder", MaxConns: 4})
	w.Must(err)
	w.Cleanup(w.ledger.Close)
	w.Must(w.ledger.EnsureDays(w.Context()))
	w.Must(w.catalog.Register(w.Context(), w.ledger))
	w.key, err = w.ledger.InstallationKey(w.Context())
	w.Must(err)
	kafka, err := stream.NewFactory(stream.Config{Brokers: []string{w.Settings["WAYBILL_KAFKA_BROKERS"]}, Prefix: w.Settings["WAYBILL_KAFKA_PREFIX"]})
	w.Must(err)
	w.topics = kafka.Topics()
	w.Must(kafka.Ensure(w.Context(), w.topics.All(stream.MainLane)...))
	w.producer = kafka.NewProducer(stream.ProducerConfig{})
	w.publisher, err = outbox.New(w.ledger, w.producer, w.Settings["WAYBILL_KAFKA_PREFIX"], zap.NewNop())
	w.Must(err)
	sessions := ledger.NewSessions(w.ledger, "seeder", zap.NewNop())
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = sessions.Run(ctx) }()
	session, err := sessions.Current(w.Context())
	w.Must(err)
	w.session = session.ID
	released := make(chan struct{})
	go func() { defer close(released); w.release(ctx) }()
	w.Cleanup(func() {
		cancel()
		<-ended
		<-released
		stop, done := context.WithTimeout(context.Background(), world.Patience)
		defer done()
		w.Must(w.publisher.Close(stop))
		w.Must(w.producer.Close(stop))
	})
}

// release puts due resends back on the topic, as the processor's re-driver does.
func (w *seeder) release(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		batches, err := w.ledger.Release(ctx, w.session, 500)
		if err == nil {
			err = w.publisher.EnqueueStored(ctx, batches)
		}
		if err != nil && ctx.Err() == nil {
			w.Errorf("release: %v", err)
			return
		}
	}
}

// takeOver does, once, what the re-driver does about batches of a process that is gone.
func (w *seeder) takeOver() {
	w.Helper()
	page, err := w.ledger.PublishedAfter(w.Context(), ledger.BatchID{}, 1000)
	w.Must(err)
	var ids []ledger.BatchID
	for _, b := range page {
		if b.Topic == string(record.TopicResult) {
			ids = append(ids, b.ID)
		}
	}
	batches, _, err := w.ledger.Passed(w.Context(), w.session, ids, true)
	w.Must(err)
	w.Must(w.publisher.EnqueueStored(w.Context(), batches))
}

func (w *seeder) enqueue(batches []ledger.Batch) {
	w.publisher.Enqueue(batches, func(ledger.Item) outbox.Source { return outbox.Source{Payload: ledger.Payload{Body: []byte("{}")}} })
}

func (w *seeder) arrivals(name, prefix string, n int, failure *record.Failure) []ledger.Arrival {
	entry, _ := w.catalog.Get(name)
	list := make([]ledger.Arrival, n)
	for i := range list {
		k := fmt.Sprintf("%s-%d", prefix, i)
		list[i] = ledger.Arrival{ID: record.DeriveID(w.key, name, k), Integration: name, Source: "webhook", Key: k, EntityKey: "entity-" + k,
			Version: entry.Version, Failure: failure, Payload: ledger.Payload{ContentType: "application/json", Body: []byte("{}"), TrackingID: record.DeriveID(w.key, "tracking", k)}}
	}
	return list
}

func ids(arrivals []ledger.Arrival) []record.ID {
	list := make([]record.ID, len(arrivals))
	for i, a := range arrivals {
		list[i] = a.ID
	}
	return list
}

// rejected seeds records that were refused at the door: their outcome is due.
func (w *seeder) rejected(name, prefix string, n int) []record.ID {
	w.Helper()
	arrivals := w.arrivals(name, prefix, n, &record.Failure{Class: record.ClassData, Code: "schema", Message: "the body does not match",
		Detail: []byte(`[{"pointer":"/product","code":"schema","message":"is missing"}]`)})
	_, batches, err := w.ledger.Accept(w.Context(), w.session, arrivals)
	w.Must(err)
	w.enqueue(batches)
	return ids(arrivals)
}

// processed seeds records that went all the way.
func (w *seeder) processed(name, prefix string, n int) []record.ID {
	w.Helper()
	arrivals := w.arrivals(name, prefix, n, nil)
	_, _, err := w.ledger.Accept(w.Context(), w.session, arrivals)
	w.Must(err)
	refs := make([]ledger.Ref, n)
	for i, a := range arrivals {
		refs[i] = ledger.Ref{ID: a.ID, Fence: 1, Version: a.Version}
	}
	claimed, err := w.ledger.Claim(w.Context(), w.session, refs)
	w.Must(err)
	settlements := make([]ledger.Settlement, n)
	for i, r := range claimed {
		settlements[i] = ledger.Settlement{ID: r.ID, Fence: r.Fence, Fact: record.Fact{Event: record.Succeeded}, History: ledger.History{Kind: ledger.ProcessHistory}}
	}
	_, batches, err := w.ledger.Settle(w.Context(), w.session, settlements)
	w.Must(err)
	w.enqueue(batches)
	return ids(arrivals)
}

// start runs the acknowledger until it is stopped, or the test ends.
func (w *seeder) start() *world.Service {
	w.Helper()
	return world.Start(w, acknowledger.Spec())
}

// all reports whether the outcomes of all records are in a state.
func (w *seeder) all(state record.OutcomeState, list []record.ID) func() bool {
	return func() bool {
		w.Helper()
		found, err := w.ledger.Records(w.Context(), list)
		w.Must(err)
		for _, id := range list {
			if found[id].Outcome.State != state {
				return false
			}
		}
		return true
	}
}

func (w *seeder) record(id record.ID) record.Record {
	w.Helper()
	found, err := w.ledger.Records(w.Context(), []record.ID{id})
	w.Must(err)
	return found[id]
}
