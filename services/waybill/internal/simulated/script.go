package simulated

import (
	"errors"
	"fmt"
	"time"
)

// Script says how a third party misbehaves. Rates lie between 0 and 1 and are
// taken in this order; their sum must not exceed 1.
type Script struct {
	TimeoutRate     float64 `json:"timeout_rate"`     // hangs for TimeoutMS, executes nothing
	UnavailableRate float64 `json:"unavailable_rate"` // 503 with Retry-After, executes nothing
	LateErrorRate   float64 `json:"late_error_rate"`  // executes, then says 500
	ResetRate       float64 `json:"reset_rate"`       // executes, then resets the connection
	SlowRate        float64 `json:"slow_rate"`        // waits SlowMS, then behaves
	TimeoutMS       int     `json:"timeout_ms"`
	SlowMS          int     `json:"slow_ms"`
	RetryAfterS     int     `json:"retry_after_s"`
	Bug             *Bug    `json:"bug,omitempty"` // until mended
}

// Bug makes the third party answer 500 to the requests it matches, without
// executing them.
type Bug struct {
	Field  string `json:"field"`  // top-level field of the body
	Equals string `json:"equals"` // matches the field as text; empty: by Modulo
	Modulo uint64 `json:"modulo"` // matches every n-th value of the field, by its hash
}

func (s Script) check() error {
	sum := 0.0
	for _, r := range []float64{s.TimeoutRate, s.UnavailableRate, s.LateErrorRate, s.ResetRate, s.SlowRate} {
		if !(r >= 0 && r <= 1) {
			return errors.New("a rate must lie between 0 and 1")
		}
		sum += r
	}
	limit := int(maxHang / time.Millisecond)
	switch {
	case sum > 1.000001:
		return fmt.Errorf("the rates add up to %.3f, at most 1 is possible", sum)
	case s.TimeoutMS < 0 || s.TimeoutMS > limit || s.SlowMS < 0 || s.SlowMS > limit:
		return fmt.Errorf("timeout_ms and slow_ms must lie between 0 and %d", limit)
	case s.RetryAfterS < 0 || s.RetryAfterS > 3600:
		return errors.New("retry_after_s must lie between 0 and 3600")
	case s.Bug != nil && (s.Bug.Field == "" || (s.Bug.Equals == "") == (s.Bug.Modulo == 0)):
		return errors.New("a bug needs a field, and either equals or modulo")
	}
	return nil
}

func (b *Bug) matches(body map[string]any) bool {
	if b == nil {
		return false
	}
	v, ok := body[b.Field]
	if !ok {
		return false
	}
	text := fmt.Sprint(v)
	if b.Equals != "" {
		return text == b.Equals
	}
	d := digestOf([]byte(text))
	return (uint64(d[0])<<24|uint64(d[1])<<16|uint64(d[2])<<8|uint64(d[3]))%b.Modulo == 0
}
