package ledgertest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func listPromises() []promise {
	return []promise{
		{name: "a listing never skips what a long transaction brings", test: listLong, damages: true},
		{name: "a listing beside many writers gives every record once", test: listBeside, damages: true},
		{name: "a listing keeps to integrations, state, time and limit", test: listFilters},
		{name: "a place survives its text, and no other text is one", test: listPlaces},
	}
}

// bring inserts a record of the integration within a transaction, as accept does.
func (f *fixture) bring(tx pgx.Tx, integration, key string) error {
	_, err := tx.Exec(f.Context(), `INSERT INTO record (id, day, integration, source, key, entity_key, version, state, fence, accepted_at, since, moved_at)
		VALUES (gen_random_uuid(), current_date, $1, 'file', $2, $2, 1, 'parked', 1, now(), now(), now())`, integration, key)
	return err
}

func (f *fixture) list(q ledger.Listing) ledger.Page {
	f.Helper()
	page, err := f.l.List(f.Context(), q)
	f.must(err)
	return page
}

func keysOf(list []record.Record) (keys []string) {
	for _, r := range list {
		keys = append(keys, r.Key)
	}
	return keys
}

func listLong(f *fixture) {
	long, err := f.db.Begin(f.Context())
	f.must(err)
	f.must(f.bring(long, shop, "long 1"))
	f.accept(f.session(), f.arrival("short"))
	q := ledger.Listing{Integrations: []string{shop}, Limit: 1}
	f.expect("while the long transaction runs", len(f.list(q).Records), 0)
	f.must(f.bring(long, shop, "long 2")) // its seq is higher than that of what came in between
	f.must(long.Commit(f.Context()))
	var keys []string
	f.until("all three records", func() bool { // other tests have long transactions too
		page := f.list(q)
		q.After = page.Next
		keys = append(keys, keysOf(page.Records)...)
		return len(keys) >= 3
	})
	f.expect("order", keys, []string{"long 1", "long 2", "short"})
}

func listBeside(f *fixture) {
	const writers, each = 4, 30
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				err := pgx.BeginFunc(f.Context(), f.db, func(tx pgx.Tx) error {
					err := f.bring(tx, shop, say(w, i, "a"))
					if err == nil {
						_, err = tx.Exec(f.Context(), `SELECT pg_sleep($1)`, random.Float64()/100)
					}
					if err == nil {
						err = f.bring(tx, shop, say(w, i, "b"))
					}
					return err
				})
				if err != nil {
					f.Error(err)
				}
			}
		})
	}
	seen := map[string]int{}
	q := ledger.Listing{Integrations: []string{shop, mute}, Limit: 7}
	f.until("every record", func() bool {
		page := f.list(q)
		q.After = page.Next
		for _, r := range page.Records {
			seen[r.Key]++
		}
		return len(seen) == 2*writers*each
	})
	writing.Wait()
	for key, n := range seen {
		if n != 1 {
			f.Errorf("%s was listed %d times", key, n)
		}
	}
	f.expect("listed again after the end", len(f.list(q).Records), 0)
}

func listFilters(f *fixture) {
	session := f.session()
	f.accept(session, invalid(f.arrival("bad")), f.arrival("good"), f.arrivalOf(mute, "other"))
	before := f.l.Now()
	f.exec(`UPDATE record SET accepted_at = now() - interval '1 hour'`)
	f.accept(session, f.arrival("later"), invalid(f.arrivalOf(mute, "worse")))
	all := ledger.Listing{Integrations: []string{shop, mute}, Limit: 10}
	f.until("all", func() bool { return len(f.list(all).Records) == 5 })
	for what, c := range map[string]struct {
		q    ledger.Listing
		want []string
	}{
		"one integration": {ledger.Listing{Integrations: []string{mute}, Limit: 10}, []string{"other", "worse"}},
		"none":            {ledger.Listing{Limit: 10}, nil},
		"unknown":         {ledger.Listing{Integrations: []string{"nobody"}, Limit: 10}, nil},
		"state":           {ledger.Listing{Integrations: []string{shop, mute}, State: record.Rejected, Limit: 10}, []string{"bad", "worse"}},
		"since":           {ledger.Listing{Integrations: []string{shop, mute}, Since: before.Add(-time.Minute), Limit: 10}, []string{"later", "worse"}},
		"since and state": {ledger.Listing{Integrations: []string{shop}, Since: before.Add(-time.Minute), State: record.Rejected, Limit: 10}, nil},
		"since long ago":  {ledger.Listing{Integrations: []string{shop}, Since: before.Add(-24 * time.Hour), Limit: 10}, []string{"bad", "good", "later"}},
		"since tomorrow":  {ledger.Listing{Integrations: []string{shop}, Since: before.Add(24 * time.Hour), Limit: 10}, nil},
	} {
		got := keysOf(f.list(c.q).Records)
		slices.Sort(got)
		f.expect(what, got, c.want)
	}
	first := f.list(ledger.Listing{Integrations: []string{shop}, Limit: 2})
	f.expect("a full page", say(len(first.Records), first.More), "2 true")
	second := f.list(ledger.Listing{Integrations: []string{shop}, After: first.Next, Limit: 2})
	f.expect("the last page", say(keysOf(second.Records), second.More), "[later] false")
	for _, limit := range []int{0, -1, ledger.MaxList + 1} {
		if _, err := f.l.List(f.Context(), ledger.Listing{Integrations: []string{shop}, Limit: limit}); err == nil {
			f.Errorf("a page of %d was given", limit)
		}
	}
}

func listPlaces(f *fixture) {
	f.accept(f.session(), f.arrival("k"))
	var page ledger.Page
	f.until("the record", func() bool {
		page = f.list(ledger.Listing{Integrations: []string{shop}, Limit: 1})
		return len(page.Records) == 1
	})
	again, err := ledger.ParsePlace(page.Next.String())
	f.must(err)
	f.expect("place", again, page.Next)
	text := page.Next.String()
	for _, other := range []string{"", "0", text[1:], text + "A", "_" + text[1:], text[:len(text)-1] + "B", "AQ==", "//////////////////////8", "Af_______________w_"} {
		if p, err := ledger.ParsePlace(other); err == nil && p != again {
			f.Errorf("%q is taken for a place", other)
		}
	}
}
