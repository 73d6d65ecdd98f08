package file_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waybill.internal/test/world"
)

// dropWith is an integration with one file source, whose other keys are given.
func dropWith(keys string) string {
	return strings.Replace(plain, `every: "0 0 1 1 *"`, keys, 1)
}

const onArrival = `on_arrival: true`

// TestArrival: a file that comes while the source waits is read soon after, and
// one that is written in place once it stands still.
func TestArrival(t *testing.T) {
	t.Parallel()
	w := newInbox(t, dropWith(onArrival))
	w.start()
	w.Await("the first look", func() bool { return w.Logs.Has(`"message":"ready"`) })
	w.read("1.csv", orders(10, "x"), "done", "1.csv")
	w.Must(os.WriteFile(filepath.Join(w.dir, "2.csv"), orders(20, "y"), 0o600))
	w.awaitMoved("done", "2.csv")
	if got := world.One[int64](w, `SELECT sum(rows_done)::bigint FROM file`); got != 30 {
		t.Errorf("%d rows, want 30", got)
	}
}

// TestMarker: a file is whole when its marker is there, which goes with it, and a
// marker of the file before does not count.
func TestMarker(t *testing.T) {
	t.Parallel()
	w := newInbox(t, strings.Replace(dropWith(onArrival+`, complete: {by: marker, marker: "{name}.ok"}`), "in/*.csv", "in/*", 1))
	w.start()
	whole := filepath.Join(w.dir, "a.csv")
	w.Must(os.WriteFile(whole, orders(3, "x"), 0o600))
	w.Must(os.WriteFile(filepath.Join(w.dir, "b.csv"), orders(5, "y"), 0o600))
	w.Must(os.WriteFile(filepath.Join(w.dir, "b.csv.ok"), nil, 0o600))
	stale := time.Now().Add(-time.Hour)
	w.Must(os.WriteFile(filepath.Join(w.dir, "a.csv.ok"), nil, 0o600))
	w.Must(os.Chtimes(filepath.Join(w.dir, "a.csv.ok"), stale, stale))
	w.awaitMoved("done", "b.csv")
	w.awaitMoved("done", "b.csv.ok")
	if !w.exists("a.csv") || w.stateOf("a.csv") != "" {
		t.Error("a file with a marker of an hour before was taken")
	}
	w.Must(os.Chtimes(filepath.Join(w.dir, "a.csv.ok"), time.Now(), time.Now().Add(time.Second)))
	w.awaitMoved("done", "a.csv")
	w.awaitMoved("done", "a.csv.ok")
	if n := world.One[int64](w, `SELECT count(*) FROM file`); n != 2 {
		t.Errorf("%d files were read, want 2: a marker is none", n)
	}
}

// TestNameAndContent: the same name with another content is another file, whose
// row names the one before; the same content under another name is the same file.
func TestNameAndContent(t *testing.T) {
	t.Parallel()
	w := newInbox(t, dropWith(onArrival))
	w.start()
	w.read("orders.csv", orders(3, "x"), "done", "orders.csv")
	w.read("orders.csv", orders(4, "x"), "done", "orders-2.csv")
	w.read("copy.csv", orders(3, "x"), "done", "copy.csv")
	got := world.All[string](w, `SELECT id || ' ' || name || ' ' || rows_done || ' before ' || previous || ' seen ' || sightings || ' ' || last_name FROM file ORDER BY id`)
	want := []string{"1 orders.csv 3 before 0 seen 2 copy.csv", "2 orders.csv 4 before 1 seen 1 orders.csv"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("files %q, want %q", got, want)
	}
}

// TestKeptAndArchived: a file that stays is read once, over restarts, and again
// when it changes; every file that was read has a copy in the archive.
func TestKeptAndArchived(t *testing.T) {
	t.Parallel()
	w := newInbox(t, dropWith(onArrival+`, after: keep, archive: kept`))
	stop := w.start()
	w.put("orders.csv", orders(3, "x"))
	w.Await("the file", func() bool { return w.stateOf("orders.csv") == "done" })
	stop()
	stop = w.start()
	w.put("other.csv", orders(2, "y")) // taken after the first one in each look
	w.Await("the other file", func() bool { return w.stateOf("other.csv") == "done" })
	w.put("orders.csv", orders(5, "x"))
	w.Await("the changed file", func() bool { return world.One[int64](w, `SELECT count(*) FROM file WHERE state = 'done'`) == 3 })
	stop()
	if !w.exists("orders.csv") || !w.exists("other.csv") || w.exists("done") {
		t.Error("files that stay were moved")
	}
	if n := w.Logs.Count(`"message":"reading a file"`); n != 3 {
		t.Errorf("%d files were read, want 3", n)
	}
	for name, content := range map[string][]byte{"1-orders.csv": orders(3, "x"), "2-other.csv": orders(2, "y"), "3-orders.csv": orders(5, "x")} {
		if got, err := os.ReadFile(filepath.Join(w.root, "kept", name)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(content))
		}
	}
	if entries, err := os.ReadDir(filepath.Join(w.root, "kept")); err != nil || len(entries) != 3 {
		t.Errorf("%d copies, %v", len(entries), err)
	}
}

// TestDeleted: a file that was read is deleted, one that failed is not.
func TestDeleted(t *testing.T) {
	t.Parallel()
	w := newInbox(t, dropWith(onArrival+`, after: delete`))
	w.start()
	w.put("good.csv", orders(3, "x"))
	w.put("bad.csv", []byte("no;no\n1;2\n"))
	w.awaitMoved("failed", "bad.csv")
	w.Await("the good one to go", func() bool { return !w.exists("good.csv") })
	if w.exists("done") || w.stateOf("good.csv") != "done" {
		t.Errorf("the good one is %s", w.stateOf("good.csv"))
	}
}

// TestPull: a person has a file read at once, sees what became of it, and finds
// its rejected rows, as text, as JSON and as a report.
func TestPull(t *testing.T) {
	t.Parallel()
	w := newInbox(t, strings.Replace(plain, "record: {}", "record: {schema: {type: object, properties: {no: {type: string, maxLength: 1}}}}", 1))
	w.start()
	w.Await("the first look", func() bool { return w.Logs.Has(`"message":"ready"`) })
	out := w.waybill(0, "file", "pull", "drop/shops", "--actor", "ann")
	contains(t, out, "Nothing new is in drop/shops.")
	w.put("orders.csv", []byte(string(orders(10, "x"))+"=1;2\n"))
	out = w.waybill(0, "file", "pull", "drop/shops", "--actor", "ann")
	contains(t, out, "orders.csv", "done", "11")
	contains(t, w.waybill(0, "file", "list", "--integration", "drop"), "orders.csv", "done")
	contains(t, w.waybill(0, "file", "show", "1"), "file         1: orders.csv", "11 read: 11 received (2 of them rejected)", "line 11: /no: ", "line 12: the row has 2 columns, 3 are expected")
	var shown struct {
		File     struct{ Rows, Rejected int64 }
		Rejected []struct {
			Line, Row int64
			Code      string
		}
	}
	w.Must(json.Unmarshal([]byte(w.waybill(0, "file", "show", "1", "--json")), &shown))
	if shown.File.Rows != 11 || len(shown.Rejected) != 2 || shown.Rejected[0].Row != 10 || shown.Rejected[1].Line != 12 || shown.Rejected[1].Code != "ragged" {
		t.Errorf("as JSON: %+v", shown)
	}
	table, err := csv.NewReader(strings.NewReader(w.waybill(0, "file", "show", "1", "--report", "csv"))).ReadAll()
	w.Must(err)
	if last := table[len(table)-1]; last[0] != "rejected" || last[1] != "12" || last[2] != "11" || last[4] != "ragged" {
		t.Errorf("the report ends with %q", last)
	}
	w.waybill(1, "file", "show", "99")
	w.waybill(1, "file", "pull", "drop/none", "--actor", "ann")
	w.waybill(1, "file", "pull", "--allow-deletes", "1", "--actor", "ann")
	w.waybill(2, "file", "pull", "--actor", "ann")
}

// TestPullNobodyThere: without an ingest the command says so, and the request stays.
func TestPullNobodyThere(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	stop := w.start()
	w.Await("the first look", func() bool { return w.Logs.Has(`"message":"ready"`) })
	stop()
	contains(t, w.waybill(3, "file", "pull", "drop/shops", "--actor", "ann"), "no running ingest has taken the request")
	w.start()
	w.Await("the request to be answered", func() bool {
		return world.One[int64](w, `SELECT count(*) FROM file_request WHERE ended_at IS NOT NULL`) == 1
	})
}

// waybill runs the command and gives everything that it printed; with code 0, what it printed on standard output.
func (w *inbox) waybill(code int, args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), world.Patience)
	defer cancel()
	out, errs := world.Run(w, w.Command(ctx, "waybill", args...), code)
	if code == 0 {
		return out
	}
	return out + errs
}

func contains(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, s := range all {
		if !strings.Contains(text, s) {
			t.Errorf("it does not say %q:\n%s", s, text)
		}
	}
}

// TestReport: each file's report is written to a directory, once it has ended, whatever became of it.
func TestReport(t *testing.T) {
	t.Parallel()
	w := newInbox(t, dropWith(onArrival+`, report: {to: reports}`))
	w.start()
	w.read("orders.csv", []byte(string(orders(3, "x"))+"=cmd;-1\n"), "done", "orders.csv")
	w.read("bad.csv", []byte("no;no\n1;2\n"), "failed", "bad.csv")
	report := func(name string) string {
		path := filepath.Join(w.root, "reports", name)
		w.Await(name, func() bool { _, err := os.Stat(path); return err == nil })
		content, err := os.ReadFile(path)
		w.Must(err)
		return string(content)
	}
	contains(t, report("orders-1.report.csv"), "count,,,rows,,4,", "count,,,rejected,,1,", "rejected,5,4,,ragged,", "file,,,state,,done,")
	contains(t, report("bad-2.report.csv"), "file,,,state,,failed,", `file,,,error,,`)
	w.Await("both to be delivered", func() bool { return world.One[int64](w, `SELECT count(*) FROM file WHERE report = 'delivered'`) == 2 })
}

// TestReportIsTriedAgain: the address does not answer at first; one alert, and then the report comes.
func TestReportIsTriedAgain(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	bodies := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if tries.Add(1) <= 2 {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		bodies <- q.Header.Get("Authorization") + " " + q.Header.Get("Idempotency-Key") + " " + string(body)
	}))
	t.Cleanup(server.Close)
	w := newInbox(t, dropWith(onArrival+`, report: {to: "`+server.URL+`", format: json, allow_private: true, auth: {bearer: "${TOKEN}"}}`))
	w.Settings["TOKEN"] = "secret-token"
	w.start()
	w.read("orders.csv", []byte(string(orders(3, "x"))+"4\n"), "done", "orders.csv")
	for n := int64(1); n <= 2; n++ {
		w.Await("a failed try", func() bool {
			return world.One[int64](w, `SELECT count(*) FROM file WHERE report = 'due' AND report_try = $1 AND report_error LIKE '%status 503%'`, n) == 1
		})
		w.Exec(`UPDATE file SET report_due = now()`)
		w.Exec(`INSERT INTO file_request (integration, source, actor) VALUES ('drop', 'shops', 'test')`) // wakes the source
	}
	select {
	case body := <-bodies:
		contains(t, body, "Bearer secret-token report-", `"rejected":1`, `"line":5,"row":4`, `"code":"ragged"`)
	case <-time.After(world.Patience):
		t.Fatal("no report came")
	}
	w.Await("it to be delivered", func() bool { return world.One[int64](w, `SELECT count(*) FROM file WHERE report = 'delivered'`) == 1 })
	if n := w.Logs.Count(`"code":"report_undelivered"`); n != 1 {
		t.Errorf("%d alerts, want 1", n)
	}
}

// TestReplicas: two ingests on one directory read each file once.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newStock(t, snapshotOf)
	w.put("1.csv", rowsOf("a=1", "b=1"))
	for n := range 8 {
		w.put(fmt.Sprintf("%d.csv", n+2), rowsOf("a=1", fmt.Sprintf("b=%d", n+2)))
	}
	w.start()
	w.start()
	w.Await("every file", func() bool { return world.One[int64](w, `SELECT count(*) FROM file WHERE state = 'done'`) == 9 })
	w.wantStory("a=1", "b=1", "b=2", "b=3", "b=4", "b=5", "b=6", "b=7", "b=8", "b=9")
}
