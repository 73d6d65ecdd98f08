package simulation

import (
	"time"

	"waybill.internal/pkg/record"
)

type kind int

const (
	ingest kind = iota
	processor
	acknowledger
)

// maxInFlight is how many records a process works at once.
const maxInFlight = 6

// session is a lease on what it claims: renewed while its process runs and the
// ledger answers, lapsed after lapse.
type session struct {
	id      int64
	renewed time.Time // with frozen: the last renewal
	frozen  bool
	closed  bool
}

// live reports whether session id has been renewed within the given time.
func (l *ledger) live(id int64, within time.Duration) bool {
	if id == 0 {
		return false
	}
	s := l.sessions[id-1]
	return !s.closed && (!s.frozen || l.world.now.Sub(s.renewed) < within)
}

func (s *session) freeze(w *world) {
	if s != nil && !s.frozen {
		s.frozen, s.renewed = true, w.now.Add(-w.between(0, 2*time.Second))
	}
}

// process is one running binary. What it is about to do is lost when it
// crashes, and happens late when it was stopped in between.
type process struct {
	world       *world
	id          int
	kind        kind
	running     bool
	paused      bool
	incarnation int
	current     *session
	deferred    []func()
	inFlight    int
	working     map[claim]bool
}

// claim is what a process holds.
type claim struct {
	record int
	fence  int64
}

// do plans something that this process does unless it dies before.
func (q *process) do(d time.Duration, f func()) {
	incarnation := q.incarnation
	q.world.after(d, func() {
		switch {
		case q.incarnation != incarnation:
		case q.paused:
			q.deferred = append(q.deferred, f)
		default:
			f()
		}
	})
}

// session is the process's live session; a new one if it has none and the ledger answers.
func (q *process) session() *session {
	l := q.world.ledger
	if q.current != nil && !q.paused && !l.down && l.live(q.current.id, lapse) {
		q.current.frozen = false
		return q.current
	}
	if q.current != nil && l.live(q.current.id, lapse) {
		return q.current
	}
	if l.down || q.paused || !q.running {
		return nil
	}
	if q.current != nil {
		q.current.closed = true // lapsed, for good
	}
	q.current = &session{id: int64(len(l.sessions) + 1)}
	l.sessions = append(l.sessions, q.current)
	q.world.note("process %d opens session %d", q.id, q.current.id)
	return q.current
}

func (q *process) crash(restart time.Duration) {
	if !q.running {
		return
	}
	q.world.note("process %d dies", q.id)
	q.running, q.paused, q.deferred, q.inFlight, q.working = false, false, nil, 0, nil
	q.incarnation++
	q.current.freeze(q.world)
	q.current = nil
	q.world.kafka.rebalance()
	q.world.redriver.touch()
	incarnation := q.incarnation
	q.world.after(restart, func() {
		if q.incarnation == incarnation {
			q.running = true
			q.world.note("process %d starts", q.id)
			q.world.kafka.rebalance()
			q.world.redriver.touch()
		}
	})
}

// stop ends the process in order: what it has not begun is given back, and its
// session lapses at once.
func (q *process) stop(restart time.Duration) {
	if s := q.current; s != nil && q.kind == processor && q.running && !q.paused {
		batches, err := q.world.ledger.transact(s.id, func(tx *txn) {
			for i := range q.world.ledger.rows {
				r := tx.row(i)
				c := claim{record: i, fence: r.rec.Fence}
				if begun, ok := q.working[c]; ok && !begun && r.rec.State == record.Processing && r.rec.Session == s.id { // what an earlier session holds lapses with it
					tx.move(r, record.Fact{Event: record.GivenBack}, act{by: s.id, asked: c.fence})
				}
			}
		})
		if err == nil {
			q.publishNow(batches)
		}
	}
	if q.current != nil && !q.world.ledger.down {
		q.current.closed = true
	}
	q.crash(restart)
}

// pause is SIGSTOP; after it, the process goes on as if no time had passed.
func (q *process) pause(d time.Duration) {
	if !q.running || q.paused {
		return
	}
	q.paused = true
	q.current.freeze(q.world)
	q.world.kafka.rebalance()
	incarnation := q.incarnation
	q.world.after(d, func() {
		if q.incarnation == incarnation {
			q.resume()
		}
	})
}

func (q *process) resume() {
	if !q.paused {
		return
	}
	q.world.note("process %d goes on with %d things it was about to do", q.id, len(q.deferred))
	list := q.deferred
	q.paused, q.deferred = false, nil
	incarnation := q.incarnation
	for _, f := range list { // before it has noticed that its session lapsed
		if q.incarnation == incarnation {
			f()
		}
	}
	q.world.kafka.rebalance()
	q.world.redriver.touch()
}

// publish sends batches out of the process's memory; the relay takes what is left behind.
func (q *process) publish(batches []*batch) {
	for _, b := range batches {
		q.do(q.world.between(time.Millisecond, 30*time.Millisecond), func() { q.send(b, 0) })
	}
}

func (q *process) publishNow(batches []*batch) {
	for _, b := range batches {
		q.send(b, 0)
	}
}

const maxSends = 5

func (q *process) send(b *batch, try int) {
	w := q.world
	ends, err := w.kafka.publish(b.topic, b.items)
	switch {
	case err == nil:
		q.do(w.between(time.Millisecond, 20*time.Millisecond), func() { q.mark(b.id, ends) })
	case try < maxSends:
		q.do(time.Second, func() { q.send(b, try+1) })
	}
}

// mark notes that Kafka has acknowledged the batch. If that fails, the relay
// sends the batch again: a duplicate is harmless.
func (q *process) mark(id int, ends []int64) {
	l := q.world.ledger
	_, err := l.transact(0, func(tx *txn) {
		b := l.find(id)
		switch {
		case b == nil:
		case b.topic == deadLetter:
			tx.dropped = append(tx.dropped, id)
		default:
			b.published, b.ends, b.epoch = true, ends, l.epochs[b.topic]
		}
	})
	if err != nil {
		q.world.note("batch %d could not be marked: %v", id, err)
	}
	q.world.redriver.touch()
}
