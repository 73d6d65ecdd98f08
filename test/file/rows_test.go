package file_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/test/world"
)

// orders is a file of n rows, each with a number of its own.
func orders(n int, padding string) []byte {
	var b strings.Builder
	b.WriteString("no;city;note\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "%d;Köln;%s\n", i, padding)
	}
	return []byte(b.String())
}

const plain = integrationHead + "record: {}\nprocess: {}\n"

// TestRows drops 2,000 rows of every kind and finds each of them.
func TestRows(t *testing.T) {
	t.Parallel()
	w := newInbox(t, integrationHead+`record:
  idempotency_key: "body.no == '' ? nil : body.no"
  entity_key: body.city
  schema: {type: object, properties: {quantity: {type: string, pattern: "^[0-9]+$"}}}
  check: ["body.quantity != '13'"]
process: {}
`)
	var b strings.Builder
	b.WriteString("\ufeffno;city;quantity\r\n")
	var rejected, duplicates int64
	for i := range 2000 {
		switch i % 20 {
		case 3: // too few columns
			fmt.Fprintf(&b, "%d;Bonn\r\n", i)
			rejected++
		case 5: // a stray quote
			fmt.Fprintf(&b, "%d;\"Bonn\"x;1\r\n", i)
			rejected++
		case 7: // bytes that are no UTF-8
			fmt.Fprintf(&b, "%d;K\xf6ln;1\r\n", i)
			rejected++
		case 9: // without a key
			b.WriteString(";Bonn;1\r\n")
			rejected++
		case 11: // against the schema
			fmt.Fprintf(&b, "%d;Bonn;many\r\n", i)
			rejected++
		case 12: // against a check
			fmt.Fprintf(&b, "%d;Bonn;13\r\n", i)
			rejected++
		case 15: // the row before it, again
			fmt.Fprintf(&b, "%d;\"Bonn\r\nBeuel\";1\r\n", i-1)
			duplicates++
		default:
			fmt.Fprintf(&b, "%d;\"Bonn\r\nBeuel\";1\r\n", i)
		}
	}
	content := []byte(b.String())
	w.put("orders.csv", content)
	w.start()
	w.awaitMoved("done", "orders.csv")
	w.closed("done", content, 2000, 2000-duplicates, rejected, duplicates)

	// Row 4 is the first broken one: a header line, and three rows of two lines before it.
	got := world.All[string](w, `SELECT r.class || ' ' || r.code || ' ' || r.message || ' | ' || convert_from(p.body, 'UTF8') || ' | ' || (r.detail::json->0->>'line') || ' | ' || p.content_type
		FROM record r JOIN payload p USING (day, seq) WHERE p.headers->>'file-row' = '4' AND r.key LIKE '%:4' AND r.entity_key = r.key`)
	want := `data ragged line 8: the row has 2 columns, 3 are expected | {"line":8,"raw":"3;Bonn"} | 8 | application/json`
	if len(got) != 1 || got[0] != want {
		t.Errorf("row 4: %q, want %q", got, want)
	}
	whole := world.One[string](w, `SELECT convert_from(p.body, 'UTF8') || ' ' || r.entity_key || ' ' || (p.headers->>'file-name') || ' ' || (p.headers->>'file-line') FROM record r JOIN payload p USING (day, seq) WHERE r.key = '0'`)
	if want := `{"no":"0","city":"Bonn\r\nBeuel","quantity":"1"} ` + "Bonn\r\nBeuel orders.csv 2"; whole != want {
		t.Errorf("row 1: %q, want %q", whole, want)
	}
	for code, want := range map[string]int64{"ragged": 100, "stray_quote": 100, "invalid_bytes": 100, "unidentified": 100, "invalid": 200} {
		if got := world.One[int64](w, `SELECT count(*) FROM record WHERE code = $1 AND state = 'rejected'`, code); got != want {
			t.Errorf("%d records are rejected as %s, want %d", got, code, want)
		}
	}
	if n := world.One[int64](w, `SELECT count(*) FROM record WHERE state = 'rejected' AND (detail::json->0->>'line') IS NULL`); n != 0 {
		t.Errorf("%d rejected records do not say their line", n)
	}
}

// TestSameAgain recognises a file by its content, under its own and another name.
func TestSameAgain(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	content := orders(1500, "x")
	w.put("orders.csv", content)
	stop := w.start()
	w.awaitMoved("done", "orders.csv")
	stop()
	w.put("orders.csv", content)
	w.put("renamed.csv", content)
	stop = w.start()
	w.awaitMoved("done", "renamed.csv")
	stop()
	if !w.exists("done", "orders-2.csv") || w.exists("orders.csv") {
		t.Error("the second orders.csv does not lie beside the first")
	}
	w.closed("done", content, 1500, 1500, 0, 0)
}

// TestNotTaken: what is no complete regular file of the pattern stays where it is.
func TestNotTaken(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	outside := filepath.Join(t.TempDir(), "secret.csv")
	w.Must(os.WriteFile(outside, orders(3, "secret"), 0o600))
	w.Must(os.Symlink(outside, filepath.Join(w.dir, "a-link.csv")))
	w.Must(os.Symlink("z-good.csv", filepath.Join(w.dir, "b-link.csv")))
	w.Must(mkfifo(filepath.Join(w.dir, "c-pipe.csv")))
	socket, err := net.Listen("unix", filepath.Join(w.dir, "d.csv"))
	if err != nil {
		w.Logf("no socket can be made on a path this long: %v", err)
	} else {
		t.Cleanup(func() { _ = socket.Close() })
	}
	for _, name := range []string{".hidden.csv", "half.csv.part", "half.csv.tmp", "other.txt"} {
		w.Must(os.WriteFile(filepath.Join(w.dir, name), orders(3, name), 0o600))
	}
	w.Must(os.Mkdir(filepath.Join(w.dir, "folder.csv"), 0o750))
	content := orders(10, "good")
	w.put("z-good.csv", content) // taken last: whatever hung before it would show
	w.start()
	w.awaitMoved("done", "z-good.csv")
	w.closed("done", content, 10, 10, 0, 0)
	for _, name := range []string{"a-link.csv", "b-link.csv", "c-pipe.csv", ".hidden.csv", "half.csv.part", "half.csv.tmp", "other.txt", "folder.csv"} {
		if !w.exists(name) {
			t.Errorf("%s was taken away", name)
		}
	}
	if n := w.Logs.Count("this is no regular file and is not taken"); n < 3 {
		t.Errorf("%d refusals are logged, want at least 3", n)
	}
}

// TestHalfWritten: a file that still grows is not begun; it is taken by itself
// once it stands still.
func TestHalfWritten(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	content := orders(400, "slow")
	file, err := os.Create(filepath.Join(w.dir, "slow.csv"))
	w.Must(err)
	defer file.Close()
	marker := filepath.Join(w.dir, "a-marker.csv")
	w.start()
	written, last, pause := 0, time.Now(), time.Duration(0)
	for i := 0; i < 3; i++ { // while a whole file goes through, this one grows at every poll
		w.Must(os.WriteFile(marker, orders(i+1, "marker"), 0o600))
		w.Await("the marker", func() bool {
			if written < len(content)-1 {
				n, err := file.Write(content[written : written+1])
				w.Must(err)
				written += n
				pause, last = max(pause, time.Since(last)), time.Now()
			}
			return !w.exists("a-marker.csv")
		})
	}
	if pause >= 900*time.Millisecond { // a machine this busy wrote as slowly as a finished file stands
		t.Logf("the writer was held up for %s: nothing can be said", pause)
		return
	}
	if n := world.One[int64](w, `SELECT count(*) FROM file WHERE name = 'slow.csv'`); n != 0 {
		t.Fatal("a file that was being written was begun")
	}
	_, err = file.Write(content[written:])
	w.Must(err)
	w.awaitMoved("done", "slow.csv")
	if got := world.One[int64](w, `SELECT rows_done FROM file WHERE name = 'slow.csv'`); got != 400 {
		t.Errorf("%d rows, want 400", got)
	}
}

// TestNothingInside: a file without rows is done, and so is one without bytes.
func TestNothingInside(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"empty": "", "header only": "no;city\n", "blank": "no;city\n\n;\n  ;\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newInbox(t, plain)
			w.put("orders.csv", []byte(content))
			w.start()
			w.awaitMoved("done", "orders.csv")
			w.closed("done", []byte(content), 0, 0, 0, 0)
		})
	}
}

// TestUnreadable: a file that is not what the integration says fails with the
// reason, once, and the next file is read.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	bad := []byte("no;no\n1;2\n")
	w.put("a.csv", bad)
	w.put("b.csv", orders(5, "y"))
	stop := w.start()
	w.awaitMoved("failed", "a.csv")
	w.awaitMoved("done", "b.csv")
	stop()
	f := w.files()[0]
	if f.State != "failed" || !strings.Contains(f.Error, `both named "no"`) || f.Rows != 0 {
		t.Errorf("the file is %+v", f)
	}
	if !w.Logs.Has(`"code":"file_bad_header"`) {
		t.Error("nobody was told")
	}
	w.put("again.csv", bad)
	w.start()
	w.awaitMoved("failed", "again.csv")
	if f := w.files()[0]; f.State != "failed" || f.Rows != 0 {
		t.Errorf("dropped again, the file is %+v", f)
	}
}

// TestBrokerDown: files are accepted while no broker answers, and what is to be
// published is the relay's when ingest has stopped.
func TestBrokerDown(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	w.Settings["WAYBILL_KAFKA_BROKERS"] = "127.0.0.1:1"
	content := orders(5000, "z")
	w.put("orders.csv", content)
	stop := w.start()
	w.awaitMoved("done", "orders.csv")
	stop()
	w.closed("done", content, 5000, 5000, 0, 0)
	if n := world.One[int](w, `SELECT count(*) FROM outbox WHERE session <> 0`); n != 0 {
		t.Errorf("%d batches wait for a process that is gone", n)
	}
}

// TestSilence tells a person when no file came.
func TestSilence(t *testing.T) {
	t.Parallel()
	w := newInbox(t, strings.Replace(plain, `every: "0 0 1 1 *"`, `every: "0 0 1 1 *", expect: 1s`, 1))
	w.start()
	w.Await("the alert", func() bool {
		return w.Logs.Has(`"kind":"silence"`) && w.Logs.Has("nothing came to drop/shops (file) for 1s")
	})
}
