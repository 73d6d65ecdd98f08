package redrive

import (
	"context"
	"errors"
	"testing"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/stream"
)

func TestPassed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := positions{asOf: now, ours: map[string]bool{"main.work": true, "main.retry": true},
		ends: map[string][]int64{"main.work": {10, 10}}, starts: map[string][]int64{"main.work": {0, 4}}, committed: map[string][]int64{"main.work": {5}}}
	old := now.Add(-time.Hour)
	for name, c := range map[string]struct {
		batch ledger.PublishedBatch
		want  bool
	}{
		"committed":                      {ledger.PublishedBatch{Topic: "main.work", Ends: []int64{5}, At: old}, true},
		"still to be read":               {ledger.PublishedBatch{Topic: "main.work", Ends: []int64{6}, At: old}, false},
		"deleted by retention":           {ledger.PublishedBatch{Topic: "main.work", Ends: []int64{-1, 4}, At: old}, true},
		"beyond the end":                 {ledger.PublishedBatch{Topic: "main.work", Ends: []int64{11}, At: old}, true},
		"of ours, not read this time":    {ledger.PublishedBatch{Topic: "main.retry", Ends: []int64{1}, At: old}, false},
		"of another's lane":              {ledger.PublishedBatch{Topic: "other.work", Ends: []int64{1}, At: old}, false},
		"abandoned":                      {ledger.PublishedBatch{Topic: "gone.work", Ends: []int64{1}, At: now.Add(-abandonedAfter - time.Second)}, true},
		"abandoned just now":             {ledger.PublishedBatch{Topic: "gone.work", Ends: []int64{1}, At: now.Add(-abandonedAfter)}, false},
		"abandoned, and due a while ago": {ledger.PublishedBatch{Topic: "main.retry.7s", At: old, Due: now.Add(-abandonedAfter - time.Second)}, true},
		"abandoned, and due later":       {ledger.PublishedBatch{Topic: "main.retry.7s", At: old, Due: now.Add(time.Minute)}, false},
	} {
		if got := p.passed(c.batch, func(topic string) bool { return topic == "other.work" }); got != c.want {
			t.Errorf("%s: passed is %v", name, got)
		}
	}
}

func TestAbsentTopicIsConfirmedFirst(t *testing.T) {
	t.Parallel()
	r := New(Config{})
	batch := ledger.PublishedBatch{Topic: "main.work", Ends: []int64{1}, At: time.Now().Add(-time.Hour)}
	round := func(list []int64) (passes, sure bool) {
		p := positions{asOf: time.Now(), ours: map[string]bool{"main.work": true}, ends: map[string][]int64{"main.work": list}}
		_, sure = r.confirmed(p)["main.work"]
		return p.passed(batch, r.Known), sure
	}
	if passes, sure := round([]int64{}); passes || sure {
		t.Fatal("a topic that was never seen is judged at its first absence")
	}
	r.confirmed(positions{failed: stream.TopicErrors{"main.work": errors.New("no leader")}})
	if passes, sure := round([]int64{}); passes || sure {
		t.Fatal("a failure in between does not count as absence")
	}
	if passes, sure := round([]int64{}); !passes || !sure {
		t.Fatal("absent twice in a row: it is gone")
	}
}

// brokers answers what it holds; every other topic is absent.
type brokers struct {
	offsets stream.Offsets
	err     error
}

func (b brokers) Committed(context.Context, string, []string) (stream.Offsets, error) {
	return b.offsets, nil
}
func (b brokers) Ends(context.Context, []string) (stream.Offsets, error) { return b.offsets, b.err }
func (b brokers) Starts(context.Context, []string) (stream.Offsets, error) {
	return stream.Offsets{}, nil
}

func TestOneTopicInErrorHidesNoOther(t *testing.T) {
	t.Parallel()
	kafka := brokers{stream.Offsets{"wb.main.work": {0: 3}}, stream.TopicErrors{"wb.main.retry": errors.New("no leader")}}
	r := New(Config{Kafka: kafka, Ledger: new(ledger.Ledger), Prefix: "wb", Groups: map[string][]string{"wb.main": {"main.work", "main.retry", "main.replay"}}})
	p, err := r.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, failed := p.ends["main.retry"]
	absent, listed := p.ends["main.replay"]
	if failed || !listed || len(absent) != 0 || len(p.ends["main.work"]) != 1 || p.unread() == nil {
		t.Fatalf("ends are %v, failed %v", p.ends, p.failed)
	}
	kafka.err = errors.New("no broker")
	r.Kafka = kafka
	if _, err := r.look(t.Context()); err == nil {
		t.Fatal("brokers that do not answer are an error")
	}
}
