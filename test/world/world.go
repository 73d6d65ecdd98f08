package world

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
)

const (
	// Patience bounds each wait, on a machine that is busy with other tests.
	Patience = 4 * time.Minute

	look = 20 * time.Millisecond // between two looks at what is awaited
)

// Main runs the tests and ends the process: with an error also when a goroutine is
// left, or a server cannot be stopped.
func Main(m *testing.M) {
	status := stacktest.Main(m)
	removeBinaries()
	if err := goleak.Find(stacktest.Goroutines()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// World is one test's installation.
type World struct {
	*testing.T
	// Settings are what services and commands have as their environment: those of
	// the ledger, of Kafka, of the integrations, and of listeners on free ports. A
	// test adds to them and changes them before a start.
	Settings map[string]string
	// DB is a pool of the test's own on the ledger.
	DB *pgxpool.Pool
	// Logs are what all services and processes have written.
	Logs *Logs
}

// No field of a World may hide a method of the test.
var _ testing.TB = (*World)(nil)

// New makes a world in which nothing runs yet. All of it is gone at the end of the test.
func New(t *testing.T) *World {
	t.Helper()
	w := &World{T: t, Logs: &Logs{}}
	t.Cleanup(w.showLogs) // first, so that it comes last: stops are in them too
	url := stacktest.Postgres(t)
	brokers, prefix := stacktest.EmbeddedKafka(t)
	_, err := ledger.Migrate(t.Context(), url)
	w.Must(err)
	w.DB, err = pgxpool.New(t.Context(), url)
	w.Must(err)
	t.Cleanup(w.DB.Close)
	w.Settings = map[string]string{
		"WAYBILL_POSTGRES_URL": url, "WAYBILL_KAFKA_BROKERS": brokers, "WAYBILL_KAFKA_PREFIX": prefix, "WAYBILL_INTEGRATIONS": t.TempDir(),
		"WAYBILL_INGEST_ADDRESS": "127.0.0.1:0", "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0",
	}
	return w
}

// Holder is a [World], or a type that embeds one.
type Holder interface{ self() *World }

func (w *World) self() *World { return w }

// Lookup finds a setting, as daemon.Lookup and integration.Lookup do.
func (w *World) Lookup(name string) (value string, found bool) {
	value, found = w.Settings[name]
	return value, found
}

// Integration writes an integration file, NAME.yaml, in place of one that is there.
// Services read it when they start.
func (w *World) Integration(name, text string) {
	w.Helper()
	w.Must(os.WriteFile(filepath.Join(w.Settings["WAYBILL_INTEGRATIONS"], name+".yaml"), []byte(text), 0o600))
}

// Must ends the test on an error.
func (w *World) Must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Await asks until it holds, in the test's goroutine; after [Patience] it ends the test.
func (w *World) Await(what string, holds func() bool) {
	w.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			w.Fatalf("waited %s in vain for %s", Patience, what)
		case <-tick.C:
		}
	}
}

// Exec runs a statement on the ledger.
func (w *World) Exec(sql string, args ...any) {
	w.Helper()
	_, err := w.DB.Exec(w.Context(), sql, args...)
	w.Must(err)
}

// One is the value that a query of the ledger gives: the one column of its first row.
// No row ends the test.
func One[T any](of Holder, sql string, args ...any) (v T) {
	w := of.self()
	w.Helper()
	w.Must(w.DB.QueryRow(w.Context(), sql, args...).Scan(&v))
	return v
}

// All are the values that a query of the ledger gives: the one column of each row.
func All[T any](of Holder, sql string, args ...any) []T {
	w := of.self()
	w.Helper()
	rows, err := w.DB.Query(w.Context(), sql, args...)
	w.Must(err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	w.Must(err)
	return list
}
