package simulation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"waybill.internal/pkg/record"
	"waybill.internal/test/simulation/judge"
)

// claim takes the messages' records for this process and begins to work them.
func (q *process) claim(t topic, messages []message) error {
	w := q.world
	s := q.session()
	if s == nil {
		return errLedgerDown
	}
	var taken []row
	batches, err := w.ledger.transact(s.id, func(tx *txn) {
		for _, m := range messages {
			r := tx.row(m.record)
			if r.rec.Fence != m.fence && w.mutation != FenceIgnored {
				continue // stale: somebody has moved it since
			}
			if tx.take(r, t, s.id, m.fence) {
				taken = append(taken, *r)
			}
		}
	})
	if err != nil {
		if errors.Is(err, errUnknown) && w.mutation != ClaimForgotten {
			q.do(time.Second, func() { q.resolve(t, s, messages) })
		}
		return err
	}
	q.publish(batches)
	for _, r := range taken {
		q.begin(t, s, r)
	}
	return nil
}

// take claims one record or outcome, unless its entity's order forbids it.
func (tx *txn) take(r *row, t topic, session, asked int64) bool {
	a := act{by: session, asked: asked}
	if t == result {
		return tx.move(r, record.Fact{Event: record.Sent, Session: session}, a)
	}
	if tx.overtaken(r) {
		tx.move(r, record.Fact{Event: record.Overtaken}, a)
		return false
	}
	if r.order == perEntity {
		if behind, busy := tx.ahead(r); behind || busy {
			f := record.Fact{Event: record.Behind, Failure: record.Failure{Code: codeBehind}}
			if !behind { // a newer one is being worked: soon over
				f.Failure.Code, f.Until = "busy", tx.ledger.world.now.Add(5*time.Second)
			}
			tx.move(r, f, a)
			return false
		}
	}
	return tx.move(r, record.Fact{Event: record.Claimed, Session: session, Version: tx.ledger.version}, a)
}

// resolve finds out what became of a claim whose commit was unknown: no one
// else will take over what a living session holds.
func (q *process) resolve(t topic, s *session, messages []message) {
	l := q.world.ledger
	if !l.live(s.id, lapse) {
		return // it has lapsed: the re-driver takes over
	}
	var ours []row
	_, err := l.transact(s.id, func(tx *txn) {
		for _, m := range messages {
			r := tx.row(m.record)
			_, known := q.working[claim{record: r.index, fence: r.rec.Fence}]
			if r.rec.Session == s.id && r.rec.Fence == m.fence+1 && !known && !slices.ContainsFunc(ours, func(o row) bool { return o.index == r.index }) {
				ours = append(ours, *r)
			}
		}
	})
	if err != nil {
		q.do(time.Second, func() { q.resolve(t, s, messages) })
		return
	}
	for _, r := range ours {
		q.begin(t, s, r)
	}
}

func (q *process) begin(t topic, s *session, r row) {
	if q.working == nil {
		q.working = map[claim]bool{}
	}
	q.inFlight++
	j := &job{process: q, session: s, row: r, claim: claim{record: r.index, fence: r.rec.Fence}}
	q.working[j.claim] = false
	if t == result {
		q.do(q.world.between(10*time.Millisecond, 300*time.Millisecond), j.tell)
		return
	}
	j.done = r.request().done
	wait := q.world.between(time.Millisecond, 50*time.Millisecond)
	if q.world.chance(0.1) { // for a turn among the others
		wait = q.world.between(time.Second, 5*time.Second)
	}
	q.do(wait, j.validate)
}

// job is one claim being worked.
type job struct {
	process *process
	session *session
	row     row // as it was claimed
	claim   claim
	done    [judge.Steps]bool
	waited  int // for a slot
}

func (j *job) world() *world { return j.process.world }

func (j *job) alive() bool { return j.world().ledger.live(j.session.id, lapse) }

func (j *job) leave() {
	j.process.inFlight--
	delete(j.process.working, j.claim)
}

// validate is the first step, after every requeue too.
func (j *job) validate() {
	j.process.working[j.claim] = true
	if j.row.rec.Suspected() {
		j.isolate()
		return
	}
	w := j.world()
	switch {
	case !j.row.valid:
		j.settle(record.Fact{Event: record.Refused, Failure: record.Failure{Class: record.ClassData, Code: "schema"}})
	case j.row.flaw == killer && !w.mended:
		w.fault("worker killed by its record")
		j.process.crash(w.between(time.Second, 5*time.Second))
	case j.row.flaw == buggy && !w.mended:
		j.fail(record.ClassBug, "panic", 0)
	default:
		j.step(0)
	}
}

// isolate notes that a suspected record is begun alone, and then begins it.
func (j *job) isolate() {
	w := j.world()
	held := false
	_, err := w.ledger.transact(j.session.id, func(tx *txn) {
		r := tx.row(j.row.index)
		if held = r.rec.Fence == j.claim.fence; held {
			held = tx.move(r, record.Fact{Event: record.Isolated, Session: j.session.id}, act{by: j.session.id, asked: j.claim.fence})
			j.row.rec = r.rec
		}
	})
	switch {
	case errors.Is(err, errUnknown):
		j.session.closed = true // whether it counts as begun is not known
		j.leave()
	case err != nil && j.alive():
		j.process.do(w.between(200*time.Millisecond, time.Second), j.isolate)
	case err != nil || !held:
		j.leave()
	default:
		delete(j.process.working, j.claim)
		j.claim.fence = j.row.rec.Fence
		j.validate()
	}
}

func (j *job) fail(c record.Class, code string, retryAfter time.Duration) {
	j.settle(record.Fact{Event: record.Failed, Failure: record.Failure{Class: c, Code: code, RetryAfter: retryAfter}})
}

const maxSlotWaits = 20

// step runs step i, unless an earlier attempt has finished it.
func (j *job) step(i int) {
	w := j.world()
	if i == judge.Steps {
		j.settle(record.Fact{Event: record.Succeeded})
		return
	}
	if j.done[i] {
		j.step(i + 1)
		return
	}
	if !j.alive() {
		j.leave()
		return
	}
	d := w.destinations[i]
	if wait := d.closedFor(w); wait > 0 {
		j.fail(record.ClassOutage, d.code, wait)
		return
	}
	if !d.acquire(w.ledger, j.session.id) {
		if j.waited++; j.waited > maxSlotWaits {
			j.fail(record.ClassSlow, d.code, 0)
			return
		}
		j.process.do(w.between(200*time.Millisecond, time.Second), func() { j.step(i) })
		return
	}
	j.call(i, d)
}

func (j *job) call(i int, d *destination) {
	w := j.world()
	req := j.row.request()
	key := fmt.Sprintf("%d-%d-%d", j.row.index, i, len(j.row.requests))
	if w.mutation == NewKey {
		key += fmt.Sprintf("-%d", j.row.rec.Fence)
	}
	body := fmt.Sprintf("v%d r%d", req.version, req.revision)
	w.note("record %d calls step %d with key %s", j.row.index, i, key)
	w.judge.Call(j.row.index, i, key, body, d.live(w.ledger), d.limit)
	took := d.latency(w)
	var got answer
	w.after(took/2, func() { // there, whatever becomes of the caller
		if got = d.handle(w, &j.row, key, body); got.executed {
			w.judge.Executed(j.row.index, i, req.version, int(req.revision), req.replays)
		}
	})
	j.process.do(min(took, timeout), func() {
		d.release(j.session.id)
		if took > timeout {
			got = answer{code: timedOut}
		}
		j.answered(i, d, got)
	})
}

func (j *job) answered(i int, d *destination, a answer) {
	w := j.world()
	w.note("record %d step %d is answered %d", j.row.index, i, a.code)
	switch a.code {
	case 200:
		d.worked()
		j.done[i] = true
		w.judge.Succeeded(j.row.index, i, j.claim.fence)
		j.step(i + 1)
	case 400:
		d.worked()
		j.settle(record.Fact{Event: record.Failed, Failure: record.Failure{Class: record.ClassData, Code: "status_400"}})
	default:
		if d.failed(w, j.row.index) {
			j.fail(record.ClassOutage, d.code, d.closedFor(w))
			return
		}
		j.fail(record.ClassSystem, "status", a.retryAfter)
	}
}

// settle ends the claim in one transaction, and tries again while the session lives.
func (j *job) settle(f record.Fact) {
	w := j.world()
	batches, err := w.ledger.transact(j.session.id, func(tx *txn) { j.write(tx, f) })
	if err == nil {
		if w.mutation == StepApart {
			_, _ = w.ledger.transact(j.session.id, func(tx *txn) { j.keep(tx.row(j.row.index)) }) // the bug: nobody cares
		}
		j.leave()
		j.process.publish(batches)
		return
	}
	j.process.do(w.between(200*time.Millisecond, time.Second), func() {
		// One that was stopped just after it looked tries all the same: the fence decides.
		if j.alive() || w.chance(0.2) {
			j.settle(f)
			return
		}
		j.leave()
	})
}

func (j *job) write(tx *txn, f record.Fact) {
	r := tx.row(j.row.index)
	w := j.world()
	if r.rec.Fence != j.claim.fence && w.mutation != FenceIgnored {
		w.note("record %d: a settlement with fence %d does not count", r.index, j.claim.fence)
		if !j.alive() {
			w.faults["zombie turned away"]++
		}
		return
	}
	a := act{by: j.session.id, asked: j.claim.fence}
	if f.Event == record.Succeeded {
		if tx.overtaken(r) {
			f.Event = record.Overtaken
		} else {
			a.wrote = 1
		}
	}
	if tx.move(r, f, a) && w.mutation != StepApart {
		j.keep(r)
	}
}

// keep writes the results of the finished steps: a retry resumes after them.
func (j *job) keep(r *row) {
	r.requests = slices.Clone(r.requests)
	r.requests[len(j.row.requests)-1].done = j.done
}
