package ledgertest

import (
	"crypto/sha256"
	"errors"

	"waybill.internal/pkg/ledger"
)

func filePromises() []promise {
	return []promise{
		{name: "a file's mark moves with its rows", test: fileRows},
		{name: "a row that is known is answered as any arrival", test: fileKnown},
		{name: "a chunk goes in behind the one before, or not at all", test: fileBehind},
		{name: "a file is taken over when its reader is gone", test: fileLost},
		{name: "a failed file is gone on with when it comes again", test: fileFailed},
		{name: "a file is found by the tracking id that its rows share", test: fileByTracking},
	}
}

func (f *fixture) file(session int64, name string) ledger.File {
	f.Helper()
	file, err := f.l.TakeFile(f.Context(), session, ledger.File{Integration: shop, Source: "file", Name: name, Size: 3, Hash: sha256.Sum256([]byte("abc")), TrackingID: tracking()})
	f.must(err)
	return file
}

// row of a file: what is a duplicate leaves no interaction of its own.
func (f *fixture) row(key string) ledger.Arrival {
	a := f.arrival(key)
	a.Request = nil
	return a
}

func fileRows(f *fixture) {
	session := f.session()
	file := f.file(session, "orders.csv")
	f.expect("begun", say(file.Mine, file.State, string(file.Mark)), "true reading {}")
	rows := []ledger.Arrival{f.row("1"), f.row("2"), invalid(f.row("3")), f.row("1")}
	receipts, batches, err := f.l.AcceptRows(f.Context(), session, file, map[string]int{"offset": 40}, 4, rows)
	f.must(err)
	f.expect("receipts and batches", say(receipts[3].Duplicate, topics(batches)), "true [main.work:2 result:1]")
	bad := f.row("5")
	bad.Key = "\x00"
	_, _, err = f.l.AcceptRows(f.Context(), session, file, map[string]int{"offset": 50}, 6, []ledger.Arrival{f.row("4"), bad})
	var split interface{ Split() bool }
	if !errors.As(err, &split) || !split.Split() {
		f.Errorf("a refused value: %v", err)
	}
	again := f.file(session, "renamed.csv")
	f.expect("progress", say(again.ID == file.ID, again.Mine, string(again.Mark), again.Rows, again.Received, again.Rejected, again.Duplicates, again.TrackingID == file.TrackingID),
		say(true, true, `{"offset":40}`, 4, 3, 1, 1, true))
	f.must(f.l.EndFile(f.Context(), session, file, ""))
	done := f.file(session, "orders.csv")
	f.expect("recognised", say(done.State, done.Mine), "done false")
}

func fileKnown(f *fixture) {
	session := f.session()
	_, _, err := f.l.Accept(f.Context(), session, []ledger.Arrival{f.arrival("2")})
	f.must(err)
	file := f.file(session, "orders.csv")
	receipts, batches, err := f.l.AcceptRows(f.Context(), session, file, 1, 3, []ledger.Arrival{f.row("1"), f.row("2"), f.row("3")})
	f.must(err)
	f.expect("receipts and batches", say(receipts[0].Duplicate, receipts[1].Duplicate, receipts[2].Duplicate, topics(batches)), "false true false [main.work:2]")
	f.expect("records, payloads and messages", say(one[int](f, `SELECT count(*) FROM record`), one[int](f, `SELECT count(*) FROM payload`), one[int](f, `SELECT sum(cardinality(ids)) FROM outbox`)), "3 3 3")
	f.expect("counts", one[string](f, `SELECT string_agg(measure || ' ' || n, ', ' ORDER BY measure) FROM (SELECT measure, sum(delta) AS n FROM tally GROUP BY measure) AS t`),
		"duplicate 1, received 3, state:queued 3")
	again := f.file(session, "renamed.csv")
	f.expect("progress", say(again.Rows, again.Received, again.Duplicates), "3 2 1")
}

// fileBehind: the rows of a chunk go in while the one before is not committed; its fate is that one's.
func fileBehind(f *fixture) {
	session := f.session()
	file := f.file(session, "orders.csv")
	errGone := errors.New("the one before is gone")
	behind := func(key string, before error) (seen int, _ error) {
		_, _, err := f.l.AcceptRowsBehind(f.Context(), session, file, 2, 2, []ledger.Arrival{f.row(key)}, func() error {
			seen = one[int](f, `SELECT count(*) FROM record`) // by another connection: neither chunk's
			return before
		})
		return seen, err
	}
	_, _, err := f.l.AcceptRowsBehind(f.Context(), session, file, 1, 1, []ledger.Arrival{f.row("1")}, func() error {
		if seen, err := behind("2", errGone); !errors.Is(err, errGone) || seen != 0 {
			f.Errorf("behind one that is not committed: %v, and %d records are seen", err, seen)
		}
		return nil
	})
	f.must(err)
	f.expect("what was undone", say(one[int](f, `SELECT count(*) FROM record`), f.file(session, "orders.csv").Rows), "1 1")
	if seen, err := behind("2", nil); err != nil || seen != 1 {
		f.Errorf("behind one that is committed: %v, and %d records are seen", err, seen)
	}
	f.expect("both", say(one[string](f, `SELECT string_agg(key, ' ' ORDER BY seq) FROM record`), f.file(session, "orders.csv").Rows), "1 2 2")
}

func fileLost(f *fixture) {
	first, second := f.session(), f.session()
	file := f.file(first, "orders.csv")
	f.expect("while its reader lives", f.file(second, "orders.csv").Mine, false)
	f.lapse(first)
	f.expect("when it is gone", f.file(second, "orders.csv").Mine, true)
	_, _, err := f.l.AcceptRows(f.Context(), first, file, 1, 1, []ledger.Arrival{f.row("1")})
	if !errors.Is(err, ledger.ErrFileLost) {
		f.Errorf("rows of a lost file: %v", err)
	}
	f.expect("rows", one[int](f, `SELECT count(*) FROM record`), 0)
	if err := f.l.EndFile(f.Context(), first, file, ""); !errors.Is(err, ledger.ErrFileLost) {
		f.Errorf("end of a lost file: %v", err)
	}
}

func fileFailed(f *fixture) {
	session := f.session()
	file := f.file(session, "orders.csv")
	f.must(f.l.EndFile(f.Context(), session, file, "it is no CSV"))
	f.expect("failed", one[string](f, `SELECT state || ': ' || error FROM file`), "failed: it is no CSV")
	again := f.file(session, "orders.csv") // dropped again: the integration may have been mended
	f.expect("gone on with", say(again.State, again.Mine), "reading true")
}

func fileByTracking(f *fixture) {
	session := f.session()
	file := f.file(session, "orders.csv")
	rows := []ledger.Arrival{f.row("1"), invalid(f.row("2")), f.row("1")}
	for i := range rows {
		rows[i].Payload.TrackingID = file.TrackingID
	}
	_, _, err := f.l.AcceptRows(f.Context(), session, file, map[string]int{"offset": 40}, 3, rows)
	f.must(err)
	story, err := f.l.FileByTracking(f.Context(), file.TrackingID)
	f.must(err)
	f.expect("while it is read", say(story.Name, story.Integration, story.Source, story.Size, story.State, story.Rows, story.Received, story.Rejected, story.Duplicates, story.EndedAt == nil),
		say("orders.csv", shop, "file", 3, "reading", 3, 2, 1, 1, true))
	f.must(f.l.EndFile(f.Context(), session, file, "it is no CSV"))
	story, err = f.l.FileByTracking(f.Context(), file.TrackingID)
	f.must(err)
	f.expect("failed", say(story.State, story.Error, story.EndedAt != nil && !story.EndedAt.Before(story.StartedAt)), "failed it is no CSV true")
	for _, id := range [][16]byte{tracking(), {}} {
		if _, err := f.l.FileByTracking(f.Context(), id); !errors.Is(err, ledger.ErrNotFound) {
			f.Errorf("no file's tracking id: %v", err)
		}
	}
}
