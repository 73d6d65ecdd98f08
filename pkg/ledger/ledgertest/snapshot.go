package ledgertest

import (
	"crypto/sha256"
	"errors"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func snapshotPromises() []promise {
	return []promise{
		{name: "bytes that come again after other ones count again where rows are compared", test: fileAgain},
		{name: "files whose rows are compared are read one at a time", test: fileOrder},
		{name: "a row equal to the latest version of its entity is no record", test: rowUnchanged},
		{name: "a version that a person put back to work is not forgotten", test: backToWork},
		{name: "a version that arrived later stays the latest", test: latestByArrival},
		{name: "what a snapshot does not have is deleted once", test: deletions},
		{name: "deletions of an old file are never allowed", test: deletionsTooLate},
		{name: "a name is one session's until it is given back", test: names},
		{name: "a request is answered by one session, or by the next", test: requests},
		{name: "a report is owed until it is delivered", test: reports},
	}
}

// snapshot takes a file of the content.
func (f *fixture) snapshot(session int64, content string) ledger.File {
	f.Helper()
	file, err := f.l.TakeFile(f.Context(), session, ledger.File{Integration: shop, Source: "file", Name: content + ".csv", Size: 3, Hash: sha256.Sum256([]byte(content)), TrackingID: tracking(),
		Place: content, Ordered: true, Snapshot: true, Reports: true})
	f.must(err)
	return file
}

// version of an entity.
func (f *fixture) version(key, entity, content string) ledger.Arrival {
	a := f.row(key)
	hash := sha256.Sum256([]byte(content))
	a.EntityKey, a.Content = entity, &hash
	return a
}

func (f *fixture) rows(session int64, file ledger.File, arrivals ...ledger.Arrival) []ledger.Receipt {
	f.Helper()
	receipts, _, err := f.l.AcceptRows(f.Context(), session, file, 1, file.Rows+int64(len(arrivals)), arrivals)
	f.must(err)
	return receipts
}

func fileAgain(f *fixture) {
	session := f.session()
	first := f.snapshot(session, "a")
	f.must(f.l.EndFile(f.Context(), session, first, ""))
	f.expect("at once", say(f.snapshot(session, "a").ID == first.ID, f.snapshot(session, "a").State), "true done")
	second := f.snapshot(session, "b")
	f.must(f.l.EndFile(f.Context(), session, second, ""))
	f.expect("the very file, whose move was cut off", f.snapshot(session, "a").ID == first.ID, true)
	moved := first
	moved.Place, moved.Ordered, moved.Snapshot = "elsewhere", true, true
	again, err := f.l.TakeFile(f.Context(), session, moved)
	f.must(err)
	f.expect("after another", say(again.ID != first.ID, again.Occurrence, again.Mine, again.Identity() != first.Identity()), "true 2 true true")
}

func fileOrder(f *fixture) {
	first, second := f.session(), f.session()
	file := f.snapshot(first, "a")
	f.expect("while another is read", say(f.snapshot(second, "b").Mine, f.snapshot(second, "b").ID), "false 0")
	f.lapse(first)
	f.expect("when its reader is gone", f.snapshot(second, "b").Mine, true)
	if _, _, err := f.l.AcceptRows(f.Context(), first, file, 1, 1, []ledger.Arrival{f.row("1")}); !errors.Is(err, ledger.ErrFileLost) {
		f.Errorf("rows of a file that was overtaken: %v", err)
	}
}

func rowUnchanged(f *fixture) {
	session := f.session()
	file := f.snapshot(session, "a")
	got := f.rows(session, file, f.version("1", "x", "one"), f.version("2", "x", "one"), f.version("3", "x", "two"), f.version("4", "x", "one"), invalid(f.version("5", "x", "one")))
	f.expect("one, one, two, one, and an invalid one", say(got[0].Unchanged, got[1].Unchanged, got[2].Unchanged, got[3].Unchanged, got[4].Unchanged), "false true false false false")
	_, _, err := f.l.Accept(f.Context(), session, []ledger.Arrival{f.version("w1", "x", "three")})
	f.must(err)
	got = f.rows(session, file, f.version("6", "x", "three"), f.version("7", "x", "one"))
	f.expect("after a webhook", say(got[0].Unchanged, got[1].Unchanged), "true false")
	f.expect("counts", one[string](f, `SELECT received || ' ' || rejected || ' ' || duplicates || ' ' || unchanged FROM file`), "5 1 0 2")
}

// backToWork: what was rejected, and what is old, may be the entity's version in the end.
func backToWork(f *fixture) {
	session := f.session()
	file := f.snapshot(session, "a")
	got := f.rows(session, file, f.version("1", "x", "one"), invalid(f.version("2", "x", "two")), f.version("3", "y", "one"), f.version("4", "y", "two"), f.version("5", "z", "one"))
	f.do(record.Requeued, got[1].Record) // the schema was wrong
	file.Rows = 5
	got = f.rows(session, file, f.version("6", "x", "one"), f.version("7", "x", "one"), f.version("8", "y", "two"), f.version("9", "z", "one"))
	f.expect("one after two went back to work, one again, and others", say(got[0].Unchanged, got[1].Unchanged, got[2].Unchanged, got[3].Unchanged), "false true true true")
	f.expect("entities", one[int](f, `SELECT count(*) FROM entity_latest WHERE source = 'file'`), 3)
}

func latestByArrival(f *fixture) {
	session := f.session()
	_, _, err := f.l.Accept(f.Context(), session, []ledger.Arrival{f.version("1", "x", "one"), f.version("2", "x", "two"), f.version("3", "y", "one")})
	f.must(err)
	_, _, err = f.l.Accept(f.Context(), session, []ledger.Arrival{f.version("1", "x", "one")}) // again: it is old
	f.must(err)
	two := sha256.Sum256([]byte("two"))
	f.expect("the latest", one[bool](f, `SELECT content = $1 FROM entity_latest WHERE entity_key = 'x'`, two[:]), true)
	f.expect("entities", one[int](f, `SELECT count(*) FROM entity_latest`), 2)
}

func deletions(f *fixture) {
	session := f.session()
	first := f.snapshot(session, "a")
	f.rows(session, first, f.version("1", "x", "1"), f.version("2", "y", "1"), f.version("3", "z", "1"))
	f.must(f.l.EndFile(f.Context(), session, first, ""))
	second := f.snapshot(session, "b")
	f.expect("known", second.Known, 3)
	f.rows(session, second, f.version("4", "y", "1"), invalid(f.version("5", "z", "2")))
	missing, err := f.l.MissingEntities(f.Context(), second, "", 10)
	f.must(err)
	f.expect("missing", say(len(missing), missing[0].Key, len(missing[0].Body) > 0), "1 x true")
	gone := f.row("gone")
	gone.EntityKey = "x"
	for range 2 { // the answer to the first may be lost
		_, _, err = f.l.AcceptDeletes(f.Context(), session, second, []ledger.Arrival{gone})
		f.must(err)
	}
	n, err := f.l.CountMissing(f.Context(), second)
	f.must(err)
	f.expect("after it", say(n, one[int](f, `SELECT deleted FROM file WHERE id = $1`, second.ID)), "0 1")
	got := f.rows(session, second, f.version("6", "x", "1"))
	f.expect("it is there again", got[0].Unchanged, false)
}

func deletionsTooLate(f *fixture) {
	session := f.session()
	first := f.snapshot(session, "a")
	first.DeletesRefused = 5
	f.must(f.l.EndFile(f.Context(), session, first, "too many"))
	request, err := f.l.AllowDeletes(f.Context(), first.ID, "ann")
	f.must(err)
	f.expect("request", say(request.Integration, request.Source, request.AllowFile), say(shop, "file", first.ID))
	second := f.snapshot(session, "b")
	f.must(f.l.EndFile(f.Context(), session, second, ""))
	if _, err := f.l.ResumeDeletes(f.Context(), session, first); !errors.Is(err, ledger.ErrNotAllowed) {
		f.Errorf("after another file: %v", err)
	}
	for _, id := range []int64{first.ID, second.ID, 99} {
		if _, err := f.l.AllowDeletes(f.Context(), id, "ann"); !errors.Is(err, ledger.ErrNotAllowed) {
			f.Errorf("file %d: %v", id, err)
		}
	}
}

func names(f *fixture) {
	first, second := f.session(), f.session()
	n := ledger.FileName{Integration: shop, Source: "file", Name: "a.csv", Stamp: "1"}
	lease := func(session int64, again bool) string {
		mine, known, err := f.l.LeaseName(f.Context(), session, n, again)
		f.must(err)
		return say(mine, known)
	}
	f.expect("new, and while it is read", lease(first, false)+", "+lease(second, false), "true false, false false")
	f.must(f.l.ReleaseName(f.Context(), first, n))
	f.expect("given back", lease(second, false), "true false")
	f.lapse(second)
	f.expect("its session is gone", lease(first, false), "true false")
	f.must(f.l.RememberName(f.Context(), first, n, [32]byte{1}, 7, true))
	f.expect("failed, and asked for again", lease(first, false)+", "+lease(first, true), "false true, true false")
	f.must(f.l.RememberName(f.Context(), first, n, [32]byte{1}, 7, false))
	f.expect("read, and asked for again", lease(first, true), "false true")
	n.Stamp = "2"
	f.expect("changed", lease(first, false), "true false")
	f.must(f.l.ForgetName(f.Context(), first, n))
	f.expect("names", one[int](f, `SELECT count(*) FROM file_seen`), 0)
}

func requests(f *fixture) {
	first, second := f.session(), f.session()
	id, err := f.l.AskFiles(f.Context(), shop, "file", "ann")
	f.must(err)
	take := func(session int64, source string) int {
		got, err := f.l.TakeRequests(f.Context(), session, []string{source}, 10)
		f.must(err)
		return len(got)
	}
	f.expect("another source, the first, the second", say(take(first, shop+"/other"), take(first, shop+"/file"), take(second, shop+"/file"), take(first, shop+"/file")), "0 1 0 0")
	f.lapse(first)
	f.expect("its session is gone", take(second, shop+"/file"), 1)
	f.must(f.l.EndRequest(f.Context(), id, ledger.FileAnswer{Found: 2, Waiting: 1}))
	a, err := f.l.FileAnswer(f.Context(), id)
	f.must(err)
	f.expect("answer", say(a.Found, a.Waiting, a.EndedAt != nil, take(second, shop+"/file")), "2 1 true 0")
}

func reports(f *fixture) {
	session := f.session()
	file := f.snapshot(session, "a")
	bad := invalid(f.version("1", "x", "1"))
	bad.Row, bad.Line = 1, 2
	f.rows(session, file, bad)
	take := func() (ledger.ReportTurn, bool) {
		turn, ok, err := f.l.TakeReport(f.Context(), shop, "file", time.Hour)
		f.must(err)
		return turn, ok
	}
	_, early := take()
	f.must(f.l.EndFile(f.Context(), session, file, ""))
	turn, due := take()
	_, twice := take()
	f.expect("while it is read, after it, under way", say(early, due, twice), "false true false")
	f.must(f.l.EndReport(f.Context(), turn, "no answer", 0))
	again, due := take()
	f.expect("tried again", say(due, again.Try, turn.Failed, again.Failed), "true 2 false true")
	f.must(f.l.EndReport(f.Context(), turn, "", 0)) // the first turn is over
	f.expect("still owed", one[string](f, `SELECT report FROM file`), "due")
	f.must(f.l.EndReport(f.Context(), again, "", 0))
	f.expect("delivered", one[string](f, `SELECT report FROM file`), "delivered")
	f.exec(`UPDATE file SET state = 'failed'`) // and is dropped again
	file = f.snapshot(session, "a")
	f.must(f.l.EndFile(f.Context(), session, file, "no"))
	late, _ := take()
	f.exec(`UPDATE file SET report_due = now()`)
	file = f.snapshot(session, "a")
	_, early = take()
	f.must(f.l.EndFile(f.Context(), session, file, "no again"))
	turn, due = take()
	f.expect("while it is read again, after it, the same try of another end", say(early, due, late.Try == turn.Try), "false true true")
	f.must(f.l.EndReport(f.Context(), late, "", 0))
	f.expect("the end before it is not this one", one[string](f, `SELECT report FROM file`), "due")
	f.must(f.l.EndReport(f.Context(), turn, "", 0))
	f.expect("delivered again", one[string](f, `SELECT report FROM file`), "delivered")
	rows, err := f.l.RejectedRows(f.Context(), file.ID, 0, 10)
	f.must(err)
	f.expect("rejected rows", say(len(rows), rows[0].Number, rows[0].Line, rows[0].Code), "1 1 2 schema")
}
