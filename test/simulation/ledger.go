package simulation

import (
	"errors"
	"slices"
	"time"

	"waybill.internal/pkg/record"
	"waybill.internal/pkg/retry"
	"waybill.internal/test/simulation/judge"
)

const (
	lapse       = 8 * time.Second
	maxInOutbox = 100
)

var (
	errLedgerDown = errors.New("the ledger does not answer")
	errRolledBack = errors.New("the transaction was rolled back")
	errUnknown    = errors.New("the connection broke after COMMIT was sent")
)

// flaw is what is wrong with a record's data, until it is mended.
type flaw int

const (
	sound    flaw = iota
	refused       // the third party answers 400
	stubborn      // the third party answers 500
	buggy         // our mapping panics
	killer        // takes its worker down
)

// order is how records of one entity follow each other.
type order int

const (
	anyOrder order = iota
	perEntity
	latestWins
)

// request is one form in which a record was sent: its place in the list is the
// ordinal of the Idempotency-Key. The results of its steps stay with it.
type request struct {
	version  int64
	revision int32
	replays  int
	done     [judge.Steps]bool
}

type row struct {
	index    int
	key      int // of the event: its idempotency key
	body     int // which body its newest revision has
	rec      record.Record
	batch    int                  // outbox row that holds it, 0 for none
	waits    map[record.Wait]wait // replaced as a whole when it changes
	requests []request            // likewise
	replays  int
	flaw     flaw
	valid    bool
	entity   int
	order    order
	mute     bool // its partner wants to hear of rejected records only
	held     bool // a person holds it
	robbed   bool // an intruder took what held it
}

type wait struct {
	due time.Time // zero: a person
}

func (r *row) request() *request { return &r.requests[len(r.requests)-1] }

// batch is an outbox row.
type batch struct {
	id        int
	topic     topic
	members   []int
	session   int64
	due       time.Time
	taken     time.Time
	published bool
	ends      []int64
	epoch     int
	items     []message
}

type ledger struct {
	world    *world
	down     bool
	rows     []*row
	byKey    map[int]int // event to row
	outbox   []*batch    // in the order of their ids
	batches  int
	sessions []*session // number n is at n-1
	tally    map[string]int
	version  int64
	marks    [topics][]int64
	epochs   [topics]int
	policies map[bool]record.Policy
	commits  int
	failing  float64 // share of transactions that roll back
	unknown  float64 // share that commit and report an error
}

func newLedger(w *world) *ledger {
	l := &ledger{world: w, byKey: map[int]int{}, tally: map[string]int{}, version: 1, policies: map[bool]record.Policy{}}
	for i := range l.epochs {
		l.epochs[i] = 1
	}
	r := retry.Default()
	r.Attempts = 4 + w.rng.IntN(9)
	for _, mute := range []bool{false, true} {
		l.policies[mute] = policy(r, mute)
	}
	return l
}

func policy(r retry.Policy, mute bool) record.Policy {
	return record.Policy{
		Tells:   func(s record.State) bool { return !mute || s == record.Rejected },
		ParkFor: time.Minute,
		Retry: func(attempt int, age, retryAfter time.Duration) record.Schedule {
			d := r.Next(attempt, age, retryAfter, uint64(age)*0x9e3779b97f4a7c15)
			return record.Schedule{GiveUp: d.GiveUp, Delay: d.Delay, Topic: d.Topic}
		},
		Resend: func(try int, age, retryAfter time.Duration) record.Schedule {
			return record.Schedule{GiveUp: try >= 10, Delay: max(min(5*time.Second<<min(try, 20), time.Hour), retryAfter)}
		},
	}
}

// txn is one transaction: changes are staged, and become true together.
type txn struct {
	ledger   *ledger
	session  int64
	staged   map[int]*row
	created  []*row
	made     []*batch
	dropped  []int
	changes  []judge.Change
	arrivals int
	dups     int
	refused  int
}

// transact runs f. The error is the caller's view; with errUnknown it is true all the same.
func (l *ledger) transact(session int64, f func(tx *txn)) ([]*batch, error) {
	w := l.world
	if l.down {
		return nil, errLedgerDown
	}
	if w.chance(l.failing) {
		w.fault("transaction rolled back")
		return nil, errRolledBack
	}
	tx := &txn{ledger: l, session: session, staged: map[int]*row{}}
	f(tx)
	tx.commit()
	if len(tx.changes) > 0 && w.chance(l.unknown) {
		w.fault("commit unknown")
		return nil, errUnknown
	}
	return tx.made, nil
}

// row is the record as this transaction sees it, locked; nil if there is none.
func (tx *txn) row(i int) *row {
	if r, ok := tx.staged[i]; ok {
		return r
	}
	if i < len(tx.ledger.rows) {
		r := *tx.ledger.rows[i]
		tx.staged[i] = &r
		return &r
	}
	return nil
}

// act is who does something, as the judge is told.
type act struct {
	by    int64
	asked int64
	wrote int
	birth *judge.Birth
}

// move asks record.Step; false: the fact is not true of the row any more.
func (tx *txn) move(r *row, f record.Fact, a act) bool {
	w := tx.ledger.world
	from, oldBatch := r.rec, r.batch
	to, effects, err := record.Step(tx.ledger.policies[r.mute], from, f, w.now)
	if err != nil {
		return false
	}
	r.rec = to
	w.reached[string(f.Event)]++
	if f.Event != record.Claimed && f.Event != record.Isolated && f.Event != record.Sent {
		r.batch, r.held, r.robbed = 0, f.Event == record.Held, false
	}
	waits := make(map[record.Wait]wait, 2)
	for k, v := range r.waits {
		waits[k] = v
	}
	for _, e := range effects {
		switch {
		case e.Unwait != "":
			delete(waits, e.Unwait)
		case e.Wait != "":
			waits[e.Wait] = wait{due: e.Due}
		default:
			id := tx.post(topicOf(e), e.Due, r)
			if e.Publish != record.TopicDeadLetter {
				r.batch = id
			}
		}
	}
	r.waits = waits
	if f.Event == record.Replayed {
		r.replays++
	}
	if f.Event == record.Claimed {
		r.pin()
	}
	oldOutcome, newOutcome := outcomeName(from), outcomeName(to)
	tx.changes = append(tx.changes, judge.Change{
		Record: r.index, Event: string(f.Event), From: string(from.State), To: string(to.State), OutcomeFrom: oldOutcome, OutcomeTo: newOutcome,
		NumberFrom: from.Outcome.Number, NumberTo: to.Outcome.Number, FenceFrom: from.Fence, FenceTo: to.Fence, By: a.by, Asked: a.asked,
		Attempt: to.Attempt, Class: string(to.Failure.Class), Version: to.Version, Revision: int(to.Revision), Valid: r.valid, Wrote: a.wrote, Birth: a.birth,
	})
	w.note("record %d %s: %s/%s -> %s/%s fence %d attempt %d batch %d -> %d", r.index, f.Event, from.State, oldOutcome, to.State, newOutcome, to.Fence, to.Attempt, oldBatch, r.batch)
	return true
}

func outcomeName(r record.Record) string {
	if r.Fence == 0 {
		return ""
	}
	return string(r.Outcome.State)
}

// pin finds the form in which the record is sent now, or begins a new one.
func (r *row) pin() {
	now := request{version: r.rec.Version, revision: r.rec.Revision, replays: r.replays}
	if n := len(r.requests); n > 0 {
		if last := r.requests[n-1]; last.version == now.version && last.revision == now.revision && last.replays == now.replays {
			return
		}
	}
	r.requests = append(slices.Clone(r.requests), now)
}

// post puts a message into the transaction's batch for its topic.
func (tx *txn) post(t topic, due time.Time, r *row) int {
	m := message{record: r.index, fence: r.rec.Fence, due: due}
	for _, b := range tx.made {
		if b.topic == t && len(b.items) < maxInOutbox {
			b.items, b.members = append(b.items, m), append(b.members, r.index)
			if due.After(b.due) {
				b.due = due
			}
			return b.id
		}
	}
	tx.ledger.batches++
	b := &batch{id: tx.ledger.batches, topic: t, members: []int{r.index}, session: tx.session, due: due, taken: tx.ledger.world.now, items: []message{m}}
	tx.made = append(tx.made, b)
	return b.id
}

func (tx *txn) commit() {
	l := tx.ledger
	tx.releaseFollowers()
	for i, r := range tx.staged {
		if i < len(l.rows) {
			l.rows[i] = r
		}
	}
	for _, r := range tx.created {
		l.byKey[r.key] = r.index
		l.rows = append(l.rows, r)
	}
	l.outbox = append(l.outbox, tx.made...)
	l.drop(tx.dropped)
	for _, c := range tx.changes {
		l.tally["state:"+c.From]--
		l.tally["state:"+c.To]++
	}
	l.world.judge.Commit(judge.Tx{Changes: tx.changes, Arrivals: tx.arrivals, Duplicates: tx.dups, Refused: tx.refused, Tally: l.tally})
	if len(tx.changes) > 0 {
		l.world.redriver.touch()
		if l.commits++; l.commits%8 == 0 {
			l.world.judge.Recount(l.recount())
		}
	}
}

func (l *ledger) drop(ids []int) {
	if len(ids) > 0 {
		l.outbox = slices.DeleteFunc(l.outbox, func(b *batch) bool { return slices.Contains(ids, b.id) })
	}
}

func (l *ledger) find(id int) *batch {
	i, ok := slices.BinarySearchFunc(l.outbox, id, func(b *batch, id int) int { return b.id - id })
	if !ok {
		return nil
	}
	return l.outbox[i]
}

// recount is every row, and how many things hold it.
func (l *ledger) recount() []judge.Row {
	rows := make([]judge.Row, len(l.rows))
	for i, r := range l.rows {
		holders := 0
		for kind, v := range r.waits {
			if holdsBy(r, kind, v) {
				holders++
			}
		}
		if r.batch != 0 && l.find(r.batch) != nil {
			holders++
		}
		if r.rec.Session != 0 && l.live(r.rec.Session, lapse) {
			holders++
		}
		rows[i] = judge.Row{State: string(r.rec.State), Outcome: string(r.rec.Outcome.State), Number: r.rec.Outcome.Number, Fence: r.rec.Fence, Waits: holders, Robbed: r.robbed}
	}
	return rows
}

// holdsBy reports whether a waiting row is about what the record is open for.
func holdsBy(r *row, kind record.Wait, v wait) bool {
	switch kind {
	case record.WaitRetry:
		return r.rec.State == record.Retrying && !v.due.IsZero()
	case record.WaitParked:
		return r.rec.State == record.Parked && (!v.due.IsZero() || r.held || r.rec.Failure.Code == codeBehind)
	case record.WaitDead:
		return r.rec.State == record.Dead && r.rec.Outcome.State != record.OutcomeDue && r.rec.Outcome.State != record.OutcomeSent
	case record.WaitOutcome:
		return r.rec.Outcome.State == record.OutcomeDue && !v.due.IsZero()
	default:
		return r.rec.Outcome.State == record.Unacknowledged
	}
}

const codeBehind = "behind"
