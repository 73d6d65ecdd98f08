package retry

import (
	"strings"
	"time"
)

// DelayName writes a delay the short way people say it: 5s, 30s, 5m, 1m30s. It
// is part of the name of a retry topic: who writes to the topic and who reads it
// both take it from here.
func DelayName(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
