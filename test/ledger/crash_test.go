package ledger_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/pkg/record"
)

// TestAcceptedSurvivesTheServer: what was accepted is there after the server was
// killed at once. The server is told to take its time with commits for which
// nobody waits, so that one that did not wait would be gone.
func TestAcceptedSurvivesTheServer(t *testing.T) {
	t.Parallel()
	server := stacktest.OwnPostgres(t)
	url := server.URL()
	_, err := ledger.Migrate(t.Context(), url)
	check(t, err)
	db, err := pgxpool.New(t.Context(), url)
	check(t, err)
	defer db.Close()
	for _, sql := range []string{`ALTER SYSTEM SET wal_writer_delay = '10s'`, `ALTER SYSTEM SET wal_writer_flush_after = '1GB'`, `SELECT pg_reload_conf()`} {
		_, err = db.Exec(t.Context(), sql)
		check(t, err)
	}
	l, err := ledger.Open(t.Context(), url, ledger.Options{Name: "crash", Terms: func(string) ledger.Terms { return ledger.Terms{Lane: "main"} }})
	check(t, err)
	defer l.Close()
	key, err := l.InstallationKey(t.Context())
	check(t, err)
	const records = 20
	for i := range records {
		k := fmt.Sprint("event ", i)
		_, _, err = l.Accept(t.Context(), 0, []ledger.Arrival{{ID: record.DeriveID(key, "shop", k), Integration: "shop", Source: "webhook", Key: k, EntityKey: k, Version: 1,
			Payload: ledger.Payload{TrackingID: [16]byte{1}, Body: []byte("{}")}}})
		check(t, err)
	}
	check(t, server.Kill(t.Context()))
	check(t, server.Restart(t.Context()))
	db.Reset()
	var n int
	check(t, db.QueryRow(t.Context(), `SELECT count(*) FROM record`).Scan(&n))
	if n != records {
		t.Errorf("%d records were accepted, and after the crash there are %d", records, n)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
