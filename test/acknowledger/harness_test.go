// Package acknowledger_test runs the real acknowledger in this process, with a
// real Postgres, an embedded Kafka and a partner that does what a test scripts.
package acknowledger_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
	"waybill.internal/services/acknowledger"
)

func TestMain(m *testing.M) {
	status := stacktest.Main(m)
	if err := goleak.Find(stacktest.Goroutines()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

const (
	patience = 60 * time.Second // only a test that fails waits so long
	look     = 20 * time.Millisecond
	key      = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	shop     = "shop"
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

// world is one test's installation: everything but the acknowledger.
type world struct {
	*testing.T
	vars      map[string]string
	ledger    *ledger.Ledger
	catalog   *catalog.Catalog
	session   int64
	publisher *outbox.Publisher
	producer  *stream.Producer
	topics    stream.Topics
	key       []byte
}

func newWorld(t *testing.T, partner string, o options) *world {
	t.Helper()
	brokers, prefix := stacktest.EmbeddedKafka(t)
	w := &world{T: t, vars: map[string]string{
		"KEY": key, "TOKEN": "sesame", "SHOP_URL": partner, "WAYBILL_POSTGRES_URL": stacktest.Postgres(t), "WAYBILL_KAFKA_BROKERS": brokers,
		"WAYBILL_KAFKA_PREFIX": prefix, "WAYBILL_INTEGRATIONS": t.TempDir(), "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0",
		"WAYBILL_ACKNOWLEDGER_IN_FLIGHT": o.inFlight, "WAYBILL_SENTRY_DSN": o.sentry, "WAYBILL_ACKNOWLEDGER_DRAIN": "1s",
	}}
	w.integration(shop, o)
	for name, address := range o.others {
		w.vars[strings.ToUpper(name)+"_URL"] = address
		w.integration(name, o)
	}
	w.open(brokers, prefix)
	return w
}

func (w *world) integration(name string, o options) {
	giveUp, timeout := o.giveUpAfter, o.timeout
	if giveUp == "" {
		giveUp = "1h"
	}
	if timeout == "" {
		timeout = "10s"
	}
	text := fmt.Sprintf(file, name, name, strings.ToUpper(name)+"_URL", timeout, giveUp)
	w.must(os.WriteFile(filepath.Join(w.vars["WAYBILL_INTEGRATIONS"], name+".yaml"), []byte(text), 0o600))
}

func (w *world) lookup(name string) (string, bool) {
	v, ok := w.vars[name]
	return v, ok
}

// open makes what ingest and processor would be: a seeder with a session.
func (w *world) open(brokers, prefix string) {
	w.Helper()
	_, err := ledger.Migrate(w.Context(), w.vars["WAYBILL_POSTGRES_URL"])
	w.must(err)
	w.catalog = catalog.New(integration.Lookup(w.lookup))
	w.must(w.catalog.LoadDir(w.vars["WAYBILL_INTEGRATIONS"]))
	w.ledger, err = ledger.Open(w.Context(), w.vars["WAYBILL_POSTGRES_URL"], ledger.Options{Terms: w.catalog.Terms, Name: "seeder", MaxConns: 4})
	w.must(err)
	w.Cleanup(w.ledger.Close)
	w.must(w.ledger.EnsureDays(w.Context()))
	w.must(w.catalog.Register(w.Context(), w.ledger))
	w.key, err = w.ledger.InstallationKey(w.Context())
	w.must(err)
	kafka, err := stream.NewFactory(stream.Config{Brokers: []string{brokers}, Prefix: prefix})
	w.must(err)
	w.topics = kafka.Topics()
	w.must(kafka.Ensure(w.Context(), w.topics.All(stream.MainLane)...))
	w.producer = kafka.NewProducer(stream.ProducerConfig{})
	w.publisher, err = outbox.New(w.ledger, w.producer, prefix, zap.NewNop())
	w.must(err)
	sessions := ledger.NewSessions(w.ledger, "seeder", zap.NewNop())
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = sessions.Run(ctx) }()
	session, err := sessions.Current(w.Context())
	w.must(err)
	w.session = session.ID
	released := make(chan struct{})
	go func() { defer close(released); w.release(ctx) }()
	w.Cleanup(func() {
		cancel()
		<-ended
		<-released
		stop, done := context.WithTimeout(context.Background(), patience)
		defer done()
		w.must(w.publisher.Close(stop))
		w.must(w.producer.Close(stop))
	})
}

// release puts due resends back on the topic, as the processor's re-driver does.
func (w *world) release(ctx context.Context) {
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
func (w *world) takeOver() {
	w.Helper()
	page, err := w.ledger.PublishedAfter(w.Context(), ledger.BatchID{}, 1000)
	w.must(err)
	var ids []ledger.BatchID
	for _, b := range page {
		if b.Topic == string(record.TopicResult) {
			ids = append(ids, b.ID)
		}
	}
	batches, _, err := w.ledger.Passed(w.Context(), w.session, ids, true)
	w.must(err)
	w.must(w.publisher.EnqueueStored(w.Context(), batches))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) enqueue(batches []ledger.Batch) {
	w.publisher.Enqueue(batches, func(ledger.Item) outbox.Source { return outbox.Source{Payload: ledger.Payload{Body: []byte("{}")}} })
}

func (w *world) arrivals(name, prefix string, n int, failure *record.Failure) []ledger.Arrival {
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
func (w *world) rejected(name, prefix string, n int) []record.ID {
	w.Helper()
	arrivals := w.arrivals(name, prefix, n, &record.Failure{Class: record.ClassData, Code: "schema", Message: "the body does not match",
		Detail: []byte(`[{"pointer":"/product","code":"schema","message":"is missing"}]`)})
	_, batches, err := w.ledger.Accept(w.Context(), w.session, arrivals)
	w.must(err)
	w.enqueue(batches)
	return ids(arrivals)
}

// processed seeds records that went all the way.
func (w *world) processed(name, prefix string, n int) []record.ID {
	w.Helper()
	arrivals := w.arrivals(name, prefix, n, nil)
	_, _, err := w.ledger.Accept(w.Context(), w.session, arrivals)
	w.must(err)
	refs := make([]ledger.Ref, n)
	for i, a := range arrivals {
		refs[i] = ledger.Ref{ID: a.ID, Fence: 1, Version: a.Version}
	}
	claimed, err := w.ledger.Claim(w.Context(), w.session, refs)
	w.must(err)
	settlements := make([]ledger.Settlement, n)
	for i, r := range claimed {
		settlements[i] = ledger.Settlement{ID: r.ID, Fence: r.Fence, Fact: record.Fact{Event: record.Succeeded}, History: ledger.History{Kind: ledger.ProcessHistory}}
	}
	_, batches, err := w.ledger.Settle(w.Context(), w.session, settlements)
	w.must(err)
	w.enqueue(batches)
	return ids(arrivals)
}

// start runs the acknowledger; the stop is awaited at the end of the test.
func (w *world) start() *daemon.Process {
	w.Helper()
	p, err := daemon.Start(context.Background(), acknowledger.Spec(), w.lookup, daemon.LogTo(logger{w.T}))
	w.must(err)
	w.Cleanup(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			w.Errorf("stop the acknowledger: %v", err)
		}
	})
	return p
}

type logger struct{ t *testing.T }

func (l logger) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}

// await polls until f is true.
func (w *world) await(what string, f func() bool) {
	w.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for !f() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			w.Fatalf("never happened: %s", what)
		}
	}
}

// all reports whether the outcomes of all records are in a state.
func (w *world) all(state record.OutcomeState, list []record.ID) func() bool {
	return func() bool {
		w.Helper()
		found, err := w.ledger.Records(w.Context(), list)
		w.must(err)
		for _, id := range list {
			if found[id].Outcome.State != state {
				return false
			}
		}
		return true
	}
}

func (w *world) record(id record.ID) record.Record {
	w.Helper()
	found, err := w.ledger.Records(w.Context(), []record.ID{id})
	w.must(err)
	return found[id]
}
