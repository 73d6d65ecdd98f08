package egress_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func inside(t *testing.T, o egress.Options) *egress.Client {
	t.Helper()
	o.AllowPrivate = true
	return newClient(t, o)
}

func TestCall(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != `{"a":1}` || r.ContentLength != 7 {
			t.Errorf("body %q, length %d, %v", body, r.ContentLength, err)
		}
		seen <- r
		w.Header().Set("Set-Cookie", "session=canary")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "short and stout")
	})
	id := uuid.MustParse("0198a5a0-7c1f-7d5e-8d4c-111111111111")
	answer, i, err := inside(t, egress.Options{UserAgent: "waybill/1"}).Do(t.Context(), egress.Request{
		Method: "POST", URL: url + "/x?q=1&api_key=canary", Body: []byte(`{"a":1}`), TrackingID: id,
		Header: http.Header{"Authorization": {"Bearer canary"}, "idempotency-key": {"r-1"}},
	})
	if err != nil || answer.Status != 418 || string(answer.Body) != "short and stout" {
		t.Fatalf("%+v, %v", answer, err)
	}
	r := <-seen
	for name, want := range map[string]string{"Trackingid": id.String(), "User-Agent": "waybill/1", "Authorization": "Bearer canary", "Idempotency-Key": "r-1"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if strings.Contains(fmt.Sprintf("%+v", i), "canary") {
		t.Errorf("the interaction holds a secret: %+v", i)
	}
	if i.Status != 418 || i.Method != "POST" || i.RequestBody.Data != `{"a":1}` || i.ResponseBody.Bytes != 15 || i.TrackingID != id || i.DurationMS < 0 {
		t.Errorf("interaction: %+v", i)
	}
}

func TestTrackingIDIsMade(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get(egress.TrackingHeader)) })
	answer, i, err := inside(t, egress.Options{}).Do(t.Context(), egress.Request{URL: url})
	if err != nil || i.TrackingID == [16]byte{} || string(answer.Body) != uuid.UUID(i.TrackingID).String() {
		t.Errorf("sent %q, kept %x, %v", answer.Body, i.TrackingID, err)
	}
}

func TestRedirectsAreAnswers(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data?token=canary", http.StatusFound)
	})
	answer, i, err := inside(t, egress.Options{}).Do(t.Context(), egress.Request{URL: url})
	if err != nil || answer.Status != http.StatusFound || hits.Load() != 1 {
		t.Fatalf("%+v, %v, %d hits", answer, err, hits.Load())
	}
	if strings.Contains(i.ResponseHeader["Location"], "canary") {
		t.Errorf("location: %s", i.ResponseHeader["Location"])
	}
	if f := fault.FromHTTP(answer.Status, answer.Header, true, time.Now()); f.Class != fault.Credentials {
		t.Errorf("a redirect is %v", f)
	}
}

func TestProxyFromEnvironmentIsNotUsed(t *testing.T) {
	// Not parallel: it sets the environment.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	if _, _, err := inside(t, egress.Options{}).Do(t.Context(), egress.Request{URL: url}); err != nil {
		t.Error(err)
	}
}

func zipped(t *testing.T, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.CopyN(w, zeros{}, int64(size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	bomb := zipped(t, 64<<20)
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, text)
		}
	}
	endless := func(pause time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			chunk := make([]byte, 1)
			if pause == 0 {
				chunk = make([]byte, 64<<10)
			}
			tick := time.NewTimer(0)
			defer tick.Stop()
			for {
				select {
				case <-r.Context().Done():
					return
				case <-tick.C:
				}
				if _, err := w.Write(chunk); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				tick.Reset(pause)
			}
		}
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		code    egress.Code
		class   fault.Class
	}{
		{"endless body", endless(0), egress.CodeTooLarge, fault.System},
		{"drip", endless(time.Millisecond), egress.CodeTimeout, fault.System},
		{"silence", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the caller has left
			<-r.Context().Done()
		}, egress.CodeTimeout, fault.System},
		{"announced large", raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx"), egress.CodeTooLarge, fault.System},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}, egress.CodeTooLarge, fault.System},
		{"not gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			fmt.Fprint(w, "plain")
		}, egress.CodeBadResponse, fault.System},
		{"damaged gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb[:20])
		}, egress.CodeBadResponse, fault.System},
		{"cut short", raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"), egress.CodeReset, fault.System},
		{"closed", raw(""), egress.CodeReset, fault.System},
		{"not HTTP", raw("220 mail.example ESMTP\r\n\r\n"), egress.CodeBadResponse, fault.System},
		{"large header", raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 200<<10) + "\r\n\r\n"), egress.CodeTooLarge, fault.System},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, tt.handler)
			c := inside(t, egress.Options{MaxResponse: 256 << 10, Timeout: 2 * time.Second})
			_, i, err := c.Do(t.Context(), egress.Request{Method: "POST", URL: url, Body: []byte("x")})
			wantCode(t, err, tt.code)
			if f := fault.Of(err); f.Class != tt.class || f.Code != string(tt.code) {
				t.Errorf("class: %v", f)
			}
			if e, ok := err.(*egress.Error); !ok || !e.MayHaveExecuted() || i.Error == "" {
				t.Error("the outcome is unknown and must be said to be")
			}
		})
	}
}

func TestGzipAnswer(t *testing.T) {
	t.Parallel()
	body := zipped(t, 1000)
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body)
	})
	answer, _, err := inside(t, egress.Options{}).Do(t.Context(), egress.Request{URL: url})
	if err != nil || len(answer.Body) != 1000 || answer.Header.Get("Content-Encoding") != "" {
		t.Errorf("%d bytes, %v, %v", len(answer.Body), answer.Header, err)
	}
}

func TestNoConnection(t *testing.T) {
	t.Parallel()
	const refused = "http://127.0.0.1:1" // below every port that the system gives away
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // its complaint about our refusal is expected
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	noDNS := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, fmt.Errorf("no resolver")
	}}
	tests := []struct {
		name  string
		o     egress.Options
		url   string
		code  egress.Code
		class fault.Class
	}{
		{"refused", egress.Options{}, refused, egress.CodeConnect, fault.System},
		{"no name", egress.Options{Resolver: noDNS}, "http://crm.example./", egress.CodeDNS, fault.System},
		{"unknown authority", egress.Options{}, secure.URL, egress.CodeTLS, fault.Credentials},
		{"no TLS there", egress.Options{}, strings.Replace(plain, "http:", "https:", 1), egress.CodeTLS, fault.Credentials},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := inside(t, tt.o).Do(t.Context(), egress.Request{URL: tt.url})
			wantCode(t, err, tt.code)
			if f := fault.Of(err); f.Class != tt.class {
				t.Errorf("class: %v", f)
			}
			if e, ok := err.(*egress.Error); ok && e.MayHaveExecuted() {
				t.Error("nothing was sent")
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	_, _, err := inside(t, egress.Options{}).Do(ctx, egress.Request{URL: url})
	wantCode(t, err, egress.CodeCanceled)
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	url := serve(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	header := func(name, value string) egress.Request {
		return egress.Request{URL: url, Header: http.Header{name: {value}}}
	}
	tests := map[string]struct {
		r    egress.Request
		code egress.Code
	}{
		"line break":     {header("X-A", "a\r\nX-Injected: canary"), egress.CodeBadHeader},
		"newline":        {header("X-A", "a\nb"), egress.CodeBadHeader},
		"folded":         {header("X-A", "a\r\n b"), egress.CodeBadHeader},
		"NUL":            {header("X-A", "a\x00"), egress.CodeBadHeader},
		"name break":     {header("X-A\r\nX-B", "a"), egress.CodeBadHeader},
		"name colon":     {header("X-A: b", "a"), egress.CodeBadHeader},
		"empty name":     {header("", "a"), egress.CodeBadHeader},
		"space name":     {header("X A", "a"), egress.CodeBadHeader},
		"host":           {header("host", "evil.example"), egress.CodeBadHeader},
		"length":         {header("content-length", "0"), egress.CodeBadHeader},
		"encoding":       {header("Transfer-Encoding", "chunked"), egress.CodeBadHeader},
		"tracking id":    {header("TrackingID", "x"), egress.CodeBadHeader},
		"too many bytes": {header("X-A", strings.Repeat("x", 40<<10)), egress.CodeBadHeader},
		"method":         {egress.Request{URL: url, Method: "GET /x HTTP/1.1\r\n"}, egress.CodeBadURL},
		"file":           {egress.Request{URL: "file:///etc/passwd"}, egress.CodeBadURL},
		"gopher":         {egress.Request{URL: "gopher://127.0.0.1/"}, egress.CodeBadURL},
		"no host":        {egress.Request{URL: "http:///x"}, egress.CodeBadURL},
		"opaque":         {egress.Request{URL: "http:x"}, egress.CodeBadURL},
		"empty":          {egress.Request{}, egress.CodeBadURL},
		"control":        {egress.Request{URL: "http://a.example/\r\nX: y"}, egress.CodeBadURL},
		"port":           {egress.Request{URL: "http://a.example:x/"}, egress.CodeBadURL},
	}
	c := inside(t, egress.Options{})
	for name, tt := range tests {
		_, i, err := c.Do(t.Context(), tt.r)
		var e *egress.Error
		wantCode(t, err, tt.code)
		if f := fault.Of(err); f.Class != fault.Bug {
			t.Errorf("%s: class %s", name, f.Class)
		}
		if e, _ = err.(*egress.Error); e != nil && (e.MayHaveExecuted() || strings.Contains(e.Error(), "canary")) {
			t.Errorf("%s: %v", name, e)
		}
		if i.Error == "" {
			t.Errorf("%s: the interaction has no error", name)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests went out", hits.Load())
	}
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c := inside(t, egress.Options{})
	for range 20 {
		if _, _, err := c.Do(t.Context(), egress.Request{Method: "POST", URL: server.URL, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections for 20 calls in a row", conns.Load())
	}
}

func TestABodyIsNeverSentTwice(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		if hits.Add(1) == 1 {
			return // keeps the connection for the next call
		}
		conn, _, err := w.(http.Hijacker).Hijack() // did it, said nothing
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	c := inside(t, egress.Options{})
	r := egress.Request{Method: "POST", URL: url, Body: []byte("x"), Header: http.Header{"Idempotency-Key": {"k"}}}
	if _, _, err := c.Do(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Do(t.Context(), r)
	wantCode(t, err, egress.CodeReset)
	if hits.Load() != 2 {
		t.Errorf("%d requests for 2 calls", hits.Load())
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if _, err := egress.New(egress.Options{MaxResponse: -1}); err == nil {
		t.Error("a negative bound is taken")
	}
	if _, err := egress.New(egress.Options{TLS: &tls.Config{MaxVersion: tls.VersionTLS11}}); err == nil {
		t.Error("old TLS is taken")
	}
}
