package streamtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"waybill.internal/pkg/stream"
)

func producerGetsThroughAnOutage(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	s := newSeen()
	steady := *b // its consumer stays connected
	steady.factory = newFactory(t, stream.Config{Brokers: b.factory.Brokers(), Prefix: b.prefix})
	steady.consume(t, stream.ConsumerConfig{Handle: s.handle})
	var all []stream.Message
	for round := range 6 {
		msgs := numbered(round*50, 50, 10)
		all = append(all, msgs...)
		published := make(chan error, 1)
		if round%2 == 1 {
			b.link.Cut()
		}
		go func() {
			_, err := p.Publish(deadline(t), b.topic(), msgs)
			published <- err
		}()
		if round%2 == 1 {
			eventually(t, func() string { return "nobody tried to connect again" }, func() bool { return b.link.Dials() > 3 })
			select {
			case err := <-published:
				t.Fatalf("Publish returned %v while the brokers were out of reach", err)
			default:
			}
			b.link.Mend()
		}
		if err := <-published; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, s.progress(len(all)), func() bool { return s.len() == len(all) })
	s.check(t, all)
}

func consumerGetsThroughAnOutage(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	other := newFactory(t, stream.Config{Brokers: b.factory.Brokers(), Prefix: b.prefix})
	steady := *b
	steady.factory = other
	p := steady.producer(t)
	s := newSeen()
	b.consume(t, stream.ConsumerConfig{Handle: s.handle})
	var all []stream.Message
	var ends stream.Ends
	for round := range 3 {
		msgs := numbered(round*60, 60, 10)
		all = append(all, msgs...)
		var err error
		if ends, err = p.Publish(deadline(t), b.topic(), msgs); err != nil {
			t.Fatal(err)
		}
		eventually(t, s.progress(len(all)), func() bool { return s.len() == len(all) })
		b.link.Cut()
		eventually(t, func() string { return "nobody tried to connect again" }, func() bool { return b.link.Dials() > 2 })
		b.link.Mend()
	}
	s.check(t, all)
	b.committedAll(t, ends)
}

func oversizeFailsAlone(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	var others sync.WaitGroup
	for w := range 4 {
		others.Go(func() {
			for round := range 10 {
				if _, err := p.Publish(deadline(t), b.topic(), numbered(w*1000+round*10, 10, 10)); err != nil {
					t.Errorf("another call's Publish: %v", err)
				}
			}
		})
	}
	huge := stream.Message{Key: []byte("k1"), Value: make([]byte, stream.MaxMessageBytes+1)}
	if _, err := p.Publish(deadline(t), b.topic(), []stream.Message{huge}); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("a message of %d bytes: got %v, want ErrTooLarge", len(huge.Value), err)
	}
	large := stream.Message{Key: []byte("k1"), Value: make([]byte, 1<<20)}
	if _, err := p.Publish(deadline(t), b.topic(), []stream.Message{large, large, large}); err != nil {
		t.Errorf("three messages of 1 MiB: %v", err)
	}
	others.Wait()
}

func missingTopicIsMade(t *testing.T, b *bench) {
	p := b.producer(t)
	ends, err := p.Publish(deadline(t), b.topic(), numbered(0, 10, 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := ends[stream.PartitionOf([]byte("k0"), 3)]; got != 10 || len(ends) != 1 {
		t.Fatalf("ends are %v", ends)
	}
	if err := b.admin.DeleteTopics(deadline(t), b.topic()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(deadline(t), b.topic(), numbered(0, 10, 1)); err != nil {
		t.Fatalf("publish to a topic that was deleted: %v", err)
	}
	if _, err := p.Publish(deadline(t), "not a topic's name!", numbered(0, 1, 1)); err == nil {
		t.Fatal("a topic with an impossible name was written to")
	}
}

func hangIsReportedAndOthersGoOn(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	hangs := make(chan stream.Hang, 10)
	release := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	s := newSeen()
	stuck := stream.PartitionOf([]byte("k0"), 3)
	stop := b.consume(t, stream.ConsumerConfig{
		HandleLimit: 100 * time.Millisecond, OnHang: func(h stream.Hang) { hangs <- h },
		Handle: func(ctx context.Context, msgs []stream.Message) (int, error) {
			if msgs[0].Partition == stuck {
				<-release // does not look at ctx: a bug
			}
			return s.handle(ctx, msgs)
		},
	})
	msgs := numbered(0, 100, 20)
	if _, err := p.Publish(deadline(t), b.topic(), msgs); err != nil {
		t.Fatal(err)
	}
	h := <-hangs
	if h.Topic != b.topic() || h.Partition != stuck || h.Offset != 0 {
		t.Errorf("reported %v, want partition %d at offset 0", h, stuck)
	}
	others := 0
	for _, m := range msgs {
		if stream.PartitionOf(m.Key, 3) != stuck {
			others++
		}
	}
	eventually(t, s.progress(others), func() bool { return s.len() == others })
	stop() // leaves the hanging call behind
	committed, err := b.admin.Committed(deadline(t), b.group(), []string{b.topic()})
	if err != nil {
		t.Fatal(err)
	}
	if offset, ok := committed[b.topic()][stuck]; ok {
		t.Errorf("offset %d of the hanging partition was committed", offset)
	}
}

func topicsAreMadeAsConfigured(t *testing.T, b *bench) {
	topics := b.factory.Topics().All(stream.MainLane)
	b.ensure(t, topics...)
	b.ensure(t, topics...) // again is nothing
	found, err := b.admin.Describe(deadline(t), append(topics, b.prefix+".unknown"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(topics) {
		t.Fatalf("described %d topics, want %d", len(found), len(topics))
	}
	for _, topic := range topics {
		if d := found[topic]; d.Partitions != 3 || d.Replication != 1 || d.MinInsync != 1 || d.Leaderless != 0 {
			t.Errorf("%s is %+v, want 3 partitions, replication 1, min.insync.replicas 1", topic, d)
		}
	}
}

func cancelledPublishIsNotWrittenLater(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	if _, err := p.Publish(deadline(t), b.topic(), numbered(0, 3, 3)); err != nil {
		t.Fatal(err)
	}
	b.link.Cut()
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		_, err := p.Publish(ctx, b.topic(), []stream.Message{{Key: []byte("k0"), Value: []byte("late")}})
		failed <- err
	}()
	eventually(t, func() string { return "nobody tried to connect again" }, func() bool { return b.link.Dials() > 1 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's error", err)
	}
	b.link.Mend()
	ends, err := p.Publish(deadline(t), b.topic(), []stream.Message{{Key: []byte("k0"), Value: []byte("after")}})
	if err != nil {
		t.Fatal(err)
	}
	if got := ends[stream.PartitionOf([]byte("k0"), 3)]; got > int64(3) {
		t.Fatalf("the partition ends at %d: what was cancelled was written", got)
	}
}
