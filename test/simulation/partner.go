package simulation

import (
	"time"

	"waybill.internal/pkg/record"
)

// partner is who is told the outcomes.
type partner struct {
	mute    bool    // answers nothing
	refuses float64 // share of statuses that it does not confirm
	lies    float64 // share that it answers with an old number
}

// tell sends the claimed outcome to the partner and settles by its answer.
func (j *job) tell() {
	w := j.world()
	p := w.partner
	if !j.alive() {
		j.leave()
		return
	}
	number, confirmed := j.row.rec.Outcome.Number, 0
	switch {
	case p.mute || w.chance(p.refuses):
		if w.chance(0.3) { // it took it all the same, and says so late
			w.after(w.between(time.Second, 3*time.Hour), func() { w.confirmLate(j.row.index, number) })
		}
	case w.chance(p.lies):
		w.fault("old number confirmed")
		confirmed = number - 1
	default:
		confirmed = number
		w.judge.Confirmed(j.row.index, number)
	}
	w.note("record %d outcome %d: the partner confirms %d", j.row.index, number, confirmed)
	took := w.between(5*time.Millisecond, 500*time.Millisecond)
	if p.mute {
		took = timeout
	}
	j.process.do(took, func() { j.told(confirmed) })
}

// told settles what the partner's answer says.
func (j *job) told(confirmed int) {
	w := j.world()
	batches, err := w.ledger.transact(j.session.id, func(tx *txn) {
		r := tx.row(j.row.index)
		if r.rec.Fence != j.claim.fence && w.mutation != FenceIgnored {
			return
		}
		a := act{by: j.session.id, asked: j.claim.fence}
		number := confirmed
		if w.mutation == OldNumber && r.rec.Outcome.Number > 0 {
			number = r.rec.Outcome.Number
		}
		if tx.move(r, record.Fact{Event: record.Confirmed, Number: number}, a) {
			return
		}
		tx.move(r, record.Fact{Event: record.Unconfirmed, Failure: record.Failure{Class: record.ClassSystem, Code: "unconfirmed"}}, a)
	})
	if err == nil {
		j.leave()
		j.process.publish(batches)
		return
	}
	j.process.do(w.between(200*time.Millisecond, time.Second), func() {
		if j.alive() {
			j.told(confirmed)
			return
		}
		j.leave()
	})
}

// confirmLate is the partner's own call, some time after.
func (w *world) confirmLate(index, number int) {
	w.judge.Confirmed(index, number)
	w.note("record %d outcome %d is confirmed late", index, number)
	_, err := w.ledger.transact(0, func(tx *txn) {
		tx.move(tx.row(index), record.Fact{Event: record.Confirmed, Number: number}, act{})
	})
	if err != nil {
		w.note("the late confirmation is answered 503")
	}
}
