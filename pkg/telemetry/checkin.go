package telemetry

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/getsentry/sentry-go"
)

// RunState is how a scheduled run goes.
type RunState string

// The states of a run.
const (
	RunBegun  RunState = "in_progress"
	RunDone   RunState = "ok"
	RunFailed RunState = "error"
)

const (
	// checkInMargin is how late a run may begin before Sentry calls it missed, and
	// maxRunTime how long it may take, both in minutes.
	checkInMargin = 10
	maxRunTime    = 12 * 60
	// maxSlug bounds the name of a monitor, as Sentry does.
	maxSlug = 50
)

// CheckIn tells a Sentry monitor about one run of something scheduled. The monitor
// is made by the first check-in, and changed when its schedule is.
type CheckIn struct {
	Monitor  string        // its name; what Sentry does not take in one is replaced
	Crontab  string        // five fields
	Every    time.Duration // instead of Crontab; whole minutes, what is less has no monitor
	Timezone string        // of Crontab; empty: UTC
	Run      time.Time     // for which the run was scheduled: all processes that tell it mean the same run
	State    RunState
}

// CheckIn sends it. It does not block on the network; without a DSN, or a schedule
// that Sentry knows, nothing is sent.
func (a *Alerts) CheckIn(c CheckIn) {
	if a == nil || a.client == nil {
		return
	}
	schedule := c.schedule()
	if schedule == nil {
		return
	}
	slug := slugOf(c.Monitor)
	sum := sha256.Sum256([]byte(slug + "\x1f" + strconv.FormatInt(c.Run.Unix(), 10)))
	timezone := c.Timezone
	if timezone == "" {
		timezone = "UTC"
	}
	a.client.CaptureCheckIn(
		&sentry.CheckIn{ID: sentry.EventID(hex.EncodeToString(sum[:16])), MonitorSlug: slug, Status: sentry.CheckInStatus(c.State)},
		&sentry.MonitorConfig{Schedule: schedule, CheckInMargin: checkInMargin, MaxRuntime: maxRunTime, Timezone: timezone}, nil)
}

func (c CheckIn) schedule() sentry.MonitorSchedule {
	switch {
	case c.Crontab != "":
		return sentry.CrontabSchedule(c.Crontab)
	case c.Every >= time.Minute && c.Every%time.Minute == 0:
		return sentry.IntervalSchedule(int64(c.Every/time.Minute), sentry.MonitorScheduleUnitMinute)
	}
	return nil
}

// slugOf makes a monitor's name of small letters, digits, - and _. One that is too
// long ends with a part of its hash, so that two do not become one.
func slugOf(name string) string {
	slug := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name)
	if len(slug) <= maxSlug {
		return slug
	}
	sum := sha256.Sum256([]byte(name))
	end := "-" + hex.EncodeToString(sum[:4])
	return slug[:maxSlug-len(end)] + end
}
