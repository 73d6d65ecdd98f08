package simulation

import (
	"fmt"
	"slices"
	"time"
)

const (
	timeout   = 10 * time.Second
	timedOut  = 0
	threshold = 3 // failures of different records in a row that open the breaker
)

// destination is a third party, and what the ledger knows about it.
type destination struct {
	code  string
	limit int

	// The third party itself, and its misbehaviour.
	executed map[string]string // body by key
	slow     bool
	dead     bool
	storm    float64 // share of calls answered 503
	liar     float64 // share of calls executed, but answered 500 or not at all

	// The ledger's rows: slots, breaker, prober.
	slots     []int64 // sessions
	streak    []int   // records that failed since a call worked
	open      bool
	until     time.Time
	probeTill time.Time
}

func newDestination(i, limit int) *destination {
	return &destination{code: fmt.Sprintf("destination_%d", i), limit: limit, executed: map[string]string{}}
}

// live is how many slots living sessions hold; what lapsed sessions hold is free.
func (d *destination) live(l *ledger) int {
	d.slots = slices.DeleteFunc(d.slots, func(id int64) bool { return !l.live(id, lapse) })
	return len(d.slots)
}

func (d *destination) acquire(l *ledger, session int64) bool {
	if d.live(l) >= d.limit {
		return false
	}
	d.slots = append(d.slots, session)
	return true
}

func (d *destination) release(session int64) {
	if i := slices.Index(d.slots, session); i >= 0 {
		d.slots = slices.Delete(d.slots, i, i+1)
	}
}

// closedFor is how long the breaker lets no call through; 0 lets this one
// through, alone if the breaker is open.
func (d *destination) closedFor(w *world) time.Duration {
	switch {
	case !d.open:
		return 0
	case w.now.Before(d.until):
		return d.until.Sub(w.now)
	case w.now.Before(d.probeTill):
		return d.probeTill.Sub(w.now)
	}
	d.probeTill = w.now.Add(timeout + time.Second)
	return 0
}

func (d *destination) worked() {
	d.streak, d.open = nil, false
}

// failed notes a failed call and reports whether the destination counts as out.
func (d *destination) failed(w *world, record int) bool {
	if !slices.Contains(d.streak, record) {
		d.streak = append(d.streak, record)
	}
	if !d.open && len(d.streak) < threshold {
		return false
	}
	d.open, d.probeTill = true, time.Time{}
	d.until = w.now.Add(w.between(5*time.Second, time.Minute))
	w.faults["breaker opened"]++
	return true
}

type answer struct {
	code       int
	executed   bool
	retryAfter time.Duration
}

func (d *destination) latency(w *world) time.Duration {
	switch {
	case d.dead:
		return timeout + time.Second
	case d.slow:
		return w.between(500*time.Millisecond, 15*time.Second)
	}
	return w.between(2*time.Millisecond, 200*time.Millisecond)
}

// handle is the third party: it has one effect per key, and refuses a key that
// comes back with another body.
func (d *destination) handle(w *world, r *row, key, body string) answer {
	if d.dead {
		return answer{code: timedOut}
	}
	if w.chance(d.storm) {
		w.faults["503"]++
		waits := []time.Duration{0, 7 * time.Second, 20 * time.Minute}
		return answer{code: 503, retryAfter: waits[w.rng.IntN(len(waits))]}
	}
	last := d.code == w.destinations[len(w.destinations)-1].code
	switch {
	case r.flaw == refused && last:
		return answer{code: 400}
	case r.flaw == stubborn && last && !w.mended:
		return answer{code: 500}
	}
	was, known := d.executed[key]
	if known && was != body {
		return answer{code: 422}
	}
	d.executed[key] = body
	if w.chance(d.liar) {
		w.faults["did it, said it failed"]++
		return answer{code: 500, executed: !known}
	}
	return answer{code: 200, executed: !known}
}
