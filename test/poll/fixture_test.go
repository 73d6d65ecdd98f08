// Package poll_test lets a running ingest on a real Postgres poll APIs that lie,
// and compares what the ledger then holds with what they had.
package poll_test

import (
	"slices"
	"testing"

	"waybill.internal/services/ingest"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

// poller is a world whose ingest polls one integration, things.
type poller struct{ *world.World }

func newPoller(t *testing.T, integrationFile string) *poller {
	t.Helper()
	w := &poller{world.New(t)}
	w.Integration("things", integrationFile)
	w.Settings["PARTNER_TOKEN"] = "a-token"
	return w
}

// start runs an ingest until its stop is called, or the test ends.
func (w *poller) start() *world.Service {
	w.Helper()
	return world.Start(w, ingest.Spec())
}

// keys are those of the records, rejected ones included.
func (w *poller) keys() []string {
	w.Helper()
	keys := world.All[string](w, `SELECT key FROM record`)
	slices.Sort(keys)
	return keys
}

// runs counts the runs that have ended, by the log.
func (w *poller) runs() int { return w.Logs.Count("a poll has ended") }

// impatient ends the waits between runs and after failures, of which a partner that
// lies causes many.
func (w *poller) impatient() {
	w.Helper()
	w.Exec(`UPDATE poll SET next_at = now(), failures = 0 WHERE next_at > now() + interval '100 ms'`)
}

// again waits until a whole run has begun and ended from now on.
func (w *poller) again(n int) {
	w.Helper()
	before := w.runs()
	w.Await("runs", func() bool { return w.runs() >= before+n })
}

// covers checks that the newest version of every item is a record, that nothing
// is a record that never was an item, and that the counts of the ledger agree.
func (w *poller) covers(a *api) {
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
		if n := world.One[int64](w, query); n != want {
			w.Errorf("%s: %d, want %d", query, n, want)
		}
	}
}
