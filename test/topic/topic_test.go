// Package topic_test writes to Kafka topics that are not Waybill's own and
// compares what the ledger then holds with what was written.
package topic_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/services/ingest"
)

const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	status := stacktest.Main(m)
	if err := goleak.Find(stacktest.Goroutines()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// world is a foreign topic, and what ingest needs to read it.
type world struct {
	*testing.T
	settings map[string]string
	topic    string
	client   *kafka.Client
	db       *pgxpool.Pool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, "")
}

// newWorldOf makes a world whose source has more settings.
func newWorldOf(t *testing.T, more string) *world {
	t.Helper()
	url := stacktest.Postgres(t)
	brokers, prefix := stacktest.EmbeddedKafka(t)
	w := &world{T: t, topic: prefix + ".orders-of-the-shop"}
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &kafka.Client{Addr: kafka.TCP(brokers), Transport: transport}
	integrations := t.TempDir()
	w.must(os.WriteFile(filepath.Join(integrations, "orders.yaml"), fmt.Appendf(nil, `integration: orders
sources:
  - kafka: {topic: %s}
%srecord:
  entity_key: body.order
  schema: {type: object, required: [order]}
  check: ["body.total == nil || body.total >= 0"]
`, w.topic, more), 0o600))
	_, err := ledger.Migrate(t.Context(), url)
	w.must(err)
	w.db, err = pgxpool.New(t.Context(), url)
	w.must(err)
	t.Cleanup(w.db.Close)
	w.settings = map[string]string{"WAYBILL_POSTGRES_URL": url, "WAYBILL_KAFKA_BROKERS": brokers, "WAYBILL_KAFKA_PREFIX": prefix,
		"WAYBILL_INTEGRATIONS": integrations, "WAYBILL_INGEST_ADDRESS": "127.0.0.1:0", "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0", "WAYBILL_LOG_LEVEL": "error"}
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) makeTopic() {
	w.Helper()
	res, err := w.client.CreateTopics(w.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: w.topic, NumPartitions: 2, ReplicationFactor: 1}}})
	w.must(err)
	w.must(res.Errors[w.topic])
}

func (w *world) write(partition int, values ...string) {
	w.Helper()
	var records []kafka.Record
	for _, v := range values {
		r := kafka.Record{Key: kafka.NewBytes([]byte("k")), Value: kafka.NewBytes([]byte(v)),
			Headers: []kafka.Header{{Key: "Shop-Token", Value: []byte("canary-secret")}, {Key: "shop", Value: []byte("west")}}}
		if v == "" {
			r.Value = nil
		}
		records = append(records, r)
	}
	res, err := w.client.Produce(w.Context(), &kafka.ProduceRequest{Topic: w.topic, Partition: partition, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
	w.must(err)
	w.must(res.Error)
}

func (w *world) start() (stop func()) {
	w.Helper()
	p, err := daemon.Start(w.Context(), ingest.Spec(), func(name string) (string, bool) { v, ok := w.settings[name]; return v, ok })
	w.must(err)
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		p.Stop()
		if err := p.Wait(); err != nil {
			w.Errorf("ingest: %v", err)
		}
	}
	w.Cleanup(stop)
	return stop
}

func (w *world) await(what string, holds func() bool) {
	w.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			w.Fatalf("waited %s in vain for %s", patience, what)
		case <-tick.C:
		}
	}
}

func (w *world) count(sql string, args ...any) (n int) {
	w.Helper()
	w.must(w.db.QueryRow(w.Context(), sql, args...).Scan(&n))
	return n
}

// offsets are those that the group has committed.
func (w *world) offsets() map[int]int64 {
	w.Helper()
	res, err := w.client.OffsetFetch(w.Context(), &kafka.OffsetFetchRequest{GroupID: "waybill.orders.kafka", Topics: map[string][]int{w.topic: {0, 1}}})
	w.must(err)
	out := map[int]int64{}
	for _, p := range res.Topics[w.topic] {
		out[p.Partition] = p.CommittedOffset
	}
	return out
}

const tallied = `SELECT coalesce(sum(delta), 0)::int FROM tally WHERE measure = $1`

// What is on the topic before and after ingest begins becomes records, in the order
// of its partition; what can be none is kept as refused and holds nothing up.
func TestMessagesBecomeRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start() // the topic is not there yet: it is waited for, and not made
	w.makeTopic()
	const good = 700
	for i := range good {
		w.write(i%2, fmt.Sprintf(`{"order": "o-%d", "total": %d}`, i, i))
	}
	w.write(0, `{"total": 5}`, `{"order": "o-negative", "total": -1}`, `no json`, "", `{"order": "o-last"}`)
	w.await("all records", func() bool { return w.count(`SELECT count(*) FROM record`) == good+3 })
	w.await("the offsets", func() bool { o := w.offsets(); return o[0] == good/2+5 && o[1] == good/2 })
	for query, want := range map[string]int{
		`SELECT count(*) FROM record WHERE state = 'queued'`:                                                  good + 1,
		`SELECT count(*) FROM record WHERE state = 'rejected' AND class = 'data'`:                             2,
		`SELECT count(*) FROM interaction WHERE kind = 'refused' AND method = 'CONSUME'`:                      2,
		`SELECT count(*) FROM payload WHERE headers->>'shop' = 'west'`:                                        good + 3,
		`SELECT count(*) FROM payload WHERE headers::text LIKE '%canary%'`:                                    0,
		`SELECT count(*) FROM record WHERE source = 'kafka'`:                                                  good + 3,
		`SELECT count(DISTINCT entity_key) FROM record WHERE entity_key LIKE 'o-%'`:                           good + 2,
		`SELECT coalesce(sum(delta), 0)::int FROM tally WHERE integration = 'orders' AND measure = 'refused'`: 2,
	} {
		if n := w.count(query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
	rows, err := w.db.Query(t.Context(), `SELECT p.headers->>'kafka-offset' FROM record r JOIN payload p USING (day, seq) WHERE p.headers->>'kafka-partition' = '1' ORDER BY r.seq`)
	w.must(err)
	order, err := pgx.CollectRows(rows, pgx.RowTo[string])
	w.must(err)
	if len(order) != good/2 {
		t.Errorf("%d records are of partition 1, want %d", len(order), good/2)
	}
	for i, offset := range order {
		if offset != fmt.Sprint(i) {
			t.Fatalf("record %d of partition 1 is the message at offset %s", i, offset)
		}
	}

	// A group that begins anew meets nothing but what it knows.
	stop()
	gone, err := w.client.DeleteGroups(t.Context(), &kafka.DeleteGroupsRequest{GroupIDs: []string{"waybill.orders.kafka"}})
	w.must(err)
	w.must(gone.Errors["waybill.orders.kafka"])
	w.start()
	w.await("the offsets again", func() bool { o := w.offsets(); return o[0] == good/2+5 && o[1] == good/2 })
	if n := w.count(`SELECT count(*) FROM record`); n != good+3 {
		t.Errorf("%d records after the group began anew, want %d", n, good+3)
	}
	if n := w.count(tallied, "duplicate"); n != good+3 {
		t.Errorf("%d duplicates are counted, want %d", n, good+3)
	}
}

// One message that the integration's expressions fail on, or find no key in, is a
// rejected record and holds up none behind it.
func TestAPoisonedMessageHoldsNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, "    idempotency_key: body.id.number\n")
	w.makeTopic()
	w.write(0, `{"id": {"number": 1}, "order": "a"}`, `[1]`, `5`, `null`, `{"id": "text", "order": "b"}`, `{"id": {"number": [1]}, "order": "c"}`, `{"order": "d"}`, `{"id": {"number": 2}, "order": "e"}`)
	w.start()
	w.await("the records", func() bool { return w.count(`SELECT count(*) FROM record`) == 8 })
	w.await("the offsets", func() bool { return w.offsets()[0] == 8 })
	for query, want := range map[string]int{
		`SELECT count(*) FROM record WHERE state = 'queued' AND key IN ('1', '2')`:         2,
		`SELECT count(*) FROM record WHERE state = 'rejected' AND key LIKE '%:0:_:%'`:      6,
		`SELECT count(*) FROM payload WHERE convert_from(body, 'UTF8') IN ('[1]', 'null')`: 2,
	} {
		if n := w.count(query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
}

// A topic that is made anew begins at offset 0 again: its messages are others.
func TestATopicMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.makeTopic()
	w.write(0, `{"order": "a"}`)
	stop := w.start()
	w.await("the first record", func() bool { return w.count(`SELECT count(*) FROM record`) == 1 })
	stop()
	_, err := w.client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{w.topic}})
	w.must(err)
	_, err = w.client.DeleteGroups(t.Context(), &kafka.DeleteGroupsRequest{GroupIDs: []string{"waybill.orders.kafka"}})
	w.must(err)
	w.makeTopic()
	w.write(0, `{"order": "b"}`)
	w.start()
	w.await("the second record", func() bool { return w.count(`SELECT count(*) FROM record`) == 2 })
}
