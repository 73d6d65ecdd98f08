package console_test

import (
	"strings"
	"testing"
	"time"

	"waybill.internal/services/waybill/internal/console"
)

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -12: "-12"} {
		if got := console.Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {340 * time.Microsecond, "340µs"}, {12*time.Millisecond + 400*time.Microsecond, "12ms"}, {3440 * time.Millisecond, "3.4s"},
		{125 * time.Second, "2m5s"}, {200 * time.Minute, "3h20m"}, {102 * time.Hour, "4d6h"}, {-5 * time.Second, "-5s"},
	} {
		if got := console.Duration(c.d); got != c.want {
			t.Errorf("Duration(%s) = %q, want %q", c.d, got, c.want)
		}
	}
}

func TestCleanTakesControlCharactersOut(t *testing.T) {
	t.Parallel()
	if got := console.Clean("a\x1b[31mb\nc\u202ed"); got != "a [31mb c d" {
		t.Errorf("Clean = %q", got)
	}
	if got := console.Short("äöüß", 3); got != "äö…" {
		t.Errorf("Short = %q", got)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := console.NewTable("name", ">count")
	var out strings.Builder
	table.Write(&out, "")
	if out.Len() != 0 {
		t.Errorf("a table without rows writes %q", out.String())
	}
	table.Row("ä", "1,000")
	table.Row("longer name")
	table.Write(&out, "  ")
	want := "  name         count\n  ä            1,000\n  longer name\n"
	if out.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestProgressWithoutATerminalIsPlainLines(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	now := time.Unix(1000, 0)
	p := console.NewProgress(&out, false, func() time.Time { return now })
	p.Show("one")
	p.Show("two") // too soon
	now = now.Add(time.Minute)
	p.Show("three")
	p.Say("stays")
	p.Show("four")
	p.End()
	if want := "one\nthree\nstays\nfour\n"; out.String() != want {
		t.Errorf("progress:\n%q, want\n%q", out.String(), want)
	}
}

func TestProgressOnATerminalIsRedrawn(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := console.NewProgress(&out, true, time.Now)
	p.Show("long line")
	p.Show("short")
	p.Say("stays")
	p.End()
	if want := "\rlong line\rshort    \r     \rstays\n"; out.String() != want {
		t.Errorf("progress: %q, want %q", out.String(), want)
	}
}

func TestCleanLines(t *testing.T) {
	t.Parallel()
	if got, want := console.CleanLines("one\x1b[31m\r\n\ttwo\u009b2J\n"), "one [31m \n two 2J\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
