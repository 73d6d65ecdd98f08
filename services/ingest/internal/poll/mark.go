package poll

import (
	"encoding/json"
	"fmt"
	"time"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
)

// mark is what the ledger keeps between two transactions of a source.
type mark struct {
	High time.Time `json:"high,omitzero"` // what changed before it is known, by the partner's clock
	Run  *run      `json:"run,omitempty"` // one that has not ended
}

// run is one reading of everything since a time.
type run struct {
	Version  int64     `json:"version"` // of the integration: another one may page in another way
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"`
	Began    time.Time `json:"began"`             // by the ledger's clock
	Clock    time.Time `json:"clock,omitzero"`    // by the partner's, if it tells it
	Next     place     `json:"next"`              // the page to ask for
	Seen     time.Time `json:"seen,omitzero"`     // the highest time of an item
	Held     time.Time `json:"held,omitzero"`     // the least time of an item that is left for the next run
	Pages    int       `json:"pages"`             // of this pass
	Passes   int       `json:"passes"`            // that have ended
	Fresh    int       `json:"fresh"`             // new records of this pass
	Counted  bool      `json:"counted,omitempty"` // Fresh holds everything: the turn was ended, not cut off
	Restarts int       `json:"restarts,omitempty"`
	Barren   int       `json:"barren,omitempty"`  // pages in a row without a new record
	Longest  int       `json:"longest,omitempty"` // pages of the longest pass that has ended
	Missed   int       `json:"missed,omitempty"`  // new records, of a poll for missed webhooks, that are not told yet
	// Unanswered is how many turns failed at details of the page at Next.
	Unanswered int `json:"unanswered,omitempty"`
}

// place is where a page begins. The zero place is the first page.
type place struct {
	Cursor string `json:"cursor,omitempty"`
	URL    string `json:"url,omitempty"`
	Page   int    `json:"page,omitempty"` // pages before it
	Offset int    `json:"offset,omitempty"`
}

// kept tells whether the place was given by the server, which may have forgotten it.
func (p place) kept() bool { return p != place{} }

func readMark(p ledger.Poll) (mark, error) {
	var m mark
	if err := json.Unmarshal(p.Mark, &m); err != nil {
		return m, fmt.Errorf("the mark of poll %s/%s cannot be read: %w", p.Integration, p.Source, err)
	}
	return m, nil
}

// begin gives the mark a run, unless one is to be gone on with.
func (m *mark) begin(p ledger.Poll, config *integration.Poll, version int64) {
	if m.Run != nil && m.Run.Version == version {
		return
	}
	r := &run{Version: version, Began: p.Now, Until: p.Now}
	switch {
	case p.Request != 0:
		r.Since, r.Until = p.Since, p.Until
	case config.Since != nil:
		if m.High.IsZero() {
			m.High = p.Now.Add(-config.Since.Initial) // kept now: until a run ends, it must not move on with the time
		}
		r.Since = m.High.Add(-config.Since.Overlap)
	}
	m.Run = r
}

// end moves the high-water mark behind the run.
func (m *mark) end(config *integration.Poll) {
	r := m.Run
	m.Run = nil
	if config.Since == nil {
		return
	}
	limit := r.Began
	if !r.Clock.IsZero() && r.Clock.Before(limit) {
		limit = r.Clock
	}
	high := limit
	if config.Since.Field != "" {
		high = r.Seen
		if high.After(limit) {
			high = limit
		}
		if !r.Held.IsZero() && r.Held.Before(high) {
			high = r.Held
		}
	}
	if high.After(m.High) {
		m.High = high
	}
}

// shifts tells whether what changes during a run moves items between its pages.
func shifts(next integration.Next) bool { return next.Page || next.Offset }

// anew puts the run back to its first page.
func (r *run) anew() { r.Next, r.Pages, r.Fresh, r.Unanswered = place{}, 0, 0, 0 }

// partnerNow is the partner's clock at the beginning of the run, as far as it is known.
func (r *run) partnerNow() time.Time {
	if r.Clock.IsZero() {
		return r.Began
	}
	return r.Clock
}

// clone shares nothing with m.
func (m mark) clone() mark {
	if m.Run != nil {
		r := *m.Run
		m.Run = &r
	}
	return m
}
