package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
	"waybill.internal/services/acknowledger/internal/confirm"
)

// target keeps what it is told, and answers when it is allowed to.
type target struct {
	mu    sync.Mutex
	told  [][]record.Record
	gate  chan struct{} // nil: at once
	fails any           // to panic with
}

func (p *target) close() {}

func (p *target) tell(ctx context.Context, _ func() bool, told []record.Record) []ledger.Settlement {
	p.mu.Lock()
	p.told = append(p.told, told)
	p.mu.Unlock()
	if p.fails != nil {
		panic(p.fails)
	}
	if p.gate != nil {
		select {
		case <-p.gate:
		case <-ctx.Done():
		}
	}
	settlements := make([]ledger.Settlement, len(told))
	for i, r := range told {
		settlements[i] = ledger.Settlement{ID: r.ID, Fence: r.Fence, Fact: record.Fact{Event: record.Confirmed, Number: r.Outcome.Number}}
	}
	return settlements
}

func (p *target) sizes() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []int
	for _, batch := range p.told {
		list = append(list, len(batch))
	}
	return list
}

// scene is a notifier whose ledger grants every claim.
type scene struct {
	*Notifier
	cancel context.CancelFunc
	ended  chan struct{}
	lapsed chan struct{}

	mu      sync.Mutex
	settled []ledger.Settlement
	junk    int
}

func newScene(t *testing.T, drain time.Duration, lines ...*line) *scene {
	t.Helper()
	s := &scene{ended: make(chan struct{}), lapsed: make(chan struct{})}
	lease := confirm.Lease{ID: 7, Ends: s.lapsed, Alive: func() bool {
		select {
		case <-s.lapsed:
			return false
		default:
			return true
		}
	}}
	n, err := New(Config{Drain: drain, Now: time.Now, Log: zap.NewNop(),
		Claim: func(_ context.Context, refs []ledger.Ref) ([]record.Record, confirm.Lease, error) {
			claimed := make([]record.Record, len(refs))
			for i, ref := range refs {
				if ref.Fence < 100 { // the others are stale
					claimed[i] = record.Record{ID: ref.ID, Fence: ref.Fence + 1, Integration: nameOf(ref.ID), State: record.Processed,
						Outcome: record.Outcome{Number: 1, State: record.OutcomeSent}}
				}
			}
			return claimed, lease, nil
		},
		Settle: func(_ context.Context, v confirm.Verdict) ([]ledger.Settled, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.settled = append(s.settled, v.Settlements...)
			return make([]ledger.Settled, len(v.Settlements)), nil
		},
		Told: func(string, []ledger.Settled, []ledger.Settlement) {},
		Quarantine: func(context.Context, stream.Message, error) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.junk++
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	s.Notifier = n
	for _, l := range lines {
		n.lines[l.name] = l
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() {
		defer close(s.ended)
		_ = n.Run(ctx)
	}()
	return s
}

func (s *scene) stop() {
	s.cancel()
	<-s.ended
}

func (s *scene) codes() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for _, x := range s.settled {
		counts[string(x.Fact.Event)+":"+x.Fact.Failure.Code]++
	}
	return counts
}

// Ids carry the first letter of their integration.
func nameOf(id record.ID) string { return string(id[15:]) }

func idOf(name string, i int) record.ID {
	id := record.ID{0: byte(i >> 8), 1: byte(i), 15: name[0]}
	id[6], id[8] = 0x80, 0x80
	return id
}

func messages(t *testing.T, name string, from, n int, fence int64, detail int) []stream.Message {
	t.Helper()
	list := make([]stream.Message, n)
	for i := range list {
		o := stream.Outcome{ID: idOf(name, from+i), Fence: fence, Integration: name, IdempotencyKey: "k", Number: 1, State: "processed",
			AcceptedAt: time.Unix(1, 0), FinalAt: time.Unix(2, 0)}
		if detail > 0 {
			o.Detail = fmt.Appendf(nil, "%q", slices.Repeat([]byte{'x'}, detail))
		}
		m, err := stream.EncodeOutcome(o)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = m
	}
	return list
}

func post(batch, concurrency int, every time.Duration) *integration.Post {
	return &integration.Post{Batch: batch, Concurrency: concurrency, Every: every}
}

// handle calls Handle until all messages are done, as the consumer does.
func (s *scene) handle(t *testing.T, list []stream.Message) {
	t.Helper()
	for len(list) > 0 {
		done, err := s.Handle(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		list = list[done:]
	}
}

func TestBatching(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		batch, come int
		wait        time.Duration
		want        []int
	}{
		{"full batches leave at once", 10, 20, 0, []int{10, 10}},
		{"the rest waits", 10, 25, 999 * time.Millisecond, []int{10, 10}},
		{"until every is over", 10, 25, time.Second, []int{10, 10, 5}},
		{"singly", 1, 3, 0, []int{1, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &target{}
				s := newScene(t, time.Minute, newLine("a", post(test.batch, 5, time.Second), 100, p))
				s.handle(t, messages(t, "a", 0, test.come, 1, 0))
				synctest.Wait()
				if test.wait > 0 {
					timer := time.NewTimer(test.wait)
					<-timer.C
					synctest.Wait()
				}
				if got := p.sizes(); !slices.Equal(got, test.want) {
					t.Errorf("batches of %v, want %v", got, test.want)
				}
				s.stop()
			})
		})
	}
}

// What is claimed and gathered leaves at the stop, without waiting for its batch to fill.
func TestDrainSendsWhatIsGathered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &target{}
		s := newScene(t, time.Minute, newLine("a", post(10, 1, time.Hour), 100, p))
		s.handle(t, messages(t, "a", 0, 7, 1, 0))
		synctest.Wait()
		if got := p.sizes(); got != nil {
			t.Fatalf("batches of %v left early", got)
		}
		s.stop()
		if got := p.sizes(); !slices.Equal(got, []int{7}) || s.codes()["confirmed:"] != 7 {
			t.Errorf("batches of %v, settled %v", got, s.codes())
		}
	})
}

// A partner that hangs at the stop is left; nothing is settled for it.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &target{gate: make(chan struct{})}
		s := newScene(t, 5*time.Second, newLine("a", post(2, 1, time.Second), 100, p))
		s.handle(t, messages(t, "a", 0, 6, 1, 0))
		synctest.Wait()
		begin := time.Now()
		s.stop()
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("the drain took %s, it may take 5 s", took)
		}
		if got := s.codes(); len(got) != 0 {
			t.Errorf("settled %v", got)
		}
	})
}

// A partner without answers is waited for once; then its outcomes are put back, and others pass.
func TestFullLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck, well := &target{gate: make(chan struct{})}, &target{}
		s := newScene(t, time.Minute, newLine("a", post(5, 1, time.Hour), 10, stuck), newLine("b", post(5, 1, time.Second), 10, well))
		begin := time.Now()
		s.handle(t, slices.Concat(messages(t, "a", 0, 40, 1, 0), messages(t, "b", 0, 5, 1, 0)))
		synctest.Wait()
		if took := time.Since(begin); took != Patience {
			t.Errorf("the stuck line held up the partition for %s, want %s once", took, Patience)
		}
		if got := s.codes(); got["unconfirmed:partner_busy"] != 30 || got["confirmed:"] != 5 {
			t.Errorf("settled %v", got)
		}
		for range 2 { // all that is held is confirmed
			stuck.gate <- struct{}{}
		}
		synctest.Wait()
		begin = time.Now()
		s.handle(t, messages(t, "a", 100, 15, 1, 0)) // there is room for 10; it is stuck again after that
		if took := time.Since(begin); took != Patience {
			t.Errorf("a line that moved on was waited for %s, want %s", took, Patience)
		}
		close(stuck.gate)
		s.stop()
		if got := s.codes(); got["unconfirmed:partner_busy"] != 35 || got["confirmed:"] != 25 {
			t.Errorf("settled %v", got)
		}
	})
}

// A batch that its share cannot fill does not wait for every.
func TestShareBelowBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &target{}
		s := newScene(t, time.Minute, newLine("a", post(50, 1, time.Hour), 4, p))
		s.handle(t, messages(t, "a", 0, 12, 1, 0))
		synctest.Wait()
		if got := s.codes(); got["unconfirmed:partner_busy"] != 0 || got["confirmed:"] < 8 {
			t.Errorf("settled %v", got)
		}
		s.stop()
		if got := s.codes(); got["confirmed:"] != 12 {
			t.Errorf("settled %v", got)
		}
	})
}

func TestHandleDropsStaleAndKeepsJunk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &target{}
		l := newLine("a", post(10, 1, time.Second), 10, p)
		s := newScene(t, time.Minute, l)
		list := slices.Concat(messages(t, "a", 0, 4, 100, 0), []stream.Message{{Value: []byte("junk")}}, messages(t, "a", 0, 2, 1, 0), messages(t, "x", 0, 3, 1, 0))
		for _, want := range []int{4, 6} { // nothing is held while the quarantine takes the junk
			done, err := s.Handle(t.Context(), list)
			if done != want || err != nil {
				t.Fatalf("%d of %d are done, %v; want %d", done, len(list), err, want)
			}
			list = list[done:]
		}
		s.stop()
		if got := s.codes(); got["confirmed:"] != 2 || got["unconfirmed:no_partner"] != 3 || s.junk != 1 {
			t.Errorf("settled %v, %d quarantined", got, s.junk)
		}
		if !l.room.TryAcquire(l.share) {
			t.Error("places were not given back")
		}
	})
}

// Messages before one that cannot be quarantined are claimed; the offset stops at that one.
func TestQuarantineFailureStopsTheOffset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &target{}
		s := newScene(t, time.Minute, newLine("a", post(10, 1, time.Second), 10, p))
		s.Quarantine = func(context.Context, stream.Message, error) error { return errors.New("kafka is down") }
		list := append(messages(t, "a", 0, 2, 1, 0), stream.Message{Value: []byte("junk")})
		if done, err := s.Handle(t.Context(), list); done != 2 || err != nil {
			t.Errorf("%d are done, %v; want 2", done, err)
		}
		if done, err := s.Handle(t.Context(), list[2:]); done != 0 || err == nil {
			t.Errorf("%d are done, %v; want an error", done, err)
		}
		s.stop()
		if got := s.codes(); got["confirmed:"] != 2 {
			t.Errorf("settled %v", got)
		}
	})
}

func TestFailedClaimGivesPlacesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine("a", post(10, 1, time.Second), 10, &target{})
		s := newScene(t, time.Minute, l)
		s.Claim = func(context.Context, []ledger.Ref) ([]record.Record, confirm.Lease, error) {
			return nil, confirm.Lease{}, errors.New("the ledger is down")
		}
		if done, err := s.Handle(t.Context(), messages(t, "a", 0, 5, 1, 0)); done != 0 || err == nil {
			t.Errorf("%d are done, %v", done, err)
		}
		if !l.room.TryAcquire(l.share) {
			t.Error("places were not given back")
		}
		s.stop()
	})
}

// A lapsed session's outcomes are somebody else's: neither sent nor settled.
func TestLapsedSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &target{gate: make(chan struct{})}
		s := newScene(t, time.Minute, newLine("a", post(5, 1, time.Second), 100, p))
		s.handle(t, messages(t, "a", 0, 15, 1, 0))
		synctest.Wait()
		close(s.lapsed)
		synctest.Wait()
		if got := p.sizes(); !slices.Equal(got, []int{5}) || len(s.codes()) != 0 {
			t.Errorf("batches of %v, settled %v", got, s.codes())
		}
		s.stop()
	})
}

func TestPanicIsSettledAsBug(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, time.Minute, newLine("a", post(5, 1, time.Second), 100, &target{fails: "oh"}))
		s.handle(t, messages(t, "a", 0, 5, 1, 0))
		s.stop()
		if got := s.codes(); got["unconfirmed:panic"] != 5 {
			t.Errorf("settled %v", got)
		}
	})
}

func TestPlacesWeighProblems(t *testing.T) {
	t.Parallel()
	l := newLine("a", post(5, 1, time.Second), 10, &target{})
	for _, test := range []struct {
		detail int
		want   int64
	}{{0, 1}, {placeBytes - 1, 1}, {placeBytes, 2}, {4 * placeBytes, 5}, {1 << 30, 10}} {
		if got := l.weight(test.detail); got != test.want {
			t.Errorf("%d bytes take %d places, want %d", test.detail, got, test.want)
		}
	}
}
