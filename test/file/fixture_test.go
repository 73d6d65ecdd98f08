// Package file_test drops files before a running ingest on a real Postgres and
// compares what the ledger then holds with what was dropped.
package file_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"waybill.internal/services/ingest"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

// inbox is a world with a directory that partners drop into.
type inbox struct {
	*world.World
	root    string // of relative directories
	dir     string // the watched directory of source "shops"
	address string // where ingest, started last, takes webhooks
}

const integrationHead = `integration: drop
sources:
  - name: shops
    file: {from: "in/*.csv", every: "0 0 1 1 *", format: {csv: {delimiter: ";"}}}
`

func newInbox(t *testing.T, integrationFile string) *inbox {
	t.Helper()
	root := t.TempDir()
	w := &inbox{World: world.New(t), root: root, dir: filepath.Join(root, "in")}
	w.Must(os.MkdirAll(w.dir, 0o750))
	w.Integration("drop", integrationFile)
	w.Settings["WAYBILL_INGEST_DROP"], w.Settings["WAYBILL_INGEST_SPOOL"] = root, filepath.Join(t.TempDir(), "spool")
	return w
}

// start runs ingest until the returned function is called, or the test ends.
func (w *inbox) start() (stop func()) {
	w.Helper()
	in := world.Start(w, ingest.Spec())
	w.address = in.Address("http")
	return in.Stop
}

// put drops a file whole: a rename from a name that is not looked at.
func (w *inbox) put(name string, content []byte) {
	w.Helper()
	temporary := filepath.Join(w.dir, name+".tmp")
	w.Must(os.WriteFile(temporary, content, 0o600))
	w.Must(os.Rename(temporary, filepath.Join(w.dir, name)))
}

func (w *inbox) exists(parts ...string) bool {
	_, err := os.Lstat(filepath.Join(append([]string{w.dir}, parts...)...))
	return err == nil
}

func (w *inbox) awaitMoved(parts ...string) {
	w.Helper()
	w.Await(filepath.Join(parts...), func() bool { return w.exists(parts...) })
}

type fileRow struct {
	Name, State, Error             string
	Size                           int64
	Hash                           []byte
	Rows                           int64
	Received, Rejected, Duplicates int64
}

func (w *inbox) files() []fileRow {
	w.Helper()
	rows, err := w.DB.Query(w.Context(), `SELECT name, state, error, size, hash, rows_done AS rows, received, rejected, duplicates FROM file ORDER BY id`)
	w.Must(err)
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[fileRow])
	w.Must(err)
	return out
}

// closed checks that there is one file, of these bytes, and these counts: what
// it holds, its rows and the tally agree, and nothing is there twice.
func (w *inbox) closed(state string, content []byte, rows, received, rejected, duplicates int64) {
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
		if got := world.One[int64](w, query); got != want {
			w.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}
