package checker

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"waybill.internal/test/torture/journal"
)

func (c *check) effects() {
	f := c.finding("C6", "one effect per record, under one key with one body, none for the rejected", len(c.calls))
	records := map[string]*record{}
	for _, r := range c.records {
		records[r.entity] = r
	}
	for no, calls := range c.callsOf {
		c.callsFor(f, no, records[no], calls)
	}
	for _, r := range c.records {
		if r.state == "processed" && c.executed(r.entity) != 1 {
			f.fail("%s is processed, and had %d effects", of(r.id), c.executed(r.entity))
		}
	}
}

func (c *check) executed(requestNo string) (n int) {
	for _, i := range c.callsOf[requestNo] {
		if c.calls[i].Executed {
			n++
		}
	}
	return n
}

func (c *check) callsFor(f *Finding, no string, r *record, calls []int) {
	if r == nil {
		f.fail("the third party was called %d times for %s, of which no record is", len(calls), no)
		return
	}
	fate, first, over := c.fateOf(r), c.calls[calls[0]], worked(r)
	if fate == journal.Invalid || fate == journal.Unknown {
		f.fail("%s was rejected before its call, and the third party was called %d times", of(r.id), len(calls))
	}
	for _, i := range calls {
		call := c.calls[i]
		if call.Executed {
			c.report.Effects++
		}
		if call.Key != first.Key || !strings.HasPrefix(call.Key, r.id+"-") {
			f.fail("%s was called for with the key %s, and first with %s", of(r.id), call.Key, first.Key)
		}
		if call.BodyHash != first.BodyHash {
			f.fail("%s was called for with two bodies under the key %s", of(r.id), call.Key)
		}
		if !over.IsZero() && call.At.After(over) {
			c.report.LateCalls++
		}
	}
	if n := c.executed(no); n > 1 || n > 0 && fate == journal.Refused {
		f.fail("%s had %d effects", of(r.id), n)
	}
}

// worked is when the last attempt ended.
func worked(r *record) time.Time {
	var last time.Time
	for _, a := range r.history {
		if a.kind == "process" {
			last = a.ended
		}
	}
	return last
}

func (c *check) statuses() {
	f := c.finding("C7", "acknowledged only if the partner confirmed it, every status signed", len(c.told))
	type outcome struct {
		id     string
		number int
	}
	confirmed, states := map[outcome]bool{}, map[outcome]string{}
	for _, t := range c.told {
		o := outcome{t.ID, t.Outcome}
		r := c.byID[t.ID]
		switch {
		case r == nil:
			f.fail("the partner was told of %s, which no record is", t.ID)
			continue
		case !t.Signed:
			f.fail("the status of %s was not signed", of(t.ID))
		case t.Key != r.key:
			f.fail("the partner was told of key %s, which is not that of %s", t.Key, of(t.ID))
		case t.Outcome < 1 || t.Outcome > r.outcome:
			f.fail("the partner was told outcome %d of %s, which has %d", t.Outcome, of(t.ID), r.outcome)
		case t.Outcome == r.outcome && t.State != r.state:
			f.fail("the partner was told that %s is %s, and it is %s", of(t.ID), t.State, r.state)
		}
		if before, seen := states[o]; seen && before != t.State {
			f.fail("outcome %d of %s was told as %s and as %s", t.Outcome, of(t.ID), before, t.State)
		}
		states[o] = t.State
		confirmed[o] = confirmed[o] || t.Confirmed
	}
	for _, r := range c.records {
		if r.outcomeState == "acknowledged" && !confirmed[outcome{r.id, r.outcome}] {
			f.fail("outcome %d of %s is acknowledged, and the partner never confirmed it", r.outcome, of(r.id))
		}
	}
}

func (c *check) files() {
	f := c.finding("C8", "every row of every file is one record, a broken one names its line", len(c.fileRow))
	for _, d := range c.dropped {
		have, known := c.file[d.Hash]
		if !known || have.state != "done" || have.rows != int64(len(d.Rows)) {
			f.fail("file %s (%s) has %d rows, the ledger has it %q with %d", d.Name, d.Hash, len(d.Rows), have.state, have.rows)
		}
	}
	for key, row := range c.fileRow {
		r := c.byKey[key]
		if r == nil {
			f.fail("row %d (line %d) of file %s is no record", row.Number, row.Line, row.file.Name)
			continue
		}
		if row.Fate == journal.Invalid && !namesLine(r.detail, row.Line) {
			f.fail("row %d of file %s is rejected, but its reasons do not name line %d: %s: %s", row.Number, row.file.Name, row.Line, of(r.id), r.detail)
		}
	}
}

func namesLine(detail string, line int) bool {
	var reasons []struct {
		Line int `json:"line"`
	}
	if err := json.Unmarshal([]byte(detail), &reasons); err != nil || len(reasons) == 0 {
		return false
	}
	for _, r := range reasons {
		if r.Line != line {
			return false
		}
	}
	return true
}

func (c *check) topics() {
	f := c.finding("C9", "topics hold messages of records that exist, none to work for the invalid", len(c.topic))
	for _, m := range c.topic {
		at := fmt.Sprintf("%s[%d]@%d", m.Topic, m.Partition, m.Offset)
		r := c.byID[m.Record]
		switch {
		case strings.HasSuffix(m.Topic, ".quarantine"):
			f.fail("%s: a message was quarantined, and nobody sent a bad one", at)
		case r == nil:
			f.fail("%s is about %q, which no record is", at, m.Record)
		case m.Key != r.entity:
			f.fail("%s has the key %q, and %s is about %s", at, m.Key, of(r.id), r.entity)
		case strings.HasSuffix(m.Topic, ".work") && c.fateOf(r) == journal.Invalid:
			f.fail("%s is to be worked, and %s is invalid", at, of(r.id))
		}
	}
}

func (c *check) rows() {
	f := c.finding("U", "each processed record is once in the upsert table, with the right values", len(c.rowsOf))
	owners := map[string]string{}
	for _, r := range c.records {
		if r.state != "processed" {
			continue
		}
		row, found := c.rowsOf[r.entity]
		if other := owners[r.entity]; other != "" {
			f.fail("%s and record %s are both about %s", of(r.id), other, r.entity)
		}
		owners[r.entity] = r.id
		want := upsert{productKey: strings.Replace(c.productOf(r), "P-", "platform-", 1), crmID: "crm-" + r.entity, written: 1}
		switch {
		case !found:
			f.fail("%s is processed, and the table has no row %s", of(r.id), r.entity)
		case row != want:
			f.fail("%s wrote %+v, want %+v", of(r.id), row, want)
		}
	}
	for no := range c.rowsOf {
		if owners[no] == "" {
			f.fail("the table has a row %s, and no processed record is about it", no)
		}
	}
}
