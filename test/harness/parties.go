package harness

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Behaviour is how a party treats one request.
type Behaviour struct {
	Status     int           // 0: 200 and works
	Execute    bool          // with an error status: it did it, and said it failed
	Delay      time.Duration // before the answer
	Reset      bool          // the connection is cut instead of an answer
	RetryAfter string
	Body       string // instead of the usual one
}

// Call is what the third party saw of one request.
type Call struct {
	Key        string // Idempotency-Key
	RequestNo  string
	BodyHash   string
	Status     int // as shown; 0: cut
	Executed   bool
	ReceivedAt time.Time
}

// ThirdParty honours idempotency keys and journals every request.
type ThirdParty struct {
	URL string

	server *http.Server
	mu     sync.Mutex
	calls  []Call
	done   map[string]Call // by key: executed
	behave func(requestNo string, nth int) Behaviour
	seen   map[string]int // requests by request number
}

// NewThirdParty listens on loopback.
func NewThirdParty() (*ThirdParty, error) {
	p := &ThirdParty{done: map[string]Call{}, seen: map[string]int{}}
	var err error
	p.server, p.URL, err = serve(http.HandlerFunc(p.handle))
	return p, err
}

func serve(h http.Handler) (*http.Server, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with Close
	return server, "http://" + l.Addr().String(), nil
}

// Behave sets how requests are treated from now on; nth counts those of one request number from 1.
func (p *ThirdParty) Behave(f func(requestNo string, nth int) Behaviour) {
	p.mu.Lock()
	p.behave = f
	p.mu.Unlock()
}

// Calls is everything seen so far.
func (p *ThirdParty) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Call(nil), p.calls...)
}

// Close stops it.
func (p *ThirdParty) Close() { _ = p.server.Close() }

func (p *ThirdParty) handle(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 2<<20))
	if err != nil {
		return
	}
	var body struct {
		RequestNo string `json:"request_no"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sum := sha256.Sum256(raw)
	call := Call{Key: r.Header.Get("Idempotency-Key"), RequestNo: body.RequestNo, BodyHash: hex.EncodeToString(sum[:8]), ReceivedAt: time.Now()}
	b := p.decide(&call)
	p.mu.Lock()
	p.calls = append(p.calls, call)
	p.mu.Unlock()
	if b.Delay > 0 {
		select {
		case <-time.After(b.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if b.Reset {
		panic(http.ErrAbortHandler)
	}
	if b.RetryAfter != "" {
		w.Header().Set("Retry-After", b.RetryAfter)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(call.Status)
	if b.Body != "" {
		_, _ = io.WriteString(w, b.Body)
		return
	}
	fmt.Fprintf(w, `{"id":"crm-%s"}`, body.RequestNo)
}

func (p *ThirdParty) decide(call *Call) Behaviour {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[call.RequestNo]++
	b := Behaviour{}
	if p.behave != nil {
		b = p.behave(call.RequestNo, p.seen[call.RequestNo])
	}
	call.Status = http.StatusOK
	if b.Status != 0 {
		call.Status = b.Status
	}
	if b.Reset {
		call.Status = 0
	}
	works := call.Status >= 200 && call.Status < 300 || b.Execute
	if _, before := p.done[call.Key]; works && !before {
		call.Executed = true
		p.done[call.Key] = *call
	}
	return b
}

// Told is one status that the partner was told.
type Told struct {
	ID             string `json:"id"`
	Outcome        int    `json:"outcome"`
	State          string `json:"state"`
	IdempotencyKey string `json:"idempotency_key"`
	Confirmed      bool   `json:"-"`
	Signed         bool   `json:"-"`
}

// Partner takes signed statuses and journals them.
type Partner struct {
	URL string

	server *http.Server
	mu     sync.Mutex
	told   []Told
	posts  int
	behave func(post int) Behaviour
	omit   func(t Told) bool
}

// NewPartner listens on loopback; it confirms everything until told otherwise.
func NewPartner() (*Partner, error) {
	p := &Partner{}
	var err error
	p.server, p.URL, err = serve(http.HandlerFunc(p.handle))
	return p, err
}

// Behave sets how posts are treated from now on, counted from 1; omit leaves single statuses unconfirmed.
func (p *Partner) Behave(f func(post int) Behaviour, omit func(Told) bool) {
	p.mu.Lock()
	p.behave, p.omit, p.posts = f, omit, 0
	p.mu.Unlock()
}

// Told is everything told so far.
func (p *Partner) Told() []Told {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Told(nil), p.told...)
}

// Close stops it.
func (p *Partner) Close() { _ = p.server.Close() }

func (p *Partner) handle(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		return
	}
	var body struct {
		Statuses []Told `json:"statuses"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	signed := Verify(raw, r.Header)
	p.mu.Lock()
	p.posts++
	b := Behaviour{}
	if p.behave != nil {
		b = p.behave(p.posts)
	}
	status := http.StatusOK
	if b.Status != 0 {
		status = b.Status
	}
	var confirmed []map[string]any
	for _, t := range body.Statuses {
		t.Signed = signed
		t.Confirmed = signed && status < 300 && b.Body == "" && !b.Reset && (p.omit == nil || !p.omit(t))
		if t.Confirmed {
			confirmed = append(confirmed, map[string]any{"id": t.ID, "outcome": t.Outcome})
		}
		p.told = append(p.told, t)
	}
	p.mu.Unlock()
	if b.Reset {
		panic(http.ErrAbortHandler)
	}
	if b.RetryAfter != "" {
		w.Header().Set("Retry-After", b.RetryAfter)
	}
	if status >= 300 && status < 400 {
		w.Header().Set("Location", p.URL+"/elsewhere")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if b.Body != "" {
		_, _ = io.WriteString(w, b.Body)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"confirmed": confirmed})
}

func secretKey() []byte {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(Secret, "whsec_"))
	if err != nil {
		panic(err) // a constant
	}
	return key
}

// Sign makes the Standard Webhooks headers, by the specification's text.
func Sign(id string, at time.Time, body []byte) http.Header {
	stamp := fmt.Sprint(at.Unix())
	return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {"v1," + signature(id, stamp, body)}}
}

func signature(id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, secretKey())
	fmt.Fprintf(mac, "%s.%s.", id, stamp)
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Verify checks Standard Webhooks headers.
func Verify(body []byte, h http.Header) bool {
	want := "v1," + signature(h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), body)
	for got := range strings.FieldsSeq(h.Get("Webhook-Signature")) {
		if hmac.Equal([]byte(got), []byte(want)) {
			return true
		}
	}
	return false
}
