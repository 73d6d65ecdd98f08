package streamtest

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"waybill.internal/pkg/stream"
)

func everyMessageArrivesInOrder(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	s := newSeen()
	b.consume(t, stream.ConsumerConfig{Handle: s.handle})
	const writers, each = 8, 500
	var all []stream.Message
	var done sync.WaitGroup
	for w := range writers {
		msgs := numbered(0, each, 5)
		for i := range msgs { // a writer's keys are its own: only then is their order defined
			msgs[i].Key = append(msgs[i].Key, byte('a'+w))
			msgs[i].Value = append([]byte{byte('a' + w), ':'}, msgs[i].Value...)
			msgs[i].Headers = []stream.Header{{Key: "h", Value: []byte{byte(w)}}}
		}
		all = append(all, msgs...)
		done.Go(func() {
			for len(msgs) > 0 {
				n := min(7, len(msgs))
				if _, err := p.Publish(deadline(t), b.topic(), msgs[:n]); err != nil {
					t.Error(err)
					return
				}
				msgs = msgs[n:]
			}
		})
	}
	done.Wait()
	eventually(t, s.progress(len(all)), func() bool { return s.len() == len(all) })
	s.check(t, all)
}

func endsAreRight(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	want := stream.Ends{}
	for round := range 5 {
		msgs := numbered(round*100, 100, 20)
		ends, err := p.Publish(deadline(t), b.topic(), msgs)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			want[stream.PartitionOf(m.Key, 3)]++
		}
		if !maps.Equal(ends, want) {
			t.Fatalf("round %d: ends are %v, want %v", round, ends, want)
		}
	}
	ends, err := b.admin.Ends(deadline(t), []string{b.topic(), b.prefix + ".unknown"})
	if err != nil {
		t.Fatal(err)
	}
	if len(ends) != 1 || !maps.Equal(ends[b.topic()], map[int]int64(want)) {
		t.Fatalf("the log ends at %v, want %v and nothing for the unknown topic", ends, want)
	}
	lag, err := b.admin.Lag(deadline(t), b.group(), []string{b.topic()})
	if err != nil || lag[b.topic()] != 500 {
		t.Fatalf("lag is %v (%v), want 500", lag, err)
	}
}

func (b *bench) committedAll(t *testing.T, ends stream.Ends) {
	t.Helper()
	var last stream.Offsets
	eventually(t, func() string { return "committed offsets" }, func() bool {
		committed, err := b.admin.Committed(deadline(t), b.group(), []string{b.topic()})
		if err != nil {
			return false // the coordinator moves now and then
		}
		last = committed
		return maps.Equal(committed[b.topic()], map[int]int64(ends))
	})
	_ = last
}

func nothingIsCommittedPastUnhandled(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	msgs := numbered(0, 900, 30)
	ends, err := p.Publish(deadline(t), b.topic(), msgs)
	if err != nil {
		t.Fatal(err)
	}
	// The first consumer does a few of each partition, and then none: it is stopped mid-way.
	s := newSeen()
	var mu sync.Mutex
	doneTo := map[int]int64{}
	stuck := make(chan struct{}, 100)
	stop := b.consume(t, stream.ConsumerConfig{MaxBatch: 10, Handle: func(ctx context.Context, msgs []stream.Message) (int, error) {
		mu.Lock()
		far := doneTo[msgs[0].Partition] >= 25
		mu.Unlock()
		if far {
			stuck <- struct{}{}
			<-ctx.Done()
			return 0, ctx.Err()
		}
		n := (len(msgs) + 1) / 2
		s.add(msgs[:n]...)
		mu.Lock()
		doneTo[msgs[0].Partition] = msgs[n-1].Offset + 1
		mu.Unlock()
		return n, nil
	}})
	for range len(ends) {
		<-stuck
	}
	stop()
	committed, err := b.admin.Committed(deadline(t), b.group(), []string{b.topic()})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(committed[b.topic()], doneTo) {
		t.Fatalf("committed %v, handled %v", committed[b.topic()], doneTo)
	}
	b.consume(t, stream.ConsumerConfig{Handle: s.handle})
	eventually(t, s.progress(len(msgs)), func() bool { return s.len() == len(msgs) })
	s.check(t, msgs)
	b.committedAll(t, ends)
}

func rebalanceLosesNothing(t *testing.T, b *bench) {
	topics := []string{b.topic(), b.factory.Topics().Retry(stream.MainLane)}
	b.ensure(t, topics...)
	p := b.producer(t)
	s := newSeen()
	config := stream.ConsumerConfig{Topics: topics, MaxBatch: 20, Handle: s.handle}
	const rounds, each = 60, 100
	var all []stream.Message
	first := b.consume(t, config)
	var second func()
	for round := range rounds {
		msgs := numbered(round*each, each, 20)
		all = append(all, msgs...)
		if _, err := p.Publish(deadline(t), topics[0], msgs); err != nil {
			t.Fatal(err)
		}
		switch round {
		case 10: // a member joins under load
			eventually(t, s.progress(len(all)), func() bool { return s.len() > 0 })
			second = b.consume(t, config)
		case 30: // and the first one leaves
			first()
		case 45:
			b.consume(t, config)
		}
	}
	eventually(t, s.progress(len(all)), func() bool { return s.len() == len(all) })
	s.check(t, all)
	second()
}

func anErrorNeverSkips(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	s := newSeen()
	var tries atomic.Int64
	b.consume(t, stream.ConsumerConfig{MaxBatch: 10, Handle: func(_ context.Context, msgs []stream.Message) (int, error) {
		for i, m := range msgs {
			// Some messages fail at first; what is before them is done.
			if strings.HasSuffix(string(m.Value), "7") && tries.Add(1)%3 != 0 {
				return i, errors.New("planned failure")
			}
			s.add(m)
		}
		return len(msgs), nil
	}})
	msgs := numbered(0, 60, 3)
	ends, err := p.Publish(deadline(t), b.topic(), msgs)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, s.progress(len(msgs)), func() bool { return s.len() == len(msgs) })
	s.check(t, msgs)
	s.mu.Lock()
	for value, n := range s.counts {
		if n != 1 {
			t.Errorf("%s was handled %d times in one generation", value, n)
		}
	}
	s.mu.Unlock()
	b.committedAll(t, ends)
}

func recreatedTopicIsReadFromItsStart(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	s := newSeen()
	b.consume(t, stream.ConsumerConfig{Handle: s.handle})
	old := numbered(0, 300, 10)
	ends, err := p.Publish(deadline(t), b.topic(), old)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, s.progress(len(old)), func() bool { return s.len() == len(old) })
	b.committedAll(t, ends)
	if err := b.admin.DeleteTopics(deadline(t), b.topic()); err != nil {
		t.Fatal(err)
	}
	// Made again by whoever needs it first. It gets fewer messages than the old one had.
	fresh := numbered(5000, 30, 10)
	eventually(t, func() string { return "the old topic goes on taking messages" }, func() bool {
		got, err := p.Publish(deadline(t), b.topic(), fresh)
		if err != nil {
			t.Fatal(err)
		}
		for partition, end := range got {
			if end > ends[partition] { // a broker that has not heard of the deletion yet appends to what goes
				return false
			}
		}
		return true
	})
	eventually(t, s.progress(len(old)+len(fresh)), func() bool { return s.len() == len(old)+len(fresh) })
	s.check(t, fresh)
}

func groupIsResetToEarliest(t *testing.T, b *bench) {
	b.ensure(t, b.topic())
	p := b.producer(t)
	msgs := numbered(0, 90, 10)
	ends, err := p.Publish(deadline(t), b.topic(), msgs)
	if err != nil {
		t.Fatal(err)
	}
	s := newSeen()
	stop := b.consume(t, stream.ConsumerConfig{Handle: s.handle})
	eventually(t, s.progress(len(msgs)), func() bool { return s.len() == len(msgs) })
	b.committedAll(t, ends)
	if err := b.admin.ResetGroup(deadline(t), b.group(), []string{b.topic()}); err == nil {
		t.Fatal("a group with a member was reset")
	}
	stop()
	if err := b.admin.ResetGroup(deadline(t), b.group(), []string{b.topic()}); err != nil {
		t.Fatal(err)
	}
	again := newSeen()
	b.consume(t, stream.ConsumerConfig{Handle: again.handle})
	eventually(t, again.progress(len(msgs)), func() bool { return again.len() == len(msgs) })
}
