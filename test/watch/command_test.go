package watch_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/test/world"
)

// TestPause: a paused source takes nothing, whatever its kind, and goes on afterwards.
func TestPause(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	r := w.start()
	w.Await("a poll", func() bool { return w.asked.Load() > 0 })
	w.Says(2, "--why", "source", "pause", "shop/keyed")
	w.Says(2, "there are shop/signed, shop/keyed, shop/drop, shop/list", "source", "pause", "shop/key", "--why", "x")
	w.Says(0, "Nothing was done", "source", "resume", "shop/keyed", "--why", "x")
	for _, source := range []string{"keyed", "drop", "list"} {
		w.Says(0, "is paused; every ingest sees it within 2 s", "source", "pause", "shop/"+source, "--why", "their system is being moved")
	}
	w.Says(0, `"changed":false`, "--json", "source", "pause", "shop/drop", "--why", "again")
	w.Await("a pause of the webhook", func() bool {
		status, answer, header := r.post("/in/keyed", `{"id": "1", "quantity": 1}`, "X-Api-Key", "partner-key")
		return status == http.StatusServiceUnavailable && strings.Contains(answer, `"code":"paused"`) && header.Get("Retry-After") == "60"
	})
	w.Await("the pauses to be seen", func() bool { return w.Logs.Count(`"a source is paused"`) == 3 })
	w.Must(os.WriteFile(filepath.Join(w.Settings["WAYBILL_INGEST_DROP"], "drop", "a.csv"), []byte("id,quantity\nf1,1\n"), 0o600))
	w.Exec(`UPDATE source SET registered_at = now() - interval '3 days' WHERE source IN ('list', 'drop')`)
	w.Says(1, "shop/drop is paused since", "file", "pull", "shop/drop")
	w.Says(1, "shop/list is paused since", "poll", "run", "shop/list")
	list := w.Says(0, "shop/keyed webhook paused", "source", "list")
	for _, want := range []string{"shop/drop file paused", "by kim: their system is being moved", "PARTNER"} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not in the list: %s", want, list)
		}
	}
	w.judgedAgain("list")
	w.only("silence", 0) // although both were never heard
	asked := w.asked.Load()
	w.judgedAgain("drop")
	if n := w.asked.Load(); n != asked {
		t.Errorf("a paused poll asked %d times", n-asked)
	}
	if n := world.One[int](w, `SELECT count(*) FROM record WHERE source = 'drop'`); n != 0 {
		t.Errorf("%d rows of a paused source", n)
	}

	for _, source := range []string{"keyed", "drop", "list"} {
		w.Says(0, "is resumed", "source", "resume", "shop/"+source, "--why", "moved")
	}
	w.Await("the file", func() bool { return world.One[int](w, `SELECT count(*) FROM record WHERE source = 'drop'`) == 1 })
	w.Await("the poll", func() bool { return w.asked.Load() > asked })
	w.Await("the webhook", func() bool {
		status, _, _ := r.post("/in/keyed", `{"id": "1", "quantity": 1}`, "X-Api-Key", "partner-key")
		return status == http.StatusAccepted || status == http.StatusOK // it was there before the pause was seen
	})
	if acts := world.One[string](w, `SELECT string_agg(act || ' ' || actor || ' ' || why, ', ' ORDER BY id) FROM source_act WHERE source = 'drop'`); acts != "pause kim their system is being moved, resume kim moved" {
		t.Errorf("kept is %q", acts)
	}
}

// TestCommand tries sources and lists them.
func TestCommand(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	w.Says(0, "There is no source", "source", "list")
	r := w.start()
	r.items(t, "good", 3, `"quantity": 2`)
	w.Await("what was seen to be noted", func() bool {
		return world.One[int](w, `SELECT coalesce(sum(arrivals), 0)::int FROM source_minute WHERE source = 'keyed'`) == 3
	})
	list := w.Says(0, "shop/signed webhook new never every 1h", "source", "list")
	for _, want := range []string{"shop/keyed webhook ok", "NEW never, OLD never", "shop/list poll", "0 6 * * *"} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not in the list: %s", want, list)
		}
	}
	w.Says(0, `"arrivals_last_hour":3`, "--json", "source", "list", "--integration", "shop")

	folder := t.TempDir()
	sample := filepath.Join(folder, "order.json")
	w.Must(os.WriteFile(sample, []byte(`{"id": "tried", "quantity": 1}`), 0o600))
	records := world.One[int](w, `SELECT count(*) FROM record`)
	w.Says(0, "signature fits (github, NEW) key tried validation passed No record was made", "source", "test", "shop/signed", sample)
	w.Says(1, "invalid", "source", "test", "shop/signed") // the provider's own sample has no quantity
	w.Says(2, "there is no sample of api-key", "source", "test", "shop/keyed")
	w.Says(2, "there are shop/signed", "source", "test", "shop/sign")
	w.Must(os.WriteFile(filepath.Join(w.Settings["WAYBILL_INGEST_DROP"], "drop", "half.csv.part"), []byte("id"), 0o600))
	w.Says(0, "nothing there would be taken", "source", "test", "shop/drop")
	rows := filepath.Join(folder, "rows.csv")
	w.Must(os.WriteFile(rows, []byte("id,quantity\na,1\nb\nc,3\n"), 0o600))
	w.Says(1, "row 2, line 3 key - would be rejected", "source", "test", "shop/drop", rows)
	w.Says(1, "/list answers 200: 2 items, no further page item 1 key p1", "source", "test", "shop/list")
	w.Says(1, `"idempotency_key":"p2","entity_key":"p2","problems":[`, "--json", "source", "test", "shop/list")
	if n := world.One[int](w, `SELECT count(*) FROM record WHERE source <> 'list'`); n != records && n != 3 {
		t.Errorf("tests made records: %d, before %d", n, records)
	}
	w.Says(0, "answer 202 Accepted", "source", "test", "shop/signed", sample, "--send", "--to", r.URL())
	if n := world.One[int](w, `SELECT count(*) FROM record WHERE key = 'tried'`); n != 1 {
		t.Errorf("%d records were sent", n)
	}
	w.Await("the use of the secret to be listed", func() bool {
		return world.One[bool](w, `SELECT secrets->>'NEW' IS NOT NULL FROM source WHERE source = 'signed'`)
	})
	w.Says(0, "shop/signed webhook ok", "source", "list")
}
