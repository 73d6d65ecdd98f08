package telemetry

import (
	"fmt"
	"regexp"
	"strings"
)

const hidden = "[redacted]"

// Secret holds a value that no printer shows: fmt, JSON, text encoders and zap
// print stars. Reveal gives it to who uses it.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value. Call it where the value is used, not where it is stored.
func (s Secret) Reveal() string { return s.value }

// IsSet reports whether there is a value.
func (s Secret) IsSet() bool { return s.value != "" }

// String prints stars, or nothing for no value.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return "***"
}

// Format keeps every verb, %#v and %x included, from the value.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText prints stars in JSON, YAML and flags.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Compiled once: they are immutable.
var (
	userinfo   = regexp.MustCompile(`(://)[^/\s@"']+@`)
	bearer     = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+`)
	whsec      = regexp.MustCompile(`whsec_[A-Za-z0-9+/=_-]+`)
	assignment = regexp.MustCompile(`(?i)\b([\w-]*(?:passw\w*|secret|token|api[_-]?key|signature|authorization|cookie)[\w-]*["']?\s*[:=]\s*)("[^"]*"?|'[^']*'?|[^\s,;&})\]]+)`)
	pgKey      = regexp.MustCompile(`=\([^)]*\)?`)
	email      = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]+`)
)

// Scrub takes what looks like a secret out of a text: passwords in URLs, bearer
// tokens, signing secrets, and values assigned to names of secrets.
func Scrub(s string) string {
	if strings.Contains(s, "://") {
		s = userinfo.ReplaceAllString(s, "${1}redacted@")
	}
	s = bearer.ReplaceAllString(s, "${1} "+hidden)
	s = whsec.ReplaceAllString(s, hidden)
	return assignment.ReplaceAllString(s, "${1}"+hidden)
}

// scrubPersonal also takes out e-mail addresses and the values in Postgres'
// "Key (email)=(…)": for texts that leave the installation.
func scrubPersonal(s string) string {
	return email.ReplaceAllString(pgKey.ReplaceAllString(Scrub(s), "=(…)"), "[e-mail]")
}

// sensitiveField reports whether a log field of this name is not written.
func sensitiveField(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"passw", "secret", "token", "api_key", "apikey", "api-key", "signature", "authorization", "cookie", "credential", "payload"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return name == "body" || name == "dsn" || strings.HasSuffix(name, "_body")
}
