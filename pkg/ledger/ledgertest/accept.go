package ledgertest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func acceptPromises() []promise {
	return []promise{
		{name: "a new arrival becomes a queued record", test: acceptNew},
		{name: "a duplicate gets the first receipt", test: acceptDuplicate},
		{name: "a duplicate within one call", test: acceptTwiceInOneCall},
		{name: "one key from sixteen goroutines is one record", test: acceptConcurrently},
		{name: "the same keys in opposite order do not block each other", test: acceptCrosswise},
		{name: "a refused value is found by splitting", test: acceptRefusedValue},
		{name: "an invalid arrival is kept as rejected and told", test: acceptInvalid},
		{name: "another body is a conflict", test: acceptConflict},
		{name: "A, B, A with keys of their own are three records", test: acceptABA},
		{name: "a duplicate heals a record without a batch", test: acceptHealsLostBatch},
		{name: "a duplicate heals a record whose publisher is gone", test: acceptHealsUnpublished},
		{name: "a duplicate heals a record whose worker is gone", test: acceptHealsLapsedWorker},
		{name: "a duplicate leaves alone what is under way", test: acceptLeavesLive},
		{name: "a corrected body revives a rejected record", test: acceptRevives},
		{name: "every commit waits for the disk", test: commitsWait},
		{name: "too many in one call are refused", test: acceptTooMany},
		{name: "a large call stays linear", test: acceptMany},
	}
}

func acceptNew(f *fixture) {
	session := f.session()
	a := f.arrival("k")
	receipts, batches := f.accept(session, a, f.arrivalOf(mute, "k"))
	r := receipts[0]
	if r.Duplicate || r.Record.State != record.Queued || r.Record.Fence != 1 || r.Record.Seq == 0 || r.Record.AcceptedAt.IsZero() {
		f.Errorf("receipt %+v", r)
	}
	f.expect("batches", topics(batches), "[main.work:2]")
	f.expect("second item's index", batches[0].Items[1].Index, 1)
	f.expect("the row", fmt.Sprintf("%+v", f.get(a.ID)), fmt.Sprintf("%+v", r.Record))
	f.expect("arrival order", receipts[1].Record.Seq > r.Record.Seq, true)
	f.expect("outbox", one[int](f, `SELECT cardinality(ids) FROM outbox WHERE id = $1 AND session = $2`, batches[0].ID.String(), session), 2)
	payloads, err := f.l.Payloads(f.Context(), []record.ID{a.ID})
	f.must(err)
	f.expect("body", string(payloads[a.ID].Body), string(a.Payload.Body))
	f.expect("headers", payloads[a.ID].Headers, a.Payload.Headers)
	empty := f.arrival("empty")
	empty.Payload.Body, empty.Payload.Headers = nil, nil
	f.accept(session, empty)
	_, none := f.accept(session)
	f.expect("nothing in, nothing out", len(none), 0)
}

func acceptDuplicate(f *fixture) {
	session := f.session()
	a := f.arrival("k")
	first, _ := f.accept(session, a)
	second, batches := f.accept(session, a)
	if r := second[0]; !r.Duplicate || r.Conflict || r.Redriven || r.Record.Fence != first[0].Record.Fence || r.Record.ID != a.ID {
		f.Errorf("second receipt %+v", r)
	}
	f.expect("batches", len(batches), 0)
	c := f.audit().Integrations[shop]
	f.expect("received, duplicates", say(c.Received, c.Duplicates, c.Arrivals()), "1 1 2")
	i, found, err := f.l.Interaction(f.Context(), a.Request().TrackingID)
	f.must(err)
	f.expect("the duplicate's interaction", say(found, i.Kind, i.Seq), say(true, "duplicate", first[0].Record.Seq))
}

func acceptTwiceInOneCall(f *fixture) {
	a, b := f.arrival("k"), f.arrival("k")
	b.Payload.Body = []byte(`{"key":2}`)
	receipts, batches := f.accept(f.session(), a, f.arrival("other"), b, a)
	f.expect("batches", topics(batches), "[main.work:2]")
	f.expect("first", receipts[0].Duplicate, false)
	f.expect("third", say(receipts[2].Duplicate, receipts[2].Conflict, receipts[2].Record.State), "true true queued")
	f.expect("fourth", say(receipts[3].Duplicate, receipts[3].Conflict), "true false")
}

func acceptConcurrently(f *fixture) {
	session := f.session()
	var fresh, messages atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			receipts, batches, err := f.l.Accept(f.Context(), session, []ledger.Arrival{f.arrival("k")})
			if err != nil {
				f.Error(err)
				return
			}
			if !receipts[0].Duplicate {
				fresh.Add(1)
			}
			messages.Add(int64(len(batches)))
		})
	}
	wg.Wait()
	f.expect("new receipts and messages", say(fresh.Load(), messages.Load()), "1 1")
	f.expect("rows", one[int](f, `SELECT count(*) FROM record`), 1)
}

func acceptCrosswise(f *fixture) {
	const keys, rounds = 50, 8
	session := f.session()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for round := range rounds {
				arrivals := make([]ledger.Arrival, keys)
				for i := range arrivals {
					place := i
					if worker%2 == 1 {
						place = keys - 1 - i
					}
					arrivals[place] = f.arrival(say(round, " ", i))
				}
				if _, _, err := f.l.Accept(f.Context(), session, arrivals); err != nil {
					f.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.expect("rows", one[int](f, `SELECT count(*) FROM record`), keys*rounds)
	f.expect("deadlocks repeated", one[int](f, `SELECT count(*) FROM record WHERE fence <> 1`), 0)
}

func acceptRefusedValue(f *fixture) {
	session := f.session()
	for name, spoil := range map[string]func(*ledger.Arrival){
		"NUL in the key":       func(a *ledger.Arrival) { a.Key = "a\x00b" },
		"key too long":         func(a *ledger.Arrival) { a.Key = strings.Repeat("k", record.MaxKeyBytes+1) },
		"entity key not UTF-8": func(a *ledger.Arrival) { a.EntityKey = "\xff" },
		"no entity key":        func(a *ledger.Arrival) { a.EntityKey = "" },
		"no tracking id":       func(a *ledger.Arrival) { a.Payload.TrackingID = [16]byte{} },
	} {
		bad := f.arrival(name)
		spoil(&bad)
		_, batches, err := f.l.Accept(f.Context(), session, []ledger.Arrival{f.arrival("good " + name), bad})
		var split interface{ Split() bool }
		if !errors.As(err, &split) || !split.Split() || !ledger.DataFault(err) {
			f.Errorf("%s: error %v does not ask for a split", name, err)
		}
		f.expect("batches", len(batches), 0)
	}
	f.expect("rows", one[int](f, `SELECT count(*) FROM record`), 0)
}

func acceptInvalid(f *fixture) {
	a := invalid(f.arrival("k"))
	receipts, batches := f.accept(f.session(), a, invalid(f.arrivalOf(mute, "k")))
	r := receipts[0].Record
	f.expect("record", say(r.State, r.Failure.Code, r.Outcome.State, r.Outcome.Number), "rejected schema due 1")
	f.expect("batches", topics(batches), "[result:1]")
	f.expect("the row", fmt.Sprintf("%+v", f.get(a.ID)), fmt.Sprintf("%+v", r))
	f.expect("a partner that wants nothing", receipts[1].Record.Outcome.State, record.NoOutcome)
}

func acceptConflict(f *fixture) {
	session := f.session()
	f.accept(session, f.arrival("k"))
	other := f.arrival("k")
	other.Payload.Body = []byte("another")
	receipts, _ := f.accept(session, other)
	f.expect("kept", say(receipts[0].Duplicate, receipts[0].Conflict, receipts[0].Refused), "true true false")
	other.RefuseConflict, other.Request = true, f.arrival("k").Request
	receipts, _ = f.accept(session, other)
	f.expect("refused", say(receipts[0].Duplicate, receipts[0].Conflict, receipts[0].Refused), "true true true")
	c := f.audit().Integrations[shop]
	f.expect("counts", say(c.Received, c.Duplicates, c.Refused, c.Conflicts), "1 1 1 2")
}

func acceptABA(f *fixture) {
	session := f.session()
	for i, body := range []string{"A", "B", "A"} {
		a := f.arrival(say("event ", i))
		a.EntityKey, a.Payload.Body = "one thing", []byte(body)
		receipts, _ := f.accept(session, a)
		f.expect("duplicate", receipts[0].Duplicate, false)
	}
	f.expect("records", one[int](f, `SELECT count(*) FROM record`), 3)
}

func (f *fixture) heals(session int64, a ledger.Arrival, topic string) record.Record {
	f.Helper()
	before := f.get(a.ID)
	receipts, batches := f.accept(session, a, a)
	f.expect("redriven", say(receipts[0].Duplicate, receipts[0].Redriven, receipts[1].Redriven), "true true false")
	f.expect("the second of the call sees the healed record", receipts[1].Record.Fence, receipts[0].Record.Fence)
	f.expect("batches", topics(batches), "["+topic+":1]")
	if len(batches) == 1 && batches[0].Items[0].Record.Fence <= before.Fence {
		f.Error("the new message carries the old fence")
	}
	return receipts[0].Record
}

func acceptHealsLostBatch(f *fixture) {
	session := f.session()
	a := f.arrival("k")
	f.accept(session, a)
	f.exec(`DELETE FROM outbox`)
	r := f.heals(session, a, "main.work")
	f.claim(session, r)
}

func acceptHealsUnpublished(f *fixture) {
	gone, session := f.session(), f.session()
	a := f.arrival("k")
	f.accept(gone, a)
	f.lapse(gone)
	f.heals(session, a, "main.work")
}

func acceptHealsLapsedWorker(f *fixture) {
	gone, session := f.session(), f.session()
	a := f.arrival("k")
	receipts, batches := f.accept(session, a)
	f.publish(batches...)
	zombie := f.claim(gone, receipts[0].Record)[0]
	f.lapse(gone)
	r := f.heals(session, a, "main.retry")
	f.expect("losses and attempts", say(r.Losses, r.Attempt), "1 0")
	settled, _, err := f.l.Settle(f.Context(), gone, []ledger.Settlement{settlement(zombie, record.Fact{Event: record.Succeeded})})
	f.must(err)
	f.expect("the zombie settles", settled[0].Held, false)
}

func acceptLeavesLive(f *fixture) {
	session := f.session()
	for _, r := range []record.Record{f.records(session, shop, 1)[0], f.claim(session, f.records(session, shop, 1)[0])[0]} {
		a := f.arrival(r.Key)
		receipts, batches := f.accept(session, a)
		f.expect(string(r.State), say(receipts[0].Redriven, len(batches), receipts[0].Record.Fence), say(false, 0, r.Fence))
	}
}

func acceptRevives(f *fixture) {
	session := f.session()
	f.accept(session, invalid(f.arrival("k")))
	still := invalid(f.arrival("k"))
	still.Payload.Body, still.Failure.Code = []byte("worse"), "check"
	receipts, _ := f.accept(session, still)
	f.expect("still wrong", say(receipts[0].Revived, receipts[0].Record.State, receipts[0].Record.Failure.Code), "false rejected check")
	same := f.arrival("k")
	receipts, _ = f.accept(session, same)
	f.expect("the same body and version", say(receipts[0].Revived, receipts[0].Conflict), "false false")
	better := f.arrival("k")
	better.Payload.Body = []byte(`{"key":"right"}`)
	receipts, batches := f.accept(session, better, better)
	f.expect("corrected", say(receipts[0].Revived, receipts[0].Record.State, receipts[0].Record.Revision, receipts[0].Record.Outcome.State), "true queued 1 none")
	f.expect("its twin", say(receipts[1].Revived, receipts[1].Conflict, receipts[1].Record.State), "false false queued")
	f.expect("batches", topics(batches), "[main.work:1]")
	payloads, err := f.l.Payloads(f.Context(), []record.ID{better.ID})
	f.must(err)
	f.expect("newest body", string(payloads[better.ID].Body), string(better.Payload.Body))
	trace, err := f.l.Trace(f.Context(), better.ID)
	f.must(err)
	f.expect("revisions and history", say(len(trace.Payloads), len(trace.History)), "2 1")
}

// commitsWait asks the transactions themselves, whatever the server's default is.
func commitsWait(f *fixture) {
	f.exec(`CREATE TABLE seen (operation text, setting text)`)
	f.exec(`CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (TG_OP, current_setting('synchronous_commit')); RETURN NULL; END $$`)
	f.exec(`CREATE TRIGGER see AFTER INSERT OR UPDATE ON record FOR EACH STATEMENT EXECUTE FUNCTION see()`)
	session := f.session()
	f.work(session, f.records(session, shop, 1)[0], record.Fact{Event: record.Succeeded})
	f.expect("synchronous_commit", one[string](f, `SELECT string_agg(DISTINCT operation || ' ' || setting, ', ') FROM seen`), "INSERT on, UPDATE on")
}

func acceptTooMany(f *fixture) {
	if _, _, err := f.l.Accept(f.Context(), f.session(), make([]ledger.Arrival, ledger.MaxBatch+1)); err == nil {
		f.Error("a call over the bound was taken")
	}
}

func acceptMany(f *fixture) {
	f.records(f.session(), shop, ledger.MaxBatch)
	f.expect("rows with payload", one[int](f, `SELECT count(*) FROM record JOIN payload USING (day, seq)`), ledger.MaxBatch)
}
