package xlsrows

import (
	"math"
	"strings"
	"time"
)

// dateKind is what of a moment a number format shows.
type dateKind byte

const (
	noDate   dateKind = 0
	onlyDate dateKind = 1
	onlyTime dateKind = 2
	fullDate          = onlyDate | onlyTime
	elapsed  dateKind = 4 // hours, minutes or seconds that do not wrap: a duration
)

// kindOfBuiltin tells the number formats that files need not spell out.
func kindOfBuiltin(id int) dateKind {
	switch {
	case id >= 14 && id <= 17, id >= 27 && id <= 31, id == 36, id >= 50 && id <= 54, id == 57, id == 58:
		return onlyDate
	case id >= 18 && id <= 21, id >= 32 && id <= 35, id == 45, id == 47, id == 55, id == 56:
		return onlyTime
	case id == 22:
		return fullDate
	case id == 46:
		return elapsed
	default:
		return noDate
	}
}

// kindOfFormat reads a number format such as [$-407]dd/mm/yyyy;@. Its first section
// decides. An m between hours and seconds is minutes, else months.
func kindOfFormat(format string) dateKind {
	var kind dateKind
	last := byte(0) // the last of d, h, m, s, y seen
	months, minutes := false, false
	for i := 0; i < len(format); i++ {
		c := format[i] | 0x20
		switch {
		case format[i] == '"':
			i += 1 + strings.IndexByte(format[i+1:]+`"`, '"')
		case format[i] == '\\' || format[i] == '_' || format[i] == '*':
			i++ // the next character stands for itself
		case format[i] == '[':
			end := strings.IndexByte(format[i:]+"]", ']')
			inside := strings.ToLower(format[min(i+1, len(format)):min(i+end, len(format))])
			if inside != "" && strings.Trim(inside, inside[:1]) == "" && strings.Contains("hms", inside[:1]) {
				return elapsed
			}
			i += end
		case format[i] == ';':
			i = len(format)
		case strings.HasPrefix(strings.ToLower(format[i:]), "general"):
			i += len("general") - 1
		case strings.HasPrefix(strings.ToLower(format[i:]), "am/pm"):
			kind, i = kind|onlyTime, i+len("am/pm")-1
		case strings.HasPrefix(strings.ToLower(format[i:]), "a/p"):
			kind, i = kind|onlyTime, i+len("a/p")-1
		case c == 'd' || c == 'y':
			kind, last = kind|onlyDate, c
		case c == 'h':
			kind, last = kind|onlyTime, c
		case c == 's':
			if kind |= onlyTime; last == 'm' && !minutes {
				months, minutes = false, true
			}
			last = c
		case c == 'm':
			if last == 'h' {
				minutes = true
			} else if last != 'm' {
				months = true
			}
			last = c
		}
	}
	if months {
		kind |= onlyDate
	}
	return kind
}

const (
	lastDay    = 2958465 // 9999-12-31
	fakeDay    = 60      // 1900-02-29, which Excel has and the calendar does not
	days1904   = 1462    // between the two systems
	msPerDay   = 24 * 60 * 60 * 1000
	dateLayout = "2006-01-02"
	timeLayout = "15:04:05.999"
)

// dateText writes a number that is shown as a date or a time: 2026-03-01,
// 08:30:00, or both as 2026-03-01T08:30:00, milliseconds only where there are any.
// A number that is no moment of the calendar, and a duration, stay numbers.
func dateText(v float64, kind dateKind, date1904 bool) (string, bool) {
	if kind == noDate || kind == elapsed || !(v >= 0) || v >= lastDay+1 {
		return "", false
	}
	ms := int64(math.Round(v * msPerDay))
	days, ms := ms/msPerDay, ms%msPerDay
	clock := time.UnixMilli(ms).UTC().Format(timeLayout)
	if kind == onlyTime && days == 0 {
		return clock, true
	}
	day, ok := calendar(days, date1904)
	switch {
	case !ok:
		return "", false
	case kind == onlyDate && ms == 0:
		return day.Format(dateLayout), true
	default:
		return day.Format(dateLayout) + "T" + clock, true
	}
}

func calendar(days int64, date1904 bool) (time.Time, bool) {
	epoch := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	switch {
	case date1904:
		days += days1904
	case days == 0 || days == fakeDay:
		return time.Time{}, false
	case days < fakeDay:
		days++ // before the day that there never was
	}
	return epoch.AddDate(0, 0, int(days)), days <= lastDay
}
