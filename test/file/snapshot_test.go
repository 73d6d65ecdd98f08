package file_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"waybill.internal/pkg/ledger"
	"waybill.internal/test/world"
)

// stock is an integration whose source compares its rows.
func stock(source string) string {
	return `integration: drop
sources:
  - name: shops
    file: {from: "in/*.csv", on_arrival: true, format: {csv: {}}, ` + source + `}
  - webhook: {path: /in/stock, verify: {scheme: api-key, secrets: ["${STOCK_KEY}"]}}
    idempotency_key: body.event
record:
  entity_key: body.sku
  schema: {type: object, required: [sku, quantity], properties: {sku: {type: string}, event: {type: string}, quantity: {type: string, pattern: "^[0-9]+$"}}, additionalProperties: false}
process: {}
`
}

const snapshotOf = `mode: snapshot, snapshot: {max_deletes: "50%"}`

func newStock(t *testing.T, source string) *inbox {
	t.Helper()
	w := newInbox(t, stock(source))
	w.Settings["STOCK_KEY"] = "0123456789abcdef0123456789abcdef"
	return w
}

// rows is a CSV file of "sku=quantity".
func rowsOf(pairs ...string) []byte {
	var b strings.Builder
	b.WriteString("sku,quantity\n")
	for _, p := range pairs {
		sku, quantity, _ := strings.Cut(p, "=")
		fmt.Fprintf(&b, "%s,%s\n", sku, quantity)
	}
	return []byte(b.String())
}

// story is what was accepted, in its order: "a=1", or "-a" for a deletion.
func (w *inbox) story() []string {
	w.Helper()
	return world.All[string](w, `SELECT CASE WHEN p.headers->>'op' = 'delete' THEN '-' || r.entity_key || '=' || coalesce(convert_from(p.body, 'UTF8')::json->>'quantity', '')
		ELSE r.entity_key || '=' || coalesce(convert_from(p.body, 'UTF8')::json->>'quantity', '') END
		FROM record r JOIN payload p USING (day, seq) WHERE r.state <> 'rejected' ORDER BY r.seq`)
}

func (w *inbox) wantStory(want ...string) {
	w.Helper()
	if got := w.story(); !slices.Equal(got, want) {
		w.Errorf("accepted %q, want %q", got, want)
	}
	w.conserved()
}

// conserved: arrivals = received + duplicates + refused, and what is received are the records.
func (w *inbox) conserved() {
	w.Helper()
	if records, tally := world.One[int64](w, `SELECT count(*) FROM record`), world.One[int64](w, `SELECT coalesce(sum(delta), 0)::bigint FROM tally WHERE measure = 'received'`); records != tally {
		w.Errorf("%d records, the tally says %d", records, tally)
	}
	rows, unchanged := world.One[int64](w, `SELECT coalesce(sum(rows_done), 0)::bigint FROM file`), world.One[int64](w, `SELECT coalesce(sum(received + duplicates + unchanged), 0)::bigint FROM file`)
	if rows != unchanged {
		w.Errorf("%d rows are not %d received, duplicates and unchanged", rows, unchanged)
	}
}

// read drops a file and waits until it lies in a folder under the name.
func (w *inbox) read(name string, content []byte, parts ...string) {
	w.Helper()
	w.put(name, content)
	w.awaitMoved(parts...)
}

// TestSnapshot follows a stock over files: changed rows are records, equal ones
// are not, what disappeared is deleted, and the same bytes after others count again.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	w := newStock(t, snapshotOf)
	stop := w.start()
	first := rowsOf("a=1", "b=1", "c=1", "d=1")
	w.read("1.csv", first, "done", "1.csv")
	w.wantStory("a=1", "b=1", "c=1", "d=1")
	w.read("2.csv", rowsOf("a=1", "e=9", "b=2", "d=1"), "done", "2.csv")
	w.wantStory("a=1", "b=1", "c=1", "d=1", "e=9", "b=2", "-c=1")
	if got := world.One[string](w, `SELECT received || ' ' || unchanged || ' ' || deleted || ' ' || known FROM file WHERE name = '2.csv'`); got != "2 2 1 4" {
		t.Errorf("received, unchanged, deleted, known: %s, want 2 2 1 4", got)
	}
	if got := world.One[string](w, `SELECT convert_from(body, 'UTF8') FROM payload WHERE headers->>'op' = 'delete'`); got != `{"deleted":true,"entity_key":"c","quantity":"1","sku":"c"}` {
		t.Errorf("the deletion is %s", got)
	}
	w.read("2b.csv", rowsOf("a=1", "e=9", "b=2", "d=1"), "done", "2b.csv") // twice in a row: nothing
	w.wantStory("a=1", "b=1", "c=1", "d=1", "e=9", "b=2", "-c=1")
	w.read("3.csv", first, "done", "3.csv") // A, B, A
	w.wantStory("a=1", "b=1", "c=1", "d=1", "e=9", "b=2", "-c=1", "b=1", "c=1", "-e=9")
	stop()
	if got := world.One[string](w, `SELECT string_agg(name || ' ' || occurrence || ' ' || sightings, ', ' ORDER BY id) FROM file`); got != "1.csv 1 1, 2.csv 1 2, 3.csv 2 1" {
		t.Errorf("files: %s", got)
	}
	if n := world.One[int64](w, `SELECT count(*) FROM entity_latest WHERE entity_key IN ('a','b','c','d') AND source = 'shops'`); n != 4 || world.One[int64](w, `SELECT count(*) FROM entity_latest`) != 4 {
		t.Errorf("%d of four entities are known", n)
	}
}

// TestSnapshotGuard: an empty, a cut and a broken file delete nothing, until a person agrees.
func TestSnapshotGuard(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		agreed  []string
		says    string
	}{
		"empty":  {"sku,quantity\n", []string{"-a=1", "-b=1", "-c=1", "-d=1"}, "4 of 4 known entities are not in this snapshot, and at most 2 deletions are believed"},
		"cut":    {"sku,quantity\na,1\n", []string{"-b=1", "-c=1", "-d=1"}, "3 of 4 known entities"},
		"broken": {"sku,quantity\na,1\nb,1\nc\nd,1\n", []string{"-c=1"}, "but of 1 of its rows nobody can tell what they are about"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStock(t, snapshotOf)
			w.start()
			before := []string{"a=1", "b=1", "c=1", "d=1"}
			w.read("1.csv", rowsOf(before...), "done", "1.csv")
			w.read("2.csv", []byte(c.content), "failed", "2.csv")
			w.wantStory(before...)
			if got := world.One[string](w, `SELECT error FROM file WHERE name = '2.csv'`); !strings.Contains(got, c.says) || !strings.Contains(got, "waybill file pull --allow-deletes 2") {
				t.Errorf("the file says %q", got)
			}
			if !w.Logs.Has(`"code":"file_too_many_deletes"`) {
				t.Error("nobody was told")
			}
			w.allow(2)
			w.Await("the deletions", func() bool { return w.stateOf("2.csv") == "done" })
			w.wantStory(append(before, c.agreed...)...)
		})
	}
}

func (w *inbox) stateOf(name string) string {
	w.Helper()
	return world.One[string](w, `SELECT coalesce((SELECT state FROM file WHERE name = $1 ORDER BY id DESC LIMIT 1), '')`, name)
}

func (w *inbox) ledger() *ledger.Ledger {
	w.Helper()
	l, err := ledger.Open(w.Context(), w.Settings["WAYBILL_POSTGRES_URL"], ledger.Options{Terms: func(string) ledger.Terms { return ledger.Terms{Lane: "main"} }, MaxConns: 2, Name: "test"})
	w.Must(err)
	w.Cleanup(l.Close)
	return l
}

func (w *inbox) allow(id int64) {
	w.Helper()
	_, err := w.ledger().AllowDeletes(w.Context(), id, "ann")
	w.Must(err)
}

// TestSnapshotRowThatIsInvalid: an entity whose row is rejected is there all the same.
func TestSnapshotRowThatIsInvalid(t *testing.T) {
	t.Parallel()
	w := newStock(t, snapshotOf)
	w.start()
	w.read("1.csv", rowsOf("a=1", "b=1"), "done", "1.csv")
	w.read("2.csv", rowsOf("a=many", "b=1"), "done", "2.csv")
	w.wantStory("a=1", "b=1")
	w.read("3.csv", rowsOf("a=1", "b=1"), "done", "3.csv") // the last accepted version
	w.wantStory("a=1", "b=1")
}

// TestDeletesNotAllowedAfterAnother: what an old file did not have says nothing once a newer one was read.
func TestDeletesNotAllowedAfterAnother(t *testing.T) {
	t.Parallel()
	w := newStock(t, snapshotOf)
	w.start()
	w.read("1.csv", rowsOf("a=1", "b=1"), "done", "1.csv")
	w.read("2.csv", rowsOf(), "failed", "2.csv")
	w.read("3.csv", rowsOf("a=1", "b=2"), "done", "3.csv")
	if _, err := w.ledger().AllowDeletes(t.Context(), 2, "ann"); err == nil {
		t.Error("the deletions of an old file were allowed")
	}
	w.read("2.csv", rowsOf(), "failed", "2-2.csv") // dropped again: a new occurrence, which fails by itself
	w.wantStory("a=1", "b=1", "b=2")
}

// TestUnchangedRowsAreSkipped: also those equal to what came by another way; and A, B, A stays three records.
func TestUnchangedRowsAreSkipped(t *testing.T) {
	t.Parallel()
	w := newStock(t, "unchanged: skip")
	w.start()
	w.read("1.csv", rowsOf("a=1", "b=1"), "done", "1.csv")
	w.read("2.csv", rowsOf("a=1", "b=2", "b=2", "c=1"), "done", "2.csv")
	w.wantStory("a=1", "b=1", "b=2", "c=1")
	w.post(`{"event": "e1", "quantity": "7", "sku": "a"}`, http.StatusAccepted)
	w.read("3.csv", rowsOf("a=1", "b=2"), "done", "3.csv") // a=7 came in between
	w.wantStory("a=1", "b=1", "b=2", "c=1", "a=7", "a=1")
	w.read("4.csv", rowsOf("c=1", "c=2", "c=1"), "done", "4.csv")
	w.wantStory("a=1", "b=1", "b=2", "c=1", "a=7", "a=1", "c=2", "c=1")
	if got := world.One[int64](w, `SELECT sum(unchanged)::bigint FROM file`); got != 4 {
		t.Errorf("%d rows are unchanged, want 4", got)
	}
}

func (w *inbox) post(body string, want int) {
	w.Helper()
	q, err := http.NewRequestWithContext(w.Context(), http.MethodPost, "http://"+w.address+"/in/stock", strings.NewReader(body))
	w.Must(err)
	q.Header.Set("X-Api-Key", w.Settings["STOCK_KEY"])
	q.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(q)
	w.Must(err)
	w.Must(answer.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	if answer.StatusCode != want {
		w.Errorf("the webhook was answered with %d, want %d", answer.StatusCode, want)
	}
}

// TestOldVersionsAreForgotten: what an integration kept before it stopped to compare is not compared with later.
func TestOldVersionsAreForgotten(t *testing.T) {
	t.Parallel()
	w := newStock(t, "unchanged: skip")
	with := func(source string) (stop func()) {
		w.Integration("drop", stock(source))
		return w.start()
	}
	stop := with("unchanged: skip")
	w.read("1.csv", rowsOf("a=1"), "done", "1.csv")
	stop()
	stop = with("unchanged: accept")
	w.read("2.csv", rowsOf("a=2"), "done", "2.csv")
	w.Await("the versions to go", func() bool { return world.One[int64](w, `SELECT count(*) FROM entity_latest`) == 0 })
	stop()
	with("unchanged: skip")
	w.read("3.csv", rowsOf("a=1", "a=1"), "done", "3.csv")
	w.wantStory("a=1", "a=2", "a=1")
}

// TestDeletesGoOn: ingest is stopped between two pages of deletions; the next process makes the rest, once each.
func TestDeletesGoOn(t *testing.T) {
	t.Parallel()
	w := newStock(t, `mode: snapshot, snapshot: {max_deletes: "100%"}`)
	var some []string
	for i := range 2000 {
		some = append(some, fmt.Sprintf("s%04d=1", i))
	}
	stop := w.start()
	w.read("1.csv", rowsOf(some...), "done", "1.csv")
	w.onFile(`IF NEW.deleted > 500 THEN RAISE EXCEPTION 'the ledger fails'; END IF;`)
	w.put("2.csv", rowsOf("s0000=1", "s1999=2"))
	w.Await("the third page to fail", func() bool { return w.Logs.Has("deletions could not be accepted") })
	stop()
	if n := world.One[int64](w, `SELECT deleted FROM file WHERE name = '2.csv'`); n != 500 {
		t.Fatalf("%d deletions, want 500", n)
	}
	w.Exec(`DROP TRIGGER fault ON file`)
	w.start()
	w.awaitMoved("done", "2.csv")
	if got := world.One[string](w, `SELECT deleted || ' ' || received || ' ' || unchanged FROM file WHERE name = '2.csv'`); got != "1998 1 1" {
		t.Errorf("deleted, received, unchanged: %s, want 1998 1 1", got)
	}
	if n := world.One[int64](w, `SELECT count(DISTINCT entity_key) FROM record r JOIN payload p USING (day, seq) WHERE p.headers->>'op' = 'delete'`); n != 1998 {
		t.Errorf("%d entities are deleted, want 1998", n)
	}
	w.conserved()
}
