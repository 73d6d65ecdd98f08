// Package timetable gives the runs of a cron schedule over the days on which clocks
// change: a run that the clock on the wall jumps over takes place all the same, and
// one that it shows twice takes place once, unless the schedule runs hourly or more often.
package timetable

import (
	"time"

	"waybill.internal/pkg/integration"
)

// often is the longest time between two runs of a schedule that follows the
// hours as they pass: such a one may run at 02:30 twice when clocks go back.
const often = time.Hour

// maxShift is more than clocks are ever put back, and less than the time between two such days.
const maxShift = 24 * time.Hour

// Table gives the runs of a schedule in a time zone. A run is known by its
// nominal time, what the clock on the wall shows, written as a time in UTC.
type Table struct {
	Every integration.Schedule
	Zone  *time.Location
}

// Next gives the first run after now, and its nominal time; last is the nominal
// time of the run before. The zero time means that there is none.
func (t Table) Next(now, last time.Time) (at, nominal time.Time) {
	at = t.Every.Next(now.In(t.Zone))
	if !at.IsZero() && t.Wall(at).Equal(last) && t.Every.Next(last).Sub(last) > often {
		at = t.Every.Next(at)
	}
	if !at.IsZero() {
		nominal = t.Wall(at)
	}
	from := t.Wall(now)
	if last.After(from) {
		from = last
	}
	jumped := t.Every.Next(from)
	if jumped.IsZero() {
		return at, nominal
	}
	instead := t.instant(jumped)
	if t.Wall(instead).Equal(jumped) || (!at.IsZero() && !instead.Before(at)) {
		return at, nominal // the wall clock does show it: the schedule found it itself
	}
	if instead.Before(now) {
		instead = now
	}
	return instead, jumped
}

// After gives the first run after a time for which nobody remembers the run before
// it; the zero time means that there is none.
func (t Table) After(at time.Time) time.Time {
	nominal := t.Every.Next(t.Wall(at))
	if nominal.IsZero() || t.Every.Next(nominal).Sub(nominal) <= often {
		return t.Every.Next(at.In(t.Zone))
	}
	for !nominal.IsZero() {
		if run := t.instant(nominal); run.After(at) {
			return run
		}
		nominal = t.Every.Next(nominal) // rises: the loop ends with the first that lies ahead
	}
	return nominal
}

// instant is when the wall clock shows a nominal time first, or would if it did not jump over it.
func (t Table) instant(nominal time.Time) time.Time {
	at := time.Date(nominal.Year(), nominal.Month(), nominal.Day(), nominal.Hour(), nominal.Minute(), 0, 0, t.Zone)
	_, offset := at.Zone()
	_, before := at.Add(-maxShift).Zone()
	if first := at.Add(time.Duration(offset-before) * time.Second); before > offset && t.Wall(first).Equal(nominal) {
		return first
	}
	return at
}

// Wall is the nominal time of an instant.
func (t Table) Wall(at time.Time) time.Time {
	at = at.In(t.Zone)
	return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
}
