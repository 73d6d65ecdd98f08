package stream_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill.internal/pkg/stream"
	"waybill.internal/pkg/stream/streamtest"
)

func factory(t testing.TB, brokers []string, prefix string) *stream.Factory {
	t.Helper()
	f, err := stream.NewFactory(stream.Config{Brokers: brokers, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func producer(t testing.TB, f *stream.Factory) *stream.Producer {
	t.Helper()
	p := f.NewProducer(stream.ProducerConfig{})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

func consume(t testing.TB, f *stream.Factory, config stream.ConsumerConfig) {
	t.Helper()
	c, err := f.NewConsumer(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func minute(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// What the broker is asked for, read from the requests it got.
func TestAllReplicasMustAcknowledge(t *testing.T) {
	t.Parallel()
	cluster := embedded(t, kfake.NumBrokers(1))
	var mu sync.Mutex
	var acks []int16
	mixed := 0 // requests with more than one partition
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		r := req.(*kmsg.ProduceRequest)
		acks = append(acks, r.Acks)
		partitions := 0
		for _, topic := range r.Topics {
			partitions += len(topic.Partitions)
		}
		if partitions > 1 {
			mixed++
		}
		return nil, nil, false
	})
	f := factory(t, cluster.ListenAddrs(), "acks")
	p := producer(t, f)
	msgs := make([]stream.Message, 50)
	for i := range msgs {
		msgs[i] = stream.Message{Key: []byte{byte(i)}, Value: []byte("v")}
	}
	for range 5 {
		if _, err := p.Publish(minute(t), "acks.topic", msgs); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(acks) != 5 || mixed != 5 {
		t.Errorf("%d requests, %d of them for several partitions; want 5 of 5: one per call, whatever the partitions", len(acks), mixed)
	}
	for _, a := range acks {
		if a != -1 {
			t.Errorf("a request asked for acks=%d, want -1 (all)", a)
		}
	}
}

func produceAnswer(req kmsg.Request, code func(topic string, partition int32) int16) kmsg.Response {
	r := req.(*kmsg.ProduceRequest)
	resp := r.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range r.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = topic.Topic
		for _, partition := range topic.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition = partition.Partition
			rp.ErrorCode = code(topic.Topic, partition.Partition)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// A broker that fails one partition must get only this one again.
func TestOnlyFailedPartitionsAreSentAgain(t *testing.T) {
	t.Parallel()
	cluster := embedded(t, kfake.NumBrokers(1), kfake.SeedTopics(3, "part"))
	var mu sync.Mutex
	var sent [][]int32
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		var partitions []int32
		for _, p := range req.(*kmsg.ProduceRequest).Topics[0].Partitions {
			partitions = append(partitions, p.Partition)
		}
		sent = append(sent, partitions)
		if len(sent) > 1 {
			return nil, nil, false
		}
		return produceAnswer(req, func(_ string, partition int32) int16 {
			if partition == 1 {
				return kerr.NotLeaderForPartition.Code
			}
			return 0
		}), nil, true
	})
	p := producer(t, factory(t, cluster.ListenAddrs(), "x"))
	var msgs []stream.Message
	for i := range 60 {
		msgs = append(msgs, stream.Message{Key: []byte{byte(i)}, Value: []byte("v")})
	}
	if _, err := p.Publish(minute(t), "part", msgs); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(sent) != 2 || len(sent[0]) != 3 || len(sent[1]) != 1 || sent[1][0] != 1 {
		t.Errorf("partitions sent: %v, want all three and then 1 alone", sent)
	}
}

func TestRefusedMessageIsFoundAndFailsAlone(t *testing.T) {
	t.Parallel()
	cluster := embedded(t, kfake.NumBrokers(1))
	if err := cluster.CreateTopic("small", 1, map[string]string{"max.message.bytes": "20000"}); err != nil {
		t.Fatal(err)
	}
	p := producer(t, factory(t, cluster.ListenAddrs(), "x"))
	var done sync.WaitGroup
	for i := range 20 {
		done.Go(func() {
			size := 500
			if i == 7 {
				size = 50000
			}
			_, err := p.Publish(minute(t), "small", []stream.Message{{Key: []byte("k"), Value: make([]byte, size)}})
			if i == 7 && !errors.Is(err, stream.ErrTooLarge) {
				t.Errorf("the large one: got %v, want ErrTooLarge", err)
			}
			if i != 7 && err != nil {
				t.Errorf("a small one beside it: %v", err)
			}
		})
	}
	done.Wait()
}

func TestPublishAfterAndDuringClose(t *testing.T) {
	t.Parallel()
	f := factory(t, []string{"127.0.0.1:1"}, "x") // nobody listens there
	p := f.NewProducer(stream.ProducerConfig{})
	failed := make(chan error, 1)
	go func() {
		_, err := p.Publish(minute(t), "x", []stream.Message{{Value: []byte("v")}})
		failed <- err
	}()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.Close(ctx)
	if err := <-failed; !errors.Is(err, stream.ErrClosed) {
		t.Errorf("a Publish cut short got %v, want ErrClosed", err)
	}
	if _, err := p.Publish(minute(t), "x", []stream.Message{{Value: []byte("v")}}); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("a Publish after Close got %v, want ErrClosed", err)
	}
}

func TestFactoryNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]stream.Config{
		"no broker":                {Prefix: "x"},
		"not host:port":            {Prefix: "x", Brokers: []string{"localhost"}},
		"prefix":                   {Prefix: "a b", Brokers: []string{"h:1"}},
		"more than replication":    {Prefix: "x", Brokers: []string{"h:1"}, MinInsync: 2},
		"mechanism \"GSSAPI\"":     {Prefix: "x", Brokers: []string{"h:1"}, SASL: &stream.SASL{Mechanism: "GSSAPI"}},
		"needs a user":             {Prefix: "x", Brokers: []string{"h:1"}, SASL: &stream.SASL{Mechanism: "PLAIN"}},
		"partitions is -1":         {Prefix: "x", Brokers: []string{"h:1"}, Partitions: -1},
		"delays must rise, and it": {Prefix: "x", Brokers: []string{"h:1"}, Delays: []time.Duration{time.Minute, time.Second}},
	} {
		if _, err := stream.NewFactory(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestTopicNames(t *testing.T) {
	t.Parallel()
	topics := stream.Topics{Prefix: "w", Delays: append(stream.DefaultDelays(), 90*time.Second, time.Hour)}
	want := "w.main.work w.main.retry.5s w.main.retry.30s w.main.retry.5m w.main.retry.1m30s w.main.retry.1h w.main.retry w.main.replay w.result w.dead-letter w.quarantine"
	if got := strings.Join(topics.All(stream.MainLane), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, lane := range []string{"", "a.b", "result", "a b"} {
		if stream.CheckLane(lane) == nil {
			t.Errorf("lane %q was taken", lane)
		}
	}
}

// The values are those of Kafka's Java client for these keys.
func TestPartitionsAgreeWithJava(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		const large = 1 << 30
		if got := stream.PartitionOf([]byte(key), large); got != int(want&0x7fffffff)%large {
			t.Errorf("%q goes to %d, Java's murmur2 is %d", key, got, want)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	brokers := benchBrokers(b)
	b.Run("stream.Producer", func(b *testing.B) {
		p := producer(b, factory(b, brokers, "bench"))
		streamtest.BenchPublish(b, func(ctx context.Context, m stream.Message) error {
			_, err := p.Publish(ctx, "bench.producer", []stream.Message{m})
			return err
		})
	})
	for name, linger := range map[string]time.Duration{"5ms": 5 * time.Millisecond, "1s": time.Second} {
		b.Run("kafka.Writer/BatchTimeout="+name, func(b *testing.B) {
			if err := factory(b, brokers, "bench").Ensure(minute(b), "bench.writer"); err != nil {
				b.Fatal(err)
			}
			transport := &kafka.Transport{}
			defer transport.CloseIdleConnections()
			w := &kafka.Writer{Addr: kafka.TCP(brokers...), Transport: transport, Topic: "bench.writer", RequiredAcks: kafka.RequireAll,
				Balancer: kafka.Murmur2Balancer{}, BatchTimeout: linger, BatchSize: 64}
			defer w.Close()
			streamtest.BenchPublish(b, func(ctx context.Context, m stream.Message) error {
				return w.WriteMessages(ctx, kafka.Message{Key: m.Key, Value: m.Value})
			})
		})
	}
}

func benchBrokers(b *testing.B) []string {
	if brokers := os.Getenv("WAYBILL_TEST_KAFKA"); brokers != "" {
		return strings.Split(brokers, ",")
	}
	return embedded(b).ListenAddrs()
}
