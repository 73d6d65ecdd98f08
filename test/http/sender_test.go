package http_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"waybill.internal/test/world"
)

// sender writes a request by hand.
type sender struct {
	*door
	conn    net.Conn
	request *http.Request
}

// open announces a body, and sends none of it.
func open(w *door, path string, length int) *sender {
	w.Helper()
	u, err := url.Parse(w.url)
	w.Must(err)
	conn, err := (&net.Dialer{}).DialContext(w.Context(), "tcp", u.Host)
	w.Must(err)
	w.Cleanup(func() { _ = conn.Close() })
	w.Must(conn.SetDeadline(time.Now().Add(world.Patience)))
	r, err := http.NewRequestWithContext(w.Context(), http.MethodPost, w.url+path, nil)
	w.Must(err)
	s := &sender{w, conn, r}
	s.write(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, u.Host, partner, length))
	return s
}

func (s *sender) write(text string) {
	s.Helper()
	_, err := s.conn.Write([]byte(text))
	s.Must(err)
}

func (s *sender) answer() answer {
	s.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(s.conn), s.request)
	s.Must(err)
	return s.read(s.request, resp)
}

// slow: who announces a body and does not send it is cut off, with a reason.
func slow(w *door) {
	w.Helper()
	silent := open(w, "/in/keyed", 1000)
	drop := open(w, "/in/keyed", 1000)
	drop.write(`{"id":`)
	w.Must(drop.conn.(*net.TCPConn).CloseWrite())
	drop.answer().is(400, "body_incomplete")
	silent.write(`{"id":`)
	silent.answer().is(408, "too_slow")
}

// TestForwarded: behind a proxy of ours each client has its own limits; anybody
// else's word about clients is not believed.
func TestForwarded(t *testing.T) {
	t.Parallel()
	form := url.Values{"email": {"a@b.example"}}
	for name, c := range map[string]struct {
		proxies string
		later   bool // the fourth form, which another client sends
	}{"trusted": {"127.0.0.1, 10.0.0.0/8", false}, "not trusted": {"10.0.0.0/8", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDoor(t, "WAYBILL_INGEST_TRUSTED_PROXIES", c.proxies)
			for range 3 {
				post(w, "/in/plain", form, "X-Forwarded-For", "9.9.9.9, 203.0.113.1, 10.1.2.3").is(200)
			}
			want := 200
			if c.later {
				want = 429
			}
			post(w, "/in/plain", form, "X-Forwarded-For", "9.9.9.9, 203.0.113.2, 10.1.2.3").is(want)
			post(w, "/in/plain", form, "X-Forwarded-For", "8.8.8.8, 203.0.113.1").is(429)
			for i := range 3 {
				post(w, "/in/plain", form, "X-Forwarded-For", fmt.Sprintf("2001:db8::%d", i)).is(want)
			}
			post(w, "/in/plain", form, "X-Forwarded-For", "2001:db8::ffff").is(429)
		})
	}
}

// TestListing: what a partner polls is complete, in order and its own.
func TestListing(t *testing.T) {
	t.Parallel()
	w := newDoor(t)
	w.send("POST", "/in/other", `{"id":"theirs"}`, "X-Api-Key", another).is(202)
	type page struct {
		Records []receipt
		Cursor  string
		More    bool
	}
	const n = 130
	sent := make(chan string, n)
	go func() { // ends after n posts
		defer close(sent)
		for i := range n {
			body := fmt.Sprintf(`{"id":"list-%d"}`, i)
			if i%10 == 9 {
				body = fmt.Sprintf(`{"id":"list-%d","amount":-1}`, i)
			}
			r, err := http.NewRequestWithContext(w.Context(), http.MethodPost, w.url+"/in/keyed", strings.NewReader(body))
			if err != nil {
				break
			}
			r.Header.Set("X-Api-Key", partner)
			if resp, err := w.client.Do(r); err == nil {
				_ = resp.Body.Close()
				sent <- body
			}
		}
	}()
	seen, cursor := map[string]int{}, ""
	w.Await("all records to be listed", func() bool {
		query := "?limit=7"
		if cursor != "" {
			query += "&cursor=" + cursor
		}
		a := w.send("GET", "/v1/records"+query, "", "X-Api-Key", partner)
		if a.status == http.StatusTooManyRequests {
			return false
		}
		p := decode[page](a.is(200))
		for _, r := range p.Records {
			seen[r.IdempotencyKey]++
		}
		cursor = p.Cursor
		return len(seen) == n
	})
	for range sent {
	}
	for key, times := range seen {
		if times != 1 || !strings.HasPrefix(key, "list-") {
			t.Errorf("%s was listed %d times", key, times)
		}
	}
	ask := func(query, key string) page {
		return decode[page](w.send("GET", "/v1/records"+query, "", "X-Api-Key", key).is(200))
	}
	w.expect("rejected", len(ask("?state=rejected", reader).Records), 13)
	w.expect("nothing new", len(ask("?cursor="+cursor, reader).Records), 0)
	w.expect("since tomorrow", len(ask("?since="+time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339), reader).Records), 0)
	w.expect("since an hour ago", len(ask("?limit=500&since="+url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339)), reader).Records), n)
	theirs := ask("", another)
	if len(theirs.Records) != 1 || theirs.Records[0].IdempotencyKey != "theirs" || theirs.More {
		t.Errorf("the other partner sees %+v", theirs)
	}
}
