// Package file_test drops files before a running ingest on a real Postgres and
// compares what the ledger then holds with what was dropped.
package file_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/services/ingest"
)

// patience bounds every wait on a machine that is busy with other tests.
const patience = 4 * time.Minute

func TestMain(m *testing.M) {
	status := stacktest.Main(m)
	if dir := builtIn.Load(); dir != nil {
		_ = os.RemoveAll(*dir)
	}
	if err := goleak.Find(stacktest.Goroutines()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// world is a directory that partners drop into, and what ingest needs to run.
type world struct {
	*testing.T
	settings map[string]string
	dir      string // the watched directory of source "shops"
	db       *pgxpool.Pool
	log      *lockedBuffer
	root     string // of relative directories
	address  string // where ingest, started last, takes webhooks
}

const integrationHead = `integration: drop
sources:
  - name: shops
    file: {from: "in/*.csv", every: "0 0 1 1 *", format: {csv: {delimiter: ";"}}}
`

func newWorld(t *testing.T, integrationFile string) *world {
	t.Helper()
	url := stacktest.Postgres(t)
	brokers, prefix := stacktest.EmbeddedKafka(t)
	return newWorldOn(t, integrationFile, url, url, brokers, prefix)
}

// newWorldWith is newWorld with more settings.
func newWorldWith(t *testing.T, integrationFile string, settings map[string]string) *world {
	t.Helper()
	w := newWorld(t, integrationFile)
	maps.Copy(w.settings, settings)
	return w
}

// newWorldOn lets ingest reach Postgres by another address than the test does.
func newWorldOn(t *testing.T, integrationFile, url, ingestURL, brokers, prefix string) *world {
	t.Helper()
	w := &world{T: t, log: &lockedBuffer{}}
	root, integrations := t.TempDir(), t.TempDir()
	w.root, w.dir = root, filepath.Join(root, "in")
	w.must(os.MkdirAll(w.dir, 0o750))
	w.must(os.WriteFile(filepath.Join(integrations, "drop.yaml"), []byte(integrationFile), 0o600))
	_, err := ledger.Migrate(t.Context(), url)
	w.must(err)
	w.db, err = pgxpool.New(t.Context(), url)
	w.must(err)
	t.Cleanup(w.db.Close)
	w.settings = map[string]string{"WAYBILL_POSTGRES_URL": ingestURL, "WAYBILL_KAFKA_BROKERS": brokers, "WAYBILL_KAFKA_PREFIX": prefix,
		"WAYBILL_INTEGRATIONS": integrations, "WAYBILL_INGEST_DROP": root, "WAYBILL_INGEST_SPOOL": filepath.Join(t.TempDir(), "spool"), "WAYBILL_INGEST_ADDRESS": "127.0.0.1:0", "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0"}
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// start runs ingest until the returned function is called, or the test ends.
func (w *world) start() (stop func()) {
	w.Helper()
	p, err := daemon.Start(w.Context(), ingest.Spec(), func(name string) (string, bool) { v, ok := w.settings[name]; return v, ok }, daemon.LogTo(w.log))
	w.must(err)
	w.address = p.Address("http")
	stop = sync.OnceFunc(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			w.Errorf("ingest: %v", err)
		}
	})
	w.Cleanup(stop)
	w.Cleanup(func() {
		if w.Failed() {
			text := w.log.String()
			w.Logf("ingest's log, its end:\n%s", text[max(0, len(text)-6000):])
		}
	})
	return stop
}

// put drops a file whole: a rename from a name that is not looked at.
func (w *world) put(name string, content []byte) {
	w.Helper()
	temporary := filepath.Join(w.dir, name+".tmp")
	w.must(os.WriteFile(temporary, content, 0o600))
	w.must(os.Rename(temporary, filepath.Join(w.dir, name)))
}

func (w *world) exists(parts ...string) bool {
	_, err := os.Lstat(filepath.Join(append([]string{w.dir}, parts...)...))
	return err == nil
}

// await polls until the condition holds.
func (w *world) await(what string, holds func() bool) {
	w.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			w.Fatalf("waited %s in vain for %s", patience, what)
		case <-tick.C:
		}
	}
}

func (w *world) awaitMoved(parts ...string) {
	w.Helper()
	w.await(filepath.Join(parts...), func() bool { return w.exists(parts...) })
}

func (w *world) exec(sql string, args ...any) {
	w.Helper()
	_, err := w.db.Exec(w.Context(), sql, args...)
	w.must(err)
}

func one[T any](w *world, sql string, args ...any) (v T) {
	w.Helper()
	w.must(w.db.QueryRow(w.Context(), sql, args...).Scan(&v))
	return v
}

func all[T any](w *world, sql string, args ...any) []T {
	w.Helper()
	rows, err := w.db.Query(w.Context(), sql, args...)
	w.must(err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[T])
	w.must(err)
	return out
}

type fileRow struct {
	Name, State, Error             string
	Size                           int64
	Hash                           []byte
	Rows                           int64
	Received, Rejected, Duplicates int64
}

func (w *world) files() []fileRow {
	w.Helper()
	rows, err := w.db.Query(w.Context(), `SELECT name, state, error, size, hash, rows_done AS rows, received, rejected, duplicates FROM file ORDER BY id`)
	w.must(err)
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[fileRow])
	w.must(err)
	return out
}

// closed checks that there is one file, of these bytes, and these counts: what
// it holds, its rows and the tally agree, and nothing is there twice.
func (w *world) closed(state string, content []byte, rows, received, rejected, duplicates int64) {
	w.Helper()
	files := w.files()
	if len(files) != 1 {
		w.Fatalf("%d files, want 1: %+v", len(files), files)
	}
	f := files[0]
	if sum := sha256.Sum256(content); f.State != state || !bytes.Equal(f.Hash, sum[:]) || f.Size != int64(len(content)) {
		w.Errorf("the file is %s (%s) with %d bytes, want %s with %d bytes and their hash", f.State, f.Error, f.Size, state, len(content))
	}
	if f.Rows != rows || f.Received != received || f.Rejected != rejected || f.Duplicates != duplicates {
		w.Errorf("rows %d, received %d, rejected %d, duplicates %d; want %d, %d, %d, %d", f.Rows, f.Received, f.Rejected, f.Duplicates, rows, received, rejected, duplicates)
	}
	if f.Rows != f.Received+f.Duplicates {
		w.Errorf("%d rows are not %d received and %d duplicates", f.Rows, f.Received, f.Duplicates)
	}
	for query, want := range map[string]int64{
		`SELECT count(*) FROM record`:                                                         received,
		`SELECT count(*) FROM record WHERE state = 'rejected'`:                                rejected,
		`SELECT count(*) FROM record WHERE state = 'queued'`:                                  received - rejected,
		`SELECT count(DISTINCT key) FROM record`:                                              received,
		`SELECT count(DISTINCT headers->>'file-row') FROM payload`:                            received,
		`SELECT coalesce(sum(delta), 0)::bigint FROM tally WHERE measure = 'received'`:        received,
		`SELECT coalesce(sum(delta), 0)::bigint FROM tally WHERE measure = 'duplicate'`:       duplicates,
		`SELECT count(*) FROM payload p JOIN file f USING (tracking_id) WHERE p.revision = 0`: received,
	} {
		if got := one[int64](w, query); got != want {
			w.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) has(text string) bool { return strings.Contains(l.String(), text) }
