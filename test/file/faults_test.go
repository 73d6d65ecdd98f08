package file_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/test/world"
)

// onFile runs a statement inside the transaction that moves a file's mark.
func (w *inbox) onFile(body string) {
	w.Helper()
	w.Exec(`CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + body + ` RETURN NEW; END $$`)
	w.Exec(`CREATE TRIGGER fault BEFORE UPDATE ON file FOR EACH ROW EXECUTE FUNCTION fault()`)
}

// TestLedgerFails: a chunk whose transaction fails is tried again, and counts once.
func TestLedgerFails(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	w.Exec(`CREATE SEQUENCE tries`)
	w.onFile(`IF NEW.rows_done = 3000 AND nextval('tries') <= 3 THEN RAISE EXCEPTION 'the ledger fails'; END IF;`)
	content := orders(5500, "x")
	w.put("orders.csv", content)
	w.start()
	w.awaitMoved("done", "orders.csv")
	w.closed("done", content, 5500, 5500, 0, 0)
	if n := world.One[int64](w, `SELECT last_value FROM tries`); n != 4 {
		t.Errorf("the chunk was tried %d times, want 4", n)
	}
}

// TestRefusedByTable: the row that a table refuses is found and rejected alone.
func TestRefusedByTable(t *testing.T) {
	t.Parallel()
	w := newInbox(t, integrationHead+"record: {idempotency_key: body.no}\nprocess: {}\n")
	for _, partition := range world.All[string](w, `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'record'::regclass UNION ALL SELECT 'record' WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'record'::regclass)`) {
		w.Exec(`ALTER TABLE ` + partition + ` ADD CONSTRAINT unlucky CHECK (key NOT IN ('13', '1700'))`)
	}
	content := orders(2500, "x")
	w.put("orders.csv", content)
	w.start()
	w.awaitMoved("done", "orders.csv")
	w.closed("done", content, 2500, 2500, 2, 0)
	got := world.All[string](w, `SELECT code || ' ' || (detail::json->0->>'line') || ' ' || message FROM record WHERE state = 'rejected' ORDER BY seq`)
	if len(got) != 2 || !strings.HasPrefix(got[0], "unstorable 14 line 14: the table refused the row") || !strings.HasPrefix(got[1], "unstorable 1701 ") {
		t.Errorf("rejected: %q", got)
	}
}

// TestChanged: a file that becomes another one while it is read is stopped; one
// that is only touched is not.
func TestChanged(t *testing.T) {
	t.Parallel()
	content := orders(3500, "x")
	for name, c := range map[string]struct {
		change func(path string) error
		state  string
		rows   int64
	}{
		"longer": {state: "failed", rows: 1000, change: func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if _, err = f.WriteString("3501;Bonn;more\n"); err != nil {
				return err
			}
			return f.Close()
		}},
		"shorter": {state: "failed", rows: 1000, change: func(path string) error { return os.Truncate(path, 30_000) }},
		"other bytes": {state: "failed", rows: 1000, change: func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if _, err = f.WriteAt([]byte("9"), int64(len(content)-30)); err != nil {
				return err
			}
			return f.Close()
		}},
		"touched": {state: "done", rows: 3500, change: func(path string) error {
			at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
			return os.Chtimes(path, at, at)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newInbox(t, plain)
			w.onFile(`IF NEW.rows_done = 1000 AND NEW.state = 'reading' THEN PERFORM pg_advisory_xact_lock('file'::regclass::bigint); END IF;`)
			gate, err := w.DB.Acquire(t.Context())
			w.Must(err)
			defer gate.Release()
			_, err = gate.Exec(t.Context(), `SELECT pg_advisory_lock('file'::regclass::bigint)`)
			w.Must(err)
			w.put("orders.csv", content)
			w.start()
			w.Await("the first chunk to stand at the gate", func() bool {
				return world.One[bool](w, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 'file'::regclass::oid)`)
			})
			w.Must(c.change(filepath.Join(w.dir, "orders.csv")))
			_, err = gate.Exec(t.Context(), `SELECT pg_advisory_unlock('file'::regclass::bigint)`)
			w.Must(err)
			folder := map[string]string{"done": "done", "failed": "failed"}[c.state]
			w.awaitMoved(folder, "orders.csv")
			w.closed(c.state, content, c.rows, c.rows, 0, 0)
			if f := w.files()[0]; c.state == "failed" && (!strings.Contains(f.Error, "changed while it was read") || !w.Logs.Has(`"code":"file_changed"`)) {
				t.Errorf("the reason is %q", f.Error)
			}
		})
	}
}

// TestAnswersLost cuts connections around commits, before and after they happen:
// each row is there once and counted once.
func TestAnswersLost(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	proxy := newCutter(t, w.Settings["WAYBILL_POSTGRES_URL"])
	w.Settings["WAYBILL_POSTGRES_URL"] = proxy.url // of ingest: the test looks past it
	content := orders(20_000, "x")
	w.put("orders.csv", content)
	w.start()
	w.awaitMoved("done", "orders.csv")
	w.closed("done", content, 20_000, 20_000, 0, 0)
	if proxy.after.Load() < 2 || proxy.before.Load() < 2 || !w.Logs.Has("rows could not be accepted; they are tried again") {
		t.Errorf("%d answers and %d commits were lost: the test proves nothing", proxy.after.Load(), proxy.before.Load())
	}
}

// TestTwoReplicas: two processes watch the same directory, and each row is taken once.
func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	content := orders(12_000, "x")
	w.put("orders.csv", content)
	w.start()
	w.start()
	w.awaitMoved("done", "orders.csv")
	w.closed("done", content, 12_000, 12_000, 0, 0)
}

// TestStopped: a stop in the middle of a file is gone on with, exactly.
func TestStopped(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	content := orders(30_000, "x")
	w.put("orders.csv", content)
	stops := 0
	for at := int64(3000); ; at += 3000 {
		stop := w.start()
		w.Await("progress", func() bool {
			return world.One[int64](w, `SELECT coalesce(max(rows_done), 0) FROM file`) >= at || w.exists("done", "orders.csv")
		})
		stop()
		if w.exists("done", "orders.csv") {
			break
		}
		stops++
	}
	if stops < 2 {
		t.Errorf("the file was stopped %d times: the test proves nothing", stops)
	}
	w.closed("done", content, 30_000, 30_000, 0, 0)
}
