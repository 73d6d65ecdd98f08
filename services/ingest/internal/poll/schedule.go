package poll

import (
	"math/rand/v2"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
)

const (
	// firstWait doubles with each failure up to maxWait; slow failures, which a
	// person has to repair, begin at slowWait.
	firstWait = time.Second
	maxWait   = 5 * time.Minute
	slowWait  = time.Minute
	maxSlow   = 15 * time.Minute
	// often is the longest time between two runs of a schedule that follows the
	// hours as they pass, also when the clock on the wall goes back.
	often = time.Hour
)

// nextRun is the first run after now, of a source whose last one began at began.
// A run whose time the clock on the wall jumps over is made all the same, and
// one whose time it shows twice once, unless the schedule runs hourly or more often.
func nextRun(c integration.Cadence, zone *time.Location, began, now time.Time) time.Time {
	if c.Every > 0 {
		return began.Add(c.Every)
	}
	at := now.In(zone)
	wall := time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
	nominal := c.Schedule.Next(wall)
	if nominal.IsZero() || c.Schedule.Next(nominal).Sub(nominal) <= often {
		return c.Schedule.Next(at)
	}
	for {
		next := time.Date(nominal.Year(), nominal.Month(), nominal.Day(), nominal.Hour(), nominal.Minute(), 0, 0, zone)
		if next.After(now) || nominal.IsZero() {
			return next
		}
		nominal = c.Schedule.Next(nominal) // rises: the loop ends with the first that lies ahead
	}
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
