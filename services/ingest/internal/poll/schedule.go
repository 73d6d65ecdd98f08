package poll

import (
	"math/rand/v2"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/timetable"
)

const (
	// firstWait doubles with each failure up to maxWait; slow failures, which a
	// person has to repair, begin at slowWait.
	firstWait = time.Second
	maxWait   = 5 * time.Minute
	slowWait  = time.Minute
	maxSlow   = 15 * time.Minute
)

// nextRun is the first run after now, of a source whose last one began at began; the
// zero time means that there is none.
func nextRun(c integration.Cadence, zone *time.Location, began, now time.Time) time.Time {
	if c.Every > 0 {
		return began.Add(c.Every)
	}
	return timetable.Table{Every: c.Schedule, Zone: zone}.After(now)
}

// backoff is the wait after so many failures in a row: doubling, with a fifth of
// jitter, and never less than the partner asked for.
func backoff(failures int, f *fault.Error) time.Duration {
	first, most := firstWait, maxWait
	if slow(f) {
		first, most = slowWait, maxSlow
	}
	wait := most
	if shift := max(failures-1, 0); shift < 20 {
		wait = min(first<<shift, most)
	}
	wait = max(wait, f.RetryAfter)
	return wait + rand.N(wait/5+1)
}

// slow tells whether trying again soon is of no use: a person has to repair it.
func slow(f *fault.Error) bool {
	return f.Class == fault.Credentials || f.Class == fault.Data || f.Class == fault.Bug
}
