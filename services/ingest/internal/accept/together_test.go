package accept

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/groupcommit"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// badRow is what the ledger answers for a row that it refuses.
type badRow struct{ *pgconn.PgError }

func (badRow) Split() bool     { return true }
func (b badRow) Unwrap() error { return b.PgError }

// shelf stands for the ledger: it keeps keys in the order of their commits.
type shelf struct {
	mu    sync.Mutex
	kept  []string
	fails func(keys []string) error
}

func (s *shelf) store(_ context.Context, arrivals []ledger.Arrival) ([]ledger.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	receipts := make([]ledger.Receipt, len(arrivals))
	for i, a := range arrivals {
		keys = append(keys, a.Key)
		receipts[i].Record = record.Record{Key: a.Key}
	}
	if err := s.fails(keys); err != nil {
		return nil, err
	}
	s.kept = append(s.kept, keys...)
	return receipts, nil
}

// acceptorOn commits three arrivals at once and has room for as many as are given.
func acceptorOn(t *testing.T, s *shelf, room int) *Acceptor {
	t.Helper()
	group, err := groupcommit.New(groupcommit.Config[handed, stored]{Commit: inLine(s.store), MaxItems: 3, QueueItems: room})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &Acceptor{arrivals: group}
}

func numbered(n int) []ledger.Arrival {
	all := make([]ledger.Arrival, n)
	for i := range all {
		all[i].Key = fmt.Sprint(i)
	}
	return all
}

// outcomes tells of each arrival: ok, data, or later.
func outcomes(receipts []ledger.Receipt, failures []error) string {
	var all []string
	for i, err := range failures {
		var down *Unavailable
		switch {
		case errors.As(err, &down):
			all = append(all, "later")
		case err != nil:
			all = append(all, string(fault.Of(err).Class))
		case receipts[i].Record.Key != fmt.Sprint(i):
			all = append(all, "the receipt of "+receipts[i].Record.Key)
		default:
			all = append(all, "ok")
		}
	}
	return strings.Join(all, " ")
}

// TestNoneOvertakes: behind one that could not be stored, nothing of its batch is.
func TestNoneOvertakes(t *testing.T) {
	t.Parallel()
	holds := func(key string, err error) func([]string) error {
		once := false
		return func(keys []string) error {
			if once || !slices.Contains(keys, key) {
				return nil
			}
			once = true
			return err
		}
	}
	always := func(key string, err error) func([]string) error {
		return func(keys []string) error {
			if slices.Contains(keys, key) {
				return err
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		fails func([]string) error
		want  string
		kept  string
	}{
		"nothing fails":       {func([]string) error { return nil }, "ok ok ok ok ok ok ok", "0 1 2 3 4 5 6"},
		"a commit fails once": {holds("3", errors.New("the connection is gone")), "", ""},
		"the first one fails": {holds("0", errors.New("timeout")), "later later later later later later later", ""},
		"a row is refused":    {always("1", badRow{&pgconn.PgError{Code: "22P02"}}), "ok data ok ok ok ok ok", "0 2 3 4 5 6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &shelf{fails: c.fails}
			got := outcomes(acceptorOn(t, s, 100).AcceptAll(t.Context(), numbered(7)))
			kept := strings.Join(s.kept, " ")
			// How the queue is cut into commits depends on the clock: what was stored is a beginning.
			if c.want == "" {
				n := len(s.kept)
				c.want = strings.TrimSpace(strings.Repeat("ok ", n) + strings.Repeat("later ", 7-n))
				c.kept = strings.TrimSpace("0 1 2 3 4 5 6"[:max(0, 2*n-1)])
				if n > 3 {
					t.Errorf("%q was stored after its predecessor was not", kept)
				}
			}
			if got != c.want || kept != c.kept {
				t.Errorf("got %q with %q stored, want %q with %q", got, kept, c.want, c.kept)
			}
		})
	}
}

// TestFullQueue: what finds no room lets nothing behind it in, even if that has room.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	held, entered := make(chan struct{}), make(chan struct{}, 100)
	s := &shelf{fails: func([]string) error {
		entered <- struct{}{}
		<-held
		return nil
	}}
	group, err := groupcommit.New(groupcommit.Config[handed, stored]{Commit: inLine(s.store), MaxBytes: 100, QueueBytes: 100,
		Size: func(h handed) int { return len(h.arrival.Payload.Body) }})
	if err != nil {
		t.Fatal(err)
	}
	a := &Acceptor{arrivals: group}
	var other sync.WaitGroup
	other.Go(func() { _, _ = a.Accept(t.Context(), ledger.Arrival{Key: "other"}) })
	<-entered // the worker is busy, the queue is empty
	arrivals := numbered(5)
	for i, size := range []int{40, 40, 40, 5, 5} {
		arrivals[i].Payload.Body = make([]byte, size)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if got := outcomes(a.AcceptAll(gone, arrivals)); got != "later later later later later" {
		t.Errorf("nobody was answered yet: %q", got)
	}
	close(held)
	other.Wait()
	if err := group.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.kept, " "); got != "other 0 1" {
		t.Errorf("stored is %q", got)
	}
}

// TestPanicBreaksTheLine: a commit that ended in a panic is one that failed.
func TestPanicBreaksTheLine(t *testing.T) {
	t.Parallel()
	s := &shelf{fails: func(keys []string) error {
		if slices.Contains(keys, "0") {
			panic("no")
		}
		return nil
	}}
	got := outcomes(acceptorOn(t, s, 100).AcceptAll(t.Context(), numbered(7)))
	if strings.Contains(got, "ok") {
		t.Errorf("got %q", got)
	}
}
