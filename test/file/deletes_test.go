package file_test

import (
	"net/http"
	"testing"

	"waybill.internal/test/world"
)

// TestAgreedDeletesAreMade: the ledger fails while they are made and when the file is closed; they are made all the same, once.
func TestAgreedDeletesAreMade(t *testing.T) {
	t.Parallel()
	w := newStock(t, snapshotOf)
	w.start()
	w.read("1.csv", rowsOf("a=1", "b=1", "c=1"), "done", "1.csv")
	w.read("2.csv", rowsOf("a=1"), "failed", "2.csv")
	w.Exec(`CREATE SEQUENCE tries`)
	w.onFile(`IF NEW.state = 'done' AND nextval('tries') <= 2 THEN RAISE EXCEPTION 'the ledger fails'; END IF;`)
	w.allow(2)
	w.Await("the answer", func() bool {
		return world.One[int64](w, `SELECT count(*) FROM file_request WHERE ended_at IS NULL`) == 0
	})
	if got := world.One[string](w, `SELECT f.state || ' ' || f.deleted || ' ' || q.found || ' ' || q.error FROM file f, file_request q WHERE f.id = 2`); got != "done 2 1 " {
		t.Errorf("state, deletions, found, error: %q", got)
	}
	// A request whose process ended before it could say so is answered as what became of it.
	w.Exec(`INSERT INTO file_request (integration, source, actor, allow_file) VALUES ('drop', 'shops', 'ann', 2), ('drop', 'shops', 'ann', 99)`)
	w.Await("the answers", func() bool {
		return world.One[int64](w, `SELECT count(*) FROM file_request WHERE ended_at IS NULL`) == 0
	})
	if got := world.One[string](w, `SELECT string_agg(allow_file || ': ' || (error = ''), ', ' ORDER BY id) FROM file_request`); got != "2: true, 2: true, 99: false" {
		t.Errorf("the answers are %s", got)
	}
	w.wantStory("a=1", "b=1", "c=1", "-b=1", "-c=1")
}

// TestAgreedDeletesOutliveTheSession: a session that lapses in the middle leaves them to the next one.
func TestAgreedDeletesOutliveTheSession(t *testing.T) {
	t.Parallel()
	w := newStock(t, snapshotOf)
	w.start()
	w.read("1.csv", rowsOf("a=1", "b=1", "c=1"), "done", "1.csv")
	w.read("2.csv", rowsOf("a=1"), "failed", "2.csv")
	w.onFile(`IF NEW.deleted > 0 THEN RAISE EXCEPTION 'the ledger fails'; END IF;`)
	w.allow(2)
	w.Await("the first try", func() bool { return w.Logs.Has("deletions could not be accepted") })
	w.Exec(`UPDATE session SET renewed_at = 'epoch'`)
	w.Await("the session to end", func() bool { return w.Logs.Has("this session has lapsed") })
	w.Exec(`DROP TRIGGER fault ON file`)
	w.Await("the deletions", func() bool { return w.stateOf("2.csv") == "done" })
	w.wantStory("a=1", "b=1", "c=1", "-b=1", "-c=1")
	w.Await("the answer", func() bool {
		return world.One[int64](w, `SELECT count(*) FROM file_request WHERE ended_at IS NULL`) == 0
	})
	if got := world.One[string](w, `SELECT error FROM file_request`); got != "" {
		t.Errorf("the answer says %q", got)
	}
}

// TestSnapshotBesideWebhooks: what came by webhook alone is no matter of a snapshot; what the snapshot
// had, and a webhook changed since, is deleted when it disappears; a webhook makes it anew.
func TestSnapshotBesideWebhooks(t *testing.T) {
	t.Parallel()
	w := newStock(t, snapshotOf)
	w.start()
	w.post(`{"event": "e1", "quantity": "5", "sku": "w"}`, http.StatusAccepted)
	w.read("1.csv", rowsOf("a=1", "b=1", "c=1"), "done", "1.csv")
	w.post(`{"event": "e2", "quantity": "7", "sku": "a"}`, http.StatusAccepted)
	w.read("2.csv", rowsOf("b=1", "c=1"), "done", "2.csv")
	w.wantStory("w=5", "a=1", "b=1", "c=1", "a=7", "-a=7")
	w.post(`{"event": "e3", "quantity": "7", "sku": "a"}`, http.StatusAccepted)
	w.read("3.csv", rowsOf("c=1", "b=1"), "done", "3.csv") // a is the webhook's now
	w.wantStory("w=5", "a=1", "b=1", "c=1", "a=7", "-a=7", "a=7")
}

// TestBoundAsNumber: exactly so many are believed, and one more is not.
func TestBoundAsNumber(t *testing.T) {
	t.Parallel()
	w := newStock(t, `mode: snapshot, snapshot: {max_deletes: "2"}`)
	w.start()
	w.read("1.csv", rowsOf("a=1", "b=1", "c=1", "d=1", "e=1", "f=1"), "done", "1.csv")
	w.read("2.csv", rowsOf("a=1", "b=1", "c=1", "d=1"), "done", "2.csv")
	w.read("3.csv", rowsOf("a=1"), "failed", "3.csv")
	w.read("4.csv", rowsOf("a=1", "b=1", "c=1"), "done", "4.csv")
	w.wantStory("a=1", "b=1", "c=1", "d=1", "e=1", "f=1", "-e=1", "-f=1", "-d=1")
}

// TestBrokenSnapshotDeletesNothing: a file that cannot be read to its end says nothing about what it does not have.
func TestBrokenSnapshotDeletesNothing(t *testing.T) {
	t.Parallel()
	w := newStock(t, `mode: snapshot, snapshot: {max_deletes: "100%"}`)
	w.start()
	w.read("1.csv", rowsOf("a=1", "b=1"), "done", "1.csv")
	w.read("2.csv", []byte("sku,sku\na,1\n"), "failed", "2.csv")
	w.read("3.csv", []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}, "failed", "3.csv") // cut gzip
	w.wantStory("a=1", "b=1")
	w.read("4.csv", rowsOf("b=1", "b=2", "b=1"), "done", "4.csv") // an entity twice, and a gone
	w.wantStory("a=1", "b=1", "b=2", "b=1", "-a=1")
}
