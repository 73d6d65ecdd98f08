package retry_test

import (
	"testing"
	"time"

	"waybill.internal/pkg/retry"
)

func TestDelayName(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		100 * time.Millisecond: "100ms", 1500 * time.Millisecond: "1.5s", 5 * time.Second: "5s", 90 * time.Second: "1m30s",
		5 * time.Minute: "5m", time.Hour: "1h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s",
	} {
		if got := retry.DelayName(d); got != want {
			t.Errorf("%v is named %s, want %s", d, got, want)
		}
	}
}
