package simulation

import (
	"time"

	"waybill.internal/pkg/record"
)

// startPeople plans what people do while things go wrong.
func (w *world) startPeople(faulty time.Duration) {
	for range w.rng.IntN(12) {
		w.after(w.between(time.Second, faulty), func() {
			if len(w.ledger.rows) > 0 {
				w.meddle(w.rng.IntN(len(w.ledger.rows)))
			}
		})
	}
	for range w.rng.IntN(3) {
		w.after(w.between(0, faulty), func() { w.ledger.version++ })
	}
}

func (w *world) meddle(i int) {
	events := []record.Event{record.Held, record.Held, record.Discard, record.Requeued, record.Requeued, record.Replayed, record.SendRequeued, record.Released}
	event := events[w.rng.IntN(len(events))]
	edit := event == record.Requeued && w.chance(0.3)
	w.act(event, edit, i)
}

// act is a person's command. Its messages are left to the relay.
func (w *world) act(event record.Event, edit bool, records ...int) {
	w.note("a person: %s %v", event, records)
	_, err := w.ledger.transact(0, func(tx *txn) {
		for _, i := range records {
			r := tx.row(i)
			before := *r
			if edit {
				r.rec.Revision++
				r.body, r.valid = r.body+100, true
			}
			if !tx.move(r, record.Fact{Event: event}, act{}) {
				*r = before
			}
		}
	})
	if err != nil {
		w.note("the person is told: %v", err)
	}
}

// heal ends the time of faults.
func (w *world) heal() {
	w.note("everything is mended")
	w.calm, w.mended = true, true
	w.kafka.down, w.kafka.doubled = false, 0
	l := w.ledger
	l.failing, l.unknown = 0, 0
	if l.down {
		l.rise(w)
	}
	for _, d := range w.destinations {
		d.dead, d.slow, d.storm, d.liar = false, false, 0, 0
	}
	*w.partner = partner{}
	w.redriver.touch()
	for _, d := range []time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour, 30 * time.Hour, 60 * time.Hour, 100 * time.Hour, 200 * time.Hour, 300 * time.Hour} {
		w.after(d, w.tidy)
	}
}

// tidy is what people and senders do once everything works again.
func (w *world) tidy() {
	for i, r := range w.ledger.rows {
		switch {
		case r.rec.State == record.Dead, r.rec.State == record.Parked && r.held:
			w.act(record.Requeued, false, i)
		case r.rec.Outcome.State == record.Unacknowledged:
			w.act(record.SendRequeued, false, i)
		case r.robbed:
			for _, h := range w.senders.all {
				if h.key == r.key {
					w.post([]arrival{{happening: h, body: r.body}})
				}
			}
		}
	}
}
