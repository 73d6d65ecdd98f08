package judge

// Call is told when a worker calls a destination; live is how many calls of
// living sessions the destination then has, limit how many it allows.
func (j *Judge) Call(record, step int, key, body string, live, limit int) {
	m := j.record(record)
	if m == nil {
		return
	}
	if !m.valid {
		j.fail("record %d: its data is invalid, but step %d calls the third party", record, step)
	}
	if m.finished[step][m.req] && m.state == "processing" {
		j.fail("record %d: step %d is finished, but calls again", record, step)
	}
	if was, ok := j.bodies[key]; ok && was != body {
		j.fail("record %d: key %s had another body before", record, key)
	}
	j.bodies[key] = body
	m.called = true
	if live > limit {
		j.fail("%d calls at a destination that allows %d", live, limit)
	}
}

// Executed is told by the third party when a call had its effect. caller is
// what the request says it was made from.
func (j *Judge) Executed(record, step int, version int64, revision, replays int) {
	m := j.record(record)
	if m == nil {
		return
	}
	req := request{version: version, revision: revision, replays: replays}
	if m.executed[step][req]++; m.executed[step][req] > 1 {
		j.fail("record %d: step %d had %d effects for one request", record, step, m.executed[step][req])
	}
}

// Succeeded is told when the worker that claimed record at fence saw step's call succeed.
func (j *Judge) Succeeded(record, step int, fence int64) {
	if m := j.record(record); m != nil {
		seen := m.answered[fence]
		seen[step] = true
		m.answered[fence] = seen
	}
}

// Receipt is told when a sender got a success.
func (j *Judge) Receipt(record int) { j.record(record) }

// Confirmed is told when the partner really confirmed this number.
func (j *Judge) Confirmed(record, number int) {
	if m := j.record(record); m != nil {
		m.confirmed[number] = true
	}
}

// Recount compares the ledger's rows with the mirror, and sees that each is held.
func (j *Judge) Recount(rows []Row) {
	if len(rows) != len(j.records) {
		j.fail("the ledger has %d rows, %d records were received", len(rows), len(j.records))
		return
	}
	for i, r := range rows {
		m := j.records[i]
		if r.State != m.state || r.Outcome != m.outcome || r.Fence != m.fence || r.Number != m.number {
			j.fail("record %d: the row says %s/%s at fence %d, its history %s/%s at fence %d", i, r.State, r.Outcome, r.Fence, m.state, m.outcome, m.fence)
		}
		open := !final[r.State] || r.State == "dead" || (r.Outcome != "none" && r.Outcome != "acknowledged")
		if open && r.Waits == 0 && !r.Robbed {
			j.fail("record %d: %s/%s, and nothing holds it", i, r.State, r.Outcome)
		}
	}
}

// Settled reports whether every record is final and told.
func (j *Judge) Settled() bool {
	for _, m := range j.records {
		if !final[m.state] || m.state == "dead" || (m.outcome != "none" && m.outcome != "acknowledged") {
			return false
		}
	}
	return true
}

// End judges the world after everything was mended and had time to come to rest.
func (j *Judge) End() {
	for i, m := range j.records {
		switch {
		case !final[m.state]:
			j.fail("record %d: still %s at the end", i, m.state)
		case m.state == "dead":
			j.fail("record %d: dead although its cause was mended and a person requeued it", i)
		case m.Tells[m.state] && m.outcome != "acknowledged":
			j.fail("record %d: %s, but outcome %d is %s at the end", i, m.state, m.number, m.outcome)
		}
	}
}
