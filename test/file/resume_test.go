package file_test

import "testing"

// TestGoesOnAfterTheLastChunk: ingest is stopped while the third chunk cannot be
// committed; the next process begins with that chunk's first row.
func TestGoesOnAfterTheLastChunk(t *testing.T) {
	t.Parallel()
	w := newInbox(t, plain)
	w.onFile(`IF NEW.rows_done > 2000 THEN RAISE EXCEPTION 'the ledger fails'; END IF;`)
	content := orders(6000, "x")
	w.put("orders.csv", content)
	stop := w.start()
	w.Await("the third chunk to fail", func() bool { return w.Logs.Has("rows could not be accepted; they are tried again") })
	stop()
	if stood := w.files()[0].Rows; stood != 2000 {
		t.Fatalf("the mark stands at row %d, want 2000", stood)
	}
	w.Exec(`DROP TRIGGER fault ON file`)
	w.start()
	w.awaitMoved("done", "orders.csv")
	w.closed("done", content, 6000, 6000, 0, 0)
}
