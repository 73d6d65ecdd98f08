package simulation

import (
	"encoding/binary"
	"time"

	"waybill.internal/pkg/record"
	"waybill.internal/test/simulation/judge"
)

// happening is one event at a partner: it is posted once or more often.
type happening struct {
	key    int
	valid  bool // of body 0; every other body is a correction
	flaw   flaw
	entity int
	order  order
	mute   bool
}

type arrival struct {
	happening
	body     int
	nameless bool // unauthenticated: refused, never a record
}

func (a arrival) ok() bool { return a.valid || a.body > 0 }

type sender struct {
	all []happening
}

// send plans the arrivals of a run.
func (w *world) send(faulty time.Duration) {
	n := 6 + w.rng.IntN(25)
	entities := 1 + w.rng.IntN(8)
	orders := []order{anyOrder, perEntity, latestWins}
	var burst []arrival
	for key := range n {
		h := happening{key: key, valid: !w.chance(0.1), entity: w.rng.IntN(entities), mute: w.chance(0.15)}
		h.order = orders[(h.entity+int(w.seed))%len(orders)]
		if w.chance(0.3) {
			h.flaw = []flaw{refused, stubborn, buggy, killer}[w.rng.IntN(4)]
		}
		w.senders.all = append(w.senders.all, h)
		burst = append(burst, arrival{happening: h})
		if w.chance(0.05) {
			burst = append(burst, arrival{happening: h, nameless: true})
		}
		if w.chance(0.1) {
			burst = append(burst, arrival{happening: h}) // the same twice in one request
		}
		if len(burst) > 2 || w.chance(0.6) || key == n-1 {
			list := burst
			burst = nil
			w.after(w.between(0, faulty*4/5), func() { w.post(list) })
		}
	}
}

// post is one request of the sender, repeated until it has a definite answer.
func (w *world) post(list []arrival) {
	again := func() {
		w.after(w.between(time.Second, 15*time.Second), func() { w.post(list) })
	}
	var doors []*process
	for _, q := range w.processes {
		if q.kind == ingest && q.running && !q.paused {
			doors = append(doors, q)
		}
	}
	if len(doors) == 0 {
		again()
		return
	}
	q := doors[w.rng.IntN(len(doors))]
	answered := false
	q.do(w.between(time.Millisecond, 20*time.Millisecond), func() {
		if answered {
			return // it was stopped, and the sender has left
		}
		if w.mutation == AnswerFirst {
			answered = true
			w.answer(list)
		}
		err := q.accept(list)
		switch {
		case answered:
		case err != nil:
			w.note("arrival of %d is answered 503", list[0].key)
			answered = true
			again()
		default:
			answered = true
			w.answer(list)
		}
	})
	w.after(timeout, func() {
		if !answered {
			answered = true
			again()
		}
	})
}

// answer is a success at the sender, which may send the same again, later.
func (w *world) answer(list []arrival) {
	for _, a := range list {
		if a.nameless {
			continue
		}
		i, ok := w.ledger.byKey[a.key]
		if !ok {
			i = -1
		}
		w.judge.Receipt(i)
		if w.calm || !w.chance(0.35) {
			continue
		}
		if w.chance(0.4) {
			a.body++ // a corrected body, or a conflict
		}
		w.after(w.between(time.Second, 20*time.Minute), func() { w.post([]arrival{a}) })
	}
}

// accept is group commit, receipt and healing, as pkg/ledger does it.
func (q *process) accept(list []arrival) error {
	s := q.session()
	if s == nil {
		return errLedgerDown
	}
	batches, err := q.world.ledger.transact(s.id, func(tx *txn) {
		for _, a := range list {
			tx.arrivals++
			if a.nameless {
				tx.refused++
				continue
			}
			if r := tx.known(a.key); r != nil {
				tx.dups++
				tx.heal(r, a)
				continue
			}
			tx.create(a)
		}
	})
	if err == nil {
		q.publish(batches)
	}
	return err
}

func (tx *txn) known(key int) *row {
	if i, ok := tx.ledger.byKey[key]; ok {
		return tx.row(i)
	}
	for _, r := range tx.created {
		if r.key == key {
			return r
		}
	}
	return nil
}

func (tx *txn) create(a arrival) {
	l := tx.ledger
	key := binary.BigEndian.AppendUint64(nil, uint64(a.key))
	r := &row{
		index: len(l.rows) + len(tx.created), key: a.key, body: a.body, flaw: a.flaw, valid: a.ok(), entity: a.entity, order: a.order, mute: a.mute,
		rec: record.Record{ID: record.DeriveID([]byte("simulation"), "model", string(key)), Version: l.version},
	}
	tx.created = append(tx.created, r)
	tx.staged[r.index] = r
	f := record.Fact{Event: record.Accepted}
	if !r.valid {
		f = record.Fact{Event: record.Invalid, Failure: record.Failure{Class: record.ClassData, Code: "schema"}}
	}
	tells := map[string]bool{}
	for _, s := range record.States() {
		tells[string(s)] = l.policies[r.mute].Tells(s)
	}
	tx.move(r, f, act{birth: &judge.Birth{Entity: a.entity, OneByOne: a.order == perEntity, LatestWin: a.order == latestWins, Refusable: a.flaw == refused, Tells: tells}})
}

// heal decides what a second arrival means.
func (tx *txn) heal(r *row, a arrival) {
	l := tx.ledger
	corrected := r.rec.State == record.Rejected && (a.body != r.body || r.rec.Version != l.version)
	switch {
	case corrected && a.ok():
		r.rec.Revision++
		r.rec.Version, r.body, r.valid = l.version, a.body, true
		tx.move(r, record.Fact{Event: record.Revived}, act{})
	case corrected || l.world.mutation == DuplicateLost:
	case tx.stranded(r):
		l.world.faults["duplicate healed"]++
		event := record.Redriven
		switch r.rec.State {
		case record.Processing:
			event = record.Lost
		case record.Parked:
			event = record.Released
		}
		tx.move(r, record.Fact{Event: event}, act{})
	}
}

// stranded reports whether nothing is under way for the record.
func (tx *txn) stranded(r *row) bool {
	l := tx.ledger
	switch r.rec.State {
	case record.Queued, record.Retrying:
		if _, waits := r.waits[record.WaitRetry]; waits {
			return false
		}
		for _, b := range tx.made {
			if b.id == r.batch {
				return false
			}
		}
		b := l.find(r.batch)
		return b == nil || (!b.published && !l.live(b.session, 2*lapse))
	case record.Processing:
		return !l.live(r.rec.Session, 2*lapse)
	case record.Parked:
		_, waits := r.waits[record.WaitParked]
		return !waits
	}
	return false
}
