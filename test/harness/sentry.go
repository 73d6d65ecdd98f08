package harness

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Sentry receives envelopes as Sentry would.
type Sentry struct {
	DSN string

	server *http.Server
	mu     sync.Mutex
	events []Alert
	raw    []string
}

// Alert is one event as Sentry got it.
type Alert struct {
	Message     string            `json:"message"`
	Level       string            `json:"level"`
	Fingerprint []string          `json:"fingerprint"`
	Tags        map[string]string `json:"tags"`
	Raw         string            `json:"-"`
}

// NewSentry listens on loopback.
func NewSentry() (*Sentry, error) {
	s := &Sentry{}
	var url string
	var err error
	s.server, url, err = serve(http.HandlerFunc(s.handle))
	s.DSN = strings.Replace(url, "http://", "http://publickey@", 1) + "/1"
	return s, err
}

// Close stops it.
func (s *Sentry) Close() { _ = s.server.Close() }

// Alerts is every event so far.
func (s *Sentry) Alerts() []Alert {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Alert(nil), s.events...)
}

// Everything is all that was ever received, as text.
func (s *Sentry) Everything() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.raw, "\n")
}

func (s *Sentry) handle(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = io.LimitReader(r.Body, 4<<20)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, string(raw))
	lines := bytes.Split(raw, []byte("\n"))
	for i, line := range lines {
		var item struct{ Type string }
		if json.Unmarshal(line, &item) == nil && item.Type == "event" && i+1 < len(lines) {
			a := Alert{Raw: string(lines[i+1])}
			if json.Unmarshal(lines[i+1], &a) == nil {
				s.events = append(s.events, a)
			}
		}
	}
	_, _ = io.WriteString(w, `{}`)
}
