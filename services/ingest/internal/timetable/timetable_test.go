package timetable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/integration"
)

// scheduled reads a schedule as an integration file says it.
func scheduled(t *testing.T, cron, zone string) Table {
	t.Helper()
	text := "integration: clock\nsources:\n  - file: {from: drop, every: \"" + cron + "\", timezone: " + zone + ", format: {csv: {}}}\nrecord: {}\nprocess: {}\n"
	path := filepath.Join(t.TempDir(), "clock.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := integration.Load(path, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return Table{Every: in.Sources[0].File.Every, Zone: location}
}

// TestTimetable follows schedules over the two days on which Berlin's clocks
// change: 2026-03-29 has no 02:30, 2026-10-25 has two.
func TestTimetable(t *testing.T) {
	t.Parallel()
	const spring, autumn = "2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z"
	for _, c := range []struct {
		name, cron, from string
		want             []string // UTC, and the nominal time
	}{
		{"a time that is jumped over", "30 2 * * *", spring, []string{"29T01:30=29T02:30", "30T00:30=30T02:30", "31T00:30=31T02:30"}},
		{"a time that comes twice", "30 2 * * *", autumn, []string{"25T00:30=25T02:30", "26T01:30=26T02:30", "27T01:30=27T02:30"}},
		{"a time that is there", "0 13 * * *", spring, []string{"29T11:00=29T13:00", "30T11:00=30T13:00"}},
		{"hourly, back", "0 0-4 * * *", autumn, []string{"24T22:00=25T00:00", "24T23:00=25T01:00", "25T00:00=25T02:00", "25T01:00=25T02:00", "25T02:00=25T03:00"}},
		{"often, forward", "*/30 1-3 * * *", spring, []string{"29T00:00=29T01:00", "29T00:30=29T01:30", "29T01:00=29T03:00", "29T01:30=29T03:30"}},
		{"never", "0 0 30 2 *", spring, []string{"never"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := scheduled(t, c.cron, "Europe/Berlin")
			now, err := time.Parse(time.RFC3339, c.from)
			if err != nil {
				t.Fatal(err)
			}
			last := table.Wall(now)
			var got []string
			for range c.want {
				at, nominal := table.Next(now, last)
				if at.IsZero() {
					got = append(got, "never")
					break
				}
				if at.Before(now) {
					t.Fatalf("the run at %s lies before %s", at, now)
				}
				got = append(got, at.UTC().Format("02T15:04")+"="+nominal.Format("02T15:04"))
				now, last = at, nominal
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("runs %v, want %v", got, c.want)
			}
		})
	}
}

// TestAfter: whoever remembers no run before finds each of them once.
func TestAfter(t *testing.T) {
	t.Parallel()
	const half = "30 2 * * *"
	for _, c := range []struct{ name, cron, after, want string }{
		{"usual", half, "2026-03-10T01:29:59Z", "2026-03-10T01:30:00Z"},
		{"at the run itself", half, "2026-03-10T01:30:00Z", "2026-03-11T01:30:00Z"},
		{"a time that is jumped over", half, "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"},
		{"the day after it", half, "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		{"the first of two", half, "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"},
		{"between the two, before the hour", half, "2026-10-25T00:40:00Z", "2026-10-26T01:30:00Z"},
		{"between the two, after it", half, "2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z"},
		{"after both", half, "2026-10-25T01:40:00Z", "2026-10-26T01:30:00Z"},
		{"hourly, back", "30 * * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
		{"never", "0 0 30 2 *", "2026-10-25T00:30:00Z", "0001-01-01T00:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := scheduled(t, c.cron, "Europe/Berlin").After(at).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
