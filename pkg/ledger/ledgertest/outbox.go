package ledgertest

import (
	"fmt"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func outboxPromises() []promise {
	return []promise{
		{name: "what was published and is still queued goes out again", test: passedLost},
		{name: "what is being worked is kept until its session lapses", test: passedWorking},
		{name: "an outcome being told is taken over", test: passedSending},
		{name: "two batches that name one record", test: passedTwice},
		{name: "a retry that was lost before it was due waits on", test: passedRetry},
		{name: "a record that takes its workers down is dead in the end", test: passedWorkerKiller},
		{name: "a record whose turn to be worked alone never came is not to blame", test: passedWaitingAlone},
		{name: "the relay takes what nobody publishes", test: takeUnpublished},
		{name: "what a crash kept from Kafka goes out", test: takeAfterCrash},
		{name: "the relay does not drop what was claimed", test: takeClaimed},
		{name: "published batches are paged", test: publishedAfter},
		{name: "a topic that proves shorter begins an epoch", test: seeTopics},
	}
}

func (f *fixture) batchOf(r record.Record) (id ledger.BatchID) {
	f.Helper()
	return ledger.BatchID(one[[16]byte](f, `SELECT batch FROM record WHERE id = $1`, r.ID.String()))
}

func (f *fixture) passed(session int64, takeover bool, ids ...ledger.BatchID) ([]ledger.Batch, []record.Record) {
	f.Helper()
	batches, lost, err := f.l.Passed(f.Context(), session, ids, takeover)
	f.must(err)
	return batches, lost
}

func (f *fixture) outbox(id ledger.BatchID) bool {
	f.Helper()
	return one[bool](f, `SELECT EXISTS (SELECT FROM outbox WHERE id = $1)`, id.String())
}

func passedLost(f *fixture) {
	session := f.session()
	list := f.records(session, shop, 3)
	f.work(session, list[0], record.Fact{Event: record.Succeeded})
	old := f.batchOf(list[1])
	batches, lost := f.passed(session, false, old)
	f.expect("goes out again", topics(batches), "[main.work:2]")
	f.expect("lost", len(lost), 2)
	f.expect("the old batch", f.outbox(old), false)
	f.publish(batches...)
	stale, err := f.l.Claim(f.Context(), session, refs(list[1:2]))
	f.must(err)
	f.expect("the old message claims", stale[0].Fence, 0)
	f.claim(session, lost...)
	again, lost := f.passed(session, false, old)
	f.expect("a batch that is gone", say(len(again), len(lost)), "0 0")
}

func passedWorking(f *fixture) {
	session, worker := f.session(), f.session()
	c := f.claim(worker, f.records(session, shop, 1)[0])[0]
	id := f.batchOf(c)
	for _, step := range []struct {
		lapsed, takeover bool
		lost             int
	}{{false, true, 0}, {true, false, 0}, {true, true, 1}} {
		if step.lapsed {
			f.lapse(worker)
		}
		batches, lost := f.passed(session, step.takeover, id)
		f.expect(fmt.Sprintf("%+v", step), say(len(lost), len(batches), f.outbox(id)), say(step.lost, step.lost, step.lost == 0))
	}
	r := f.get(c.ID)
	f.expect("taken over", say(r.State, r.Attempt, r.Losses, r.Session), "queued 0 1 0")
	trace, err := f.l.Trace(f.Context(), c.ID)
	f.must(err)
	f.expect("the lost claim is in the history", trace.History[0].Event, record.Lost)
}

func passedSending(f *fixture) {
	session, sender := f.session(), f.session()
	r, batches := f.work(session, f.records(session, shop, 1)[0], record.Fact{Event: record.Succeeded})
	f.publish(batches...)
	_, err := f.l.ClaimOutcomes(f.Context(), sender, refs([]record.Record{r}))
	f.must(err)
	f.lapse(sender)
	again, lost := f.passed(session, true, batches[0].ID)
	f.expect("told again", say(topics(again), lost[0].Outcome.State, lost[0].Outcome.Number), "[result:1] due 1")
}

func passedTwice(f *fixture) {
	session := f.session()
	list := f.records(session, shop, 2)
	first := f.batchOf(list[0])
	r, batches := f.work(session, list[0], record.Fact{Event: record.GivenBack})
	f.publish(batches...)
	again, lost := f.passed(session, true, first, batches[0].ID)
	f.expect("goes out again", say(topics(again), len(lost)), "[main.work:2] 2")
	f.expect("once", f.get(r.ID).Fence, r.Fence+1)
}

func passedRetry(f *fixture) {
	session := f.session()
	r, batches := f.work(session, f.records(session, shop, 1)[0], failed(record.ClassSystem))
	f.publish(batches...)
	f.exec(`UPDATE outbox SET due = now() + interval '1 hour' WHERE id = $1`, batches[0].ID.String())
	again, lost := f.passed(session, false, batches[0].ID)
	f.expect("waits in the ledger", say(len(again), lost[0].State, f.waits(r.ID)), "0 retrying [retry due]")
	f.exec(`UPDATE waiting SET due_at = now()`)
	released, err := f.l.Release(f.Context(), session, 10)
	f.must(err)
	f.expect("released", topics(released), "[main.retry:1]")
}

func passedWorkerKiller(f *fixture) {
	session := f.session()
	r := f.records(session, shop, 1)[0]
	for range record.AloneAfter + 1 {
		worker := f.session()
		claimed := f.claim(worker, r)[0]
		if claimed.Suspected() {
			begun, held, err := f.l.Isolate(f.Context(), worker, ledger.Ref{ID: claimed.ID, Fence: claimed.Fence})
			f.must(err)
			f.expect("begun alone", say(held, begun.State, begun.Session == worker, begun.Fence), say(true, record.Processing, true, claimed.Fence+1))
			_, again, err := f.l.Isolate(f.Context(), worker, ledger.Ref{ID: claimed.ID, Fence: claimed.Fence})
			f.must(err)
			f.expect("begun once", again, false)
		}
		f.lapse(worker)
		batches, lost := f.passed(session, true, f.batchOf(r))
		f.publish(batches...)
		r = lost[0]
	}
	f.expect("in the end", say(r.State, r.Failure.Code, f.waits(r.ID)), "dead worker_lost [dead]")
}

func passedWaitingAlone(f *fixture) {
	session := f.session()
	r := f.records(session, shop, 1)[0]
	for range record.AloneAfter + 3 { // its workers die, each before its turn came
		worker := f.session()
		f.claim(worker, r)
		f.lapse(worker)
		batches, lost := f.passed(session, true, f.batchOf(r))
		f.publish(batches...)
		r = lost[0]
	}
	f.expect("not to blame", say(r.State, r.Suspected()), "queued true")
}

func (f *fixture) take(session int64) []ledger.Batch {
	f.Helper()
	batches, err := f.l.TakeUnpublished(f.Context(), session, 10)
	f.must(err)
	return batches
}

func takeUnpublished(f *fixture) {
	relay, gone := f.session(), f.session()
	a, b := f.arrival("a"), f.arrival("b")
	_, batches := f.accept(gone, a, b)
	f.expect("a live publisher", len(f.take(relay)), 0)
	f.exec(`UPDATE outbox SET taken_at = now() - interval '2 min'`)
	f.expect("a publisher that does not know", topics(f.take(relay)), "[main.work:2]")
	f.expect("taken once", len(f.take(relay)), 0)
	f.must(f.l.HandToRelay(f.Context(), []ledger.BatchID{batches[0].ID}))
	f.expect("handed over", topics(f.take(relay)), "[main.work:2]")
	f.lapse(relay)
	taken := f.take(gone)
	f.expect("a relay that is gone", topics(taken), "[main.work:2]")
	f.expect("fence and key", say(taken[0].Items[0].Record.Fence, taken[0].Items[0].Record.EntityKey != ""), "1 true")
	f.do(record.Discard, f.get(a.ID), f.get(b.ID))
	f.lapse(gone)
	taken = f.take(f.session())
	f.expect("nothing waits under it", topics(taken), "[main.work:0 result:2]")
	f.must(f.l.DropBatches(f.Context(), []ledger.BatchID{taken[0].ID}))
	f.expect("dropped", f.outbox(taken[0].ID), false)
	dead, _ := f.work(gone, f.records(gone, mute, 1)[0], gaveUp())
	f.expect("a dead letter", topics(f.take(f.session())), "[dead-letter:1]")
	f.do(record.Requeued, dead)
	f.lapse(gone)
	f.exec(`UPDATE outbox SET session = 0 WHERE topic = 'dead-letter'`)
	f.expect("not dead any more", topics(f.take(f.session())), "[dead-letter:0 main.replay:1]")
}

func takeAfterCrash(f *fixture) {
	gone, relay := f.session(), f.session()
	receipts, _ := f.accept(gone, f.arrival("k"), invalid(f.arrival("broken")))
	f.lapse(gone)
	taken := f.take(relay)
	f.expect("the relay publishes", topics(taken), "[main.work:1 result:1]")
	for _, b := range taken {
		f.publish(b)
	}
	f.claim(relay, receipts[0].Record)
}

func takeClaimed(f *fixture) {
	publisher, worker := f.session(), f.session()
	receipts, batches := f.accept(publisher, f.arrival("k"))
	f.claim(worker, receipts[0].Record) // Kafka has the message, its publisher died before it noted so
	f.lapse(publisher)
	f.expect("to publish", len(f.take(worker)), 0)
	page, err := f.l.PublishedAfter(f.Context(), ledger.BatchID{}, 10)
	f.must(err)
	f.expect("published, with nothing to wait for", say(len(page), len(page[0].Ends)), "1 0")
	f.lapse(worker)
	again, _ := f.passed(f.session(), true, batches[0].ID)
	f.expect("re-driven when its worker is gone", topics(again), "[main.retry:1]")
}

func publishedAfter(f *fixture) {
	session := f.session()
	want := map[ledger.BatchID]bool{}
	for range 5 {
		want[f.batchOf(f.records(session, shop, 1)[0])] = true
	}
	f.accept(session, f.arrival("unpublished"))
	var after ledger.BatchID
	for pages := 0; ; pages++ {
		page, err := f.l.PublishedAfter(f.Context(), after, 2)
		f.must(err)
		if len(page) == 0 {
			break
		}
		for _, b := range page {
			f.expect("ends, epoch, topic", say(b.Ends, b.Epoch, b.Topic), "[1 -1] 1 main.work")
			delete(want, b.ID)
			after = b.ID
		}
		if pages > 3 {
			f.Fatal("the pages do not end")
		}
	}
	f.expect("not seen", len(want), 0)
}

func seeTopics(f *fixture) {
	see := func(ends ...int64) int {
		f.Helper()
		epochs, err := f.l.SeeTopics(f.Context(), map[string][]int64{"main.work": ends, "result": {1}})
		f.must(err)
		return epochs["main.work"]
	}
	long := func() { f.exec(`UPDATE topic_mark SET shorter_since = shorter_since - interval '1 min'`) }
	f.expect("first", see(10, 10), 1)
	f.expect("longer", see(12, 10), 1)
	f.expect("a slow reader's older ends", see(10, 10), 1)
	f.expect("full length again", see(12, 10), 1)
	long()
	f.expect("doubted again, from the beginning", see(12, 9), 1)
	long()
	f.expect("shorter still", see(12, 9), 2)
	f.expect("from there on", see(12, 9), 2)
	f.expect("a partition is gone", see(12), 2)
	long()
	f.expect("a partition is gone for good", see(12), 3)
	f.expect("more partitions", see(12, 0, 0), 3)
	session := f.session()
	f.records(session, shop, 1)
	page, err := f.l.PublishedAfter(f.Context(), ledger.BatchID{}, 1)
	f.must(err)
	f.expect("the epoch in which it was published", page[0].Epoch, 3)
}
