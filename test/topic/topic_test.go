// Package topic_test writes to Kafka topics that are not Waybill's own and
// compares what the ledger then holds with what was written.
package topic_test

import (
	"fmt"
	"testing"

	"github.com/segmentio/kafka-go"

	"waybill.internal/services/ingest"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

// feed is a world with a foreign topic, which its ingest reads.
type feed struct {
	*world.World
	topic  string
	client *kafka.Client
}

func newFeed(t *testing.T) *feed {
	t.Helper()
	return newFeedOf(t, "")
}

// newFeedOf makes a feed whose source has more settings.
func newFeedOf(t *testing.T, more string) *feed {
	t.Helper()
	w := &feed{World: world.New(t)}
	w.topic = w.Settings["WAYBILL_KAFKA_PREFIX"] + ".orders-of-the-shop"
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &kafka.Client{Addr: kafka.TCP(w.Settings["WAYBILL_KAFKA_BROKERS"]), Transport: transport}
	w.Integration("orders", fmt.Sprintf(`integration: orders
sources:
  - kafka: {topic: %s}
%srecord:
  entity_key: body.order
  schema: {type: object, required: [order]}
  check: ["body.total == nil || body.total >= 0"]
`, w.topic, more))
	return w
}

func (w *feed) makeTopic() {
	w.Helper()
	res, err := w.client.CreateTopics(w.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: w.topic, NumPartitions: 2, ReplicationFactor: 1}}})
	w.Must(err)
	w.Must(res.Errors[w.topic])
}

func (w *feed) write(partition int, values ...string) {
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
	w.Must(err)
	w.Must(res.Error)
}

// start runs an ingest until the returned function is called, or the test ends.
func (w *feed) start() (stop func()) {
	w.Helper()
	return world.Start(w, ingest.Spec()).Stop
}

// offsets are those that the group has committed.
func (w *feed) offsets() map[int]int64 {
	w.Helper()
	res, err := w.client.OffsetFetch(w.Context(), &kafka.OffsetFetchRequest{GroupID: "waybill.orders.kafka", Topics: map[string][]int{w.topic: {0, 1}}})
	w.Must(err)
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
	w := newFeed(t)
	stop := w.start() // the topic is not there yet: it is waited for, and not made
	w.makeTopic()
	const good = 700
	for i := range good {
		w.write(i%2, fmt.Sprintf(`{"order": "o-%d", "total": %d}`, i, i))
	}
	w.write(0, `{"total": 5}`, `{"order": "o-negative", "total": -1}`, `no json`, "", `{"order": "o-last"}`)
	w.Await("all records", func() bool { return world.One[int](w, `SELECT count(*) FROM record`) == good+3 })
	w.Await("the offsets", func() bool { o := w.offsets(); return o[0] == good/2+5 && o[1] == good/2 })
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
		if n := world.One[int](w, query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
	order := world.All[string](w, `SELECT p.headers->>'kafka-offset' FROM record r JOIN payload p USING (day, seq) WHERE p.headers->>'kafka-partition' = '1' ORDER BY r.seq`)
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
	w.Must(err)
	w.Must(gone.Errors["waybill.orders.kafka"])
	w.start()
	w.Await("the offsets again", func() bool { o := w.offsets(); return o[0] == good/2+5 && o[1] == good/2 })
	if n := world.One[int](w, `SELECT count(*) FROM record`); n != good+3 {
		t.Errorf("%d records after the group began anew, want %d", n, good+3)
	}
	if n := world.One[int](w, tallied, "duplicate"); n != good+3 {
		t.Errorf("%d duplicates are counted, want %d", n, good+3)
	}
}

// One message that the integration's expressions fail on, or find no key in, is a
// rejected record and holds up none behind it.
func TestAPoisonedMessageHoldsNothingUp(t *testing.T) {
	t.Parallel()
	w := newFeedOf(t, "    idempotency_key: body.id.number\n")
	w.makeTopic()
	w.write(0, `{"id": {"number": 1}, "order": "a"}`, `[1]`, `5`, `null`, `{"id": "text", "order": "b"}`, `{"id": {"number": [1]}, "order": "c"}`, `{"order": "d"}`, `{"id": {"number": 2}, "order": "e"}`)
	w.start()
	w.Await("the records", func() bool { return world.One[int](w, `SELECT count(*) FROM record`) == 8 })
	w.Await("the offsets", func() bool { return w.offsets()[0] == 8 })
	for query, want := range map[string]int{
		`SELECT count(*) FROM record WHERE state = 'queued' AND key IN ('1', '2')`:         2,
		`SELECT count(*) FROM record WHERE state = 'rejected' AND key LIKE '%:0:_:%'`:      6,
		`SELECT count(*) FROM payload WHERE convert_from(body, 'UTF8') IN ('[1]', 'null')`: 2,
	} {
		if n := world.One[int](w, query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
}

// A topic that is made anew begins at offset 0 again: its messages are others.
func TestATopicMadeAnew(t *testing.T) {
	t.Parallel()
	w := newFeed(t)
	w.makeTopic()
	w.write(0, `{"order": "a"}`)
	stop := w.start()
	w.Await("the first record", func() bool { return world.One[int](w, `SELECT count(*) FROM record`) == 1 })
	stop()
	_, err := w.client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{w.topic}})
	w.Must(err)
	_, err = w.client.DeleteGroups(t.Context(), &kafka.DeleteGroupsRequest{GroupIDs: []string{"waybill.orders.kafka"}})
	w.Must(err)
	w.makeTopic()
	w.write(0, `{"order": "b"}`)
	w.start()
	w.Await("the second record", func() bool { return world.One[int](w, `SELECT count(*) FROM record`) == 2 })
}
