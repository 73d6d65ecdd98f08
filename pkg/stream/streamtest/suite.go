// Package streamtest is the promises of pkg/stream as a suite: the same tests run
// on the embedded Kafka and on a real one.
package streamtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"waybill.internal/pkg/stream"
)

// patience bounds every wait of the suite. It is no measure of speed: a slow machine
// may take most of it, only a broken promise takes all.
const patience = 90 * time.Second

// Run checks the promises against these brokers. Topics and groups begin with
// prefix, and are deleted at the end.
func Run(t *testing.T, brokers []string, prefix string) {
	for name, test := range map[string]func(*testing.T, *bench){
		"EveryMessageArrivesInOrder":        everyMessageArrivesInOrder,
		"EndsAreRight":                      endsAreRight,
		"NothingIsCommittedPastUnhandled":   nothingIsCommittedPastUnhandled,
		"RebalanceLosesNothing":             rebalanceLosesNothing,
		"AnErrorNeverSkips":                 anErrorNeverSkips,
		"RecreatedTopicIsReadFromItsStart":  recreatedTopicIsReadFromItsStart,
		"ProducerGetsThroughAnOutage":       producerGetsThroughAnOutage,
		"ConsumerGetsThroughAnOutage":       consumerGetsThroughAnOutage,
		"OversizeFailsAlone":                oversizeFailsAlone,
		"MissingTopicIsMade":                missingTopicIsMade,
		"GroupIsResetToEarliest":            groupIsResetToEarliest,
		"HangIsReportedAndOthersGoOn":       hangIsReportedAndOthersGoOn,
		"TopicsAreMadeAsConfigured":         topicsAreMadeAsConfigured,
		"CancelledPublishIsNotWrittenLater": cancelledPublishIsNotWrittenLater,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newBench(t, brokers, prefix+"-"+name))
		})
	}
}

// bench is one test's own installation.
type bench struct {
	link    *Link // between the factory's clients and the brokers
	factory *stream.Factory
	admin   *stream.Admin
	prefix  string
}

func newBench(t *testing.T, brokers []string, prefix string) *bench {
	t.Helper()
	b := &bench{link: NewLink(), prefix: prefix}
	b.factory = newFactory(t, stream.Config{Brokers: brokers, Prefix: prefix, Dial: b.link.Dial})
	direct := newFactory(t, stream.Config{Brokers: brokers, Prefix: prefix})
	b.admin = direct.NewAdmin()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		topics := append(b.factory.Topics().All(stream.MainLane), b.topic())
		if err := b.admin.DeleteTopics(ctx, topics...); err != nil {
			t.Logf("clean up: %v", err)
		}
		b.admin.Close()
	})
	return b
}

func newFactory(t *testing.T, config stream.Config) *stream.Factory {
	t.Helper()
	f, err := stream.NewFactory(config)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (b *bench) topic() string { return b.factory.Topics().Work(stream.MainLane) }
func (b *bench) group() string { return b.factory.Topics().Group(stream.MainLane) }

func (b *bench) ensure(t *testing.T, topics ...string) {
	t.Helper()
	if err := b.factory.Ensure(deadline(t), topics...); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) producer(t *testing.T) *stream.Producer {
	t.Helper()
	p := b.factory.NewProducer(stream.ProducerConfig{})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("close producer: %v", err)
		}
	})
	return p
}

// consume runs a consumer until the test's end or stop; stop waits for it.
func (b *bench) consume(t *testing.T, config stream.ConsumerConfig) (stop func()) {
	t.Helper()
	config.Group = b.group()
	if config.Topics == nil {
		config.Topics = []string{b.topic()}
	}
	if config.CommitEvery == 0 {
		config.CommitEvery = 50 * time.Millisecond
	}
	var test sync.Mutex // t must not be used once the test is over
	over := false
	config.Report = func(err error) {
		test.Lock()
		defer test.Unlock()
		if !over {
			t.Logf("reported: %v", err)
		}
	}
	c, err := b.factory.NewConsumer(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("consumer: %v", err)
			}
		case <-time.After(patience):
			t.Error("the consumer did not stop")
		}
	})
	t.Cleanup(func() {
		stop()
		test.Lock()
		over = true
		test.Unlock()
	})
	return stop
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until ok, and says what it waits for if it never is.
func eventually(t *testing.T, what func() string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(limit) {
			t.Fatalf("gave up waiting: %s", what())
		}
		<-tick.C
	}
}

// numbered makes n messages over so many keys; the value is "key/number of the key".
func numbered(from, n, keys int) []stream.Message {
	msgs := make([]stream.Message, n)
	for i := range msgs {
		key := fmt.Sprintf("k%d", (from+i)%keys)
		msgs[i] = stream.Message{Key: []byte(key), Value: fmt.Appendf(nil, "%s/%06d", key, (from+i)/keys)}
	}
	return msgs
}

// seen collects what consumers handled.
type seen struct {
	mu     sync.Mutex
	counts map[string]int
	last   map[string]string // by key: the highest first-time value
	swaps  []string          // first-time values that came after a higher one
}

func newSeen() *seen { return &seen{counts: map[string]int{}, last: map[string]string{}} }

func (s *seen) add(msgs ...stream.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range msgs {
		key, value := string(m.Key), string(m.Value)
		s.counts[value]++
		if s.counts[value] > 1 {
			continue // again is allowed; the first time must be in order
		}
		if value < s.last[key] {
			s.swaps = append(s.swaps, fmt.Sprintf("%s after %s", value, s.last[key]))
		}
		s.last[key] = value
	}
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.counts)
}

func (s *seen) progress(want int) func() string {
	return func() string { return fmt.Sprintf("%d of %d messages handled", s.len(), want) }
}

func (s *seen) check(t *testing.T, want []stream.Message) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range want {
		if s.counts[string(m.Value)] == 0 {
			t.Errorf("message %s was never handled", m.Value)
		}
	}
	for _, swap := range s.swaps {
		t.Errorf("order of a key broken: %s", swap)
	}
}

func (s *seen) handle(_ context.Context, msgs []stream.Message) (int, error) {
	s.add(msgs...)
	return len(msgs), nil
}
