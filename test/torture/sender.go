package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waybill.internal/test/harness"
	"waybill.internal/test/torture/journal"
)

const (
	senders = 48
	// sendQueue bounds what is due and not yet taken; what comes on top is not sent.
	sendQueue = 4096
	// tries is how often a patient sender sends an event that got no definite answer.
	tries      = 4
	recentKept = 2000
	burstEvery = 20 * time.Second
	burstFor   = time.Second
	burstTimes = 3
	fileEvery  = 25 * time.Second
	fileRows   = 400
)

// get asks once; status 0 is no answer.
func get(ctx context.Context, address string) (int, string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, ""
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // for a message only
	return resp.StatusCode, string(body)
}

// item is an event of the sender.
type item struct {
	id, requestNo, product string
	fate                   journal.Fate
	patient                bool
	again                  bool // it was sent before
}

func (e item) body(corrected bool) []byte {
	closed := "2026-01-02T12:00:00+01:00"
	if e.fate == journal.Invalid || e.fate == journal.Corrected && !corrected {
		closed = "2026-01-02T09:00:00Z" // before it was opened
	}
	quantity := "1"
	if e.fate == journal.Dead {
		quantity = "many"
	}
	if e.fate == journal.NoRecord && strings.HasPrefix(e.requestNo, "BAD") {
		return []byte(`{"request_no": "` + e.requestNo + `", `)
	}
	return fmt.Appendf(nil, `{"request_no":%q,"product":%q,"quantity":%q,"opened_at":"2026-01-02T10:00:00Z","closed_at":%q}`, e.requestNo, e.product, quantity, closed)
}

// sender posts at a steady rate with bursts, drops files, and writes down what it
// meant and what it was told.
type sender struct {
	urls    []string
	drop    string
	rate    int // events a second
	journal *journal.Writer[journal.Sent]
	files   *journal.Writer[journal.Dropped]
	client  *http.Client

	random *rand.Rand // of the one goroutine that draws
	count  int
	mu     sync.Mutex
	recent []item // a ring once it is full
	oldest int
	shed   atomic.Int64
	sent   atomic.Int64
}

func newSender(c *cluster, seed uint64, rate int) (*sender, error) {
	s := &sender{rate: rate, drop: c.drop, random: rand.New(rand.NewPCG(seed, 1)),
		client: &http.Client{Timeout: 6 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: senders}}}
	for _, n := range c.of("ingest") {
		s.urls = append(s.urls, "http://"+n.http+"/in/service-requests")
	}
	var err error
	if s.journal, err = journal.Create[journal.Sent](c.dir, journal.SenderFile); err != nil {
		return nil, err
	}
	s.files, err = journal.Create[journal.Dropped](c.dir, journal.FilesFile)
	return s, err
}

func (s *sender) close() error {
	s.client.CloseIdleConnections()
	return errors.Join(s.journal.Close(), s.files.Close())
}

// run sends until ctx ends, and returns when every request has been answered or given up.
func (s *sender) run(ctx context.Context) error {
	queue := make(chan item, sendQueue)
	var workers sync.WaitGroup
	for i := range senders {
		workers.Go(func() {
			for e := range queue {
				s.send(context.WithoutCancel(ctx), e, i)
			}
		})
	}
	defer workers.Wait()
	defer close(queue)
	begin := time.Now()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	due, nextFile, last := 0.0, begin.Add(2*time.Second), begin
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := time.Now()
		rate := float64(s.rate)
		if now.Sub(begin)%burstEvery > burstEvery-burstFor {
			rate *= burstTimes
		}
		due += rate * min(now.Sub(last), time.Second).Seconds()
		for last = now; due >= 1; due-- {
			select {
			case queue <- s.next():
			default:
				s.shed.Add(1)
			}
		}
		if now.After(nextFile) {
			nextFile = now.Add(fileEvery)
			if err := s.dropFile(); err != nil {
				return err
			}
		}
	}
}

// next draws what is sent: mostly valid events, some of each kind that must not be processed.
func (s *sender) next() item {
	roll := s.random.IntN(1000)
	if roll < 60 {
		if e, found := s.earlier(); found {
			return e
		}
	}
	s.count++
	e := item{id: fmt.Sprintf("evt-%d", s.count), product: fmt.Sprintf("P-%d", s.random.IntN(100)), fate: journal.Processed, patient: s.random.IntN(2) == 0}
	name := "SR"
	switch {
	case roll >= 990:
		e.fate, name = journal.NoRecord, "BAD"
	case roll >= 980:
		e.fate, name = journal.NoRecord, "UNSIGNED"
	case roll >= 960:
		e.fate, name = journal.Invalid, "INV"
	case roll >= 945:
		e.fate, name, e.product = journal.Unknown, "UNK", "P-none"
	case roll >= 930:
		e.fate, name = journal.Refused, refusedPrefix
	case roll >= 927:
		e.fate, name = journal.Dead, "BUG"
	case roll >= 915:
		e.fate, name = journal.Corrected, "FIX"
	}
	e.requestNo = fmt.Sprintf("%s-%d", name, s.count)
	return e
}

func (s *sender) earlier() (item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recent) == 0 {
		return item{}, false
	}
	e := s.recent[s.random.IntN(len(s.recent))]
	e.again = true
	return e, true
}

func (s *sender) remember(e item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recent) < recentKept {
		s.recent = append(s.recent, e)
		return
	}
	s.recent[s.oldest] = e
	s.oldest = (s.oldest + 1) % recentKept
}

// send posts an event until it is answered, if its sender is patient. A
// corrected body follows only after a definite answer to the first one.
func (s *sender) send(ctx context.Context, e item, worker int) {
	answer := s.post(ctx, e, worker, false)
	for try := 1; try < tries && e.patient && !answered(answer.Status); try++ {
		time.Sleep(time.Duration(try) * 300 * time.Millisecond)
		answer = s.post(ctx, e, worker+try, false)
	}
	if answer.Status < 200 || answer.Status > 299 {
		return
	}
	if e.fate == journal.Corrected {
		for try := range tries {
			if answered(s.post(ctx, e, worker+try, true).Status) {
				break
			}
			time.Sleep(300 * time.Millisecond)
		}
		return // never sent again: its first body would be a conflict
	}
	if !e.again {
		s.remember(e)
	}
}

func answered(status int) bool { return status >= 200 && status < 500 }

func (s *sender) post(ctx context.Context, e item, which int, corrected bool) journal.Sent {
	line := journal.Sent{At: time.Now(), Phase: journal.Intent, Event: e.id, RequestNo: e.requestNo, Fate: e.fate, Product: e.product, Corrected: corrected}
	s.journal.Write(line)
	line.Phase = journal.Answer
	body := e.body(corrected)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.urls[which%len(s.urls)], bytes.NewReader(body))
	if err == nil {
		signed := body
		if strings.HasPrefix(e.requestNo, "UNSIGNED") {
			signed = []byte("something else")
		}
		r.Header = harness.Sign(e.id, time.Now(), signed)
		r.Header.Set("Content-Type", "application/json")
		err = s.answer(r, &line)
	}
	if err != nil {
		line.Error, line.Status = err.Error(), 0
	}
	line.At = time.Now()
	s.journal.Write(line)
	s.sent.Add(1)
	return line
}

func (s *sender) answer(r *http.Request, line *journal.Sent) error {
	resp, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	var receipt struct {
		ID        string `json:"id"`
		Duplicate bool   `json:"duplicate"`
		Code      string `json:"code"`
	}
	if err := json.Unmarshal(raw, &receipt); err != nil {
		return fmt.Errorf("answer %d is no JSON: %w", resp.StatusCode, err)
	}
	line.Status, line.Receipt, line.Duplicate, line.Code = resp.StatusCode, receipt.ID, receipt.Duplicate, receipt.Code
	return nil
}

// dropFile leaves one file in the watched directory: whole, by a rename, as a
// partner who knows the rule would. Some rows are broken.
func (s *sender) dropFile() error {
	s.count++
	d := journal.Dropped{Name: fmt.Sprintf("shop-%d.csv", s.count)}
	var text bytes.Buffer
	text.WriteString("request_no;product;quantity;opened_at;closed_at\n")
	for i := range fileRows {
		row := journal.Row{Number: i + 1, Line: i + 2, RequestNo: fmt.Sprintf("CSV-%d-%d", s.count, i), Product: fmt.Sprintf("P-%d", s.random.IntN(100)), Fate: journal.Processed}
		switch roll := s.random.IntN(100); {
		case roll < 2: // too few columns
			row.Fate = journal.Invalid
			fmt.Fprintf(&text, "%s;%s\n", row.RequestNo, row.Product)
		case roll < 4: // closed before it was opened
			row.Fate = journal.Invalid
			fmt.Fprintf(&text, "%s;%s;1;2026-01-02T10:00:00Z;2026-01-01T10:00:00Z\n", row.RequestNo, row.Product)
		default:
			fmt.Fprintf(&text, "%s;%s;1;2026-01-02T10:00:00Z;2026-01-03T10:00:00Z\n", row.RequestNo, row.Product)
		}
		d.Rows = append(d.Rows, row)
	}
	sum := sha256.Sum256(text.Bytes())
	d.Hash = hex.EncodeToString(sum[:])
	s.files.Write(d) // before it can be read
	path := filepath.Join(s.drop, d.Name)
	if err := os.WriteFile(path+".part", text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("drop a file: %w", err)
	}
	return os.Rename(path+".part", path)
}
