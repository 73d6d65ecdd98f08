package ledgertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func workPromises() []promise {
	return []promise{
		{name: "a claim takes what its fence matches", test: claimByFence},
		{name: "of many claims one wins", test: claimConcurrently},
		{name: "processed is written with its upserts", test: settleProcessed},
		{name: "a failing upsert leaves nothing", test: settleFailingUpsert},
		{name: "each failure goes where it belongs", test: settleFailures},
		{name: "an old fence settles nothing and writes nothing", test: settleZombie},
		{name: "a zombie does not settle what another has claimed", test: settleTakenOver},
		{name: "settlements with the same upsert keys do not deadlock", test: settleSameKeys},
		{name: "step results are found again", test: settleSteps},
		{name: "an outcome is told once and closed by its number", test: outcomes},
	}
}

func claimByFence(f *fixture) {
	session := f.session()
	list := f.records(session, shop, 3)
	stale := list[1]
	stale.Fence += 5
	unknown := record.Record{ID: record.DeriveID(f.key, shop, "never came"), Fence: 1}
	claimed, err := f.l.Claim(f.Context(), session, refs([]record.Record{list[0], stale, unknown, list[0], list[2]}))
	f.must(err)
	var fences []int64
	for _, r := range claimed {
		fences = append(fences, r.Fence)
	}
	f.expect("fences", fences, "[2 0 0 0 2]")
	r := f.get(list[0].ID)
	f.expect("record", say(r.State, r.Session == session, r.Attempt, r.Version), "processing true 1 9")
	f.expect("not claimed", f.get(list[1].ID).State, record.Queued)
	again, err := f.l.Claim(f.Context(), session, refs(claimed[:1]))
	f.must(err)
	f.expect("a claimed record at its fence", again[0].Fence, 0)
}

func claimConcurrently(f *fixture) {
	const records, workers = 40, 8
	session := f.session()
	list := f.records(session, shop, records)
	var wins atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			mine := append([]record.Record(nil), list...)
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			claimed, err := f.l.Claim(f.Context(), session, refs(mine))
			if err != nil {
				f.Error(err)
			}
			for _, r := range claimed {
				if r.Fence != 0 {
					wins.Add(1)
				}
			}
		})
	}
	wg.Wait()
	f.expect("claims won", wins.Load(), records)
}

const target = `CREATE TABLE orders (no text PRIMARY KEY, qty int CHECK (qty < 100), note text DEFAULT 'untouched')`

func upsert(no string, qty int) ledger.Upsert {
	return ledger.Upsert{Table: "orders", Key: []string{"no"}, Columns: []string{"no", "qty"}, Row: fmt.Appendf(nil, `{"no":%q,"qty":%d}`, no, qty), Sort: no}
}

func settleProcessed(f *fixture) {
	f.exec(target)
	session := f.session()
	c := f.claim(session, f.records(session, shop, 2)...)
	call := ledger.Interaction{TrackingID: tracking(), Kind: "call", Method: "POST", URL: "http://crm", Status: 200, RequestHeader: []byte("no json"), At: f.l.Now()}
	first, second := settlement(c[0], record.Fact{Event: record.Succeeded}, upsert("b", 1), upsert("a", 2)), settlement(c[1], record.Fact{Event: record.Succeeded}, upsert("b", 3))
	first.Interactions = []ledger.Interaction{call}
	settled, batches := f.settle(session, first, second)
	f.expect("batches", topics(batches), "[result:2]")
	f.expect("record", say(settled[0].State, settled[0].Outcome.Number, settled[0].Outcome.State, settled[0].Session), "processed 1 due 0")
	f.expect("the row", f.get(c[0].ID).State, record.Processed)
	f.expect("rows", one[string](f, `SELECT string_agg(no || qty || note, ' ' ORDER BY no) FROM orders`), "a2untouched b3untouched")
	trace, err := f.l.Trace(f.Context(), c[0].ID)
	f.must(err)
	f.expect("trace", say(len(trace.History), trace.History[0].Event, trace.History[0].Number, len(trace.Interactions)), "1 succeeded 1 1")
	f.expect("a header that is no JSON", string(trace.Interactions[0].RequestHeader), `"no json"`)
	r, batches := f.work(session, f.records(session, mute, 1)[0], record.Fact{Event: record.Succeeded})
	f.expect("not told", say(r.Outcome.State, len(batches)), "none 0")
}

func settleFailingUpsert(f *fixture) {
	f.exec(target)
	session := f.session()
	c := f.claim(session, f.records(session, shop, 2)...)
	good := settlement(c[0], record.Fact{Event: record.Succeeded}, upsert("a", 1))
	noJSON, twice := upsert("b", 1), upsert("b", 1)
	noJSON.Row = []byte(`{"no":`)
	twice.Sort = "other"
	for name, bad := range map[string][]ledger.Upsert{
		"refused by a CHECK": {upsert("b", 100)},
		"no number":          {{Table: "orders", Key: []string{"no"}, Columns: []string{"no", "qty"}, Row: []byte(`{"no":"b","qty":"x"}`)}},
		"no JSON":            {noJSON},
		"one row twice":      {upsert("b", 1), twice},
	} {
		_, batches, err := f.l.Settle(f.Context(), session, []ledger.Settlement{good, settlement(c[1], record.Fact{Event: record.Succeeded}, bad...)})
		var split interface{ Split() bool }
		if !errors.As(err, &split) || !split.Split() {
			f.Errorf("%s: error %v does not ask for a split", name, err)
		}
		f.expect(name+": batches, rows, outbox, history", say(len(batches), one[int](f, `SELECT count(*) FROM orders`),
			one[int](f, `SELECT count(*) FROM outbox WHERE topic = 'result'`), one[int](f, `SELECT count(*) FROM attempt`)), "0 0 0 0")
		f.expect(name+": state", f.get(c[0].ID).State, record.Processing)
	}
	f.settle(session, good)
	f.expect("the good one alone", one[int](f, `SELECT qty FROM orders`), 1)
}

func settleFailures(f *fixture) {
	session := f.session()
	for _, c := range []struct {
		name    string
		fact    record.Fact
		spent   int // failed attempts before
		state   record.State
		batches string
		waits   string
		attempt int
	}{
		{"first failure", failed(record.ClassSystem), 0, record.Retrying, "[main.retry.5s:1]", "[]", 1},
		{"second failure", failed(record.ClassSystem), 1, record.Retrying, "[]", "[retry due]", 2},
		{"last failure", failed(record.ClassSystem), 2, record.Dead, "[dead-letter:1 result:1]", "[dead]", 3},
		{"data", failed(record.ClassData), 0, record.Rejected, "[result:1]", "[]", 1},
		{"outage", failed(record.ClassOutage), 0, record.Parked, "[]", "[parked due]", 0},
		{"gave up", gaveUp(), 0, record.Dead, "[dead-letter:1 result:1]", "[dead]", 1},
		{"given back", record.Fact{Event: record.GivenBack}, 0, record.Queued, "[main.work:1]", "[]", 0},
		{"overtaken", record.Fact{Event: record.Overtaken}, 0, record.Superseded, "[result:1]", "[]", 1},
	} {
		r := f.records(session, shop, 1)[0]
		for range c.spent {
			r, _ = f.work(session, r, failed(record.ClassSystem))
			if len(f.waits(r.ID)) > 0 {
				f.exec(`UPDATE waiting SET due_at = now() WHERE kind = 'retry'`)
				_, err := f.l.Release(f.Context(), session, 10)
				f.must(err)
				r = f.get(r.ID)
			}
		}
		settled, batches := f.work(session, r, c.fact)
		f.expect(c.name, say(settled.State, topics(batches), f.waits(r.ID), settled.Attempt), say(c.state, c.batches, c.waits, c.attempt))
		f.expect(c.name+": the row", fmt.Sprintf("%+v", f.get(r.ID)), fmt.Sprintf("%+v", settled))
		for _, b := range batches {
			f.expect(c.name+": due times", b.Due.IsZero(), b.Topic != "main.retry.5s")
			f.expect(c.name+": outbox", one[int](f, `SELECT count(*) FROM outbox WHERE id = $1 AND session = $2 AND (due IS NULL) = $3`, b.ID.String(), session, b.Due.IsZero()), 1)
		}
	}
}

func settleZombie(f *fixture) {
	f.exec(target)
	session := f.session()
	c := f.claim(session, f.records(session, shop, 1)[0])[0]
	f.settle(session, settlement(c, record.Fact{Event: record.GivenBack}))
	before := fmt.Sprintf("%+v", f.get(c.ID))
	settled, batches, err := f.l.Settle(f.Context(), session, []ledger.Settlement{settlement(c, record.Fact{Event: record.Succeeded}, upsert("a", 1))})
	f.must(err)
	f.expect("held, batches, rows", say(settled[0].Held, len(batches), one[int](f, `SELECT count(*) FROM orders`)), "false 0 0")
	f.expect("the row", fmt.Sprintf("%+v", f.get(c.ID)), before)
	f.expect("history", one[int](f, `SELECT count(*) FROM attempt`), 1)
}

// settleTakenOver: the state alone would allow it, the fence does not.
func settleTakenOver(f *fixture) {
	f.exec(target)
	zombie, session := f.session(), f.session()
	old := f.claim(zombie, f.records(zombie, shop, 1)[0])[0]
	f.lapse(zombie)
	batches, lost := f.passed(session, true, f.batchOf(old))
	f.publish(batches...)
	c := f.claim(session, lost[0])[0]
	settled, batches, err := f.l.Settle(f.Context(), zombie, []ledger.Settlement{settlement(old, record.Fact{Event: record.Succeeded}, upsert("zombie", 1))})
	f.must(err)
	f.expect("held, batches, rows", say(settled[0].Held, len(batches), one[int](f, `SELECT count(*) FROM orders`)), "false 0 0")
	f.expect("the new claim", say(f.get(c.ID).State, f.get(c.ID).Fence == c.Fence), "processing true")
}

func settleSameKeys(f *fixture) {
	const workers, rounds, keys = 6, 6, 30
	f.exec(target)
	session := f.session()
	var wg sync.WaitGroup
	for worker := range workers {
		list := f.claim(session, f.records(session, shop, rounds*keys)...)
		wg.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(worker)))
			for round := range rounds {
				var batch []ledger.Settlement
				for i, key := range random.Perm(keys) {
					batch = append(batch, settlement(list[round*keys+i], record.Fact{Event: record.Succeeded}, upsert(say("key ", key), worker), upsert(say("key ", keys-key), round)))
				}
				if _, _, err := f.l.Settle(f.Context(), session, batch); err != nil {
					f.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.expect("processed", one[int](f, `SELECT count(*) FROM record WHERE state = 'processed'`), workers*rounds*keys)
	f.expect("rows", one[int](f, `SELECT count(*) FROM orders`), keys+1)
}

func settleSteps(f *fixture) {
	session := f.session()
	r, _ := f.work(session, f.records(session, shop, 1)[0], failed(record.ClassSystem))
	steps, err := f.l.Steps(f.Context(), []record.ID{r.ID, f.records(session, shop, 1)[0].ID})
	f.must(err)
	f.expect("records with steps", len(steps), 1)
	f.expect("steps, byte for byte", string(steps[r.ID].State), `{"check":"\u0000"}`)
	r, _ = f.work(session, r, record.Fact{Event: record.Succeeded})
	f.do(record.Replayed, r)
	steps, err = f.l.Steps(f.Context(), []record.ID{r.ID})
	f.must(err)
	f.expect("replayed", steps[r.ID].Replayed, true)
}

func outcomes(f *fixture) {
	session := f.session()
	r, batches := f.work(session, f.records(session, shop, 1)[0], record.Fact{Event: record.Succeeded})
	f.publish(batches...)
	notify := func(fact record.Fact) record.Record {
		f.Helper()
		sent, err := f.l.ClaimOutcomes(f.Context(), session, refs([]record.Record{r}))
		f.must(err)
		f.expect("sent", sent[0].Outcome.State, record.OutcomeSent)
		s := settlement(sent[0], fact)
		s.History = ledger.History{Kind: ledger.NotifyHistory, Failure: fact.Failure}
		settled, _ := f.settle(session, s)
		return settled[0]
	}
	r = notify(record.Fact{Event: record.Unconfirmed, Failure: record.Failure{Class: record.ClassSystem, Code: "http_500"}})
	f.expect("unconfirmed", say(r.Outcome.State, f.waits(r.ID)), "due [outcome due]")
	f.exec(`UPDATE waiting SET due_at = now()`)
	batches, err := f.l.Release(f.Context(), session, 10)
	f.must(err)
	f.expect("resend", topics(batches), "[result:1]")
	r = f.get(r.ID)
	r = notify(record.Fact{Event: record.Unconfirmed, Failure: record.Failure{Class: record.ClassSystem, Code: "http_500"}})
	f.expect("gave up on the partner", say(r.Outcome.State, f.waits(r.ID)), "unacknowledged [unacknowledged]")
	f.do(record.SendRequeued, r)
	r = f.get(r.ID)
	f.expect("asked again", say(r.Outcome.State, r.Outcome.Try, f.waits(r.ID)), "due 0 []")
	confirmed, err := f.l.Confirm(f.Context(), r.ID, 0)
	f.must(err)
	f.expect("an old number closes", confirmed, false)
	r = notify(record.Fact{Event: record.Confirmed, Number: 1})
	f.expect("confirmed", r.Outcome.State, record.Acknowledged)
}
