package file_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.internal/test/world"
)

// partner is a web server with one file, which may break off what it sends.
type partner struct {
	*httptest.Server
	mu      sync.Mutex
	content []byte
	changed time.Time
	cutAt   int // bytes of an answer that are sent before the connection ends; 0: all
}

func newPartner(t *testing.T, content []byte) *partner {
	t.Helper()
	p := &partner{content: content, changed: time.Now().Add(-time.Hour)}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *partner) set(content []byte, cutAt int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !bytes.Equal(content, p.content) {
		p.content, p.changed = content, p.changed.Add(time.Minute)
	}
	p.cutAt = cutAt
}

func (p *partner) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	p.mu.Lock()
	content, changed, cut := p.content, p.changed, p.cutAt
	p.mu.Unlock()
	w.Header().Set("ETag", fmt.Sprintf(`"%d-%d"`, len(content), changed.Unix()))
	out := &cutting{ResponseWriter: w, left: cut}
	http.ServeContent(out, q, "orders.csv", changed, bytes.NewReader(content))
	if out.broken {
		panic(http.ErrAbortHandler)
	}
}

// cutting ends an answer after some bytes.
type cutting struct {
	http.ResponseWriter
	left, n int
	broken  bool
}

func (c *cutting) Write(b []byte) (int, error) {
	if c.left > 0 && c.n+len(b) > c.left {
		b, c.broken = b[:c.left-c.n], true
	}
	n, err := c.ResponseWriter.Write(b)
	c.n += n
	if c.broken && err == nil {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		err = http.ErrAbortHandler
	}
	return n, err
}

func afar(url string) string {
	return strings.Replace(dropWith(`every: "0 0 1 1 *", after: keep, allow_private: true`), `"in/*.csv"`, `"`+url+`/orders.csv"`, 1)
}

// pull asks for a look and waits for its answer.
func (w *inbox) pull() {
	w.Helper()
	id := world.One[int64](w, `INSERT INTO file_request (integration, source, actor) VALUES ('drop', 'shops', 'test') RETURNING id`)
	w.Await("the look", func() bool {
		return world.One[bool](w, `SELECT ended_at IS NOT NULL FROM file_request WHERE id = $1`, id)
	})
}

// TestAfar: a file on a web server is fetched once, again when it changes, and
// what broke off is gone on with.
func TestAfar(t *testing.T) {
	t.Parallel()
	first := orders(5000, strings.Repeat("x", 100))
	p := newPartner(t, first)
	w := newInbox(t, afar(p.URL))
	stop := w.start()
	w.Await("the file", func() bool { return w.stateOf("orders.csv") == "done" })
	w.closed("done", first, 5000, 5000, 0, 0)
	w.pull()
	stop()
	stop = w.start()
	w.pull()
	if n := w.fetches(); n != 1 {
		t.Errorf("%d fetches of an unchanged file, want 1", n)
	}
	second := orders(6000, strings.Repeat("y", 100))
	p.set(second, 200_000) // of each answer
	w.pull()
	p.set(second, 0)
	w.Await("the changed file", func() bool {
		w.pull()
		return world.One[int64](w, `SELECT count(*) FROM file WHERE state = 'done'`) == 2
	})
	stop()
	if got := world.One[int64](w, `SELECT rows_done FROM file WHERE previous = 1`); got != 6000 {
		t.Errorf("%d rows of the changed file, want 6000", got)
	}
	if !w.Logs.Has(`"bytes_here":200`) {
		t.Error("the transfer that broke off was begun anew")
	}
}

func (w *inbox) fetches() int { return w.Logs.Count(`"message":"fetching a file"`) }

// TestAfarReplicas: of two ingests one fetches.
func TestAfarReplicas(t *testing.T) {
	t.Parallel()
	content := orders(3000, "x")
	p := newPartner(t, content)
	w := newInbox(t, afar(p.URL))
	w.start()
	w.start()
	w.Await("the file", func() bool { return w.stateOf("orders.csv") == "done" })
	w.pull()
	w.pull()
	w.closed("done", content, 3000, 3000, 0, 0)
	if n := w.fetches(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}
