package ledgertest

import (
	"fmt"

	"waybill.internal/pkg/record"
)

func planPromises() []promise {
	return []promise{
		{name: "plans made on empty tables read no large one whole", test: plansScale, damages: true},
		{name: "claim and settle update in place", test: updatesAreHot},
	}
}

// The statistics of what a backend did are complete when it has ended.
func (f *fixture) ended(application string) {
	f.Helper()
	f.until("the end of the ledger's connections", func() bool {
		return one[int](f, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, application) == 0
	})
}

// plansScale counts what the server really read, rather than asking EXPLAIN
// what it would: the plans in question live in prepared statements.
func plansScale(f *fixture) {
	const rows, n = 50_000, 100
	name := "plans " + fmt.Sprintf("%x", f.key[:8])
	l := f.named(name)
	session := f.session()
	g := &fixture{T: f.T, url: f.url, l: l, db: f.db, key: f.key}
	g.walkThrough(session, 1) // every statement is planned while the tables are empty
	f.exec(`INSERT INTO record (id, day, integration, source, key, entity_key, version, state, fence, batch, accepted_at, since, moved_at)
		SELECT gen_random_uuid(), current_date, 'bulk', 'file', 'k' || i, 'e' || i, 1, 'queued', 1, gen_random_uuid(), now(), now(), now() FROM generate_series(1, $1) i`, rows)
	f.exec(`INSERT INTO outbox (id, topic, ids, session) SELECT gen_random_uuid(), 'bulk.work', ARRAY[gen_random_uuid()], $2 FROM generate_series(1, $1)`, rows/10, session)
	f.exec(`INSERT INTO waiting (record_id, kind, due_at) SELECT gen_random_uuid(), 'parked', now() + interval '1 day' FROM generate_series(1, $1)`, rows)
	read := func(table, what string) int64 {
		return one[int64](f, `SELECT coalesce(`+what+`, 0) FROM pg_stat_user_tables WHERE relid = $1::regclass`, table)
	}
	type counts struct{ whole, fetched int64 }
	before := map[string]counts{}
	tables := []string{"record", "outbox", "waiting"}
	for _, table := range tables {
		before[table] = counts{read(table, "seq_scan"), read(table, "idx_tup_fetch")}
	}
	g.walkThrough(session, n)
	l.Close()
	f.ended(name)
	for _, table := range tables {
		whole, fetched := read(table, "seq_scan")-before[table].whole, read(table, "idx_tup_fetch")-before[table].fetched
		if whole > 0 || fetched > 30*n {
			f.Errorf("%s: read whole %d times, %d rows fetched through indexes for %d records", table, whole, fetched, n)
		}
	}
}

// walkThrough passes every statement of the hot path, and of healing.
func (f *fixture) walkThrough(session int64, n int) {
	f.Helper()
	list := f.records(session, shop, n)
	batch := f.batchOf(list[0])
	claimed := f.claim(session, list...)
	f.passed(session, true, batch)
	for i, r := range claimed {
		fact := record.Fact{Event: record.Succeeded}
		if i%2 == 1 {
			fact = failed(record.ClassOutage)
		}
		f.settle(session, settlement(r, fact))
	}
	f.accept(session, f.arrival(list[0].Key))
	_, err := f.l.Release(f.Context(), session, n)
	f.must(err)
	f.passed(session, true, batch)
}

func updatesAreHot(f *fixture) {
	const n, least = 1000, 0.95
	name := "hot " + fmt.Sprintf("%x", f.key[:8])
	l := f.named(name)
	session := f.session()
	g := &fixture{T: f.T, url: f.url, l: l, db: f.db, key: f.key}
	const batch = 100
	for range n / batch {
		list := g.records(session, shop, batch)
		f.settledDown()
		claimed := g.claim(session, list...)
		f.settledDown()
		for _, c := range claimed {
			g.settle(session, settlement(c, record.Fact{Event: record.Succeeded}))
		}
	}
	l.Close()
	f.ended(name)
	updated := one[int64](f, `SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'record'::regclass`)
	hot := one[int64](f, `SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'record'::regclass`)
	f.expect("updates", updated, 2*n)
	if float64(hot) < least*float64(updated) {
		f.Errorf("%d of %d updates of record were HOT", hot, updated)
	}
	f.Logf("%d of %d updates of record were HOT", hot, updated)
}

// settledDown waits until nobody on the server can see what is old by now, so
// that other tests' transactions do not keep dead rows in the way.
func (f *fixture) settledDown() {
	f.Helper()
	xid := one[int64](f, `SELECT pg_current_xact_id()::text::bigint`)
	f.until("the end of older transactions", func() bool {
		return one[bool](f, `SELECT coalesce(min(least(coalesce(backend_xid::text::bigint, 1::bigint << 60), coalesce(backend_xmin::text::bigint, 1::bigint << 60))), 1::bigint << 60) > $1
			FROM pg_stat_activity WHERE pid <> pg_backend_pid()`, xid%(1<<32))
	})
}
