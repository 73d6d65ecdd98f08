package claim

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSleepFollowsTheLedgersClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		due := start.Add(time.Hour)
		asked := 0
		err := sleepUntil(t.Context(), due, func() time.Time {
			if asked++; asked > 2 { // it was an hour behind, and has been set
				return due
			}
			return time.Now()
		})
		if slept := time.Since(start); err != nil || slept != 2*sleepSlice {
			t.Errorf("slept %v, %v", slept, err)
		}
	})
}
