package simulated

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/signature"
)

// Bounds of the sender.
const (
	maxConcurrency = 4096
	maxReceipts    = 100_000 // receipt ids kept in the report; all are in the journal
	maxAnswer      = 64 << 10
	defaultTries   = 100
	defaultPause   = 200 * time.Millisecond
	maxPause       = 10 * time.Second // also the longest Retry-After that is honoured
)

// Sender posts generated service requests as a partner would: signed, several at
// once, and again and again until there is a definite answer.
type Sender struct {
	URL         string
	Key         string // whsec_ or whsk_ key to sign with
	Seed        uint64
	Count       int // sendings
	Concurrency int // default 16, at most 4096
	Mix         Mix
	MaxTries    int           // of one sending, default 100
	Timeout     time.Duration // of one try, default 10 s
	Client      *http.Client  // default: a client of its own without redirects
	Journal     *Journal      // intent before each sending, outcome after it; may be nil
	Now         func() time.Time
}

// Counts are the answers so far. Sent = Accepted + Duplicates + Refused + Undecided.
type Counts struct {
	Sent       int64 `json:"sent"` // sendings that are over
	Accepted   int64 `json:"accepted"`
	Duplicates int64 `json:"duplicates"` // told "duplicate", also after a try whose answer was lost
	Refused    int64 `json:"refused"`
	Undecided  int64 `json:"undecided"` // tries used up, or ended by the context
	Retries    int64 `json:"retries"`   // tries beyond the first
	Retried    int64 `json:"retried"`   // sendings that needed more than one try
}

// Report is what a run brought.
type Report struct {
	Counts
	Statuses map[int]int64 `json:"statuses"` // definite answers by status
	Receipts []string      `json:"receipts"` // ids from the receipts, at most 100,000
}

type senderLine struct {
	At        time.Time `json:"at"`
	Event     string    `json:"event"` // intent or outcome
	N         int       `json:"n"`
	Kind      Kind      `json:"kind"`
	EventID   string    `json:"event_id"`
	RequestNo string    `json:"request_no"`
	Body      string    `json:"body"` // hash of the body
	Status    int       `json:"status,omitempty"`
	Receipt   string    `json:"receipt,omitempty"`
	Duplicate bool      `json:"duplicate,omitempty"`
	Tries     int       `json:"tries,omitempty"`
}

// run is one run of a Sender.
type run struct {
	Sender
	key  signature.Key
	next atomic.Int64

	mu     sync.Mutex
	report Report
	err    error // first failure of our own: journal, encoding
}

// Run sends everything, or until the context ends. Progress, if given, is called
// after each sending with the counts so far, one call at a time. The error is of
// our own doing (journal, settings) or the context's; answers are never errors.
func (s Sender) Run(ctx context.Context, progress func(Counts)) (Report, error) {
	r, err := s.prepare()
	if err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range r.Concurrency {
		wg.Go(func() { // ends with the last sending, the context or the first failure
			for ctx.Err() == nil {
				n := int(r.next.Add(1)) - 1
				if n >= r.Count {
					return
				}
				if err := r.one(ctx, n, progress); err != nil {
					r.fail(err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	r.Client.CloseIdleConnections()
	if r.err == nil && r.report.Sent < int64(r.Count) {
		r.err = ctx.Err()
	}
	return r.report, r.err
}

func (s Sender) prepare() (*run, error) {
	key, err := signature.ParseKey(s.Key)
	if err != nil {
		return nil, fmt.Errorf("simulated: sender: %w", err)
	}
	if err := s.Mix.check(); err != nil {
		return nil, err
	}
	if s.Concurrency == 0 {
		s.Concurrency = 16
	}
	if s.Count < 0 || s.Concurrency < 0 || s.Concurrency > maxConcurrency || s.MaxTries < 0 || s.Timeout < 0 {
		return nil, fmt.Errorf("simulated: sender: count, tries and timeout must not be negative, concurrency must lie between 1 and %d", maxConcurrency)
	}
	if s.MaxTries == 0 {
		s.MaxTries = defaultTries
	}
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Second
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Client == nil {
		s.Client = &http.Client{
			Transport:     &http.Transport{MaxIdleConns: s.Concurrency, MaxIdleConnsPerHost: s.Concurrency, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &run{Sender: s, key: key, report: Report{Statuses: map[int]int64{}}}, nil
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

// reply is the definite answer of a sending; status 0: there is none.
type reply struct {
	status    int
	receipt   string
	duplicate bool
	tries     int
}

func (r *run) one(ctx context.Context, n int, progress func(Counts)) error {
	s, err := r.Mix.sending(r.Seed, n)
	if err != nil {
		return err
	}
	line := senderLine{At: r.Now().UTC(), Event: "intent", N: n, Kind: s.kind, EventID: s.eventID, RequestNo: s.request.RequestNo, Body: digestOf(s.body).String()}
	if err := r.Journal.Write(line); err != nil {
		return err
	}
	a, err := r.until(ctx, s)
	if err != nil {
		return err
	}
	line.At, line.Event = r.Now().UTC(), "outcome"
	line.Status, line.Receipt, line.Duplicate, line.Tries = a.status, a.receipt, a.duplicate, a.tries
	if err := r.Journal.Write(line); err != nil {
		return err
	}
	r.note(a, progress)
	return nil
}

func (r *run) note(a reply, progress func(Counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.report.Counts
	c.Sent++
	c.Retries += int64(max(0, a.tries-1))
	if a.tries > 1 {
		c.Retried++
	}
	switch {
	case a.status == 0:
		c.Undecided++
	case a.status >= 200 && a.status < 300 && a.duplicate:
		c.Duplicates++
	case a.status >= 200 && a.status < 300:
		c.Accepted++
	default:
		c.Refused++
	}
	if a.status != 0 {
		r.report.Statuses[a.status]++
	}
	if a.receipt != "" && len(r.report.Receipts) < maxReceipts {
		r.report.Receipts = append(r.report.Receipts, a.receipt)
	}
	if progress != nil {
		progress(*c)
	}
}

// until tries until a definite answer, MaxTries or the end of the context.
func (r *run) until(ctx context.Context, s sending) (reply, error) {
	var a reply
	for a.tries < r.MaxTries && ctx.Err() == nil {
		a.tries++
		got, pause, err := r.try(ctx, s)
		if err != nil {
			return a, err
		}
		if got.status != 0 {
			got.tries = a.tries
			return got, nil
		}
		_ = clock.Sleep(ctx, pause)
	}
	return a, nil
}

// try posts once. Status 0 with a pause means: not definite, come again.
func (r *run) try(ctx context.Context, s sending) (reply, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(s.body))
	if err != nil {
		return reply{}, 0, fmt.Errorf("simulated: sender: %w", err)
	}
	if s.kind != Unsigned {
		// Signed anew for each try: the timestamp must be fresh, the id stays.
		h, err := signature.Sign([]signature.Key{r.key}, s.eventID, r.Now(), s.body)
		if err != nil {
			return reply{}, 0, err
		}
		req.Header = h
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.Client.Do(req)
	if err != nil {
		return reply{}, defaultPause, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return reply{}, defaultPause, nil // the answer was cut off: nothing definite
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return reply{}, retryAfter(resp.Header, r.Now()), nil
	}
	if resp.StatusCode >= 500 {
		return reply{}, retryAfter(resp.Header, r.Now()), nil
	}
	a := reply{status: resp.StatusCode}
	var receipt struct {
		ID        string `json:"id"`
		Duplicate bool   `json:"duplicate"`
	}
	if json.Unmarshal(body, &receipt) == nil && resp.StatusCode < 300 {
		a.receipt, a.duplicate = receipt.ID, receipt.Duplicate
	}
	return a, 0, nil
}

// retryAfter reads seconds or a date, held between the default pause and maxPause.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	d := defaultPause
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		d = time.Duration(min(n, int(maxPause/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, defaultPause), maxPause)
}
