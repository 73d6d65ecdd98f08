package simulation

import (
	"time"

	"waybill.internal/pkg/record"
)

type topic int

const (
	work topic = iota
	retry5s
	retry30s
	retry5m
	released
	replay
	result
	deadLetter
	topics
)

const partitions = 2

func topicOf(e record.Effect) topic {
	switch e.Publish {
	case record.TopicRetryAfter:
		switch e.Delay {
		case 5 * time.Second:
			return retry5s
		case 30 * time.Second:
			return retry30s
		default:
			return retry5m
		}
	case record.TopicRetry:
		return released
	case record.TopicReplay:
		return replay
	case record.TopicResult:
		return result
	case record.TopicDeadLetter:
		return deadLetter
	default:
		return work
	}
}

// message is what a topic carries: a record at a fence.
type message struct {
	record int
	fence  int64
	due    time.Time
	gone   bool // lost by the broker, or compacted away: its offset is passed over
}

// log is one partition and its group.
type log struct {
	topic     topic
	number    int
	start     int64 // first offset that is kept
	messages  []message
	committed int64
	position  int64 // of the consumer that reads it now
	planned   bool
}

func (p *log) end() int64 { return p.start + int64(len(p.messages)) }

type kafka struct {
	world      *world
	down       bool
	logs       [topics][partitions]*log
	generation int
	doubled    float64 // share of messages that arrive twice
}

func newKafka(w *world) *kafka {
	k := &kafka{world: w}
	for t := range k.logs {
		for p := range k.logs[t] {
			k.logs[t][p] = &log{topic: topic(t), number: p}
		}
	}
	return k
}

// publish appends the messages and returns the end offset per partition, -1 for none.
func (k *kafka) publish(t topic, items []message) ([]int64, error) {
	if k.down {
		return nil, errKafkaDown
	}
	ends := []int64{-1, -1}
	for _, m := range items {
		entity := k.world.ledger.rows[m.record].entity
		p := k.logs[t][entity%partitions]
		p.messages = append(p.messages, m)
		if k.world.chance(k.doubled) {
			k.world.fault("message doubled")
			p.messages = append(p.messages, m)
		}
		ends[p.number] = p.end()
		k.plan(p, k.world.between(time.Millisecond, 50*time.Millisecond))
	}
	return ends, nil
}

// plan makes the partition's consumer look at it.
func (k *kafka) plan(p *log, d time.Duration) {
	if p.planned || p.topic == deadLetter {
		return
	}
	p.planned = true
	k.world.after(d, func() {
		p.planned = false
		k.poll(p)
	})
}

// owner is the process that reads the partition in this generation.
func (k *kafka) owner(p *log) *process {
	reads := processor
	if p.topic == result {
		reads = acknowledger
	}
	var members []*process
	for _, q := range k.world.processes {
		if q.kind == reads && q.running && !q.paused {
			members = append(members, q)
		}
	}
	if len(members) == 0 {
		return nil
	}
	return members[(k.generation+p.number+int(p.topic))%len(members)]
}

// rebalance gives the partitions to others, who begin at the committed offsets.
func (k *kafka) rebalance() {
	k.generation++
	for t := range k.logs {
		for _, p := range k.logs[t] {
			p.position = p.committed
			if p.position < p.end() {
				k.plan(p, k.world.between(100*time.Millisecond, 3*time.Second))
			}
		}
	}
}

const atOnce = 4 // messages claimed in one transaction

func (k *kafka) poll(p *log) {
	w := k.world
	if p.position < p.start || p.position > p.end() { // offset out of range means earliest
		p.position = p.start
	}
	if p.position == p.end() {
		return
	}
	q := k.owner(p)
	if k.down || q == nil || q.session() == nil {
		k.plan(p, w.between(2*time.Second, 5*time.Second))
		return
	}
	room := min(atOnce, maxInFlight-q.inFlight)
	if room <= 0 {
		k.plan(p, time.Second)
		return
	}
	messages, next := p.head(room, w.now)
	if next == p.position {
		k.plan(p, p.messages[p.position-p.start].due.Sub(w.now))
		return
	}
	if w.mutation == OffsetFirst {
		p.position, p.committed = next, next
	}
	if len(messages) > 0 {
		if err := q.claim(p.topic, messages); err != nil {
			k.plan(p, w.between(500*time.Millisecond, 3*time.Second))
			return
		}
	}
	p.position = next
	k.commit(p, next)
	if p.position < p.end() {
		k.plan(p, time.Millisecond)
	}
}

// head is the messages from the position on that are due, at most n, and the offset after them.
func (p *log) head(n int, now time.Time) ([]message, int64) {
	var list []message
	next := p.position
	for _, m := range p.messages[p.position-p.start:] {
		if len(list) == n || (!m.gone && m.due.After(now)) {
			break
		}
		if next++; !m.gone {
			list = append(list, m)
		}
	}
	return list, next
}

// commit moves the group on, at once or a little later; what is late may be
// stale by then and take the group back.
func (k *kafka) commit(p *log, next int64) {
	if k.world.calm || k.world.chance(0.7) {
		p.committed = next
		return
	}
	generation := k.generation
	k.world.after(k.world.between(100*time.Millisecond, 2*time.Second), func() {
		if k.generation == generation {
			p.committed = max(p.committed, next)
			if p.committed > p.end() { // the topic was wiped meanwhile
				p.committed = p.position
			}
			return
		}
		if next <= p.end() && next >= p.start {
			k.world.fault("stale commit")
			p.committed = next
			k.world.after(k.world.between(time.Second, time.Minute), k.rebalance)
		}
	})
}

// wipe empties every topic; the groups' offsets go too, or are left behind stale.
func (k *kafka) wipe() {
	forget := k.world.chance(0.5)
	for t := range k.logs {
		for _, p := range k.logs[t] {
			p.start, p.messages = 0, nil
			if forget {
				p.committed = 0
			}
		}
	}
	k.rebalance()
}
