package integration

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"waybill.internal/pkg/expression"
)

// Bytes is a size, written as a number of bytes or with KiB, MiB or GiB.
type Bytes int64

func (b *Bytes) fromText(text string) error {
	factor, digits := int64(1), text
	for unit, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			factor, digits = size, rest
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is not a size; write bytes, or a number with KiB, MiB or GiB such as 256KiB", shorten(text))
	}
	*b = Bytes(n * factor)
	return nil
}

func (b Bytes) document() any { return int64(b) }

// Rate is so many calls in a time; the zero Rate means no limit.
type Rate struct {
	Count int
	Per   time.Duration // second, minute or hour
}

func (r *Rate) fromText(text string) error {
	count, unit, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	per, ok := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if err != nil || !ok || n < 1 || n > 1_000_000 {
		return fmt.Errorf("%q is not a rate; write calls per s, m or h such as 50/s", shorten(text))
	}
	*r = Rate{n, per}
	return nil
}

func (r Rate) document() any {
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]
	if unit == "" {
		return nil
	}
	return strconv.Itoa(r.Count) + "/" + unit
}

// PerSecond is the rate as calls a second; 0 means no limit.
func (r Rate) PerSecond() float64 {
	if r.Per == 0 {
		return 0
	}
	return float64(r.Count) / r.Per.Seconds()
}

// Schedule is a cron expression of five fields.
type Schedule struct {
	text     string
	schedule cron.Schedule
}

func (s *Schedule) fromText(text string) error {
	if len(strings.Fields(text)) != 5 || strings.Contains(text, "=") {
		return fmt.Errorf("%q is not a schedule; write five cron fields such as \"*/15 * * * *\"", shorten(text))
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(text)
	if err != nil {
		return fmt.Errorf("%q is not a schedule: %w; write five cron fields such as \"*/15 * * * *\"", shorten(text), err)
	}
	s.text, s.schedule = text, parsed
	return nil
}

func (s Schedule) document() any { return orNil(s.text) }

// String is the cron expression.
func (s Schedule) String() string { return s.text }

// Next is the first run after t, in the time zone of t; the zero time when there is none
// within five years.
func (s Schedule) Next(t time.Time) time.Time {
	if s.schedule == nil {
		return time.Time{}
	}
	return s.schedule.Next(t)
}

// Resume says when parked records are taken up again: by probe, or on a schedule.
type Resume struct {
	Probe    bool
	Schedule Schedule
}

func (r *Resume) fromText(text string) error {
	if text == "probe" {
		r.Probe = true
		return nil
	}
	if err := r.Schedule.fromText(text); err != nil {
		return fmt.Errorf("%w, or probe", err)
	}
	return nil
}

func (r Resume) document() any {
	if r.Probe {
		return "probe"
	}
	return r.Schedule.document()
}

// Expr is an expression; it is compiled when the file is loaded.
type Expr struct {
	text    string
	program *expression.Program
}

func (e *Expr) fromText(text string) error { e.text = text; return nil }

func (e Expr) document() any { return orNil(e.text) }

// String is the source of the expression.
func (e Expr) String() string { return e.text }

// Path is a URL path and query with {expression} placeholders.
type Path struct {
	text     string
	template *expression.Template
}

func (p *Path) fromText(text string) error {
	if !strings.HasPrefix(text, "/") {
		return fmt.Errorf("%q does not begin with a slash; write /%s", shorten(text), shorten(text))
	}
	p.text = text
	return nil
}

func (p Path) document() any { return orNil(p.text) }

// String is the source of the path.
func (p Path) String() string { return p.text }

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// durationFromText reads Go's notation and, beside it, days: 3d.
func durationFromText(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		var n int
		if n, err = strconv.Atoi(days); err == nil && (n < 0 || n > 3660) {
			err = fmt.Errorf("out of range")
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration; write a number with ms, s, m, h or d such as 30s", shorten(text))
	}
	return d, nil
}

// Expectation is how long a source may be silent: for a duration, or until a run
// of a schedule. The zero Expectation means for ever.
type Expectation struct {
	Within   time.Duration
	Schedule Schedule
}

func (e *Expectation) fromText(text string) error {
	if d, err := durationFromText(text); err == nil {
		if d < time.Second || d > 8784*time.Hour {
			return fmt.Errorf("%q is out of bounds; write a duration from 1s to 8784h", shorten(text))
		}
		e.Within = d
		return nil
	}
	if err := e.Schedule.fromText(text); err != nil {
		return fmt.Errorf("%w, or a duration such as 24h", err)
	}
	return nil
}

func (e Expectation) document() any {
	if e.Within > 0 {
		return e.Within.String()
	}
	return e.Schedule.document()
}

// Zero reports whether silence is no alert.
func (e Expectation) Zero() bool { return e.Within == 0 && e.Schedule.text == "" }

// Cadence is how often something is done: every so long, or by a schedule.
type Cadence struct {
	Every    time.Duration
	Schedule Schedule
}

func (c *Cadence) fromText(text string) error {
	if d, err := durationFromText(text); err == nil {
		if d < time.Second || d > 8784*time.Hour {
			return fmt.Errorf("%q is out of bounds; write a duration from 1s to 8784h", shorten(text))
		}
		c.Every = d
		return nil
	}
	if err := c.Schedule.fromText(text); err != nil {
		return fmt.Errorf("%w, or a duration such as 10m", err)
	}
	return nil
}

func (c Cadence) document() any {
	if c.Every > 0 {
		return c.Every.String()
	}
	return c.Schedule.document()
}
