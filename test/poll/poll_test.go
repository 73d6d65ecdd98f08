package poll_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// polled is an integration that polls the API; more is put into the poll.
func polled(address, next, query, more string) string {
	return fmt.Sprintf(`integration: things
sources:
  - idempotency_key: string(body.id) + "/" + string(body.version)
    poll:
      url: %s/things
      items: /data
      next: {%s}
      query: {since: since%s}
      since: {field: /updated_at, overlap: 2s}
      every: 1s
      auth: {bearer: "${PARTNER_TOKEN}"}
      allow_private: true
%s
record:
  entity_key: string(body.id)
  schema: {type: object, required: [id, version], properties: {id: {type: integer}}}
`, address, next, query, more)
}

// ways are all the ways to the next page.
func ways() map[string][2]string {
	return map[string][2]string{
		"cursor": {"cursor: /next", ", cursor: cursor"},
		"link":   {"link: true", ""},
		"url":    {"url: /next_url", ""},
		"page":   {"page: true", ", page: page"},
		"offset": {"offset: true, more: /more", ", offset: offset"},
	}
}

// TestEveryWay reads a list by each way to the next page, then what changes.
func TestEveryWay(t *testing.T) {
	t.Parallel()
	for name, way := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, 1)
			a.fill(95, time.Minute)
			w := newPoller(t, polled(a.URL, way[0], way[1], ""))
			w.start()
			w.Await("the first run", func() bool { return w.runs() > 0 })
			w.covers(a)
			a.set(func(a *api) { a.put(3); a.put(96) })
			w.Await("the changes", func() bool { return slices.Equal(w.keys(), slices.Concat(w.keys()[:0], expected(a, w))) })
			w.again(2)
			w.covers(a)
			if n := len(w.keys()); n != 97 {
				t.Errorf("%d records, want 97", n)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if last := a.queries[len(a.queries)-1]; name == "cursor" && last.Get("since") < time.Now().Add(-30*time.Second).UTC().Format(time.RFC3339) {
				t.Errorf("the last run asked since %s: the mark has not moved", last.Get("since"))
			}
		})
	}
}

// expected is what the ledger has, with what is still missing of the API's.
func expected(a *api, w *poller) []string {
	keys := append(w.keys(), a.keys()...)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// TestLies lets the partner do everything wrong at once, for each way, with clocks
// that are wrong and changes that become visible late.
func TestLies(t *testing.T) {
	t.Parallel()
	skews := map[string]time.Duration{"cursor": -3 * time.Hour, "page": 3 * time.Hour, "offset": -10 * time.Minute, "link": 0, "url": time.Hour}
	seed := uint64(0)
	for name, way := range ways() {
		seed++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, seed)
			a.skew, a.hidden = skews[name], 500*time.Millisecond
			a.fill(60, time.Minute)
			w := newPoller(t, polled(a.URL, way[0], way[1], ""))
			a.lies = lies{Cut: 3, Truncated: 3, Broken: 3, Limited: 2, Repeated: 3, Changed: 40, Expired: 3}
			w.start()
			w.Await("many requests", func() bool { w.impatient(); return a.count() > 25 })
			a.set(func(a *api) { a.lies, a.hidden = lies{}, 0 }) // two runs may end before the last change would be visible
			w.impatient()
			w.again(2)
			w.covers(a)
			if w.Logs.Has("panic") {
				t.Error("something panicked")
			}
			t.Logf("%d requests, %d records, %d failures", a.count(), len(w.keys()), w.Logs.Count("a poll failed"))
		})
	}
}

func (a *api) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}
