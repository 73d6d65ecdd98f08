package ledgertest

import (
	"fmt"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func peoplePromises() []promise {
	return []promise{
		{name: "a person's acts, legal and illegal", test: acts},
		{name: "a person's acts are in the history and go by the relay", test: actHistory},
		{name: "what waits for a person is counted and paged", test: waitingForPerson},
		{name: "a late confirmation closes", test: confirmLate},
	}
}

func waitPromises() []promise {
	return []promise{
		{name: "what is due is released", test: releaseDue},
		{name: "a busy record is left for the next release", test: releaseBusy},
		{name: "a waiting row without a record is dropped", test: releaseOrphan},
	}
}

func (f *fixture) do(event record.Event, records ...record.Record) []record.Record {
	f.Helper()
	ids := make([]record.ID, len(records))
	for i, r := range records {
		ids[i] = r.ID
	}
	done, err := f.l.Do(f.Context(), ledger.Act{Event: event, Actor: "ada", Reason: "because"}, ids)
	f.must(err)
	return done
}

// inState makes a record of the shop that stands in each state a person meets.
func (f *fixture) inState(session int64, state record.State) record.Record {
	f.Helper()
	r := f.records(session, shop, 1)[0]
	fact := map[record.State]record.Fact{
		record.Retrying: failed(record.ClassSystem), record.Parked: failed(record.ClassOutage), record.Dead: gaveUp(),
		record.Processed: {Event: record.Succeeded}, record.Rejected: failed(record.ClassData), record.Superseded: {Event: record.Overtaken},
	}
	switch state {
	case record.Queued:
	case record.Processing:
		r = f.claim(session, r)[0]
	case record.Discarded:
		r = f.do(record.Discard, r)[0]
	default:
		r, _ = f.work(session, r, fact[state])
	}
	f.expect("made", r.State, state)
	return r
}

func acts(f *fixture) {
	session := f.session()
	for _, event := range []record.Event{record.Requeued, record.Replayed, record.Discard, record.Held} {
		for _, state := range record.States() {
			r := f.inState(session, state)
			want, err := record.Next(state, event)
			done := f.do(event, r, r, record.Record{ID: record.DeriveID(f.key, shop, "never came")})
			if legal := err == nil; legal != (len(done) == 1) {
				f.Errorf("%s of a %s record: %d done", event, state, len(done))
			}
			after := f.get(r.ID)
			f.expect(fmt.Sprintf("%s of a %s record", event, state), after.State, want)
			if err != nil {
				f.expect("an illegal act changes nothing", after.Fence, r.Fence)
			}
			if want == record.Parked && event == record.Held {
				f.expect("held", f.waits(r.ID), "[parked]")
			}
		}
	}
	if _, err := f.l.Do(f.Context(), ledger.Act{Event: record.Requeued}, make([]record.ID, ledger.MaxBatch+1)); err == nil {
		f.Error("an act on too many records was done")
	}
}

func actHistory(f *fixture) {
	session := f.session()
	r := f.inState(session, record.Dead)
	f.exec(`UPDATE outbox SET published_at = now()`)
	f.do(record.Requeued, r)
	taken := f.take(session)
	f.expect("by the relay", topics(taken), "[main.replay:1]")
	trace, err := f.l.Trace(f.Context(), r.ID)
	f.must(err)
	act := trace.History[len(trace.History)-1]
	f.expect("history", say(act.Kind, act.Actor, act.Message, act.From, act.To), "act ada because dead queued")
	f.expect("nothing waits", f.waits(r.ID), "[]")
	again, _ := f.work(session, taken[0].Items[0].Record, record.Fact{Event: record.Succeeded})
	f.expect("the next outcome", again.Outcome.Number, 2)
}

func waitingForPerson(f *fixture) {
	session := f.session()
	for range 5 {
		f.inState(session, record.Dead)
	}
	r, _ := f.work(session, f.records(session, mute, 1)[0], record.Fact{Event: record.GaveUp, Failure: record.Failure{Class: record.ClassSystem, Code: "http_500"}})
	reasons, err := f.l.Reasons(f.Context(), ledger.Filter{Kind: record.WaitDead})
	f.must(err)
	f.expect("reasons", say(len(reasons), reasons[0].Integration, reasons[0].Code, reasons[0].Count), "2 shop mapping 5")
	only, err := f.l.WaitingForPerson(f.Context(), ledger.Filter{Kind: record.WaitDead, Code: "http_500", Integration: mute, Class: "system"}, nil, 10)
	f.must(err)
	f.expect("filtered", say(len(only), only[0].Record.ID), say(1, r.ID))
	seen := map[record.ID]bool{}
	var after *ledger.Waiting
	for range 4 {
		page, err := f.l.WaitingForPerson(f.Context(), ledger.Filter{Kind: record.WaitDead}, after, 2)
		f.must(err)
		for i := range page {
			seen[page[i].Record.ID] = true
			after = &page[i]
		}
	}
	f.expect("seen", len(seen), 6)
}

func confirmLate(f *fixture) {
	session := f.session()
	r := f.inState(session, record.Processed)
	for _, c := range []struct {
		number int
		want   bool
	}{{2, false}, {1, true}, {1, false}} {
		confirmed, err := f.l.Confirm(f.Context(), r.ID, c.number)
		f.must(err)
		f.expect(say("outcome ", c.number), confirmed, c.want)
	}
	f.expect("outcome", f.get(r.ID).Outcome.State, record.Acknowledged)
	confirmed, err := f.l.Confirm(f.Context(), record.DeriveID(f.key, shop, "never came"), 1)
	f.must(err)
	f.expect("an unknown record", confirmed, false)
}

func releaseDue(f *fixture) {
	session := f.session()
	parked := f.inState(session, record.Parked)
	retrying, _ := f.work(session, f.inState(session, record.Retrying), failed(record.ClassSystem)) // the second failure
	held := f.do(record.Held, f.inState(session, record.Queued))[0]
	dead := f.inState(session, record.Dead)
	none, err := f.l.Release(f.Context(), session, 10)
	f.must(err)
	f.expect("before it is due", len(none), 0)
	f.exec(`UPDATE waiting SET due_at = now() WHERE due_at IS NOT NULL`)
	f.exec(`UPDATE record SET moved_at = moved_at - interval '1 hour' WHERE id = $1`, parked.ID.String())
	batches, err := f.l.Release(f.Context(), session, 10)
	f.must(err)
	f.expect("batches", topics(batches), "[main.retry:2]")
	f.expect("states", say(f.get(parked.ID).State, f.get(retrying.ID).State, f.get(held.ID).State, f.get(dead.ID).State), "queued retrying parked dead")
	f.expect("parked time does not count", f.get(parked.ID).Since.Sub(parked.Since).Minutes() >= 59, true)
	for _, b := range batches {
		for _, item := range b.Items {
			f.claim(session, item.Record)
		}
	}
	none, err = f.l.Release(f.Context(), session, 10)
	f.must(err)
	f.expect("once", len(none), 0)
}

func releaseBusy(f *fixture) {
	session := f.session()
	r := f.inState(session, record.Parked)
	f.exec(`UPDATE waiting SET due_at = now()`)
	tx, err := f.db.Begin(f.Context())
	f.must(err)
	_, err = tx.Exec(f.Context(), `SELECT FROM record WHERE id = $1 FOR UPDATE`, r.ID.String())
	f.must(err)
	batches, err := f.l.Release(f.Context(), session, 10)
	f.must(err)
	f.expect("while it is busy", len(batches), 0)
	f.must(tx.Rollback(f.Context()))
	batches, err = f.l.Release(f.Context(), session, 10)
	f.must(err)
	f.expect("afterwards", topics(batches), "[main.retry:1]")
}

func releaseOrphan(f *fixture) {
	f.exec(`INSERT INTO waiting (record_id, kind, due_at) VALUES (gen_random_uuid(), 'retry', now())`)
	_, err := f.l.Release(f.Context(), f.session(), 10)
	f.must(err)
	f.expect("waiting rows", one[int](f, `SELECT count(*) FROM waiting`), 0)
}
