package simulation

import (
	"time"

	"waybill.internal/pkg/record"
)

const (
	firstInterval = time.Second
	lastInterval  = 10 * time.Minute
	releaseAtOnce = 50
	rampAtOnce    = 3
)

// redriver sends out again what was lost on the way. Its rounds come each
// second while anything happens, and ever rarer while nothing does: a virtual
// day of waiting costs few events.
type redriver struct {
	world    *world
	upSince  time.Time
	up       bool
	interval time.Duration
	next     time.Time
	planned  int
}

func newRedriver(w *world) *redriver { return &redriver{world: w, interval: firstInterval} }

// touch says that something happened: the next round comes soon.
func (r *redriver) touch() {
	r.interval = firstInterval
	if soon := r.world.now.Add(firstInterval); r.planned == 0 || r.next.After(soon) {
		r.plan(firstInterval)
	}
}

func (r *redriver) plan(d time.Duration) {
	r.planned++
	number := r.planned
	r.next = r.world.now.Add(d)
	r.world.at(r.next, func() {
		if number == r.planned {
			r.round()
			r.interval = min(2*r.interval, lastInterval)
			r.plan(r.interval)
		}
	})
}

// runner is the processor that does this round.
func (r *redriver) runner() *process {
	w := r.world
	for i := range w.processes {
		q := w.processes[(i+r.planned)%len(w.processes)]
		if q.kind == processor && q.running && !q.paused && q.session() != nil {
			return q
		}
	}
	return nil
}

func (r *redriver) round() {
	l := r.world.ledger
	q := r.runner()
	if l.down || q == nil {
		r.up = r.up && !l.down
		r.interval = firstInterval
		return
	}
	if !r.up {
		r.up, r.upSince = true, r.world.now
	}
	r.release(q)
	if r.world.kafka.down {
		return
	}
	r.see()
	r.relay(q)
	if r.world.mutation != OffsetFirst {
		r.passed(q)
	}
}

// transact runs one of the round's transactions, if there is anything to do in it.
func (r *redriver) transact(q *process, f func(tx *txn)) {
	if s := q.session(); s != nil {
		batches, err := r.world.ledger.transact(s.id, f)
		if err != nil {
			r.touch() // the next round goes on
			return
		}
		q.publish(batches)
	}
}

// release puts back what has waited long enough, and what a destination that
// works again has parked: a few at a time.
func (r *redriver) release(q *process) {
	w := r.world
	var due []int
	ramp := 0
	for i, row := range w.ledger.rows {
		is := false
		for _, wait := range row.waits {
			is = is || (!wait.due.IsZero() && !wait.due.After(w.now))
		}
		if !is && ramp < rampAtOnce && row.rec.State == record.Parked && !row.held && w.works(row.rec.Failure) {
			is = true
			ramp++
		}
		if is && len(due) < releaseAtOnce {
			due = append(due, i)
		}
	}
	if len(due) == 0 {
		return
	}
	r.transact(q, func(tx *txn) {
		for _, i := range due {
			row := tx.row(i)
			event := record.Due
			if row.rec.State == record.Parked {
				event = record.Released
			}
			tx.move(row, record.Fact{Event: event}, act{})
		}
	})
}

// works reports whether the destination that a record was parked for works again.
func (w *world) works(f record.Failure) bool {
	for _, d := range w.destinations {
		if d.code == f.Code {
			return !d.open
		}
	}
	return false
}

// see notes the topics' ends: one that proves shorter was wiped.
func (r *redriver) see() {
	l, k := r.world.ledger, r.world.kafka
	for t := range k.logs {
		ends := make([]int64, partitions)
		shorter := false
		for p := range k.logs[t] {
			ends[p] = k.logs[t][p].end()
			shorter = shorter || (l.marks[t] != nil && ends[p] < l.marks[t][p])
		}
		if shorter {
			l.epochs[t]++
			r.world.note("topic %d proves shorter: epoch %d", t, l.epochs[t])
		}
		l.marks[t] = ends
	}
}

// relay publishes batches whose process did not.
func (r *redriver) relay(q *process) {
	w, l := r.world, r.world.ledger
	own := q.session()
	var ids []int
	for _, b := range l.outbox {
		if !b.published && ((b.session != own.id && !l.live(b.session, lapse)) || w.now.Sub(b.taken) > time.Minute) && len(ids) < releaseAtOnce {
			ids = append(ids, b.id)
		}
	}
	if len(ids) == 0 {
		return
	}
	var again []*batch
	r.transact(q, func(tx *txn) {
		for _, id := range ids {
			b := l.find(id)
			b.session, b.taken = own.id, w.now
			items, worked := l.itemsOf(b)
			b.items = items
			switch {
			case len(items) > 0:
				again = append(again, b)
			case worked && w.mutation != ClaimedBatchDropped:
				// It was published after all. Its records are looked after through it.
				b.published, b.ends, b.epoch = true, []int64{-1, -1}, l.epochs[b.topic]
			default:
				tx.dropped = append(tx.dropped, id)
			}
		}
	})
	q.publish(again)
}

// itemsOf is what still waits under a batch, and whether any of it is being worked.
func (l *ledger) itemsOf(b *batch) (items []message, worked bool) {
	for _, i := range b.members {
		r := l.rows[i]
		switch {
		case b.topic == deadLetter && r.rec.State == record.Dead:
		case r.batch != b.id:
			continue
		case worksOn(r.rec):
			worked = true
			continue
		}
		items = append(items, message{record: i, fence: r.rec.Fence, due: b.due})
	}
	return items, worked
}

func worksOn(r record.Record) bool {
	return r.State == record.Processing || r.Outcome.State == record.OutcomeSent
}

// passed looks into batches that were consumed or are gone: what still stands
// under them was lost, or its worker was.
func (r *redriver) passed(q *process) {
	w, l := r.world, r.world.ledger
	takeover := w.now.Sub(r.upSince) >= lapse
	for _, b := range append([]*batch(nil), l.outbox...) {
		if !b.published || !w.kafka.passed(b, l.epochs[b.topic]) {
			continue
		}
		if r.held(b, takeover) {
			continue
		}
		r.transact(q, func(tx *txn) {
			holds := false
			for _, i := range b.members {
				row := tx.row(i)
				if row.batch != b.id {
					continue
				}
				if worksOn(row.rec) && (!takeover || l.live(row.rec.Session, lapse)) {
					holds = true
					continue
				}
				w.faults[string(lostEvent(row.rec))]++
				tx.move(row, record.Fact{Event: lostEvent(row.rec), Until: b.due}, act{})
			}
			if !holds {
				tx.dropped = append(tx.dropped, b.id)
			}
		})
	}
}

// held reports whether nothing can be done about b now: all that stands under
// it is being worked.
func (r *redriver) held(b *batch, takeover bool) bool {
	l := r.world.ledger
	some := false
	for _, i := range b.members {
		row := l.rows[i]
		if row.batch != b.id {
			continue
		}
		if !worksOn(row.rec) || (takeover && !l.live(row.rec.Session, lapse)) {
			return false
		}
		some = true
	}
	if some {
		r.interval = min(r.interval, 8*time.Second) // its session may lapse
	}
	return some
}

func lostEvent(r record.Record) record.Event {
	switch {
	case r.State == record.Processing:
		return record.Lost
	case r.State.Final():
		return record.SendLost
	default:
		return record.Redriven
	}
}

// passed reports whether every message of b was consumed or is gone.
func (k *kafka) passed(b *batch, epoch int) bool {
	if b.epoch < epoch {
		return true
	}
	for n, end := range b.ends {
		p := k.logs[b.topic][n]
		if end < 0 {
			continue
		}
		committed := p.committed
		if committed > p.end() {
			committed = 0 // of a topic that existed before this one
		}
		if p.end() >= end && p.start < end && committed < end {
			return false
		}
	}
	return true
}
