package requeue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/requeue"
)

// shelf is a ledger of dead records whose processor is decided by each test.
type shelf struct {
	records map[record.ID]record.Record
	order   []record.ID
	batches []int
	work    func(*record.Record) // what becomes of a requeued record when it is looked at again
}

func newShelf(n int, work func(*record.Record)) *shelf {
	s := &shelf{records: map[record.ID]record.Record{}, work: work}
	for i := range n {
		id := record.DeriveID([]byte("key"), "shop", fmt.Sprint(i))
		s.order = append(s.order, id)
		s.records[id] = record.Record{ID: id, Integration: "shop", State: record.Dead, Fence: 3,
			Failure: record.Failure{Class: record.ClassSystem, Code: "timeout"}}
	}
	return s
}

func (s *shelf) Reasons(context.Context, ledger.Filter) ([]ledger.Reason, error) {
	return []ledger.Reason{{Integration: "shop", Class: "system", Code: "timeout", Count: int64(len(s.order))}}, nil
}

func (s *shelf) WaitingForPerson(_ context.Context, _ ledger.Filter, after *ledger.Waiting, limit int) ([]ledger.Waiting, error) {
	from := 0
	if after != nil {
		for from < len(s.order) && s.order[from] != after.Record.ID {
			from++
		}
		from++
	}
	var list []ledger.Waiting
	for ; from < len(s.order) && len(list) < limit; from++ {
		list = append(list, ledger.Waiting{Record: s.records[s.order[from]]})
	}
	return list, nil
}

func (s *shelf) Records(_ context.Context, ids []record.ID) (map[record.ID]record.Record, error) {
	found := map[record.ID]record.Record{}
	for _, id := range ids {
		r := s.records[id]
		if r.State != record.Dead && s.work != nil {
			s.work(&r)
			s.records[id] = r
		}
		found[id] = r
	}
	return found, nil
}

func (s *shelf) Do(_ context.Context, act ledger.Act, ids []record.ID) (done []record.Record, err error) {
	s.batches = append(s.batches, len(ids))
	for _, id := range ids {
		r := s.records[id]
		if r.State, err = record.Next(r.State, act.Event); err != nil {
			continue
		}
		r.Fence++
		r.Failure = record.Failure{}
		s.records[id] = r
		done = append(done, r)
	}
	return done, nil
}

func processes(r *record.Record) { r.State = record.Processed }

func diesAgain(r *record.Record) {
	r.State, r.Failure = record.Parked, record.Failure{Class: record.ClassOutage, Code: "breaker"}
}

func run(t *testing.T, s *shelf, o requeue.Options) (requeue.Report, error) {
	t.Helper()
	plan, err := requeue.Freeze(t.Context(), s, ledger.Filter{Kind: record.WaitDead})
	if err != nil {
		t.Fatal(err)
	}
	if o.Act.Event == "" {
		o.Act = ledger.Act{Event: record.Requeued, Actor: "tester", Reason: "test"}
	}
	return plan.Run(t.Context(), s, o)
}

func TestFreezeTakesEverythingAndCountsUnknownOutcomes(t *testing.T) {
	t.Parallel()
	s := newShelf(4501, nil)
	plan, err := requeue.Freeze(t.Context(), s, ledger.Filter{Kind: record.WaitDead})
	if err != nil || len(plan.Items) != 4501 || plan.Unknown != 4501 || len(plan.Sample) != 5 {
		t.Fatalf("%d frozen, %d unknown, %d in the sample, %v", len(plan.Items), plan.Unknown, len(plan.Sample), err)
	}
	if d := plan.Duration(100); d != 45010*time.Millisecond {
		t.Errorf("at 100/s it takes %s", d)
	}
}

func TestRunProbesThenGoesOnInThrottledBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, began := newShelf(1201, processes), time.Now()
		report, err := run(t, s, requeue.Options{Rate: 1000, Probe: time.Minute})
		if err != nil || report.Done != 1201 || report.Left != 0 || report.Fate != "it is processed" {
			t.Fatalf("%+v, %v", report, err)
		}
		if got := fmt.Sprint(s.batches); got != "[1 500 500 200]" {
			t.Errorf("batches of %s", got)
		}
		if took := time.Since(began); took != time.Second+200*time.Millisecond {
			t.Errorf("1,200 at 1,000/s took %s of virtual time", took)
		}
	})
}

func TestRunStopsWhenTheProbeFailsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(100, diesAgain)
		report, err := run(t, s, requeue.Options{Rate: 1000, Probe: time.Minute})
		if !errors.Is(err, requeue.ErrProbe) || report.Done != 1 || report.Left != 99 || len(s.batches) != 1 {
			t.Fatalf("%+v, %v, batches %v", report, err, s.batches)
		}
	})
}

func TestRunStopsWhenNobodyWorksTheProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := run(t, newShelf(2, nil), requeue.Options{Rate: 1, Probe: 30 * time.Second})
		if !errors.Is(err, requeue.ErrProbe) || !strings.Contains(err.Error(), "is a processor running?") {
			t.Fatalf("%v", err)
		}
		if took := time.Since(began); took > 31*time.Second {
			t.Errorf("it waited %s of virtual time", took)
		}
	})
}

func TestRunSkipsWhatMovedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newShelf(3, nil)
	plan, err := requeue.Freeze(t.Context(), s, ledger.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	moved := s.records[s.order[1]]
	moved.State, moved.Fence = record.Discarded, moved.Fence+1 // a colleague gave it up; a requeue would be legal
	s.records[s.order[1]] = moved
	report, err := plan.Run(t.Context(), s, requeue.Options{Rate: 1000, Act: ledger.Act{Event: record.Requeued}})
	if err != nil || report.Done != 2 || report.Skipped != 1 || s.records[s.order[1]].State != record.Discarded {
		t.Fatalf("%+v, %v, the moved one is %s", report, err, s.records[s.order[1]].State)
	}
}

func TestRunInterruptedSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(10, nil)
		plan, err := requeue.Freeze(t.Context(), s, ledger.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		report, err := plan.Run(ctx, s, requeue.Options{Rate: 1, Act: ledger.Act{Event: record.Requeued}})
		if !errors.Is(err, context.DeadlineExceeded) || report.Done != 3 || report.Left != 7 {
			t.Fatalf("%+v, %v", report, err)
		}
	})
}
