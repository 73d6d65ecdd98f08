package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"waybill.internal/pkg/clock"
	"waybill.internal/test/harness"
)

const (
	// clients post at once in a burst; openClients is enough that an open loop is
	// late only when the receipts are.
	clients     = 64
	openClients = 256
	smallBody   = 1 << 10
	bigBody     = 64 << 10
)

// event makes the n-th event of a stretch, of about size bytes.
func event(stretch string, n, size int) harness.Event {
	id := fmt.Sprintf("%s-%d", stretch, n)
	head := fmt.Sprintf(`{"request_no":%q,"product":"P-%d","opened_at":"2026-01-02T10:00:00Z","closed_at":"2026-01-02T12:00:00+01:00","note":"`, id, n%100)
	body := append([]byte(head), bytes.Repeat([]byte("abcdefgh "), max(0, size-len(head)-2)/9)...)
	return harness.Event{ID: id, Body: append(body, `"}`...)}
}

// load is one stretch of posting.
type load struct {
	name     string
	records  int
	size     int     // of a body, bytes
	clients  int     // connections
	rate     float64 // records a second, planned ahead; 0: as fast as receipts come
	retries  atomic.Int64
	post     func(ctx context.Context, client *http.Client, e harness.Event) harness.Answer
	latency  []time.Duration // by record; from the planned moment with a rate
	accepted time.Duration   // from the start to the last receipt
}

// run posts every record until it is accepted, and fails on any answer but 202, 503, and 200 after a 503.
func (l *load) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client := harness.Client(l.clients)
	defer client.CloseIdleConnections()
	l.latency = make([]time.Duration, l.records)
	var next atomic.Int64
	var senders sync.WaitGroup
	start := time.Now()
	for range l.clients {
		senders.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= l.records || ctx.Err() != nil {
					return
				}
				if err := l.one(ctx, client, n, start); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	senders.Wait()
	l.accepted = time.Since(start)
	return context.Cause(ctx)
}

func (l *load) one(ctx context.Context, client *http.Client, n int, start time.Time) error {
	e := event(l.name, n, l.size)
	from := time.Now()
	if l.rate > 0 {
		from = start.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
		if err := clock.Sleep(ctx, time.Until(from)); err != nil {
			return err
		}
	}
	for tries := 0; ; tries++ { // until ctx ends
		a := l.post(ctx, client, e)
		switch {
		case a.Err != nil:
			return fmt.Errorf("post record %s: %w", e.ID, a.Err)
		case a.Status == http.StatusAccepted, a.Status == http.StatusOK && tries > 0: // a 503 may have been stored all the same
			l.latency[n] = time.Since(from)
			return nil
		case a.Status != http.StatusServiceUnavailable:
			return fmt.Errorf("post record %s: status %d, not 202: %s", e.ID, a.Status, a.Body)
		}
		l.retries.Add(1)
		if err := clock.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
