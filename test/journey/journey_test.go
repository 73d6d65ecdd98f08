package journey_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill.internal/pkg/stream"
	"waybill.internal/test/world"
)

func answer200(http.ResponseWriter, *http.Request) {}

// TestAcceptedIsCommitted: while no commit succeeds nothing is accepted, and
// what is accepted is in the ledger when the answer comes.
func TestAcceptedIsCommitted(t *testing.T) {
	t.Parallel()
	w := newJourney(t, answer200)
	url := w.ingest()
	w.Exec(`CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the ledger fails'; END $$`)
	w.Exec(`CREATE TRIGGER fault BEFORE INSERT ON record FOR EACH STATEMENT EXECUTE FUNCTION fault()`)
	for i := range 3 {
		status, _ := w.post(url, fmt.Sprint("event-", i), `{"no":"1"}`)
		if status != http.StatusServiceUnavailable {
			t.Errorf("answer %d without a commit, want 503", status)
		}
	}
	w.Exec(`DROP TRIGGER fault ON record`)
	for i := range 20 {
		status, got := w.post(url, fmt.Sprint("event-", i), `{"no":"1"}`)
		if n := world.One[int](w, `SELECT count(*) FROM record WHERE id::text = $1`, got.ID); status != http.StatusAccepted || n != 1 {
			t.Errorf("answer %d with %d rows in the ledger, want 202 with 1", status, n)
		}
	}
}

// TestTheSameContentAgain: A, B and A again are three events when their senders
// say so, and one that is sent again is a duplicate whatever it holds.
func TestTheSameContentAgain(t *testing.T) {
	t.Parallel()
	w := newJourney(t, answer200)
	url := w.ingest()
	const a, b = `{"no":"1","status":"open"}`, `{"no":"1","status":"closed"}`
	for i, body := range []string{a, b, a} {
		if status, got := w.post(url, fmt.Sprint("event-", i), body); status != http.StatusAccepted || got.Duplicate {
			t.Errorf("event %d of A, B, A: answer %d, duplicate %t; want 202 and a record of its own", i+1, status, got.Duplicate)
		}
	}
	if status, got := w.post(url, "event-0", b); status != http.StatusOK || !got.Duplicate {
		t.Errorf("the first event again with another body: answer %d, duplicate %t; want 200 and a duplicate", status, got.Duplicate)
	}
	if n := world.One[int](w, `SELECT count(*) FROM record`); n != 3 {
		t.Errorf("%d records of A, B, A, want 3", n)
	}
}

// TestOffsetsFollowClaims: with room for 8 records and far more fetched, no
// offset is committed whose record is not claimed.
func TestOffsetsFollowClaims(t *testing.T) {
	t.Parallel()
	const records, room = 60, 8
	var calls atomic.Int64
	release := make(chan struct{})
	w := newJourney(t, func(http.ResponseWriter, *http.Request) {
		calls.Add(1)
		<-release
	})
	free := sync.OnceFunc(func() { close(release) })
	url := w.ingest()
	for i := range records {
		if status, _ := w.post(url, fmt.Sprint("event-", i), fmt.Sprintf(`{"no":"%d"}`, i)); status != http.StatusAccepted {
			t.Fatalf("answer %d", status)
		}
	}
	w.Await("all messages in Kafka", func() bool { return world.One[bool](w, `SELECT bool_and(published_at IS NOT NULL) FROM outbox`) })
	w.Settings["WAYBILL_PROCESSOR_IN_FLIGHT"] = "14" // 60 % are for new records
	w.processor()
	t.Cleanup(free) // before the processor's stop, which waits for its calls
	w.Await("as many calls as there is room for", func() bool { return calls.Load() == room })
	kafka, err := stream.NewFactory(stream.Config{Brokers: []string{w.Settings["WAYBILL_KAFKA_BROKERS"]}, Prefix: w.Settings["WAYBILL_KAFKA_PREFIX"]})
	w.Must(err)
	admin := kafka.NewAdmin()
	t.Cleanup(admin.Close)
	w.Await("an offset for each claim", func() bool {
		// The offsets first: what they cover was claimed before.
		done := w.committed(admin, kafka.Topics())
		claimed := world.One[int64](w, `SELECT count(*) FROM record WHERE state <> 'queued'`)
		if done > claimed {
			t.Fatalf("offsets of %d messages are committed, and %d records are claimed", done, claimed)
		}
		return done == room
	})
	free()
	w.Await("all records processed", func() bool {
		return world.One[int](w, `SELECT count(*) FROM record WHERE state = 'processed'`) == records
	})
	if n := calls.Load(); n != records {
		t.Errorf("%d calls for %d records", n, records)
	}
}

// committed counts the messages of `work` whose offsets the group has committed.
func (w *journey) committed(admin *stream.Admin, topics stream.Topics) (sum int64) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), world.Patience)
	defer cancel()
	work := topics.Work(stream.MainLane)
	offsets, err := admin.Committed(ctx, topics.Group(stream.MainLane), []string{work})
	if err != nil {
		return 0 // the group is still forming
	}
	for _, offset := range offsets[work] {
		sum += max(offset, 0)
	}
	return sum
}

// TestRetry: a call that fails is made again, not before the third party's
// Retry-After is over, with the same bytes under the same Idempotency-Key.
func TestRetry(t *testing.T) {
	t.Parallel()
	const wish = time.Second
	type call struct{ key, body string }
	var mu sync.Mutex
	var calls []call
	w := newJourney(t, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(body)
		calls = append(calls, call{r.Header.Get("Idempotency-Key"), string(body)})
		switch len(calls) {
		case 1:
			rw.Header().Set("Retry-After", fmt.Sprint(int(wish.Seconds())))
			rw.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	url := w.ingest()
	w.processor()
	_, got := w.post(url, "event", `{"no":"1"}`)
	w.Await("the record to be processed", func() bool { return world.One[string](w, `SELECT state FROM record`) == "processed" })
	mu.Lock()
	defer mu.Unlock()
	want := call{got.ID + "-crm", calls[0].body}
	for i, c := range calls {
		if c != want {
			t.Errorf("call %d came with key %s and body %s, want %s and %s", i+1, c.key, c.body, want.key, want.body)
		}
	}
	if len(calls) != 3 {
		t.Errorf("%d calls, want 3", len(calls))
	}
	waited := world.One[time.Duration](w, `SELECT min(b.started_at) - min(a.ended_at) FROM attempt a, attempt b WHERE a.number = 1 AND b.number = 2`)
	if waited < wish-100*time.Millisecond { // the ledger's clock is an estimate in the processor
		t.Errorf("the second attempt began %s after the first, the third party asked for %s", waited, wish)
	}
}
