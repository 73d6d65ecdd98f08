package ledgertest

import (
	"errors"
	"sync"

	"waybill.internal/pkg/ledger"
)

func schemaPromises() []promise {
	return []promise{
		{name: "migrating again changes nothing", test: migrateTwice},
		{name: "concurrent migrations make one schema", test: migrateConcurrently, bare: true},
		{name: "not ready before the schema", test: notReady, bare: true},
		{name: "a day whose rows came first stays in the default partition", test: lateDays},
		{name: "the same version is registered once", test: registerVersions},
	}
}

func migrateTwice(f *fixture) {
	applied, err := ledger.Migrate(f.Context(), f.url)
	f.must(err)
	f.expect("applied again", len(applied), 0)
	f.must(f.l.Ready(f.Context()))
	key, err := f.open().InstallationKey(f.Context())
	f.must(err)
	f.expect("installation key", key, f.key)
	f.must(f.l.EnsureDays(f.Context()))
}

func migrateConcurrently(f *fixture) {
	var wg sync.WaitGroup
	var total sync.Map
	for i := range 4 {
		wg.Go(func() {
			applied, err := ledger.Migrate(f.Context(), f.url)
			if err != nil {
				f.Errorf("migration %d: %v", i, err)
			}
			for _, version := range applied {
				if _, twice := total.LoadOrStore(version, i); twice {
					f.Errorf("migration %d was applied twice", version)
				}
			}
		})
	}
	wg.Wait()
	f.must(f.l.Ready(f.Context()))
	f.expect("installations", one[int](f, `SELECT count(*) FROM installation`), 1)
}

func notReady(f *fixture) {
	if err := f.l.Ready(f.Context()); !errors.Is(err, ledger.ErrSchema) {
		f.Errorf("without a schema Ready said %v", err)
	}
	applied, err := ledger.Migrate(f.Context(), f.url)
	f.must(err)
	f.must(f.l.Ready(f.Context()))
	if len(applied) == 0 {
		f.Fatal("nothing was applied")
	}
	// A ledger that is one step behind is not ready: the binary needs the newest file.
	f.exec(`UPDATE goose_db_version SET is_applied = false WHERE version_id = $1`, applied[len(applied)-1])
	if err := f.l.Ready(f.Context()); !errors.Is(err, ledger.ErrSchema) {
		f.Errorf("one step behind Ready said %v", err)
	}
}

func lateDays(f *fixture) {
	f.exec(`INSERT INTO payload (day, seq, revision, tracking_id, content_type, headers, body, hash)
		VALUES ((now() AT TIME ZONE 'UTC')::date + 8, 1, 0, gen_random_uuid(), '', '{}', '', '')`)
	f.exec(`SELECT ensure_days((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 9)`)
	f.expect("partitions of payload", one[int](f, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'payload'::regclass`), 11)
	f.exec(`DELETE FROM payload WHERE day > (now() AT TIME ZONE 'UTC')::date`)
}

func registerVersions(f *fixture) {
	ids := make([]int64, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], err = f.l.Register(f.Context(), shop, "hash", []byte("integration: shop")); err != nil {
				f.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		f.expect("version", id, ids[0])
	}
	newer, err := f.l.Register(f.Context(), shop, "other", []byte("integration: shop # 2"))
	f.must(err)
	current, err := f.l.CurrentVersions(f.Context())
	f.must(err)
	if len(current) != 1 || current[0].ID != newer || newer == ids[0] {
		f.Errorf("current versions: %v", current)
	}
	old, err := f.l.Version(f.Context(), ids[0])
	f.must(err)
	f.expect("old document", string(old.Document), "integration: shop")
	if _, err := f.l.Version(f.Context(), 1<<40); !errors.Is(err, ledger.ErrNotFound) {
		f.Errorf("an unknown version gave %v", err)
	}
}
