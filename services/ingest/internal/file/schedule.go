package file

import (
	"time"

	"waybill.internal/pkg/integration"
)

// often is the longest time between two runs of a schedule that follows the
// hours as they pass: such a one may run at 02:30 twice when clocks go back.
const often = time.Hour

// timetable gives the runs of a schedule in a time zone. A run is known by its
// nominal time, what the clock on the wall shows, written as a time in UTC: one
// that the wall clock jumps over takes place all the same, and one that it
// shows twice takes place once, unless the schedule runs hourly or more often.
type timetable struct {
	every integration.Schedule
	zone  *time.Location
}

// next gives the first run after now, and its nominal time; last is the nominal
// time of the run before. The zero time means that there is none.
func (t timetable) next(now, last time.Time) (at, nominal time.Time) {
	at = t.every.Next(now.In(t.zone))
	if !at.IsZero() && t.wall(at).Equal(last) && t.every.Next(last).Sub(last) > often {
		at = t.every.Next(at)
	}
	if !at.IsZero() {
		nominal = t.wall(at)
	}
	from := t.wall(now)
	if last.After(from) {
		from = last
	}
	jumped := t.every.Next(from)
	if jumped.IsZero() {
		return at, nominal
	}
	instead := time.Date(jumped.Year(), jumped.Month(), jumped.Day(), jumped.Hour(), jumped.Minute(), 0, 0, t.zone)
	if t.wall(instead).Equal(jumped) || (!at.IsZero() && !instead.Before(at)) {
		return at, nominal // the wall clock does show it: the schedule found it itself
	}
	if instead.Before(now) {
		instead = now
	}
	return instead, jumped
}

func (t timetable) wall(at time.Time) time.Time {
	at = at.In(t.zone)
	return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
}
