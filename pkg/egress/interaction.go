package egress

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxCapturedBody is how many bytes of each body an Interaction keeps.
const MaxCapturedBody = 4 << 10

const (
	maxCapturedHeaders = 64
	maxCapturedValue   = 512
	redacted           = "[redacted]"
)

// Interaction is what is kept of a call. It holds no secrets that are known by
// their name: credentials are redacted in the URL, the headers and the bodies.
type Interaction struct {
	TrackingID     [16]byte
	Method         string
	URL            string
	Status         int // 0 without an answer
	DurationMS     int64
	RequestHeader  map[string]string
	ResponseHeader map[string]string
	RequestBody    Captured
	ResponseBody   Captured
	Error          string // "" when there was an answer
	ErrorCode      Code   // of Error
}

// Captured is the beginning of a body.
type Captured struct {
	Data      string `json:"data"`
	Base64    bool   `json:"base64,omitempty"`    // Data is base64: the body is not UTF-8 text
	Truncated bool   `json:"truncated,omitempty"` // Data is only the beginning
	Bytes     int    `json:"bytes"`               // of the whole body
}

func interactionOf(r Request, answer Response, err error, took time.Duration) Interaction {
	i := Interaction{
		TrackingID: r.TrackingID, Method: r.Method, URL: RedactURL(r.URL), Status: answer.Status, DurationMS: took.Milliseconds(),
		RequestHeader: RedactHeader(r.Header), ResponseHeader: RedactHeader(answer.Header),
		RequestBody: Capture(r.Body), ResponseBody: Capture(answer.Body),
	}
	if own, ok := err.(*Error); ok {
		i.Error, i.ErrorCode = own.Error(), own.Code
	}
	return i
}

// Sensitive reports whether a header or query parameter of this name is a secret
// and is not kept. A name that ends in key is one, unless it is known to name
// something else, such as Idempotency-Key; so is one with the word auth or
// authentication.
func Sensitive(name string) bool {
	name = strings.ToLower(name)
	for _, part := range bodyParts() {
		if strings.Contains(name, part) {
			return true
		}
	}
	for _, part := range codeParts() {
		if strings.Contains(name, part) {
			return true
		}
	}
	if name == "sig" || !strings.Contains(name, "auth") && !strings.HasSuffix(name, "key") {
		return name == "sig"
	}
	words := strings.FieldsFunc(name, func(c rune) bool { return c == '-' || c == '_' || c == '.' })
	for _, word := range words {
		if word == "auth" || word == "authentication" {
			return true
		}
	}
	last := len(words) - 1
	if words[last] != "key" {
		return false
	}
	return last == 0 || !slices.Contains(plainKeys(), words[last-1])
}

// plainKeys are the words before key in names that hold no secret: our own, the
// event's name with Bitbucket, and what places a message or answer somewhere.
func plainKeys() []string {
	return []string{"idempotency", "entity", "kafka", "event", "message", "record", "partition", "routing", "ordering", "sort", "cache", "surrogate", "public"}
}

func codeParts() [6]string {
	return [...]string{"access-code", "access_code", "accesscode", "accesskey", "passcode", "pwd"}
}

// bodyParts are those of fields in bodies: fewer, because a body is the partner's
// own and its fields are what whoever looks at a record has to see.
func bodyParts() [10]string {
	return [...]string{"authorization", "cookie", "api-key", "api_key", "apikey", "secret", "token", "signature", "passw", "credential"}
}

// RedactHeader flattens and redacts a header: at most 64 names, each value at
// most 512 bytes of valid UTF-8.
func RedactHeader(h http.Header) map[string]string {
	if len(h) == 0 {
		return nil
	}
	out := make(map[string]string, min(len(h), maxCapturedHeaders))
	for name, values := range h {
		if len(out) == maxCapturedHeaders {
			break
		}
		value := strings.Join(values, ", ")
		switch {
		case Sensitive(name):
			value = redacted
		case strings.EqualFold(name, "Location"):
			value = RedactURL(value)
		}
		out[http.CanonicalHeaderKey(name)] = text(value, maxCapturedValue)
	}
	return out
}

// RedactURL takes userinfo, the values of sensitive query parameters and the
// fragment out of a URL.
func RedactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "[unreadable URL]"
	}
	if u.User != nil {
		u.User = url.User("redacted")
	}
	u.Fragment, u.RawFragment = "", ""
	if u.RawQuery != "" {
		pairs := strings.Split(u.RawQuery, "&")
		for i, pair := range pairs {
			name, _, _ := strings.Cut(pair, "=")
			if plain, err := url.QueryUnescape(name); err != nil || Sensitive(plain) {
				pairs[i] = name + "=redacted"
			}
		}
		u.RawQuery = strings.Join(pairs, "&")
	}
	return text(u.String(), 2048)
}

// Capture keeps the beginning of a body, redacted.
func Capture(body []byte) Captured {
	c := Captured{Bytes: len(body), Truncated: len(body) > MaxCapturedBody}
	head := body[:min(len(body), MaxCapturedBody)]
	if c.Truncated {
		head = wholeRunes(head)
	}
	if !utf8.Valid(head) || strings.ContainsRune(string(head), 0) { // Postgres text takes no NUL
		c.Base64, c.Data = true, base64.StdEncoding.EncodeToString(head)
		return c
	}
	c.Data = redactText(string(head))
	return c
}

// wholeRunes cuts a rune that the cap has split; bytes that are no UTF-8 at all
// stay for the caller to see.
func wholeRunes(b []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if start := b[len(b)-n]; utf8.RuneStart(start) {
			if start >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return b[:len(b)-n]
			}
			break
		}
	}
	return b
}

const sensitiveName = `(?:authorization|cookie|api[-_]?key|secret|token|signature|passw|credential)`

// Compiled once: they are immutable.
var (
	sensitiveJSON = regexp.MustCompile(`(?i)("[^"\\]*` + sensitiveName + `[^"\\]*"\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|\[[^\]]*\]?|[^\s",\]}{]+)`)
	sensitiveForm = regexp.MustCompile(`(?i)((?:^|[&?\s])[^=&\s"]*` + sensitiveName + `[^=&\s"]*=)[^&\s"]*`)
)

// redactText takes values of sensitive names out of JSON and forms, also where
// the cap has cut them. The expressions run only when such a name is there at
// all, because they cost more than the rest of a call.
func redactText(s string) string {
	lower := strings.ToLower(s)
	for _, part := range bodyParts() {
		if strings.Contains(lower, part) {
			s = sensitiveJSON.ReplaceAllString(s, `${1}"`+redacted+`"`)
			return sensitiveForm.ReplaceAllString(s, `${1}`+redacted)
		}
	}
	return s
}

// text bounds s and makes it storable: valid UTF-8 without NUL.
func text(s string, limit int) string {
	if len(s) > limit {
		s = string(wholeRunes([]byte(s[:limit]))) + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
