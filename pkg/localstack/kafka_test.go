package localstack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"waybill.internal/pkg/localstack"
	"waybill.internal/pkg/localstack/stacktest"
)

func createTopic(ctx context.Context, addr, topic string) error {
	conn, err := kafka.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.CreateTopics(kafka.TopicConfig{Topic: topic, NumPartitions: 1, ReplicationFactor: 1})
}

// write puts one message on the topic, with all replicas' acknowledgement.
func write(ctx context.Context, addr, topic, text string) error {
	return atLeader(ctx, addr, topic, func(conn *kafka.Conn) error {
		if err := conn.SetRequiredAcks(-1); err != nil {
			return err
		}
		_, err := conn.WriteMessages(kafka.Message{Value: []byte(text)})
		return err
	})
}

func wantFirst(ctx context.Context, addr, topic, want string) error {
	return atLeader(ctx, addr, topic, func(conn *kafka.Conn) error {
		message, err := conn.ReadMessage(1 << 20)
		if err == nil && string(message.Value) != want {
			err = fmt.Errorf("first message is %q, want %q", message.Value, want)
		}
		return err
	})
}

// atLeader asks the one broker there is. It does not look the leader up: the
// library's look-up repeats without end for a topic that does not exist.
func atLeader(ctx context.Context, addr, topic string, do func(*kafka.Conn) error) error {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	conn, err := kafka.DefaultDialer.DialPartition(ctx, "tcp", addr, kafka.Partition{
		Topic: topic, Leader: kafka.Broker{Host: host, Port: port},
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(requestLimit)); err != nil {
		return err
	}
	return do(conn)
}

// topics lists the topics by name, Kafka's own left out.
func topics(ctx context.Context, addr string) ([]string, error) {
	conn, err := kafka.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	partitions, err := conn.ReadPartitions()
	var names []string
	for _, p := range partitions {
		if p.ID == 0 && !strings.HasPrefix(p.Topic, "__") {
			names = append(names, p.Topic)
		}
	}
	return names, err
}

func TestKafkaFaults(t *testing.T) {
	t.Parallel()
	k := stacktest.OwnKafka(t)
	addr := k.Addr()
	must(t, createTopic(t.Context(), addr, "kept"))
	eventually(t, func(ctx context.Context) error { return write(ctx, addr, "kept", "a message") })

	must(t, k.Kill(t.Context()))
	if k.PID() != 0 {
		t.Errorf("PID after Kill: %d, want 0", k.PID())
	}
	if _, err := topics(t.Context(), addr); err == nil {
		t.Error("a killed Kafka answered")
	}
	must(t, k.Restart(t.Context()))
	if k.Addr() != addr {
		t.Errorf("address moved from %s to %s", addr, k.Addr())
	}
	// Kafka names a leader shortly before that leader serves, hence eventually.
	eventually(t, func(ctx context.Context) error { return wantFirst(ctx, addr, "kept", "a message") })

	must(t, k.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), silentLimit)
	defer cancel()
	if _, err := topics(ctx, addr); err == nil {
		t.Error("a paused Kafka answered")
	}
	must(t, k.Resume())
	eventually(t, func(ctx context.Context) error { return wantFirst(ctx, addr, "kept", "a message") })

	must(t, k.Wipe(t.Context()))
	names, err := topics(t.Context(), addr) // the same address
	must(t, err)
	if len(names) != 0 {
		t.Errorf("topics after Wipe: %v, want none", names)
	}
	must(t, createTopic(t.Context(), addr, "kept"))
	eventually(t, func(ctx context.Context) error { return write(ctx, addr, "kept", "after") })
	eventually(t, func(ctx context.Context) error { return wantFirst(ctx, addr, "kept", "after") })
}

// A second broker beside the others: stopped in good order, started again on its
// folder, and no topic is made by use.
func TestKafkaUsesItsFolderAgain(t *testing.T) {
	t.Parallel()
	opts := localstack.KafkaOptions{Dir: t.TempDir(), HeapMB: 256}
	k, err := localstack.StartKafka(t.Context(), opts)
	must(t, err)
	addr := k.Addr()
	must(t, createTopic(t.Context(), addr, "kept"))
	eventually(t, func(ctx context.Context) error { return write(ctx, addr, "kept", "over stop") })
	if err := write(t.Context(), addr, "never-created", "x"); !errors.Is(err, kafka.UnknownTopicOrPartition) {
		t.Errorf("write to an unknown topic: %v, want unknown topic", err)
	}
	must(t, k.Stop(t.Context()))
	must(t, k.Stop(t.Context())) // again is fine
	if err := k.Wipe(t.Context()); err == nil {
		t.Error("Wipe after Stop succeeded")
	}

	k, err = localstack.StartKafka(t.Context(), opts)
	must(t, err)
	defer k.Stop(context.Background())
	if k.Addr() != addr {
		t.Errorf("address moved from %s to %s", addr, k.Addr())
	}
	eventually(t, func(ctx context.Context) error { return wantFirst(ctx, addr, "kept", "over stop") })
}

func TestKafkaRefusesBadOptions(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]localstack.KafkaOptions{
		"HeapMB is 1": {HeapMB: 1},
		"port -1":     {Port: -1},
	} {
		k, err := localstack.StartKafka(t.Context(), opts)
		if err == nil {
			_ = k.Stop(context.Background())
			t.Fatalf("started with %+v", opts)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

func TestEmbeddedKafkaKeepsItsFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := localstack.StartEmbeddedKafka(t.Context(), dir, 0)
	must(t, err)
	addr := e.Addr()
	must(t, createTopic(t.Context(), addr, "kept"))
	must(t, write(t.Context(), addr, "kept", "over stop"))
	if err := write(t.Context(), addr, "never-created", "x"); !errors.Is(err, kafka.UnknownTopicOrPartition) {
		t.Errorf("write to an unknown topic: %v, want unknown topic", err)
	}
	if _, err := localstack.StartEmbeddedKafka(t.Context(), dir, 0); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("a second broker on the same folder: %v, want that it is locked", err)
	}
	must(t, e.Stop())
	must(t, e.Stop()) // again is fine

	e, err = localstack.StartEmbeddedKafka(t.Context(), dir, 0)
	must(t, err)
	defer e.Stop()
	if e.Addr() != addr {
		t.Errorf("address moved from %s to %s", addr, e.Addr())
	}
	must(t, wantFirst(t.Context(), addr, "kept", "over stop"))
}

func TestEmbeddedKafkasAreApart(t *testing.T) {
	t.Parallel()
	one, onePrefix := stacktest.EmbeddedKafka(t)
	two, twoPrefix := stacktest.EmbeddedKafka(t)
	if onePrefix == twoPrefix {
		t.Errorf("the same prefix twice: %s", onePrefix)
	}
	must(t, createTopic(t.Context(), one, onePrefix))
	names, err := topics(t.Context(), two)
	must(t, err)
	if len(names) != 0 {
		t.Errorf("one broker's topics show on another: %v", names)
	}
}
