package watch_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"waybill.internal/test/world"
)

// TestOneAlertPerSilence: of two replicas one tells it, once, and a restart does not
// tell it again.
func TestOneAlertPerSilence(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	first, second := w.start(), w.start()
	w.judgedAgain("signed")
	w.only("silence", 0)
	w.Exec(`UPDATE source SET registered_at = now() - interval '2 hours' WHERE source = 'signed'`)
	w.awaitAlert("silence", "error", 1, "nothing came to shop/signed (webhook) for 1h", "nothing ever came")
	w.judgedAgain("signed")
	w.only("silence", 1)

	second.Stop() // a restart knows what was told
	second = w.start()
	w.judgedAgain("signed")
	w.only("silence", 1)

	if status := second.signed("the-old-secret", `{"id": "1", "quantity": 1}`); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	w.awaitAlert("silence", "info", 1, "resolved: ", "shop/signed speaks again")
	w.judgedAgain("signed")
	w.Exec(`UPDATE source SET heard_at = now() - interval '61 minutes', registered_at = now() - interval '2 hours' WHERE source = 'signed'`)
	w.awaitAlert("silence", "error", 2, "the last thing came")
	first.Stop()
	second.Stop()
	w.only("silence", 2)
	if n := w.Logs.Count(`"a trouble of a source is over"`); n != 1 {
		t.Errorf("%d notes that it is over, want 1", n)
	}
}

// TestSecretRotated: many signatures that fit nothing are one alert; strangers without any are none.
func TestSecretRotated(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	r := w.start()
	if status := r.signed("the-old-secret", `{"id": "1", "quantity": 1}`); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	w.Await("the use of the secret in the ledger", func() bool {
		return world.One[bool](w, `SELECT secrets->>'OLD' IS NOT NULL FROM source WHERE source = 'signed'`)
	})
	w.Exec(`UPDATE source SET verified_at = verified_at - interval '10 minutes' WHERE source = 'signed'`)
	for range 25 {
		r.post("/in/signed", `{"id": "2"}`)
	}
	w.judgedAgain("signed")
	w.only("unproven", 0)
	for n := range 25 {
		r.signed("rotated-at-their-side", fmt.Sprintf(`{"id": "%d"}`, n))
	}
	got := w.awaitAlert("unproven", "error", 1, "was the secret rotated?", "25 requests to shop/signed (github)", "NEW never fitted, OLD last fitted 20")
	if strings.Contains(w.sentry.Everything(), "the-old-secret") {
		t.Errorf("a secret left the installation: %q", got)
	}
	w.judgedAgain("signed")
	w.only("unproven", 1)
	r.signed("the-new-secret", `{"id": "3", "quantity": 1}`)
	w.awaitAlert("unproven", "info", 1, "a secret of shop/signed fits again")
}

// TestFormatChanged: the fields before are known after a restart.
func TestFormatChanged(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	r := w.start()
	r.items(t, "good", 60, `"quantity": 2, "customer": {"mail": "ada@example.com"}`)
	w.Await("what was seen to be noted", func() bool {
		return world.One[int](w, `SELECT coalesce(sum(arrivals), 0)::int FROM source_minute WHERE source = 'keyed'`) == 60
	})
	w.Exec(`UPDATE source_minute SET minute = minute - interval '20 minutes' WHERE source = 'keyed'`)
	r.Stop()
	r = w.start()
	r.items(t, "bad", 60, `"qty": "2", "customer": {"e_mail": "ada@example.com"}`)
	w.awaitAlert("format_changed", "error", 1, "did their format change? 100 % of 60 arrivals of shop/keyed were rejected within 10m, before 0.0 %",
		"New fields: customer.e_mail (string), qty (string)", "Missing fields: customer.mail (string), quantity (number)", "Most frequent reasons: ")
	w.judgedAgain("keyed")
	w.only("format_changed", 1)
	if kept := world.One[string](w, `SELECT fields::text || told FROM source WHERE source = 'keyed'`); strings.Contains(kept, "ada") {
		t.Errorf("a value is kept: %s", kept)
	}
	w.Exec(`UPDATE source_minute SET minute = minute - interval '20 minutes' WHERE source = 'keyed'`)
	r.items(t, "again", 30, `"quantity": 2`)
	w.awaitAlert("format_changed", "info", 1, "shop/keyed is understood again")
}

// items posts records in one batch, until all are stored.
func (r replica) items(t *testing.T, name string, n int, fields string) {
	t.Helper()
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"id": "%s-%d", %s}`, name, i, fields))
	}
	r.Await("the batch to be stored", func() bool {
		status, _, _ := r.post("/in/keyed", "["+strings.Join(lines, ",")+"]", "X-Api-Key", "partner-key")
		return status == http.StatusMultiStatus
	})
}

// TestCheckIns: a scheduled look tells its monitor that it began, and how it ended.
func TestCheckIns(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	w.start()
	told := func(status string) bool {
		for line := range strings.Lines(w.sentry.Everything()) {
			if strings.Contains(line, `"monitor_slug":"waybill-shop-drop"`) && strings.Contains(line, `"status":"`+status+`"`) &&
				strings.Contains(line, `"value":"* * * * *"`) && strings.Contains(line, `"timezone":"Europe/Berlin"`) {
				return true
			}
		}
		return false
	}
	w.Await("the run that began", func() bool { return told("in_progress") })
	w.Await("the run that ended", func() bool { return told("ok") })
}
