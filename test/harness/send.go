package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Event is one thing that the partner posts.
type Event struct {
	ID   string // webhook-id: the idempotency key
	Body []byte
}

// NewEvent makes a valid event for a request number.
func NewEvent(id, requestNo string) Event {
	body := fmt.Sprintf(`{"request_no":%q,"product":"P-%d","opened_at":"2026-01-02T10:00:00Z","closed_at":"2026-01-02T12:00:00+01:00"}`, requestNo, len(requestNo)*7%100)
	return Event{ID: id, Body: []byte(body)}
}

// Answer is what the sender got.
type Answer struct {
	Event      Event
	Status     int
	TrackingID string
	RetryAfter string
	Receipt    struct {
		ID        string `json:"id"`
		State     string `json:"state"`
		Duplicate bool   `json:"duplicate"`
		Code      string `json:"code"`
	}
	Body []byte
	Err  error
	Took time.Duration
}

// Client sends events; Transport may be shared.
func Client(connections int) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
}

// Post sends one event once.
func (s *Stack) Post(ctx context.Context, client *http.Client, e Event) Answer {
	a := Answer{Event: e}
	start := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.IngestURL()+"/in/service-requests", bytes.NewReader(e.Body))
	if err != nil {
		a.Err = err
		return a
	}
	r.Header = Sign(e.ID, time.Now(), e.Body)
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	a.Took = time.Since(start)
	if err != nil {
		a.Err = err
		return a
	}
	defer resp.Body.Close()
	a.Body, a.Err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	a.Took = time.Since(start)
	a.Status, a.TrackingID, a.RetryAfter = resp.StatusCode, resp.Header.Get("Trackingid"), resp.Header.Get("Retry-After")
	_ = json.Unmarshal(a.Body, &a.Receipt) // a problem document has none of these fields
	return a
}

// PostUntilAnswered sends until a definite answer comes: a 503 or a broken
// connection is tried again, as a partner would, until ctx ends.
func (s *Stack) PostUntilAnswered(ctx context.Context, client *http.Client, e Event) Answer {
	for {
		a := s.Post(ctx, client, e)
		if a.Err == nil && a.Status != http.StatusServiceUnavailable {
			return a
		}
		wait := 200 * time.Millisecond
		if seconds, err := strconv.Atoi(a.RetryAfter); err == nil && seconds > 0 {
			wait = min(time.Duration(seconds)*time.Second, time.Second)
		}
		select {
		case <-ctx.Done():
			return a
		case <-time.After(wait):
		}
	}
}

// PostAll sends many events over some connections until each is answered.
func (s *Stack) PostAll(ctx context.Context, events []Event, connections int) []Answer {
	client := Client(connections)
	defer client.CloseIdleConnections()
	answers := make([]Answer, len(events))
	next := make(chan int)
	var senders sync.WaitGroup
	for range connections {
		senders.Go(func() {
			for i := range next {
				answers[i] = s.PostUntilAnswered(ctx, client, events[i])
			}
		})
	}
	for i := range events {
		next <- i
	}
	close(next)
	senders.Wait()
	return answers
}

// Count runs a query that gives one number.
func (s *Stack) Count(ctx context.Context, query string, args ...any) (int, error) {
	var n int
	err := s.Pool.QueryRow(ctx, query, args...).Scan(&n)
	return n, err
}

// AwaitClosed waits until no record is unfinished and every outcome that the
// partner wants is acknowledged.
func (s *Stack) AwaitClosed(ctx context.Context) error {
	var open int
	err := Poll(ctx, func() (bool, error) {
		n, err := s.Count(ctx, `SELECT count(*) FROM record WHERE state IN ('queued','processing','retrying','parked') OR outcome_state IN ('due','sent')`)
		if err != nil {
			return false, nil // the ledger may be down just now: that is what some tests do
		}
		open = n
		return n == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d records are not closed: %w", open, err)
	}
	return nil
}

// States counts records by state and outcome state.
func (s *Stack) States(ctx context.Context) (map[string]int, error) {
	rows, err := s.Pool.Query(ctx, `SELECT state || '/' || outcome_state, count(*) FROM record GROUP BY 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	states := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		states[name] = n
	}
	return states, rows.Err()
}
