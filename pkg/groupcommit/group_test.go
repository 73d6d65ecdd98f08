package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/groupcommit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type badItem struct{ item int }

func (b badItem) Error() string { return fmt.Sprintf("item %d is refused", b.item) }
func (b badItem) Split() bool   { return true }

func double(_ context.Context, items []int) ([]int, error) {
	out := make([]int, len(items))
	for i, n := range items {
		out[i] = 2 * n
	}
	return out, nil
}

func start(t *testing.T, c groupcommit.Config[int, int]) *groupcommit.Group[int, int] {
	t.Helper()
	g, err := groupcommit.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestEveryCallerGetsItsOwnResult(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 3} {
		var committed atomic.Int64
		g := start(t, groupcommit.Config[int, int]{
			Workers: workers, MaxItems: 7, QueueItems: 1000,
			Commit: func(ctx context.Context, items []int) ([]int, error) {
				if len(items) == 0 || len(items) > 7 {
					t.Errorf("a batch of %d", len(items))
				}
				committed.Add(int64(len(items)))
				return double(ctx, items)
			},
		})
		var callers sync.WaitGroup
		for n := range 500 {
			callers.Go(func() {
				if r, err := g.Do(t.Context(), n); err != nil || r != 2*n {
					t.Errorf("item %d: got %d, %v", n, r, err)
				}
			})
		}
		callers.Wait()
		if committed.Load() != 500 {
			t.Errorf("%d committed", committed.Load())
		}
	}
}

func TestOnlyTheBadItemsGetTheError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad := []int{3, 64, 65, 99}
		var calls int
		release := make(chan struct{})
		g := start(t, groupcommit.Config[int, int]{
			MaxItems: 200,
			Commit: func(ctx context.Context, items []int) ([]int, error) {
				if items[0] == -1 {
					<-release
					return double(ctx, items)
				}
				calls++
				for _, b := range bad {
					if slices.Contains(items, b) {
						return nil, fmt.Errorf("insert: %w", badItem{b})
					}
				}
				return double(ctx, items)
			},
		})
		errs := make([]error, 100)
		if err := g.Submit(-1, func(int, error) {}); err != nil { // holds the worker while the batch gathers
			t.Fatal(err)
		}
		synctest.Wait()
		for n := range errs {
			if err := g.Submit(n, func(r int, err error) {
				if err == nil && r != 2*n {
					err = fmt.Errorf("got %d", r)
				}
				errs[n] = err
			}); err != nil {
				t.Fatal(err)
			}
		}
		close(release)
		time.Sleep(time.Second) // virtual: lets the worker's timer pass
		synctest.Wait()
		for n, err := range errs {
			var b badItem
			if slices.Contains(bad, n) {
				if !errors.As(err, &b) || b.item != n {
					t.Errorf("bad item %d: %v", n, err)
				}
			} else if err != nil {
				t.Errorf("good item %d: %v", n, err)
			}
		}
		if calls >= 200 || calls < 9 {
			t.Errorf("%d commits for 100 items", calls)
		}
	})
}

func TestOtherErrorsGoToAll(t *testing.T) {
	t.Parallel()
	down := errors.New("ledger is down")
	for name, commit := range map[string]func(context.Context, []int) ([]int, error){
		"error":         func(context.Context, []int) ([]int, error) { return nil, down },
		"panic":         func(context.Context, []int) ([]int, error) { panic(down) },
		"wrong results": func(context.Context, []int) ([]int, error) { return []int{1, 2, 3, 4, 5, 6, 7, 8, 9}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, groupcommit.Config[int, int]{Commit: commit, MaxItems: 4})
			var callers sync.WaitGroup
			for n := range 8 {
				callers.Go(func() {
					_, err := g.Do(t.Context(), n)
					if err == nil {
						t.Error("no error")
					}
					if name != "wrong results" && !errors.Is(err, down) {
						t.Errorf("the cause is lost: %v", err)
					}
					if name != "error" && fault.Of(err).Class != fault.Bug {
						t.Errorf("not a bug: %v", err)
					}
				})
			}
			callers.Wait()
		})
	}
}

func TestFullAnswersAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := start(t, groupcommit.Config[int, int]{
			MaxItems: 1, QueueItems: 3, MaxBytes: 10, QueueBytes: 12, Interval: -1,
			Size:   func(n int) int { return n },
			Commit: func(ctx context.Context, items []int) ([]int, error) { <-release; return double(ctx, items) },
		})
		ignore := func(int, error) {}
		submit := func(n int, want error) {
			t.Helper()
			if err := g.Submit(n, ignore); !errors.Is(err, want) {
				t.Errorf("submit %d: got %v, want %v", n, err, want)
			}
		}
		submit(1, nil)
		synctest.Wait() // the worker holds it: the queue is empty
		submit(11, groupcommit.ErrTooLarge)
		submit(10, nil)
		submit(3, groupcommit.ErrFull) // bytes
		submit(1, nil)
		submit(1, nil)
		submit(0, groupcommit.ErrFull) // items
		if s := g.Stats(); s.Items != 3 || s.Bytes != 12 {
			t.Errorf("stats: %+v", s)
		}
		close(release)
		synctest.Wait()
		if s := g.Stats(); s.Items != 0 || s.Bytes != 0 || s.Commits != 4 {
			t.Errorf("stats at the end: %+v", s)
		}
	})
}

func TestCallersThatLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var seen []int
		g := start(t, groupcommit.Config[int, int]{
			MaxItems: 2, QueueItems: 4, Interval: -1, CommitTimeout: time.Hour,
			Commit: func(ctx context.Context, items []int) ([]int, error) {
				<-release
				seen = append(seen, items...)
				return double(ctx, items)
			},
		})
		// The first is under way when its caller leaves: unknown, and committed.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Do(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, groupcommit.ErrNotStarted) {
			t.Errorf("under way: %v", err)
		}
		// Ten thousand that come and go while the commit hangs: none is refused
		// for room, and none is committed.
		for n := range 10_000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := g.Do(ctx, 1000+n)
			cancel()
			if !errors.Is(err, groupcommit.ErrNotStarted) || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("waiting: %v", err)
			}
		}
		if _, err := g.Do(ctx, 7); !errors.Is(err, groupcommit.ErrNotStarted) {
			t.Errorf("a dead context: %v", err)
		}
		close(release)
		if _, err := g.Do(t.Context(), 2); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !slices.Equal(seen, []int{1, 2}) {
			t.Errorf("committed %v", seen)
		}
	})
}

func TestCommitTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := start(t, groupcommit.Config[int, int]{
			CommitTimeout: 3 * time.Second,
			Commit: func(ctx context.Context, _ []int) ([]int, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		begin := time.Now()
		if _, err := g.Do(t.Context(), 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestIntervalAdapts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := start(t, groupcommit.Config[int, int]{MaxItems: 100, Interval: 5 * time.Millisecond, Commit: double})
		arrive := func(n int, every time.Duration) (perBatch float64) {
			before := g.Stats().Commits
			for range n {
				if err := g.Submit(1, func(int, error) {}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(every) // virtual
			}
			return float64(n) / float64(g.Stats().Commits-before)
		}
		if per := arrive(100, 50*time.Millisecond); per != 1 {
			t.Errorf("20/s: %.1f items a batch, want each alone", per)
		}
		if s := g.Stats(); s.Interval != 0 {
			t.Errorf("20/s: interval %s", s.Interval)
		}
		arrive(1000, 200*time.Microsecond) // until it has noticed
		if per := arrive(5000, 200*time.Microsecond); per < 20 {
			t.Errorf("5,000/s: %.1f items a batch", per)
		}
		if s := g.Stats(); s.Interval != 5*time.Millisecond {
			t.Errorf("5,000/s: interval %s", s.Interval)
		}
		arrive(40, 50*time.Millisecond)
		if s := g.Stats(); s.Interval != 0 {
			t.Errorf("20/s again: interval %s", s.Interval)
		}
	})
}

// Where nobody waits, a low rate is gathered and a high one is not held up.
func TestLowInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := start(t, groupcommit.Config[int, int]{LowInterval: 100 * time.Millisecond, Interval: 5 * time.Millisecond, Commit: double})
		arrive := func(n int, every time.Duration) (perBatch float64) {
			before := g.Stats().Commits
			for range n {
				if err := g.Submit(1, func(int, error) {}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(every) // virtual
			}
			return float64(n) / float64(g.Stats().Commits-before)
		}
		if per := arrive(100, 25*time.Millisecond); per < 3 {
			t.Errorf("40/s: %.1f items a batch, want about 4", per)
		}
		if s := g.Stats(); s.Interval != 100*time.Millisecond {
			t.Errorf("40/s: interval %s", s.Interval)
		}
		arrive(5000, 200*time.Microsecond)
		if s := g.Stats(); s.Interval != 5*time.Millisecond {
			t.Errorf("5,000/s: interval %s", s.Interval)
		}
	})
}

// What comes shortly after an item goes with it; the wait is part of the interval.
func TestLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var batches []string
		g := start(t, groupcommit.Config[int, int]{
			Linger: 2 * time.Millisecond, Interval: 10 * time.Millisecond, LowInterval: 10 * time.Millisecond,
			Commit: func(ctx context.Context, items []int) ([]int, error) {
				batches = append(batches, fmt.Sprintf("%v at %v", items, time.Since(begin)))
				return double(ctx, items)
			},
		})
		for n, after := range []time.Duration{0, time.Millisecond, 4 * time.Millisecond, 11 * time.Millisecond, 100 * time.Millisecond} {
			time.AfterFunc(after, func() { _ = g.Submit(n, func(int, error) {}) })
		}
		time.Sleep(time.Second) // virtual
		synctest.Wait()
		if got, want := fmt.Sprint(batches), "[[0 1] at 2ms [2 3] at 12ms [4] at 102ms]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestLists(t *testing.T) {
	t.Parallel()
	lists := [][]int{{1, 2}, {}, {3}}
	got, err := groupcommit.Lists(double)(t.Context(), lists)
	if err != nil || fmt.Sprint(got) != "[[2 4] [] [6]]" {
		t.Errorf("got %v, %v", got, err)
	}
	broken := errors.New("broken")
	got, err = groupcommit.Lists(func(context.Context, []int) ([]int, error) { return nil, broken })(t.Context(), lists)
	if got != nil || !errors.Is(err, broken) {
		t.Errorf("got %v, %v", got, err)
	}
	got, err = groupcommit.Lists(func(context.Context, []int) ([]int, error) { return []int{1}, nil })(t.Context(), lists)
	if got != nil || err != nil {
		t.Errorf("one result for three items gave %v, %v", got, err)
	}
}

func TestFullBatchDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := start(t, groupcommit.Config[int, int]{MaxItems: 10, QueueItems: 100_000, Interval: time.Second, Commit: double})
		ignore := func(int, error) {}
		for range 400 { // make the rate high
			for range 10 {
				if err := g.Submit(1, ignore); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Millisecond) // virtual
		}
		if s := g.Stats(); s.Interval != time.Second || s.Commits < 390 {
			t.Errorf("%d full batches went out in 400 ms at an interval of %s", s.Commits, s.Interval)
		}
	})
}

func TestCloseFlushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int64
		g := start(t, groupcommit.Config[int, int]{MaxItems: 3, Interval: time.Second, Commit: double})
		for range 10 {
			if err := g.Submit(1, func(_ int, err error) {
				if err == nil {
					done.Add(1)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if done.Load() != 10 {
			t.Errorf("%d of 10 committed", done.Load())
		}
		if _, err := g.Do(t.Context(), 1); !errors.Is(err, groupcommit.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestCloseOutOfTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := start(t, groupcommit.Config[int, int]{
			MaxItems: 1, CommitTimeout: time.Hour,
			Commit: func(ctx context.Context, _ []int) ([]int, error) { <-ctx.Done(); return nil, ctx.Err() },
		})
		var errs []error
		for range 3 {
			if err := g.Submit(1, func(_ int, err error) { errs = append(errs, err) }); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v", err)
		}
		synctest.Wait()
		if len(errs) != 3 || !errors.Is(errs[0], context.Canceled) || !errors.Is(errs[2], groupcommit.ErrClosed) {
			t.Errorf("answers: %v", errs)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]groupcommit.Config[int, int]{
		"no commit":        {},
		"negative items":   {Commit: double, MaxItems: -1},
		"negative queue":   {Commit: double, QueueItems: -1},
		"queue below":      {Commit: double, MaxBytes: 10, QueueBytes: 5},
		"interval":         {Commit: double, Interval: time.Minute},
		"negative low":     {Commit: double, LowInterval: -1},
		"low above":        {Commit: double, LowInterval: time.Minute},
		"timeout":          {Commit: double, CommitTimeout: -1},
		"negative workers": {Commit: double, Workers: -2},
	} {
		if _, err := groupcommit.New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	g, err := groupcommit.New(groupcommit.Config[int, int]{Commit: double, Interval: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.Do(context.Background(), 1); err != nil {
				b.Error(err)
				return
			}
		}
	})
	if err := g.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}
