package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/test/harness"
)

// TestBackpressure: Postgres is stopped for 30 s under 2,000 connections that
// post 64 KiB each. Every answer is definite and within 3 s; memory has its
// bound; what was accepted is in the ledger.
func TestBackpressure(t *testing.T) {
	postgres := stacktest.OwnPostgres(t)
	s, ctx := start(t, harness.Options{Postgres: postgres.URL()})
	ingest, err := s.Start("ingest")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitReady(ctx, "ingest"); err != nil {
		t.Fatal(err)
	}
	const connections, frozen = 2000, 30 * time.Second
	padding := strings.Repeat("x", 64<<10)
	client := harness.Client(connections)
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var accepted []string
	statuses := map[int]int{}
	var slowest time.Duration
	var next, rss atomic.Int64
	stop := make(chan struct{})
	var senders sync.WaitGroup
	open := make(chan struct{})
	var opened sync.WaitGroup
	opened.Add(connections)
	for range connections {
		senders.Go(func() {
			warm(ctx, client, s.IngestURL())
			opened.Done()
			<-open
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := next.Add(1)
				body := fmt.Appendf(nil, `{"request_no":"SR-%d","product":"P-1","note":"%s"}`, i, padding)
				a := s.Post(ctx, client, harness.Event{ID: fmt.Sprintf("evt-%d", i), Body: body})
				mu.Lock()
				statuses[a.Status]++
				slowest = max(slowest, a.Took)
				switch {
				case a.Err != nil:
					t.Errorf("no answer: %v after %s", a.Err, a.Took)
				case a.Status == http.StatusAccepted:
					accepted = append(accepted, a.Receipt.ID)
				case a.Status != http.StatusServiceUnavailable || a.RetryAfter == "":
					t.Errorf("answer %d, Retry-After %q: %s", a.Status, a.RetryAfter, a.Body)
				}
				mu.Unlock()
				if a.Status == http.StatusServiceUnavailable { // as any sender would
					pause(stop, 5*time.Second)
				}
			}
		})
	}
	watch := time.NewTicker(100 * time.Millisecond)
	defer watch.Stop()
	opened.Wait()
	if err := postgres.Pause(); err != nil {
		t.Fatal(err)
	}
	close(open)
	for end := time.Now().Add(frozen); time.Now().Before(end); <-watch.C {
		rss.Store(max(rss.Load(), ingest.RSS()))
	}
	if err := postgres.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := harness.Poll(ctx, func() (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return len(accepted) > 100, nil
	}); err != nil {
		t.Fatal("nothing is accepted after the ledger came back: ", err)
	}
	close(stop)
	senders.Wait()
	t.Logf("answers %v, slowest %s, RSS %d MiB", statuses, slowest, rss.Load()>>20)
	if slowest > 3*time.Second {
		t.Errorf("an answer took %s", slowest)
	}
	if rss.Load() > 256<<20 {
		t.Errorf("ingest held %d MiB", rss.Load()>>20)
	}
	if statuses[http.StatusServiceUnavailable] == 0 {
		t.Error("nothing was told to come again")
	}
	n, err := s.Count(ctx, `SELECT count(*) FROM record WHERE id = ANY($1::uuid[])`, accepted)
	if err != nil || n != len(accepted) {
		t.Errorf("%d of %d accepted records are in the ledger, %v", n, len(accepted), err)
	}
}

// warm opens a connection without posting anything.
func warm(ctx context.Context, client *http.Client, url string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/receipts/none", nil)
	if err != nil {
		return
	}
	if resp, err := client.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

func pause(stop <-chan struct{}, d time.Duration) {
	select {
	case <-stop:
	case <-time.After(d):
	}
}
