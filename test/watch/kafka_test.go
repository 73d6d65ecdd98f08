package watch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
)

// TestPausedTopic: a paused kafka source leaves its group, and goes on where it stood.
func TestPausedTopic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.settings["WAYBILL_KAFKA_PREFIX"] + ".events-of-the-shop"
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &kafka.Client{Addr: kafka.TCP(w.settings["WAYBILL_KAFKA_BROKERS"]), Transport: transport}
	made, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}})
	w.must(err)
	w.must(made.Errors[topic])
	write := func(id string) {
		t.Helper()
		record := kafka.Record{Value: kafka.NewBytes(fmt.Appendf(nil, `{"id": %q, "quantity": 1}`, id))}
		res, err := client.Produce(t.Context(), &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(record)})
		w.must(err)
		w.must(res.Error)
	}
	path := filepath.Join(w.settings["WAYBILL_INTEGRATIONS"], "shop.yaml")
	w.must(os.WriteFile(path, []byte(strings.Replace(shop, "  - name: list\n", "  - name: events\n    kafka: {topic: "+topic+"}\n  - name: list\n", 1)), 0o600))
	w.sources = 5
	r := w.start()
	waybill := w.command()
	rows := func() int { return one[int](w, `SELECT count(*) FROM record WHERE source = 'events'`) }

	write("1")
	w.await("the first message", func() bool { return rows() == 1 })
	waybill(0, "is paused", "source", "pause", "shop/events", "--why", "a test")
	w.await("the pause to be seen", func() bool { return strings.Contains(r.log.String(), `"a source is paused"`) })
	write("2")
	w.judgedAgain("events")
	if n := rows(); n != 1 {
		t.Errorf("%d messages of a paused source", n)
	}
	waybill(0, "1 message behind. No message was taken", "source", "test", "shop/events")
	waybill(0, "is resumed", "source", "resume", "shop/events", "--why", "the end of it")
	w.await("the second message", func() bool { return rows() == 2 })
}
