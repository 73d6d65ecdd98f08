package checker

import (
	"fmt"
	"slices"
)

// The life of a record, written down a second time: which states an event may
// lead from and to. What a worker calls a failure may be decided to be more.
var moves = map[string]struct{ from, to []string }{
	"succeeded":  {[]string{"processing"}, []string{"processed"}},
	"refused":    {[]string{"processing"}, []string{"rejected"}},
	"failed":     {[]string{"processing"}, []string{"retrying", "rejected", "parked", "dead"}},
	"set_aside":  {[]string{"processing"}, []string{"parked"}},
	"gave_up":    {[]string{"processing"}, []string{"dead"}},
	"lost":       {[]string{"processing"}, []string{"queued", "dead"}},
	"isolated":   {[]string{"processing"}, []string{"processing"}},
	"given_back": {[]string{"processing"}, []string{"queued"}},
	"overtaken":  {[]string{"queued", "retrying", "processing"}, []string{"superseded"}},
	"held":       {[]string{"queued", "retrying", "parked"}, []string{"parked"}},
	"discard":    {[]string{"queued", "retrying", "parked", "dead"}, []string{"discarded"}},
	"requeued":   {[]string{"parked", "dead", "rejected", "retrying", "discarded"}, []string{"queued"}},
	"replayed":   {[]string{"processed", "superseded"}, []string{"queued"}},
	"revived":    {[]string{"rejected"}, []string{"queued"}},
}

var tellings = map[string]struct{ from, to []string }{
	"confirmed":     {[]string{"sent", "due", "unacknowledged"}, []string{"acknowledged"}},
	"unconfirmed":   {[]string{"sent"}, []string{"due", "unacknowledged"}},
	"partner_gone":  {[]string{"sent"}, []string{"unacknowledged"}},
	"send_lost":     {[]string{"sent", "due"}, []string{"due"}},
	"send_requeued": {[]string{"unacknowledged"}, []string{"due"}},
}

var finals = []string{"processed", "rejected", "superseded", "discarded", "dead"}

func (c *check) histories() {
	f := c.finding("C5", "each history is a legal path, fences rise, one row per claim", 0)
	for _, r := range c.records {
		f.Looked += len(r.history)
		if err := walk(r); err != nil {
			f.fail("%s: %v", of(r.id), err)
		}
		for _, claim := range c.claims[r.id] {
			if !slices.ContainsFunc(r.history, func(a attempt) bool { return a.kind == "process" && a.fence == claim+1 }) {
				f.fail("%s was called for under the claim with fence %d, which no history row ends", of(r.id), claim)
			}
		}
	}
}

// path is where a record stands while its history is walked.
type path struct {
	fence          int64
	state, outcome string
	number         int
}

// walk follows the rows from acceptance to what the record's row says. Claims,
// releases and messages sent again raise the fence and leave no row of their own.
func walk(r *record) error {
	p := path{fence: 1, state: "queued", outcome: "none"}
	if bornRejected(r) {
		p.end("rejected")
	}
	for i, a := range r.history {
		if i > 0 && a.ended.Before(r.history[i-1].ended) {
			return fmt.Errorf("the row at fence %d ended before the row at fence %d", a.fence, r.history[i-1].fence)
		}
		if err := p.row(a); err != nil {
			return err
		}
	}
	if p.state != r.state || p.fence > r.fence {
		return fmt.Errorf("its history ends %s at fence %d, its row says %s at %d", p.state, p.fence, r.state, r.fence)
	}
	if slices.Contains(finals, r.state) && (p.number != r.outcome || p.outcome != r.outcomeState || p.outcome == "acknowledged" && p.fence != r.fence) {
		return fmt.Errorf("its history ends with outcome %d %s at fence %d, its row says %d %s at %d", p.number, p.outcome, p.fence, r.outcome, r.outcomeState, r.fence)
	}
	return nil
}

// bornRejected: what failed base validation was never worked before a person or a
// corrected arrival brought it back.
func bornRejected(r *record) bool {
	for _, a := range r.history {
		switch {
		case a.kind == "process":
			return false
		case a.kind == "act" && a.from == "rejected", a.kind == "notify":
			return true
		}
	}
	return r.state == "rejected"
}

func (p *path) end(state string) {
	p.state = state
	if slices.Contains(finals, state) {
		p.number, p.outcome = p.number+1, "due"
	} else {
		p.outcome = "none"
	}
}

func (p *path) row(a attempt) error {
	gap := a.fence - p.fence
	if gap < 1 {
		return fmt.Errorf("fence %d follows fence %d", a.fence, p.fence)
	}
	defer func() { p.fence = a.fence }()
	if a.kind == "notify" || a.event == "send_requeued" {
		return p.tell(a, gap)
	}
	rule, known := moves[a.event]
	if !known || !slices.Contains(rule.from, a.from) || !slices.Contains(rule.to, a.to) {
		return fmt.Errorf("illegal: %s took it from %s to %s at fence %d", a.event, a.from, a.to, a.fence)
	}
	if err := p.reach(a, gap); err != nil {
		return err
	}
	p.end(a.to)
	return nil
}

// reach checks that the state a row leaves can be reached from the last one in
// the transitions that left no row.
func (p *path) reach(a attempt, gap int64) error {
	least := int64(1)
	if a.from == "processing" {
		least++ // the claim
	}
	switch {
	case a.from == p.state:
	case p.state == "parked" && (a.from == "queued" || a.from == "processing"):
		least++ // the release
		if a.from == "processing" {
			break
		}
	case (p.state == "queued" || p.state == "retrying") && a.from == "processing":
	default:
		return fmt.Errorf("illegal: it was %s at fence %d, and %s at fence %d left %s", p.state, p.fence, a.event, a.fence, a.from)
	}
	if gap < least {
		return fmt.Errorf("fence %d follows fence %d, but %s needs a claim of its own", a.fence, p.fence, a.event)
	}
	if a.kind == "process" && a.from == "processing" && a.session == 0 {
		return fmt.Errorf("the attempt that ended at fence %d names no session", a.fence)
	}
	return nil
}

func (p *path) tell(a attempt, gap int64) error {
	rule, known := tellings[a.event]
	if !known || !slices.Contains(rule.from, a.from) || !slices.Contains(rule.to, a.to) {
		return fmt.Errorf("illegal: %s took its outcome from %s to %s at fence %d", a.event, a.from, a.to, a.fence)
	}
	if !slices.Contains(finals, p.state) {
		return fmt.Errorf("it was %s when its outcome was told at fence %d", p.state, a.fence)
	}
	if a.from == "sent" && p.outcome != "due" || a.from != "sent" && a.from != p.outcome {
		return fmt.Errorf("illegal: its outcome was %s at fence %d, and %s at fence %d left %s", p.outcome, p.fence, a.event, a.fence, a.from)
	}
	if a.from == "sent" && gap < 2 {
		return fmt.Errorf("fence %d follows fence %d, but telling takes the outcome first", a.fence, p.fence)
	}
	p.outcome = a.to
	return nil
}
