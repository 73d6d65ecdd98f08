package poll_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// thing is an item of the partner's API, in its newest version.
type thing struct {
	ID      int       `json:"id"`
	Version int       `json:"version"`
	Updated time.Time `json:"updated_at"`
	Note    string    `json:"note"`
}

func (t thing) key() string { return fmt.Sprintf("%d/%d", t.ID, t.Version) }

// lies are what the partner does wrong: each number is how many of a hundred
// requests it happens to.
type lies struct {
	Cut       int // the connection ends in the middle of the page
	Truncated int // 200 with half of the JSON
	Broken    int // 500
	Limited   int // 429 with Retry-After
	Repeated  int // the page before once more
	Changed   int // items change right before the page is made
	Expired   int // the cursor is not known any more
}

// api is a partner's list API: keyset cursors, numbered pages, offsets, links and
// addresses over the same list, and lies.
type api struct {
	*httptest.Server
	mu       sync.Mutex
	dice     *rand.Rand
	lies     lies
	skew     time.Duration // of its clock
	hidden   time.Duration // how long a change is not visible in the list
	size     int           // of a page
	list     map[int]thing
	served   map[string]bool // versions that a client may have seen
	before   []byte          // the answer before
	last     time.Time       // of the last change: times rise
	requests int
	busy     int
	atOnce   int
	answer   func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	queries  []url.Values
}

func newAPI(t *testing.T, seed uint64) *api {
	t.Helper()
	a := &api{dice: rand.New(rand.NewPCG(seed, 1)), size: 10, list: map[int]thing{}, served: map[string]bool{}}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Server.Close)
	return a
}

// now is the partner's clock.
func (a *api) now() time.Time { return time.Now().Add(a.skew) }

// put makes or changes an item; a.mu is held.
func (a *api) put(id int) {
	at := a.now().Truncate(time.Microsecond)
	if !at.After(a.last) {
		at = a.last.Add(time.Microsecond)
	}
	a.last = at
	a.list[id] = thing{ID: id, Version: a.list[id].Version + 1, Updated: at, Note: fmt.Sprintf("note %d", a.dice.IntN(1000))}
}

// fill makes n items, changed one second apart until age ago.
func (a *api) fill(n int, age time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range n {
		id := len(a.list) + 1
		a.list[id] = thing{ID: id, Version: 1, Updated: a.now().Add(-age - time.Duration(n-i)*time.Second).Truncate(time.Microsecond), Note: "old"}
	}
}

func (a *api) set(change func(*api)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// keys are those of the newest versions.
func (a *api) keys() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	keys := make([]string, 0, len(a.list))
	for _, t := range a.list {
		keys = append(keys, t.key())
	}
	slices.Sort(keys)
	return keys
}

// happens throws the dice; a.mu is held.
func (a *api) happens(percent int) bool { return a.dice.IntN(100) < percent }

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.requests++
	a.busy++
	a.atOnce = max(a.atOnce, a.busy)
	a.queries = append(a.queries, r.URL.Query())
	answer := a.answer
	a.mu.Unlock()
	defer a.set(func(a *api) { a.busy-- })
	if answer != nil && answer(w, r) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lie(w, r) {
		return
	}
	body, link := a.page(r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Date", a.now().UTC().Format(http.TimeFormat))
	if link != "" {
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="first", <%s>; rel="next"`, a.URL+"/things", link))
	}
	switch {
	case a.happens(a.lies.Repeated) && a.before != nil:
		body = a.before
	case a.happens(a.lies.Truncated):
		body = body[:len(body)/2]
	case a.happens(a.lies.Cut):
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	}
	a.before = body
	w.Write(body)
}

// lie answers wrongly, or changes what the page will be made of.
func (a *api) lie(w http.ResponseWriter, r *http.Request) bool {
	if a.happens(a.lies.Changed) && len(a.list) > 0 {
		for range 1 + a.dice.IntN(3) {
			if a.happens(30) {
				a.put(len(a.list) + 1)
			} else {
				a.put(1 + a.dice.IntN(len(a.list)))
			}
		}
	}
	switch q := r.URL.Query(); {
	case a.happens(a.lies.Broken):
		w.WriteHeader(http.StatusInternalServerError)
	case a.happens(a.lies.Limited):
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case a.happens(a.lies.Expired) && q.Get("cursor") != "":
		w.WriteHeader(http.StatusGone)
	default:
		return false
	}
	return true
}

// page makes the answer; a.mu is held.
func (a *api) page(r *http.Request) (body []byte, link string) {
	q := r.URL.Query()
	since, _ := time.Parse(time.RFC3339Nano, q.Get("since"))
	visible := a.now().Add(-a.hidden)
	var all []thing
	for _, t := range a.list {
		if !t.Updated.Before(since) && !t.Updated.After(visible) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(x, y thing) int { return cmp.Or(x.Updated.Compare(y.Updated), x.ID-y.ID) })
	begin := 0
	if at, id, ok := readCursor(q.Get("cursor")); ok { // a keyset: what changes moves behind it
		begin = len(all)
		for k, t := range all {
			if t.Updated.After(at) || t.Updated.Equal(at) && t.ID > id {
				begin = k
				break
			}
		}
	}
	if page, err := strconv.Atoi(q.Get("page")); err == nil {
		begin = (page - 1) * a.size
	}
	if offset, err := strconv.Atoi(q.Get("offset")); err == nil {
		begin = offset
	}
	some := all[min(begin, len(all)):min(begin+a.size, len(all))]
	answer := map[string]any{"data": append([]thing{}, some...), "more": begin+a.size < len(all)}
	if begin+a.size < len(all) {
		last := some[len(some)-1]
		cursor := fmt.Sprintf("%d.%d", last.Updated.UnixMicro(), last.ID)
		q.Set("cursor", cursor)
		link = a.URL + r.URL.Path + "?" + q.Encode()
		answer["next"], answer["next_url"] = cursor, link
	}
	for _, t := range some {
		a.served[t.key()] = true
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	return body, link
}

func readCursor(text string) (at time.Time, id int, ok bool) {
	var micro int64
	n, _ := fmt.Sscanf(text, "%d.%d", &micro, &id)
	return time.UnixMicro(micro), id, n == 2
}
