package file_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/test/world"
)

// TestArchiveInsideGzip: what must be unpacked to a file finds a folder for it, also where nothing is fetched.
func TestArchiveInsideGzip(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	outer := gzip.NewWriter(&packed)
	inner := zip.NewWriter(outer)
	member, err := inner.Create("orders.csv")
	w := newInbox(t, plain)
	w.Must(err)
	_, err = member.Write(orders(5, "x"))
	w.Must(err)
	w.Must(inner.Close())
	w.Must(outer.Close())
	w.put("orders.csv", packed.Bytes())
	w.start()
	w.awaitMoved("done", "orders.csv")
	w.closed("done", packed.Bytes(), 5, 5, 0, 0)
}

// TestArchiveBlockedAfar: what a web address gave is kept in the archive once that can be written
// to, although the server says by then that nothing has changed.
func TestArchiveBlockedAfar(t *testing.T) {
	t.Parallel()
	content := orders(10, "x")
	p := newPartner(t, content)
	w := newInbox(t, strings.Replace(afar(p.URL), "after: keep,", "after: keep, archive: kept,", 1))
	kept := filepath.Join(w.root, "kept")
	w.Must(os.WriteFile(kept, nil, 0o600))
	w.start()
	w.Await("the archive to refuse", func() bool { return w.Logs.Has("keep a copy of it in the archive") })
	w.Must(os.Remove(kept))
	w.Await("the copy", func() bool {
		got, err := os.ReadFile(filepath.Join(kept, "1-orders.csv"))
		return err == nil && bytes.Equal(got, content)
	})
	w.Await("the name to be remembered", func() bool {
		return world.One[int64](w, `SELECT count(*) FROM file_seen WHERE stamp <> '' AND NOT failed`) == 1
	})
	w.closed("done", content, 10, 10, 0, 0)
}

// TestPullOverAPause: a request that a pause interrupted is answered when the source goes on.
func TestPullOverAPause(t *testing.T) {
	t.Parallel()
	w := newInbox(t, dropWith(`every: "0 0 1 1 *", complete: {by: marker, marker: "{name}.ok", for: 24h}`))
	w.start()
	w.Await("the first look", func() bool { return w.Logs.Has(`"message":"ready"`) })
	w.put("orders.csv", orders(3, "x"))
	id := world.One[int64](w, `INSERT INTO file_request (integration, source, actor) VALUES ('drop', 'shops', 'test') RETURNING id`)
	w.Await("the look for it", func() bool { return w.Logs.Has(`"message":"a person asked for files"`) })
	shops := ledger.SourceName{Integration: "drop", Source: "shops"}
	_, err := w.ledger().PauseSource(t.Context(), shops, "test", "test")
	w.Must(err)
	w.Await("the pause", func() bool { return w.Logs.Has("a source is paused") })
	w.Must(os.WriteFile(filepath.Join(w.dir, "orders.csv.ok"), nil, 0o600))
	w.Must(os.Chtimes(filepath.Join(w.dir, "orders.csv.ok"), time.Now(), time.Now().Add(time.Minute)))
	_, err = w.ledger().ResumeSource(t.Context(), shops, "test", "test")
	w.Must(err)
	w.Await("the answer", func() bool {
		return world.One[bool](w, `SELECT ended_at IS NOT NULL FROM file_request WHERE id = $1`, id)
	})
	if state := w.stateOf("orders.csv"); state != "done" {
		t.Errorf("the file is %q", state)
	}
}

// TestAllowDeletesOfAPausedSource says why nothing would happen.
func TestAllowDeletesOfAPausedSource(t *testing.T) {
	t.Parallel()
	w := newStock(t, snapshotOf)
	w.start()
	w.read("1.csv", rowsOf("a=1", "b=1"), "done", "1.csv")
	w.read("2.csv", rowsOf(), "failed", "2.csv")
	w.waybill(0, "source", "pause", "drop/shops", "--why", "test", "--actor", "ann")
	contains(t, w.waybill(1, "file", "pull", "--allow-deletes", "2", "--actor", "ann"), "drop/shops is paused", "waybill source resume")
	w.waybill(0, "source", "resume", "drop/shops", "--why", "test", "--actor", "ann")
	w.waybill(0, "file", "pull", "--allow-deletes", "2", "--actor", "ann")
	w.wantStory("a=1", "b=1", "-a=1", "-b=1")
}

// TestReportOfEachEnd: a file that failed and was gone on with has a report of each end, under keys of their own.
func TestReportOfEachEnd(t *testing.T) {
	t.Parallel()
	w := newInbox(t, dropWith(onArrival+`, report: {to: reports}`))
	w.onFile(`IF NEW.report = 'delivered' AND OLD.state = 'reading' THEN RAISE EXCEPTION 'a report while it is read'; END IF;`)
	bad := []byte("no;no\n1;2\n")
	stop := w.start()
	w.read("a.csv", bad, "failed", "a.csv")
	w.Await("the first report", func() bool { return world.One[string](w, `SELECT report FROM file`) == "delivered" })
	w.read("a.csv", bad, "failed", "a-2.csv")
	w.Await("the second report", func() bool { return w.Logs.Count("the report on a file was delivered") == 2 })
	stop()
	if entries, err := os.ReadDir(filepath.Join(w.root, "reports")); err != nil || len(entries) != 1 {
		t.Errorf("%d reports, %v", len(entries), err)
	}
}
