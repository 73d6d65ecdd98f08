package stream

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
)

const (
	// QuarantineBytes bounds what is kept of a quarantined message's value, and of its
	// key and headers each.
	QuarantineBytes = 64 << 10
	quarantineEvery = time.Minute

	// HeaderQuarantineReason says why the message could not be taken.
	HeaderQuarantineReason = "waybill-quarantine-reason"
	// HeaderQuarantineSize is the value's original size in bytes.
	HeaderQuarantineSize = "waybill-quarantine-size"
)

// Quarantine sets messages aside that are not ours or cannot be read. They are no
// records: nothing counts them but the report. Safe for many callers.
type Quarantine struct {
	publish func(ctx context.Context, topic string, msgs []Message) (Ends, error)
	topic   string
	report  func(Quarantined)
	now     func() time.Time

	mu    sync.Mutex
	last  time.Time
	since int
}

// Quarantined is what the report tells: one example and how many since the last report.
type Quarantined struct {
	Topic     string
	Partition int
	Offset    int64
	Reason    string
	Count     int
}

func (q Quarantined) String() string {
	return fmt.Sprintf("%d messages quarantined, last %s[%d] at offset %d: %s", q.Count, q.Topic, q.Partition, q.Offset, q.Reason)
}

// NewQuarantine writes to the installation's quarantine topic through p. report is
// called for the first message and then at most once a minute, with what came meanwhile.
func NewQuarantine(p *Producer, topics Topics, report func(Quarantined)) *Quarantine {
	return &Quarantine{publish: p.Publish, topic: topics.Quarantine(), report: report, now: time.Now}
}

// Put writes the message to the quarantine, value cut at QuarantineBytes, with its
// origin and the reason in headers. Only after it returned without an error may the
// message count as done.
func (q *Quarantine) Put(ctx context.Context, m Message, reason error) error {
	text := cut(reason.Error(), maxErrorBytes)
	out := Message{Value: m.Value[:min(len(m.Value), QuarantineBytes)]}
	if m.Key != nil {
		out.Key = m.Key[:min(len(m.Key), QuarantineBytes)]
	}
	room := QuarantineBytes
	for _, h := range m.Headers {
		if room -= len(h.Key) + len(h.Value) + 16; room < 0 {
			break
		}
		out.Headers = append(out.Headers, h)
	}
	out.Headers = append(out.Headers, originHeaders(m)...)
	out.Headers = append(out.Headers,
		Header{HeaderQuarantineReason, []byte(text)},
		Header{HeaderQuarantineSize, []byte(strconv.Itoa(len(m.Value)))})
	if _, err := q.publish(ctx, q.topic, []Message{out}); err != nil {
		return fmt.Errorf("quarantine %s[%d] at offset %d: %w", m.Topic, m.Partition, m.Offset, err)
	}
	q.count(Quarantined{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Reason: text})
	return nil
}

func (q *Quarantine) count(one Quarantined) {
	q.mu.Lock()
	q.since++
	now := q.now()
	due := q.last.IsZero() || now.Sub(q.last) >= quarantineEvery
	if due {
		one.Count, q.since, q.last = q.since, 0, now
	}
	q.mu.Unlock()
	if due {
		q.report(one)
	}
}
