package checker

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"

	"waybill.internal/test/torture/journal"
)

// maxShown bounds the violations that are printed for one invariant.
const maxShown = 10

// Finding is what one invariant came to.
type Finding struct {
	Name       string   `json:"name"`
	What       string   `json:"what"`
	Looked     int      `json:"looked"`
	Violations int      `json:"violations"`
	Shown      []string `json:"shown,omitempty"` // at most maxShown
}

func (f *Finding) fail(format string, args ...any) {
	if f.Violations++; len(f.Shown) < maxShown {
		f.Shown = append(f.Shown, fmt.Sprintf(format, args...))
	}
}

// of names a record and how to see its story.
func of(id string) string { return fmt.Sprintf("record %s (waybill trace %s)", id, id) }

// Report of a check.
type Report struct {
	Findings    []Finding      `json:"findings"`
	Records     int            `json:"records"`
	Transitions int64          `json:"transitions"` // by the fences
	Effects     int            `json:"effects"`
	Calls       int            `json:"calls"`
	LateCalls   int            `json:"late_calls"` // sent by a worker that had lost its record, under the same key
	Statuses    int            `json:"statuses"`
	States      map[string]int `json:"states"` // by state/outcome
}

// OK reports whether nothing is broken.
func (r *Report) OK() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Violations > 0 })
}

// Print writes one line per invariant and the verdict.
func (r *Report) Print(w io.Writer) {
	for _, f := range r.Findings {
		verdict := "ok"
		if f.Violations > 0 {
			verdict = fmt.Sprintf("VIOLATION %d", f.Violations)
		}
		fmt.Fprintf(w, "%-4s %-72s %9d  %s\n", f.Name, f.What, f.Looked, verdict)
		for _, s := range f.Shown {
			fmt.Fprintf(w, "     VIOLATION %s: %s\n", f.Name, s)
		}
		if more := f.Violations - len(f.Shown); more > 0 {
			fmt.Fprintf(w, "     and %d more\n", more)
		}
	}
	fmt.Fprintf(w, "%d records, %d transitions, %d calls (%d late), %d effects, %d statuses told; %v\n", r.Records, r.Transitions, r.Calls, r.LateCalls, r.Effects, r.Statuses, r.States)
	if r.OK() {
		fmt.Fprintln(w, "ok")
	} else {
		fmt.Fprintln(w, "VIOLATION")
	}
}

// check is one judgement under way.
type check struct {
	*world
	report *Report
}

func (c *check) finding(name, what string, looked int) *Finding {
	c.report.Findings = append(c.report.Findings, Finding{Name: name, What: what, Looked: looked})
	return &c.report.Findings[len(c.report.Findings)-1]
}

// Check reads the journals in a folder and the ledger at a URL whose search path
// leads to its tables. The error says what could not be read; what is broken is
// in the report.
func Check(ctx context.Context, dir, postgres string) (*Report, error) {
	w := newWorld()
	if err := w.readJournals(dir); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, postgres)
	if err != nil {
		return nil, fmt.Errorf("connect to the ledger: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := w.readLedger(ctx, conn); err != nil {
		return nil, err
	}
	return judge(w), nil
}

func judge(w *world) *Report {
	c := &check{world: w, report: &Report{States: map[string]int{}, Records: len(w.records), Calls: len(w.calls), Statuses: len(w.told)}}
	for _, r := range w.records {
		c.report.Transitions += r.fence
		c.report.States[r.state+"/"+r.outcomeState]++
	}
	c.receipts()
	c.refusals()
	c.unknowns()
	c.final()
	c.tally()
	c.histories()
	c.effects()
	c.statuses()
	c.files()
	c.topics()
	c.dead()
	c.machines()
	c.rows()
	return c.report
}

func ok(status int) bool { return status >= 200 && status < 300 }

// definite reports whether an answer says that the request was not taken.
func definite(status int) bool { return status >= 400 && status < 500 }

func (c *check) receipts() {
	f := c.finding("C1", "every receipt names a record that exists once, under its key", 0)
	for _, s := range c.sent {
		if !ok(s.Status) {
			continue
		}
		f.Looked++
		switch r := c.byID[s.Receipt]; {
		case r == nil:
			f.fail("event %s was accepted with receipt %s, and the ledger has no such record", s.Event, s.Receipt)
		case r.key != s.Event:
			f.fail("event %s was accepted with the receipt of another key, %s: %s", s.Event, r.key, of(r.id))
		case r.entity != s.RequestNo:
			f.fail("event %s is about %s, but its record about %s: %s", s.Event, s.RequestNo, r.entity, of(r.id))
		}
	}
	for key, n := range c.perKey {
		if n != 1 {
			f.fail("key %s has %d records", key, n)
		}
	}
}

func (c *check) refusals() {
	f := c.finding("C2", "what was refused says why, is no record and had no effect", 0)
	for event, e := range c.events {
		for _, s := range e.answers {
			if definite(s.Status) {
				f.Looked++
				if s.Code == "" {
					f.fail("event %s was answered %d without a code", event, s.Status)
				}
			}
			if e.fate != journal.NoRecord && definite(s.Status) {
				f.fail("event %s is signed and readable, but was answered %d (%s)", event, s.Status, s.Code)
			}
		}
		if e.fate != journal.NoRecord {
			continue
		}
		if r := c.byKey[event]; r != nil {
			f.fail("event %s must be refused, and is a record: %s", event, of(r.id))
		}
		if len(c.callsOf[e.requestNo]) > 0 {
			f.fail("event %s must be refused, and the third party was called for %s", event, e.requestNo)
		}
	}
}

func (c *check) unknowns() {
	f := c.finding("C3", "unknown answers left no record or one, and no record is from nowhere", 0)
	for _, e := range c.events {
		if e.unknown > 0 {
			f.Looked++
		}
	}
	for _, r := range c.records {
		if c.events[r.key] == nil && c.fileRow[r.key] == nil {
			f.fail("nobody sent the key %s of %s", r.key, of(r.id))
		}
	}
}

func (c *check) final() {
	f := c.finding("C4", "every record is final, and its status closed or with a person", len(c.records))
	for _, r := range c.records {
		switch r.state {
		case "processed", "rejected", "superseded", "discarded", "dead":
		default:
			f.fail("%s is %s, and nothing is under way any more", of(r.id), r.state)
			continue
		}
		switch {
		case r.outcomeState == "acknowledged":
		case r.outcomeState == "unacknowledged" && c.waits[r.id+"/unacknowledged"]:
		default:
			f.fail("%s is %s, but its outcome %d is %s", of(r.id), r.state, r.outcome, r.outcomeState)
		}
		if want := c.fateOf(r); !allowed(want, r.state, c.events[r.key]) {
			f.fail("%s is %s, but was sent as %s: %s %s", of(r.id), r.state, want, r.class, r.code)
		}
	}
}

// allowed says which ends a fate has. Dead is always one: a record whose workers
// were killed three times over waits for a person.
func allowed(fate journal.Fate, state string, e *event) bool {
	switch fate {
	case journal.Processed:
		return state == "processed" || state == "dead"
	case journal.Invalid, journal.Unknown, journal.Refused:
		return state == "rejected" || state == "dead" && fate != journal.Invalid
	case journal.Dead:
		return state == "dead"
	case journal.Corrected:
		return state == "processed" || state == "dead" || state == "rejected" && !e.corrected
	}
	return false
}

// tally checks the sums of conservation with the rows and with the journals.
func (c *check) tally() {
	counted := map[string]int64{"received": int64(len(c.records))}
	for _, r := range c.records {
		counted["state:"+r.state]++
		if r.outcomeState != "none" {
			counted["outcome:"+r.outcomeState]++
		}
	}
	f := c.finding("C4", "conservation: the tally is the recount and fits what the senders saw", len(counted))
	for measure, n := range counted {
		if c.tallied[measure] != n {
			f.fail("the tally says %d %s, the rows say %d", c.tallied[measure], measure, n)
		}
	}
	for measure, n := range c.tallied {
		if _, known := counted[measure]; !known && n != 0 && measure != "duplicate" && measure != "refused" && measure != "conflict" {
			f.fail("the tally says %d %s, there are none", n, measure)
		}
	}
	var duplicates, refused, unknown int64
	for _, s := range c.sent {
		switch {
		case ok(s.Status) && s.Duplicate:
			duplicates++
		case definite(s.Status):
			refused++
		case s.Status == 0 || s.Status >= 500:
			unknown++
		}
	}
	for measure, sure := range map[string]int64{"duplicate": duplicates, "refused": refused} {
		if n := c.tallied[measure]; n < sure || n > sure+unknown+c.fileDuplicates {
			f.fail("the tally says %d %s, the senders were told so %d times and %d answers are unknown", n, measure, sure, unknown)
		}
	}
}

func (c *check) dead() {
	f := c.finding("C10", "what is dead has a reason, its attempts, and waits for a person", 0)
	for _, r := range c.records {
		if r.state != "dead" {
			continue
		}
		f.Looked++
		if r.class == "" || r.code == "" {
			f.fail("%s is dead without a reason", of(r.id))
		}
		if !c.waits[r.id+"/dead"] {
			f.fail("%s is dead, and nobody is shown it", of(r.id))
		}
		if !slices.ContainsFunc(r.history, func(a attempt) bool { return a.kind == "process" && a.to == "dead" }) {
			f.fail("%s is dead without an attempt that ended so", of(r.id))
		}
	}
}

func (c *check) machines() {
	f := c.finding("C11", "no process ended by itself, every fault was healed", len(c.faults))
	for _, crash := range c.crashes {
		f.fail("%s ended by itself at %s: %s", crash.Process, crash.At.Format("15:04:05"), crash.Error)
	}
	for _, fault := range c.faults {
		if fault.Error != "" {
			f.fail("fault %d, %s %s: %s", fault.Number, fault.Kind, fault.Target, fault.Error)
		}
	}
}
