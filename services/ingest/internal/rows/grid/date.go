package grid

import (
	"math"
	"strings"
	"time"
)

// DateKind is what of a moment a number format shows.
type DateKind uint8

const (
	NoDate  DateKind = iota
	aDate            // 1
	aTime            // 2
	aMoment          // both
	elapsed          // a duration, which stays a number
)

// KindOfBuiltin tells the formats that files need not spell out, those of East
// Asian programs included.
func KindOfBuiltin(id int) DateKind {
	switch id {
	case 14, 15, 16, 17, 27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58:
		return aDate
	case 18, 19, 20, 21, 32, 33, 34, 35, 45, 47, 55, 56:
		return aTime
	case 22:
		return aMoment
	case 46:
		return elapsed
	}
	return NoDate
}

// KindOfFormat reads the first section of a number format such as
// [$-407]dd/mm/yyyy;@. An m beside hours or seconds is minutes, else months.
func KindOfFormat(format string) DateKind {
	letters, isDuration := dateLetters(strings.ToLower(format))
	if isDuration {
		return elapsed
	}
	var kind DateKind
	for i := 0; i < len(letters); i++ {
		switch letters[i] {
		case 'd', 'y':
			kind |= aDate
		case 'h', 's', 'a':
			kind |= aTime
		case 'm':
			minutes := i > 0 && letters[i-1] == 'h' || i+1 < len(letters) && letters[i+1] == 's'
			if minutes {
				kind |= aTime
			} else {
				kind |= aDate
			}
		}
	}
	return kind
}

// dateLetters gives the runs of d, m, y, h and s of a format as one letter each, and
// a for AM/PM.
func dateLetters(format string) (letters []byte, isDuration bool) {
	for i := 0; i < len(format); i++ {
		rest := format[i:]
		switch c := format[i]; {
		case c == '"':
			i += 1 + upTo(rest[1:], '"')
		case c == '\\' || c == '_' || c == '*':
			i++ // the next character stands for itself or for its width
		case c == '[':
			end := upTo(rest, ']')
			if inside := rest[1:max(1, min(end, len(rest)))]; inside != "" && strings.Trim(inside, inside[:1]) == "" && strings.Contains("hms", inside[:1]) {
				return nil, true
			}
			i += end
		case c == ';':
			return letters, false
		case strings.HasPrefix(rest, "general"):
			i += len("general") - 1
		case strings.HasPrefix(rest, "am/pm"):
			letters, i = append(letters, 'a'), i+len("am/pm")-1
		case strings.HasPrefix(rest, "a/p"):
			letters, i = append(letters, 'a'), i+len("a/p")-1
		case strings.IndexByte("dmyhs", c) >= 0:
			if len(letters) == 0 || letters[len(letters)-1] != c || i > 0 && format[i-1] != c {
				letters = append(letters, c)
			}
		}
	}
	return letters, false
}

// upTo is the place of c, or the end.
func upTo(s string, c byte) int {
	if i := strings.IndexByte(s, c); i >= 0 {
		return i
	}
	return len(s)
}

const (
	lastDay  = 2_958_465 // 9999-12-31
	noSuch   = 60        // 1900-02-29, which Excel has and the calendar has not
	days1904 = 1462      // between the two systems
	dayMS    = 24 * 60 * 60 * 1000
)

// AppendMoment writes a number that is shown as a date or time; false if it is no moment
// of the calendar. A date with a time of day keeps it, whatever is shown.
func AppendMoment(to []byte, v float64, kind DateKind, is1904 bool) ([]byte, bool) {
	if kind == NoDate || kind == elapsed || !(v >= 0) || v >= lastDay+1 {
		return to, false
	}
	ms := int64(math.Round(v * dayMS))
	day, ms := ms/dayMS, ms%dayMS
	if kind == aTime && day == 0 {
		return time.UnixMilli(ms).UTC().AppendFormat(to, "15:04:05.999"), true
	}
	switch {
	case is1904:
		day += days1904
	case day == 0 || day == noSuch:
		return to, false
	case day < noSuch:
		day++
	}
	if day > lastDay {
		return to, false
	}
	layout := "2006-01-02T15:04:05.999"
	if kind == aDate && ms == 0 {
		layout = "2006-01-02"
	}
	at := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(day)).Add(time.Duration(ms) * time.Millisecond)
	return at.AppendFormat(to, layout), true
}
