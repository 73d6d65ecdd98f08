package judge

import (
	"fmt"
	"slices"
)

// Steps is the number of calls that a record needs.
const Steps = 2

// maxViolations bounds what a run collects: the first ones matter.
const maxViolations = 5

// Birth is what a record is, told with its first change.
type Birth struct {
	Entity    int
	OneByOne  bool // one record of an entity in flight at a time
	LatestWin bool // an older record of an entity may be superseded by a newer one
	Refusable bool // the third party will refuse this record's data
	Tells     map[string]bool
}

// Change is one committed transition of one record.
type Change struct {
	Record      int
	Event       string
	From, To    string
	OutcomeFrom string
	OutcomeTo   string
	NumberFrom  int
	NumberTo    int
	FenceFrom   int64
	FenceTo     int64
	By          int64 // the session that acts, 0 for none
	Asked       int64 // the fence that a claim's message or a settlement named, 0 for none
	Attempt     int   // after the change
	Class       string
	Version     int64
	Revision    int
	Valid       bool // whether the body of this revision is valid
	Wrote       int  // rows upserted with this change
	Birth       *Birth
}

// Tx is one committed transaction.
type Tx struct {
	Changes                       []Change
	Arrivals, Duplicates, Refused int
	Tally                         map[string]int // as the ledger keeps it, by measure
}

// Row is a record as the ledger holds it.
type Row struct {
	State, Outcome string
	Number         int
	Fence          int64
	Waits          int  // things that will move it by themselves, or show it to a person
	Robbed         bool // an intruder took what held it, and no duplicate has come since
}

// request identifies what a call sends: as long as it is the same, a second
// call must have the same key and no second effect.
type request struct {
	version  int64
	revision int
	replays  int
}

type mirror struct {
	Birth
	state, outcome string
	number         int
	fence          int64
	holder         int64
	attempt        int
	valid          bool
	req            request
	called         bool // in this life: since the last requeue
	executed       [Steps]map[request]int
	answered       map[int64][Steps]bool // by the fence of the claim: calls that its worker saw succeed
	finished       [Steps]map[request]bool
	confirmed      map[int]bool // numbers that the partner really confirmed
	processed      int
	wrote          int
}

// Judge of one run. Not safe for concurrent use.
type Judge struct {
	records    []*mirror
	counts     map[string]int
	arrivals   int
	duplicates int
	refused    int
	bodies     map[string]string // by idempotency key
	violations []string
	// Transitions is how many were committed.
	Transitions int
}

// New makes a judge that has seen nothing.
func New() *Judge { return &Judge{counts: map[string]int{}, bodies: map[string]string{}} }

// Violations are the first broken promises, or none.
func (j *Judge) Violations() []string { return j.violations }

func (j *Judge) fail(format string, args ...any) {
	if len(j.violations) < maxViolations {
		j.violations = append(j.violations, fmt.Sprintf(format, args...))
	}
}

func (j *Judge) record(i int) *mirror {
	if i < 0 || i >= len(j.records) {
		j.fail("record %d is not in the ledger", i)
		return nil
	}
	return j.records[i]
}

// Commit judges a transaction that took effect, whatever its caller was told.
func (j *Judge) Commit(tx Tx) {
	for _, c := range tx.Changes {
		j.change(c)
	}
	j.arrivals += tx.Arrivals
	j.duplicates += tx.Duplicates
	j.refused += tx.Refused
	if j.arrivals != len(j.records)+j.duplicates+j.refused {
		j.fail("conservation: %d arrivals are not %d received + %d duplicates + %d refused", j.arrivals, len(j.records), j.duplicates, j.refused)
	}
	sum := 0
	for _, s := range states {
		sum += j.counts[s]
		if tx.Tally["state:"+s] != j.counts[s] {
			j.fail("conservation: the tally says %d %s, a recount %d", tx.Tally["state:"+s], s, j.counts[s])
		}
	}
	if sum != len(j.records) {
		j.fail("conservation: %d received, %d in a state", len(j.records), sum)
	}
}

func (j *Judge) change(c Change) {
	j.Transitions++
	if c.Birth != nil {
		if c.Record != len(j.records) {
			j.fail("record %d is new, but %d are known", c.Record, len(j.records))
			return
		}
		j.records = append(j.records, newMirror(*c.Birth))
		j.counts[""]++
	}
	m := j.record(c.Record)
	if m == nil {
		return
	}
	if c.From != m.state || c.OutcomeFrom != m.outcome || c.FenceFrom != m.fence || c.NumberFrom != m.number {
		j.fail("record %d: %s left %s/%s at fence %d, but it was %s/%s at fence %d", c.Record, c.Event, c.From, c.OutcomeFrom, c.FenceFrom, m.state, m.outcome, m.fence)
	}
	if c.FenceTo <= m.fence {
		j.fail("record %d: %s took the fence from %d to %d", c.Record, c.Event, m.fence, c.FenceTo)
	}
	if told, ok := mayTell[c.Event]; ok && final[c.From] {
		j.tell(m, c, told)
	} else {
		j.move(m, c)
	}
	j.counts[m.state]--
	j.counts[c.To]++
	m.state, m.outcome, m.number, m.fence, m.attempt = c.To, c.OutcomeTo, c.NumberTo, c.FenceTo, c.Attempt
}

func newMirror(b Birth) *mirror {
	m := &mirror{Birth: b, answered: map[int64][Steps]bool{}, confirmed: map[int]bool{}}
	for i := range Steps {
		m.executed[i], m.finished[i] = map[request]int{}, map[request]bool{}
	}
	return m
}

// holds checks that who ends or takes something holds it, by fence and session.
func (j *Judge) holds(m *mirror, c Change) {
	if (c.Event == "claimed" || c.Event == "sent" || byHolder[c.Event]) && c.Asked != m.fence {
		j.fail("record %d: %s counted with fence %d, but it stands at %d", c.Record, c.Event, c.Asked, m.fence)
	}
	if (byHolder[c.Event] || c.Event == "overtaken" && c.From == "processing") && c.By != m.holder {
		j.fail("record %d: %s by session %d counted, but session %d holds it", c.Record, c.Event, c.By, m.holder)
	}
}

func (j *Judge) tell(m *mirror, c Change, told map[string][]string) {
	if !slices.Contains(told[c.OutcomeFrom], c.OutcomeTo) || c.From != c.To || c.NumberFrom != c.NumberTo {
		j.fail("record %d: illegal: %s took its outcome from %s to %s", c.Record, c.Event, c.OutcomeFrom, c.OutcomeTo)
	}
	j.holds(m, c)
	if c.OutcomeTo == "acknowledged" && !m.confirmed[c.NumberTo] {
		j.fail("record %d: outcome %d counts as acknowledged, but the partner never confirmed it", c.Record, c.NumberTo)
	}
	m.holder = 0
	if c.Event == "sent" {
		m.holder = c.By
	}
}

func (j *Judge) move(m *mirror, c Change) {
	if !slices.Contains(may[c.Event][c.From], c.To) {
		j.fail("record %d: illegal: %s took it from %q to %q", c.Record, c.Event, c.From, c.To)
	}
	j.holds(m, c)
	told := final[c.To] && m.Tells[c.To]
	if wantsNumber := m.number; told && (c.NumberTo != wantsNumber+1 || c.OutcomeTo != "due") {
		j.fail("record %d: became %s, but outcome %d is %s after %d", c.Record, c.To, c.NumberTo, c.OutcomeTo, wantsNumber)
	} else if !told && (c.NumberTo != wantsNumber || c.OutcomeTo != "none") {
		j.fail("record %d: %s tells the partner nothing, but outcome %d is %s", c.Record, c.To, c.NumberTo, c.OutcomeTo)
	}
	j.ended(m, c)
	switch c.Event {
	case "requeued", "revived":
		m.called = false
	case "replayed":
		m.called = false
		m.req.replays++
	case "claimed":
		j.claimed(m, c)
	}
	m.req.revision, m.valid = c.Revision, c.Valid
	m.holder = 0
	if c.Event == "claimed" || c.Event == "isolated" {
		m.holder = c.By
	}
}

func (j *Judge) claimed(m *mirror, c Change) {
	if m.called && c.Version != m.req.version {
		j.fail("record %d: called with version %d and now works with %d: a retry must send the same bytes", c.Record, m.req.version, c.Version)
	}
	m.req.version = c.Version
	if !m.OneByOne {
		return
	}
	for i, other := range j.records {
		if i != c.Record && other.OneByOne && other.Entity == m.Entity && other.state == "processing" {
			j.fail("record %d is worked while record %d of its entity is", c.Record, i)
		}
	}
}

// ended judges how a claim ended, and what its worker leaves behind.
func (j *Judge) ended(m *mirror, c Change) {
	if c.From == "processing" && byHolder[c.Event] || c.Event == "overtaken" && c.From == "processing" {
		for i, ok := range m.answered[m.fence] {
			if ok {
				m.finished[i][m.req] = true
			}
		}
	}
	if c.From == "processing" && (c.To == "parked" || c.To == "queued") && c.Attempt != m.attempt-1 {
		j.fail("record %d: %s spent attempt %d, but it is not the record's fault", c.Record, c.Event, c.Attempt)
	}
	m.wrote += c.Wrote
	switch c.To {
	case "processed":
		m.processed++
		if m.wrote != m.processed {
			j.fail("record %d: processed %d times, its row was written %d times", c.Record, m.processed, m.wrote)
		}
		for i := range Steps {
			if m.executed[i][m.req] != 1 {
				j.fail("record %d: processed, but step %d had %d effects", c.Record, i, m.executed[i][m.req])
			}
		}
	case "rejected":
		if c.Class == "" || (c.Valid && !m.Refusable) {
			j.fail("record %d: rejected (%s), but nothing is wrong with it", c.Record, c.Class)
		}
	case "dead":
		if c.Class == "" || c.Class == "outage" || c.Class == "slow" || c.Class == "credentials" {
			j.fail("record %d: dead of %q", c.Record, c.Class)
		}
	case "superseded":
		if !m.LatestWin || !j.newer(c.Record, m) {
			j.fail("record %d: superseded by nothing", c.Record)
		}
	}
}

func (j *Judge) newer(i int, m *mirror) bool {
	return slices.ContainsFunc(j.records[i+1:], func(o *mirror) bool { return o.LatestWin && o.Entity == m.Entity && o.processed > 0 })
}
