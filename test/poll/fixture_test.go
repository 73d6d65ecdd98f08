// Package poll_test lets a running ingest on a real Postgres poll APIs that lie,
// and compares what the ledger then holds with what they had.
package poll_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	if err := goleak.Find(stacktest.Goroutines()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// world is a ledger, and what ingest needs to poll into it.
type world struct {
	*testing.T
	settings map[string]string
	folder   string // of the integration
	db       *pgxpool.Pool
	log      *lockedBuffer
}

func newWorld(t *testing.T, integrationFile string) *world {
	t.Helper()
	url := stacktest.Postgres(t)
	brokers, prefix := stacktest.EmbeddedKafka(t)
	w := &world{T: t, log: &lockedBuffer{}, folder: t.TempDir()}
	w.integration(integrationFile)
	_, err := ledger.Migrate(t.Context(), url)
	w.must(err)
	w.db, err = pgxpool.New(t.Context(), url)
	w.must(err)
	t.Cleanup(w.db.Close)
	w.settings = map[string]string{"WAYBILL_POSTGRES_URL": url, "WAYBILL_KAFKA_BROKERS": brokers, "WAYBILL_KAFKA_PREFIX": prefix,
		"WAYBILL_INTEGRATIONS": w.folder, "WAYBILL_INGEST_ADDRESS": "127.0.0.1:0", "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0", "PARTNER_TOKEN": "a-token"}
	t.Cleanup(func() {
		if w.Failed() {
			text := w.log.String()
			w.Logf("ingest's log, its end:\n%s", text[max(0, len(text)-8000):])
		}
	})
	return w
}

func (w *world) integration(text string) {
	w.Helper()
	w.must(os.WriteFile(filepath.Join(w.folder, "things.yaml"), []byte(text), 0o600))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// ingest is one running in this process.
type process struct {
	*daemon.Process
	stop func()
}

// start runs an ingest until its stop is called, or the test ends.
func (w *world) start() process {
	w.Helper()
	p, err := daemon.Start(w.Context(), ingest.Spec(), func(name string) (string, bool) { v, ok := w.settings[name]; return v, ok }, daemon.LogTo(w.log))
	w.must(err)
	stop := sync.OnceFunc(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			w.Errorf("ingest: %v", err)
		}
	})
	w.Cleanup(stop)
	return process{p, stop}
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

// keys are those of the records, rejected ones included.
func (w *world) keys() []string {
	w.Helper()
	keys := all[string](w, `SELECT key FROM record`)
	slices.Sort(keys)
	return keys
}

// runs counts the runs that have ended, by the log.
func (w *world) runs() int { return strings.Count(w.log.String(), "a poll has ended") }

// impatient ends the waits between runs and after failures, of which a partner that
// lies causes many.
func (w *world) impatient() {
	w.Helper()
	w.exec(`UPDATE poll SET next_at = now(), failures = 0 WHERE next_at > now() + interval '100 ms'`)
}

// again waits until a whole run has begun and ended from now on.
func (w *world) again(n int) {
	w.Helper()
	before := w.runs()
	w.await("runs", func() bool { return w.runs() >= before+n })
}

// covers checks that the newest version of every item is a record, that nothing
// is a record that never was an item, and that the counts of the ledger agree.
func (w *world) covers(a *api) {
	w.Helper()
	got := w.keys()
	have := map[string]bool{}
	for _, key := range got {
		if have[key] {
			w.Errorf("%s is there twice", key)
		}
		have[key] = true
	}
	for _, key := range a.keys() {
		if !have[key] {
			w.Errorf("%s was not polled", key)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range have {
		if !a.served[key] {
			w.Errorf("%s is a record and was never served", key)
		}
	}
	for query, want := range map[string]int64{
		`SELECT coalesce(sum(delta), 0)::bigint FROM tally WHERE measure = 'received'`:                                                           int64(len(got)),
		`SELECT count(*) FROM payload p JOIN record r USING (day, seq) WHERE convert_from(body, 'UTF8')::json->>'id' <> split_part(key, '/', 1)`: 0,
		`SELECT count(DISTINCT id) FROM record`: int64(len(got)),
	} {
		if n := one[int64](w, query); n != want {
			w.Errorf("%s: %d, want %d", query, n, want)
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
