package checker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/test/torture/journal"
)

const (
	first  = "00000000-0000-8000-8000-000000000001"
	second = "00000000-0000-8000-8000-000000000002"
)

func at(second int) time.Time { return time.Unix(1_800_000_000+int64(second), 0) }

// good is a small world in which nothing is broken: a processed record, one that
// was invalid, and a row of a file.
func good() *world {
	w := newWorld()
	w.addSent(journal.Sent{Phase: journal.Intent, Event: "evt-1", RequestNo: "SR-1", Fate: journal.Processed, Product: "P-7"})
	w.addSent(journal.Sent{Phase: journal.Answer, Event: "evt-1", RequestNo: "SR-1", Fate: journal.Processed, Product: "P-7", Status: 202, Receipt: first})
	w.addSent(journal.Sent{Phase: journal.Intent, Event: "evt-2", RequestNo: "INV-2", Fate: journal.Invalid, Product: "P-8"})
	w.addSent(journal.Sent{Phase: journal.Answer, Event: "evt-2", RequestNo: "INV-2", Fate: journal.Invalid, Product: "P-8", Status: 202, Receipt: second})
	w.addSent(journal.Sent{Phase: journal.Intent, Event: "evt-3", RequestNo: "BAD-3", Fate: journal.NoRecord})
	w.addSent(journal.Sent{Phase: journal.Answer, Event: "evt-3", RequestNo: "BAD-3", Fate: journal.NoRecord, Status: 400, Code: "unreadable"})
	w.addCall(journal.Called{At: at(1), Key: first + "-crm", RequestNo: "SR-1", BodyHash: "a", Status: 500, Executed: true})
	w.addCall(journal.Called{At: at(3), Key: first + "-crm", RequestNo: "SR-1", BodyHash: "a", Status: 200})
	w.told = []journal.Told{
		{ID: first, Outcome: 1, State: "processed", Key: "evt-1", Signed: true},
		{ID: first, Outcome: 1, State: "processed", Key: "evt-1", Signed: true, Confirmed: true},
		{ID: second, Outcome: 1, State: "rejected", Key: "evt-2", Signed: true, Confirmed: true},
	}
	w.topic = []journal.Message{{Topic: "t.main.work", Key: "SR-1", Record: first}, {Topic: "t.result", Key: "INV-2", Record: second}}
	w.faults = []journal.Fault{{Number: 1, Kind: "kill"}}
	w.put(&record{id: first, key: "evt-1", entity: "SR-1", state: "processed", fence: 9, outcome: 1, outcomeState: "acknowledged", history: []attempt{
		{fence: 3, kind: "process", event: "failed", from: "processing", to: "retrying", session: 4, ended: at(2)},
		{fence: 5, kind: "process", event: "succeeded", from: "processing", to: "processed", session: 5, ended: at(4)},
		{fence: 7, kind: "notify", event: "unconfirmed", from: "sent", to: "due", session: 6, ended: at(5)},
		{fence: 9, kind: "notify", event: "confirmed", from: "sent", to: "acknowledged", session: 6, ended: at(6)},
	}})
	w.put(&record{id: second, key: "evt-2", entity: "INV-2", state: "rejected", class: "data", code: "check", fence: 3, outcome: 1, outcomeState: "acknowledged", history: []attempt{
		{fence: 3, kind: "notify", event: "confirmed", from: "sent", to: "acknowledged", session: 6, ended: at(6)},
	}})
	w.claims[first] = []int64{2, 4}
	w.rowsOf["SR-1"] = upsert{"platform-7", "crm-SR-1", 1}
	w.tallied = map[string]int64{"received": 2, "state:processed": 1, "state:rejected": 1, "outcome:acknowledged": 2, "refused": 1, "state:queued": 0}
	return w
}

func (w *world) put(r *record) {
	w.records = append(w.records, r)
	w.byID[r.id], w.byKey[r.key] = r, r
	w.perKey[r.key]++
}

// withFile adds a file of one row, whose record is third's.
func withFile(w *world) {
	w.addDropped(journal.Dropped{Name: "a.csv", Hash: "ff", Rows: []journal.Row{{Number: 1, Line: 2, RequestNo: "CSV-1", Fate: journal.Invalid}}})
	w.file["ff"] = file{state: "done", rows: 1}
	w.put(&record{id: "00000000-0000-8000-8000-000000000003", key: "ff:1", entity: "ff:1", state: "rejected", class: "data", code: "columns", detail: `[{"line":2}]`, fence: 3, outcome: 1, outcomeState: "acknowledged",
		history: []attempt{{fence: 3, kind: "notify", event: "confirmed", from: "sent", to: "acknowledged", session: 6, ended: at(6)}}})
	w.told = append(w.told, journal.Told{ID: "00000000-0000-8000-8000-000000000003", Outcome: 1, State: "rejected", Key: "ff:1", Signed: true, Confirmed: true})
	w.tallied["received"], w.tallied["state:rejected"], w.tallied["outcome:acknowledged"] = 3, 2, 3
}

// die makes the first record dead instead of processed.
func die(w *world) {
	r := w.byID[first]
	r.state, r.class, r.code = "dead", "bug", "worker_lost"
	r.history[1].event, r.history[1].to = "gave_up", "dead"
	w.told[0].State, w.told[1].State = "dead", "dead"
	w.waits[first+"/dead"] = true
	delete(w.rowsOf, "SR-1")
	w.tallied["state:processed"], w.tallied["state:dead"] = 0, 1
}

func TestNothingIsBroken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*world){
		"as it is":      func(*world) {},
		"with a file":   withFile,
		"a dead record": die,
		"given up on":   func(w *world) { giveUp(w); w.waits[second+"/unacknowledged"] = true },
		"an unanswered event": func(w *world) {
			w.addSent(journal.Sent{Phase: journal.Intent, Event: "evt-9", Fate: journal.Processed})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := good()
			change(w)
			report := judge(w)
			var out bytes.Buffer
			report.Print(&out)
			if !report.OK() || !strings.HasSuffix(out.String(), "\nok\n") {
				t.Errorf("a world in which nothing is broken is judged:\n%s", &out)
			}
		})
	}
}

func giveUp(w *world) {
	r := w.byID[second]
	r.outcomeState, r.history[0].event, r.history[0].to = "unacknowledged", "unconfirmed", "unacknowledged"
	w.told[2].Confirmed = false
	w.tallied["outcome:acknowledged"], w.tallied["outcome:unacknowledged"] = 1, 1
}

// TestEachViolationIsSeen breaks one thing at a time: the invariant that must say
// so is named, and so is the record where there is one.
func TestEachViolationIsSeen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, invariant string
		change          func(*world)
	}{
		{"a receipt without a record", "C1", func(w *world) { delete(w.byID, first); w.records = w.records[1:] }},
		{"a receipt of another key", "C1", func(w *world) { w.sent[0].Receipt = second }},
		{"a key twice", "C1", func(w *world) { w.perKey["evt-1"] = 2 }},
		{"a refused event is a record", "C2", func(w *world) { w.byKey["evt-3"] = w.records[0] }},
		{"a refused event had an effect", "C2", func(w *world) { w.addCall(journal.Called{Key: "x", RequestNo: "BAD-3"}) }},
		{"a refusal without a code", "C2", func(w *world) { w.events["evt-3"].answers[0].Code = "" }},
		{"a good event refused", "C2", func(w *world) { w.events["evt-1"].answers[0].Status = 422 }},
		{"a record from nowhere", "C3", func(w *world) { delete(w.events, "evt-2") }},
		{"a record that is not final", "C4", func(w *world) { w.records[0].state = "queued" }},
		{"an outcome still due", "C4", func(w *world) { w.records[0].outcomeState = "due" }},
		{"given up on, and nobody sees it", "C4", giveUp},
		{"a valid record rejected", "C4", func(w *world) { w.events["evt-2"].fate = journal.Processed }},
		{"a correction that was taken and forgotten", "C4", func(w *world) { w.events["evt-2"].fate, w.events["evt-2"].corrected = journal.Corrected, true }},
		{"a tally that is not the recount", "C4", func(w *world) { w.tallied["state:processed"] = 2 }},
		{"a tally of what is not", "C4", func(w *world) { w.tallied["state:parked"] = 1 }},
		{"a refusal that was not counted", "C4", func(w *world) { w.tallied["refused"] = 0 }},
		{"duplicates that nobody sent", "C4", func(w *world) { w.tallied["duplicate"] = 1 }},
		{"a transition that is not legal", "C5", func(w *world) { w.records[0].history[0].to = "processed" }},
		{"a state that nothing led to", "C5", func(w *world) { w.records[0].history[0].from = "parked" }},
		{"a fence that does not rise", "C5", func(w *world) { w.records[0].history[1].fence = 3 }},
		{"an attempt without a claim", "C5", func(w *world) { w.records[0].history[1].fence = 4 }},
		{"an attempt without a session", "C5", func(w *world) { w.records[0].history[1].session = 0 }},
		{"time that goes back", "C5", func(w *world) { w.records[0].history[1].ended = at(1) }},
		{"a claim that no row ends", "C5", func(w *world) { w.claims[first] = []int64{2, 4, 6} }},
		{"told before it was final", "C5", func(w *world) { w.records[0].history[0].kind = "notify" }},
		{"an end that is not its history's", "C5", func(w *world) { w.records[0].fence = 11 }},
		{"two keys", "C6", func(w *world) { w.calls[1].Key = first + "-crm-2" }},
		{"two bodies under one key", "C6", func(w *world) { w.calls[1].BodyHash = "b" }},
		{"two effects", "C6", func(w *world) { w.calls[1].Executed = true }},
		{"processed without an effect", "C6", func(w *world) { w.calls[0].Executed = false }},
		{"a call for what was invalid", "C6", func(w *world) { w.addCall(journal.Called{Key: second + "-crm", RequestNo: "INV-2"}) }},
		{"a call for nothing we know", "C6", func(w *world) { w.addCall(journal.Called{Key: "k", RequestNo: "SR-99"}) }},
		{"acknowledged and never confirmed", "C7", func(w *world) { w.told[1].Confirmed = false }},
		{"a status without a signature", "C7", func(w *world) { w.told[0].Signed = false }},
		{"a status of nothing we know", "C7", func(w *world) { w.told[0].ID = "00000000-0000-8000-8000-000000000009" }},
		{"a status that is not so", "C7", func(w *world) { w.told[1].State = "dead" }},
		{"an outcome that is none", "C7", func(w *world) { w.told[0].Outcome = 2 }},
		{"a status under another key", "C7", func(w *world) { w.told[0].Key = "evt-2" }},
		{"a file that was not read to its end", "C8", func(w *world) { withFile(w); w.file["ff"] = file{state: "reading", rows: 1} }},
		{"a row that is no record", "C8", func(w *world) { withFile(w); delete(w.byKey, "ff:1") }},
		{"a reason that names another line", "C8", func(w *world) { withFile(w); w.byKey["ff:1"].detail = `[{"line":3}]` }},
		{"a message of no record", "C9", func(w *world) { w.topic[0].Record = "" }},
		{"a message under another key", "C9", func(w *world) { w.topic[0].Key = "INV-2" }},
		{"work for what is invalid", "C9", func(w *world) { w.topic[1].Topic = "t.main.work" }},
		{"a message in quarantine", "C9", func(w *world) { w.topic[1].Topic = "t.quarantine" }},
		{"dead without a reason", "C10", func(w *world) { die(w); w.records[0].code = "" }},
		{"dead and out of sight", "C10", func(w *world) { die(w); delete(w.waits, first+"/dead") }},
		{"dead without an attempt", "C10", func(w *world) { die(w); w.records[0].history = w.records[0].history[2:] }},
		{"a process that crashed", "C11", func(w *world) { w.crashes = append(w.crashes, journal.Crash{Process: "ingest-1"}) }},
		{"a fault that was not healed", "C11", func(w *world) { w.faults[0].Error = "no answer" }},
		{"processed and not written", "U", func(w *world) { delete(w.rowsOf, "SR-1") }},
		{"written twice", "U", func(w *world) { w.rowsOf["SR-1"] = upsert{"platform-7", "crm-SR-1", 2} }},
		{"written wrong", "U", func(w *world) { w.rowsOf["SR-1"] = upsert{"platform-8", "crm-SR-1", 1} }},
		{"written for what was rejected", "U", func(w *world) { w.rowsOf["INV-2"] = upsert{"platform-8", "crm-INV-2", 1} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := good()
			c.change(w)
			report := judge(w)
			var out bytes.Buffer
			report.Print(&out)
			if report.OK() || !strings.Contains(out.String(), "VIOLATION "+c.invariant+": ") || !strings.HasSuffix(out.String(), "\nVIOLATION\n") {
				t.Errorf("want a violation of %s, got:\n%s", c.invariant, &out)
			}
		})
	}
}

func TestLegalPathsWithoutRowsOfTheirOwn(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*record{
		"claimed after two messages again": {state: "processed", fence: 5, outcomeState: "due", outcome: 1, history: []attempt{{fence: 5, kind: "process", event: "succeeded", from: "processing", to: "processed", session: 1}}},
		"parked, released, processed": {state: "processed", fence: 6, outcomeState: "due", outcome: 1, history: []attempt{
			{fence: 3, kind: "process", event: "set_aside", from: "processing", to: "parked", session: 1},
			{fence: 6, kind: "process", event: "succeeded", from: "processing", to: "processed", session: 1}}},
		"dead, requeued, processed, told": {state: "processed", fence: 8, outcomeState: "acknowledged", outcome: 2, history: []attempt{
			{fence: 3, kind: "process", event: "failed", from: "processing", to: "dead", session: 1},
			{fence: 4, kind: "act", event: "requeued", from: "dead", to: "queued"},
			{fence: 6, kind: "process", event: "succeeded", from: "processing", to: "processed", session: 1},
			{fence: 8, kind: "notify", event: "confirmed", from: "sent", to: "acknowledged", session: 1}}},
		"rejected, told, revived, processed": {state: "processed", fence: 6, outcomeState: "due", outcome: 2, history: []attempt{
			{fence: 3, kind: "notify", event: "confirmed", from: "sent", to: "acknowledged", session: 1},
			{fence: 4, kind: "act", event: "revived", from: "rejected", to: "queued"},
			{fence: 6, kind: "process", event: "succeeded", from: "processing", to: "processed", session: 1}}},
	} {
		if err := walk(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIllegalPaths(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*record{
		"parked and never released": {state: "processed", fence: 5, outcomeState: "due", outcome: 1, history: []attempt{
			{fence: 3, kind: "process", event: "set_aside", from: "processing", to: "parked", session: 1},
			{fence: 5, kind: "process", event: "succeeded", from: "processing", to: "processed", session: 1}}},
		"processed twice": {state: "processed", fence: 5, outcomeState: "due", outcome: 2, history: []attempt{
			{fence: 3, kind: "process", event: "succeeded", from: "processing", to: "processed", session: 1},
			{fence: 5, kind: "process", event: "succeeded", from: "processing", to: "processed", session: 1}}},
		"acknowledged, and moved on": {state: "rejected", fence: 4, outcomeState: "acknowledged", outcome: 1, history: []attempt{
			{fence: 3, kind: "notify", event: "confirmed", from: "sent", to: "acknowledged", session: 1}}},
		"an event that is none": {state: "queued", fence: 3, history: []attempt{{fence: 3, kind: "process", event: "vanished", from: "processing", to: "queued", session: 1}}},
	} {
		if err := walk(r); err == nil {
			t.Errorf("%s: is taken for legal", name)
		}
	}
}

func TestJournalsAreReadAsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sent, err := journal.Create[journal.Sent](dir, journal.SenderFile)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		sent.Write(journal.Sent{Phase: journal.Intent, Event: fmt.Sprintf("evt-%d", i), Fate: journal.Processed})
	}
	sent.Write(journal.Sent{Phase: journal.Answer, Event: "evt-0", Status: 202})
	sent.Write(journal.Sent{Phase: journal.Answer, Event: "evt-1", Status: 503})
	if err := sent.Close(); err != nil {
		t.Fatal(err)
	}
	if err := journal.WriteAll(dir, journal.FilesFile, []journal.Dropped{{Hash: "ab", Rows: []journal.Row{{Number: 1}, {Number: 2}}}}); err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	if err := w.readJournals(dir); err != nil {
		t.Fatal(err)
	}
	if w.events["evt-0"].unknown != 0 || w.events["evt-1"].unknown != 1 || w.events["evt-2"].unknown != 1 || len(w.sent) != 2 || w.fileRow["ab:2"] == nil {
		t.Errorf("read %+v and %d answers", w.events, len(w.sent))
	}
	if err := os.WriteFile(filepath.Join(dir, journal.PartnerFile), []byte("{}\n{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := newWorld().readJournals(dir); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a journal that is cut off gave %v, want an error that names its line", err)
	}
}
