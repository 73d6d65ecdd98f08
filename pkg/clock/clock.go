// Package clock waits for time to pass, and no longer than the work that waits:
//
//	for clock.Sleep(ctx, every) == nil {
//		look()
//	}
package clock

import (
	"context"
	"time"
)

// Sleep returns nil when d has passed, or the cause of ctx's end when that came
// first. Without a wait, d <= 0, it only says whether ctx has ended.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
