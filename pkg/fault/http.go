package fault

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter is the longest wait a third party can ask for; a larger or
// hostile Retry-After is cut to it.
const MaxRetryAfter = 24 * time.Hour

const (
	codeDuplicate    = "duplicate"
	codeOwnDuplicate = "duplicate_of_own_attempt"
)

// FromHTTP classifies the answer of a third party; nil for 2xx, and only for
// 2xx: a redirect is never a success.
//
// firstTry says that no earlier attempt of this record at this step ended with
// an unknown outcome. It decides what a 409 means: on the first try somebody
// else's record is there already (duplicate), afterwards it is our own one
// (see OwnDuplicate). now is needed for a Retry-After that is a date, and only
// where the answer carries no Date of its own.
//
// 3xx is classed credentials although no key is wrong: the configured address
// is, every record would meet the same answer, and what helps is the same:
// pause the destination, park its records without cost, tell a person at once.
func FromHTTP(status int, header http.Header, firstTry bool, now time.Time) *Error {
	switch {
	case status >= 200 && status <= 299:
		return nil
	case status >= 300 && status <= 399:
		return New(Credentials, "redirect", "answered %d: redirects are not followed; put the final address into the destination's url", status)
	case status >= 400 && status <= 499:
		return fromClientError(status, header, firstTry, now)
	case status >= 500 && status <= 599:
		return later(New(System, "http_"+strconv.Itoa(status), "answered %d", status), header, now)
	default:
		return New(System, "bad_status", "answered with the impossible status %d", status)
	}
}

func fromClientError(status int, header http.Header, firstTry bool, now time.Time) *Error {
	code := "http_" + strconv.Itoa(status)
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return New(Credentials, "unauthorized", "answered %d: the destination's credentials are not accepted", status)
	case http.StatusForbidden:
		f := New(Credentials, "forbidden", "answered 403: this record, or every record, may not be written with these credentials")
		f.Candidate = true
		return f
	case http.StatusConflict:
		if firstTry {
			return New(Duplicate, codeDuplicate, "answered 409 on the first try: the destination has this record from elsewhere")
		}
		return New(Duplicate, codeOwnDuplicate, "answered 409 after an attempt of ours with unknown outcome: the destination has this record from us")
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return later(New(System, code, "answered %d", status), header, now)
	default:
		return New(Data, code, "answered %d: the destination does not take this record", status)
	}
}

func later(f *Error, header http.Header, now time.Time) *Error {
	f.RetryAfter, _ = RetryAfter(header, now)
	return f
}

// RetryAfter reads the header Retry-After: whole seconds, or an HTTP date
// measured from the answer's own Date where it has one (so that a wrong clock
// on either side does no harm), else from now. The result lies in
// [0, MaxRetryAfter]; false when there is none or it cannot be read.
func RetryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	const longest = 128 // a date has 29 bytes; what is longer is not read
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value == "" || len(value) > longest {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter, true // digits only: the error can only be overflow
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	// Sub saturates, so years far away cannot overflow.
	return min(max(at.Sub(now), 0), MaxRetryAfter), true
}
