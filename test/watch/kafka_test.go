package watch_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"

	"waybill.internal/test/world"
)

// TestPausedTopic: a paused kafka source leaves its group, and goes on where it stood.
func TestPausedTopic(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	topic := w.Settings["WAYBILL_KAFKA_PREFIX"] + ".events-of-the-shop"
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &kafka.Client{Addr: kafka.TCP(w.Settings["WAYBILL_KAFKA_BROKERS"]), Transport: transport}
	made, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}})
	w.Must(err)
	w.Must(made.Errors[topic])
	write := func(id string) {
		t.Helper()
		record := kafka.Record{Value: kafka.NewBytes(fmt.Appendf(nil, `{"id": %q, "quantity": 1}`, id))}
		res, err := client.Produce(t.Context(), &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(record)})
		w.Must(err)
		w.Must(res.Error)
	}
	w.Integration("shop", strings.Replace(shop, "  - name: list\n", "  - name: events\n    kafka: {topic: "+topic+"}\n  - name: list\n", 1))
	w.sources = 5
	w.start()
	rows := func() int { return world.One[int](w, `SELECT count(*) FROM record WHERE source = 'events'`) }

	write("1")
	w.Await("the first message", func() bool { return rows() == 1 })
	w.Says(0, "is paused", "source", "pause", "shop/events", "--why", "a test")
	w.Await("the pause to be seen", func() bool { return w.Logs.Has(`"a source is paused"`) })
	write("2")
	w.judgedAgain("events")
	if n := rows(); n != 1 {
		t.Errorf("%d messages of a paused source", n)
	}
	w.Says(0, "1 message behind. No message was taken", "source", "test", "shop/events")
	w.Says(0, "is resumed", "source", "resume", "shop/events", "--why", "the end of it")
	w.Await("the second message", func() bool { return rows() == 2 })
}
