package clock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"waybill.internal/pkg/clock"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	errEnded := errors.New("the work has ended")
	live := func(ctx context.Context) (context.Context, func()) { return ctx, func() {} }
	ended := func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(errEnded)
		return ctx, func() {}
	}
	ends := func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(time.Second, func() { cancel(errEnded) })
		return ctx, func() { timer.Stop(); cancel(nil) }
	}
	limited := func(ctx context.Context) (context.Context, func()) {
		return context.WithTimeout(ctx, time.Second)
	}
	for name, c := range map[string]struct {
		of     func(context.Context) (context.Context, func())
		d      time.Duration
		want   error
		passed time.Duration
	}{
		"passes":              {live, time.Hour, nil, time.Hour},
		"no wait":             {live, 0, nil, 0},
		"less than none":      {live, -time.Hour, nil, 0},
		"ended before":        {ended, time.Hour, errEnded, 0},
		"ended, no wait":      {ended, 0, errEnded, 0},
		"ended, less":         {ended, -time.Hour, errEnded, 0},
		"ends in the middle":  {ends, time.Hour, errEnded, time.Second},
		"ends later":          {ends, time.Millisecond, nil, time.Millisecond},
		"limit in the middle": {limited, time.Hour, context.DeadlineExceeded, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, release := c.of(t.Context())
				defer release()
				begin := time.Now()
				if err := clock.Sleep(ctx, c.d); !errors.Is(err, c.want) || time.Since(begin) != c.passed {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(begin), c.want, c.passed)
				}
			})
		})
	}
}
