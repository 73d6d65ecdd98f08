package simulation

import (
	"slices"
	"time"

	"waybill.internal/pkg/record"
)

// startNemesis plans what goes wrong: a shifting subset of all faults, more of
// some in one run, none of some in another.
func (w *world) startNemesis(faulty time.Duration) {
	w.ledger.failing = w.rng.Float64() * 0.1
	w.ledger.unknown = w.rng.Float64() * 0.1
	w.kafka.doubled = w.rng.Float64() * 0.1
	w.partner.refuses = w.rng.Float64() * 0.4
	w.partner.lies = w.rng.Float64() * 0.3
	all := w.menu()
	var menu []func()
	for _, f := range all {
		if w.chance(0.5) {
			menu = append(menu, f)
		}
	}
	if len(menu) == 0 {
		return
	}
	for range w.rng.IntN(40) {
		f := menu[w.rng.IntN(len(menu))]
		w.after(w.between(0, faulty-time.Second), f)
	}
}

func (w *world) menu() []func() {
	return []func(){w.crash, w.stopOne, w.freeze, w.kafkaDown, w.wipe, w.loseMessages, w.rewind, w.gap, w.ledgerDown, w.outage, w.slowness, w.storm, w.liar, w.muteness, w.rob}
}

// someone is a process, rather one that is at work.
func (w *world) someone() *process {
	var q *process
	for range 4 {
		if q = w.processes[w.rng.IntN(len(w.processes))]; q.inFlight > 0 {
			break
		}
	}
	return q
}

func (w *world) crash() {
	w.fault("crash")
	w.someone().crash(w.between(500*time.Millisecond, 20*time.Second))
}

func (w *world) stopOne() {
	w.fault("stop in order")
	w.someone().stop(w.between(500*time.Millisecond, 5*time.Second))
}

func (w *world) freeze() {
	w.fault("stopped and resumed")
	w.someone().pause(w.between(time.Second, 40*time.Second))
}

// spell turns something on, and off again after a while, unless everything is mended by then.
func (w *world) spell(kind string, least, most time.Duration, on, off func()) {
	w.fault(kind)
	on()
	w.after(w.between(least, most), func() {
		if !w.calm {
			off()
			w.redriver.touch()
		}
	})
}

func (w *world) kafkaDown() {
	w.spell("kafka down", time.Second, 2*time.Minute, func() { w.kafka.down = true }, func() { w.kafka.down = false })
}

func (w *world) ledgerDown() {
	if w.ledger.down {
		return
	}
	w.spell("ledger down", time.Second, 40*time.Second, func() {
		w.ledger.down = true
		for _, q := range w.processes {
			q.current.freeze(w)
		}
	}, func() { w.ledger.rise(w) })
}

// rise is when the ledger answers again: sessions that lapsed meanwhile are lost.
func (l *ledger) rise(w *world) {
	l.down = false
	for _, q := range w.processes {
		if q.current != nil && q.running && !q.paused {
			q.session()
		}
	}
	w.redriver.touch()
}

func (w *world) outage() {
	d := w.destinations[w.rng.IntN(len(w.destinations))]
	w.spell("third party dead", 5*time.Second, 30*time.Minute, func() { d.dead = true }, func() { d.dead = false })
}

func (w *world) slowness() {
	d := w.destinations[w.rng.IntN(len(w.destinations))]
	w.spell("third party slow", 5*time.Second, 10*time.Minute, func() { d.slow = true }, func() { d.slow = false })
}

func (w *world) storm() {
	d := w.destinations[w.rng.IntN(len(w.destinations))]
	share := 0.2 + 0.7*w.rng.Float64()
	w.spell("third party 5xx", 5*time.Second, 10*time.Minute, func() { d.storm = share }, func() { d.storm = 0 })
}

func (w *world) liar() {
	d := w.destinations[w.rng.IntN(len(w.destinations))]
	w.spell("third party liar", 5*time.Second, 10*time.Minute, func() { d.liar = 0.5 }, func() { d.liar = 0 })
}

func (w *world) muteness() {
	w.spell("partner silent", 5*time.Second, 5*time.Hour, func() { w.partner.mute = true }, func() { w.partner.mute = false })
}

func (w *world) wipe() {
	w.fault("kafka wiped")
	w.kafka.wipe()
	w.redriver.touch()
}

func (w *world) anyLog() *log {
	return w.kafka.logs[w.rng.IntN(int(topics))][w.rng.IntN(partitions)]
}

func (w *world) loseMessages() {
	for t := range w.kafka.logs {
		for _, p := range w.kafka.logs[t] {
			for i := range p.messages {
				if p.start+int64(i) >= p.committed && w.chance(0.3) {
					w.fault("message lost")
					p.messages[i].gone = true
				}
			}
		}
	}
	w.redriver.touch()
}

// rewind takes every group back, some to the very beginning.
func (w *world) rewind() {
	w.fault("group rewound")
	for t := range w.kafka.logs {
		for _, p := range w.kafka.logs[t] {
			if p.committed > p.start {
				p.committed = p.start + w.rng.Int64N(p.committed-p.start+1)
			}
			if w.chance(0.5) {
				p.committed = p.start
			}
		}
	}
	w.kafka.rebalance()
}

// gap deletes the head of a partition, read or not.
func (w *world) gap() {
	p := w.anyLog()
	if len(p.messages) == 0 {
		return
	}
	w.fault("retention gap")
	n := 1 + w.rng.IntN(len(p.messages))
	p.messages = slices.Clone(p.messages[n:])
	p.start += int64(n)
	w.kafka.plan(p, time.Second)
	w.redriver.touch()
}

// rob takes what holds a record away, as only a stranger in the database can.
// Nothing but a duplicate heals that.
func (w *world) rob() {
	l := w.ledger
	if len(l.rows) == 0 || l.down {
		return
	}
	r := l.rows[w.rng.IntN(len(l.rows))]
	switch r.rec.State {
	case record.Queued:
		if b := l.find(r.batch); b == nil || slices.ContainsFunc(b.members, func(i int) bool { return l.rows[i].batch == b.id && l.rows[i].rec.State != record.Queued }) {
			return
		}
		w.fault("robbed of its batch")
		for _, i := range l.find(r.batch).members {
			l.rows[i].robbed = l.rows[i].robbed || l.rows[i].batch == r.batch
		}
		l.drop([]int{r.batch})
	case record.Retrying, record.Parked:
		if len(r.waits) > 0 {
			w.fault("robbed of its waiting row")
			r.waits, r.robbed, r.held = nil, true, false
		}
	}
}
