package ledgertest

import (
	"errors"
	"time"

	"waybill.internal/pkg/ledger"
)

func pollPromises() []promise {
	return []promise{
		{name: "a poll's mark moves with its records", test: pollMark},
		{name: "a poll is leased to one session", test: pollLease},
		{name: "a range is polled beside the regular runs", test: pollRange},
		{name: "a range waits for one regular run at most", test: pollTurns},
		{name: "a run asked for while one is under way is made", test: pollHurried},
		{name: "a copy from another source is no conflict", test: pollCopies},
	}
}

func (f *fixture) takePoll(session int64) (ledger.Poll, bool) {
	f.Helper()
	p, taken, err := f.l.TakePoll(f.Context(), session, shop, "poll", false)
	f.must(err)
	return p, taken
}

func pollMark(f *fixture) {
	session := f.session()
	f.must(f.l.EnsurePoll(f.Context(), shop, "poll"))
	f.must(f.l.EnsurePoll(f.Context(), shop, "poll"))
	p, taken := f.takePoll(session)
	f.expect("the first run", say(taken, p.Request, string(p.Mark), p.Failures), "true 0 {} 0")
	items := []ledger.Arrival{f.row("1"), f.row("2"), invalid(f.row("3")), f.row("1")}
	receipts, batches, err := f.l.AcceptPolled(f.Context(), session, p, ledger.Polled{Mark: map[string]int{"page": 2}, Begin: true, Pages: 1, Items: 6, Known: 2}, items)
	f.must(err)
	f.expect("receipts and batches", say(receipts[3].Duplicate, topics(batches)), "true [main.work:2 result:1]")
	bad := f.row("5")
	bad.Key = "\x00"
	_, _, err = f.l.AcceptPolled(f.Context(), session, p, ledger.Polled{Mark: map[string]int{"page": 3}, Pages: 1, Items: 2}, []ledger.Arrival{f.row("4"), bad})
	if !ledger.RowFault(err) {
		f.Errorf("a refused value: %v", err)
	}
	f.expect("records", one[int](f, `SELECT count(*) FROM record`), 3)
	f.expect("mark and counts", one[string](f, `SELECT mark::text || format(' %s %s %s %s %s', pages, items, received, rejected, duplicates) FROM poll`), `{"page":2} 1 6 3 1 3`)
	f.must(f.l.EndPoll(f.Context(), session, p, ledger.PollEnd{Mark: map[string]int{"high": 7}, Wait: time.Hour, Reached: time.Unix(7, 0), Ended: true}))
	if _, taken := f.takePoll(session); taken {
		f.Error("it was taken before it was due")
	}
	_, err = f.l.HurryPoll(f.Context(), shop, "poll")
	f.must(err)
	p, taken = f.takePoll(session)
	f.expect("hurried", say(taken, string(p.Mark)), `true {"high":7}`)
	_, _, err = f.l.AcceptPolled(f.Context(), session, p, ledger.Polled{Mark: 1, Begin: true, Pages: 1}, nil)
	f.must(err)
	f.must(f.l.EndPoll(f.Context(), session, p, ledger.PollEnd{Wait: time.Hour, Failures: 3, Error: "answered 500"}))
	list, err := f.l.Polls(f.Context())
	f.must(err)
	f.expect("the story", say(len(list), list[0].Pages, list[0].Items, list[0].Failures, list[0].Error, list[0].Reached.Unix(), list[0].EndedAt == nil, list[0].Running), "1 1 0 3 answered 500 7 true false")
	if _, err := f.l.HurryPoll(f.Context(), mute, "poll"); !errors.Is(err, ledger.ErrNotFound) {
		f.Errorf("hurrying what is not there: %v", err)
	}
}

func pollTurns(f *fixture) {
	session := f.session()
	f.must(f.l.EnsurePoll(f.Context(), shop, "poll"))
	p, taken, err := f.l.TakePoll(f.Context(), session, shop, "poll", true)
	f.must(err)
	f.expect("no range waits", say(taken, p.Request), "true 0")
	f.must(f.l.EndPoll(f.Context(), session, p, ledger.PollEnd{Ended: true})) // due again at once
	id, err := f.l.RequestPoll(f.Context(), shop, "poll", time.Unix(1, 0), time.Unix(2, 0), "test")
	f.must(err)
	p, taken, err = f.l.TakePoll(f.Context(), session, shop, "poll", true)
	f.must(err)
	f.expect("the range, though the regular run is due", say(taken, p.Request == id), "true true")
	f.must(f.l.EndPoll(f.Context(), session, p, ledger.PollEnd{}))
	p, taken = f.takePoll(session)
	f.expect("the regular run, though the range waits", say(taken, p.Request), "true 0")
}

func pollHurried(f *fixture) {
	session := f.session()
	f.must(f.l.EnsurePoll(f.Context(), shop, "poll"))
	run := func(begin, hurry bool, end ledger.PollEnd) {
		p, taken := f.takePoll(session)
		f.expect("taken", taken, true)
		if begin {
			_, _, err := f.l.AcceptPolled(f.Context(), session, p, ledger.Polled{Mark: 1, Begin: true, Pages: 1}, nil)
			f.must(err)
		}
		if hurry {
			_, err := f.l.HurryPoll(f.Context(), shop, "poll")
			f.must(err)
		}
		end.Wait = time.Hour
		f.must(f.l.EndPoll(f.Context(), session, p, end))
	}
	const due = `SELECT next_at <= now() FROM poll`
	run(true, true, ledger.PollEnd{})
	f.expect("after a part of the run that was under way", one[bool](f, due), true)
	run(false, false, ledger.PollEnd{Ended: true})
	f.expect("after its end", one[bool](f, due), true)
	run(true, false, ledger.PollEnd{Ended: true})
	f.expect("after the run that was asked for", one[bool](f, due), false)
	_, err := f.l.HurryPoll(f.Context(), shop, "poll")
	f.must(err)
	run(true, true, ledger.PollEnd{Failures: 1, Error: "answered 500"})
	f.expect("after a failure, which waits", one[bool](f, due), false)
}

func pollLease(f *fixture) {
	first, second := f.session(), f.session()
	f.must(f.l.EnsurePoll(f.Context(), shop, "poll"))
	p, taken := f.takePoll(first)
	_, other := f.takePoll(second)
	f.expect("while the first lives", say(taken, other), "true false")
	_, again := f.takePoll(first)
	f.expect("by the same session", again, true)
	f.lapse(first)
	_, other = f.takePoll(second)
	f.expect("when it is gone", other, true)
	if _, _, err := f.l.AcceptPolled(f.Context(), first, p, ledger.Polled{Mark: 1}, []ledger.Arrival{f.row("1")}); !errors.Is(err, ledger.ErrPollLost) {
		f.Errorf("items of a lost poll: %v", err)
	}
	if err := f.l.EndPoll(f.Context(), first, p, ledger.PollEnd{}); !errors.Is(err, ledger.ErrPollLost) {
		f.Errorf("end of a lost poll: %v", err)
	}
	f.expect("records", one[int](f, `SELECT count(*) FROM record`), 0)
}

func pollRange(f *fixture) {
	session := f.session()
	f.must(f.l.EnsurePoll(f.Context(), shop, "poll"))
	since := time.Unix(1000, 0)
	id, err := f.l.RequestPoll(f.Context(), shop, "poll", since, time.Time{}, "somebody")
	f.must(err)
	p, _ := f.takePoll(session)
	f.expect("the regular run comes first", p.Request, 0)
	f.must(f.l.EndPoll(f.Context(), session, p, ledger.PollEnd{Mark: map[string]int{"high": 7}, Wait: time.Hour, Ended: true}))
	p, taken := f.takePoll(session)
	f.expect("then the range", say(taken, p.Request == id, p.Since.Equal(since), string(p.Mark)), "true true true {}")
	_, _, err = f.l.AcceptPolled(f.Context(), session, p, ledger.Polled{Mark: map[string]int{"page": 2}, Pages: 1, Items: 1}, []ledger.Arrival{f.row("1")})
	f.must(err)
	f.must(f.l.EndPoll(f.Context(), session, p, ledger.PollEnd{Failures: 1, Error: "answered 500"}))
	p, _ = f.takePoll(session)
	f.expect("gone on with", say(string(p.Mark), p.Failures), `{"page":2} 1`)
	f.must(f.l.EndPoll(f.Context(), session, p, ledger.PollEnd{Ended: true}))
	r, err := f.l.PollRequest(f.Context(), id)
	f.must(err)
	f.expect("done", say(r.State, r.Actor, r.Received, r.EndedAt != nil), "done somebody 1 true")
	f.expect("the regular mark", one[string](f, `SELECT mark::text FROM poll`), `{"high":7}`)
	_, taken = f.takePoll(session)
	f.expect("nothing is left", taken, false)
	if _, err := f.l.PollRequest(f.Context(), id+1); !errors.Is(err, ledger.ErrNotFound) {
		f.Errorf("an unknown request: %v", err)
	}
}

func pollCopies(f *fixture) {
	session := f.session()
	a := f.arrival("event")
	a.AnyBody = true
	f.accept(session, a)
	other := a
	other.Payload.Body = []byte(`{"copy": true}`)
	other.RefuseConflict = true
	receipts, _ := f.accept(session, other)
	receipt := receipts[0]
	f.expect("from the same source", say(receipt.Duplicate, receipt.Conflict, receipt.Refused), "true true true")
	other.Source = "poll"
	receipts, _ = f.accept(session, other)
	receipt = receipts[0]
	f.expect("from another source", say(receipt.Duplicate, receipt.Conflict, receipt.Refused), "true false false")
}
