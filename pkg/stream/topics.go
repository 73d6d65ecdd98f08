package stream

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/retry"
)

// Retention of the topics. The ledger re-drives what a topic forgets.
const (
	Retention           = 7 * 24 * time.Hour
	RetentionDeadLetter = 30 * 24 * time.Hour
)

// MainLane is the lane of every integration that names none.
const MainLane = "main"

// Topics names every topic and consumer group of an installation.
//
//	topic                       key         written by               read by
//	<prefix>.<lane>.work        entity key  ingest                   processor
//	<prefix>.<lane>.retry.<d>   entity key  processor                processor, when due
//	<prefix>.<lane>.retry       entity key  processor (releases)     processor
//	<prefix>.<lane>.replay      entity key  processor (requeues)     processor
//	<prefix>.result             entity key  processor                acknowledger
//	<prefix>.dead-letter        entity key  processor                other tools
//	<prefix>.quarantine         as it came  whoever cannot read it   people
type Topics struct {
	Prefix string
	// Delays of the retry topics, shortest first: one topic per delay and lane.
	Delays []time.Duration
}

// DefaultDelays are the delays of the retry topics.
func DefaultDelays() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute}
}

// Work is where accepted records of a lane go.
func (t Topics) Work(lane string) string { return t.Prefix + "." + lane + ".work" }

// RetryAfter is the lane's topic with this fixed delay. The delay must be one of
// Delays: another has no topic.
func (t Topics) RetryAfter(lane string, delay time.Duration) string {
	return t.Prefix + "." + lane + ".retry." + retry.DelayName(delay)
}

// Retry is where records released from the ledger's waiting table go: no delay.
func (t Topics) Retry(lane string) string { return t.Prefix + "." + lane + ".retry" }

// Replay is where requeued records and backfills go.
func (t Topics) Replay(lane string) string { return t.Prefix + "." + lane + ".replay" }

// Result is where outcomes go.
func (t Topics) Result() string { return t.Prefix + ".result" }

// DeadLetter is where dead records go, for other tools.
func (t Topics) DeadLetter() string { return t.Prefix + ".dead-letter" }

// Quarantine is where messages go that are not ours or cannot be read.
func (t Topics) Quarantine() string { return t.Prefix + ".quarantine" }

// OfLane lists what a lane's consumer group reads: work, one retry topic per
// delay, retry, replay.
func (t Topics) OfLane(lane string) []string {
	topics := []string{t.Work(lane)}
	for _, d := range t.Delays {
		topics = append(topics, t.RetryAfter(lane, d))
	}
	return append(topics, t.Retry(lane), t.Replay(lane))
}

// All lists every topic of these lanes and of the installation.
func (t Topics) All(lanes ...string) []string {
	var topics []string
	for _, lane := range lanes {
		topics = append(topics, t.OfLane(lane)...)
	}
	return append(topics, t.Result(), t.DeadLetter(), t.Quarantine())
}

// Group is the consumer group of a lane's processors.
func (t Topics) Group(lane string) string { return t.Prefix + "." + lane }

// ResultGroup is the consumer group of the acknowledgers.
func (t Topics) ResultGroup() string { return t.Prefix + ".acknowledger" }

// retention of one topic by its name.
func (t Topics) retention(topic string) time.Duration {
	if topic == t.DeadLetter() {
		return RetentionDeadLetter
	}
	return Retention
}

// CheckLane says whether a lane's name can be part of a topic's name, and does not
// collide with the installation's own.
func CheckLane(lane string) error {
	if err := checkName(lane); err != nil {
		return fmt.Errorf("lane %q: %w", lane, err)
	}
	if slices.Contains([]string{"acknowledger", "result", "dead-letter", "quarantine"}, lane) {
		return fmt.Errorf("lane %q: the name is taken by a topic or group of the installation", lane)
	}
	if strings.Contains(lane, ".") {
		return fmt.Errorf("lane %q: a dot separates the parts of a topic's name; use '-'", lane)
	}
	return nil
}

// maxNameBytes bounds prefix and lane, so that every topic stays under Kafka's 249.
const maxNameBytes = 100

func checkName(s string) error {
	if s == "" || len(s) > maxNameBytes {
		return fmt.Errorf("has %d bytes, must have 1 to %d", len(s), maxNameBytes)
	}
	for i := range len(s) {
		c := s[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
		if !ok {
			return fmt.Errorf("has %q at byte %d; letters, digits, '-', '_' and '.' are allowed", s[i:i+1], i)
		}
	}
	return nil
}

func (t Topics) validate() error {
	if err := checkName(t.Prefix); err != nil {
		return fmt.Errorf("prefix %q: %w", t.Prefix, err)
	}
	for i, d := range t.Delays {
		if d < time.Millisecond || d > 24*time.Hour {
			return fmt.Errorf("retry delay %v: must be between 1ms and 24h", d)
		}
		if i > 0 && d <= t.Delays[i-1] {
			return fmt.Errorf("retry delay %v: delays must rise, and it follows %v", d, t.Delays[i-1])
		}
	}
	return nil
}
