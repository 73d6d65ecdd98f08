package processor

import (
	"time"

	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/daemon"
)

// Config of a processor.
type Config struct {
	backbone.Config
	// Lanes to work on; empty: every lane that an integration names.
	Lanes []string
	// InFlight is how many records are worked on at once in this process.
	InFlight int
	// Drain is how long records under way may take after the signal to stop.
	Drain time.Duration
	// Redrive is false only in experiments: without it what is lost stays lost.
	Redrive bool
	// AuditEvery is the time between two checks of conservation.
	AuditEvery time.Duration
}

func load(s *daemon.Settings) (Config, error) {
	c := Config{
		Config:     backbone.Load(s),
		Lanes:      s.List("WAYBILL_PROCESSOR_LANES", nil, "the lanes to work on, separated by commas; empty: all"),
		InFlight:   s.Int("WAYBILL_PROCESSOR_IN_FLIGHT", 256, 3, 100_000, "records worked on at once: 60 % new, 30 % retries, 10 % replays"),
		Drain:      s.Duration("WAYBILL_PROCESSOR_DRAIN", 8*time.Second, 0, time.Minute, "how long records under way may take after the signal to stop"),
		Redrive:    s.Bool("WAYBILL_PROCESSOR_REDRIVE", true, "send out again what was lost; false only to watch what happens without"),
		AuditEvery: s.Duration("WAYBILL_PROCESSOR_AUDIT_EVERY", time.Minute, time.Second, 24*time.Hour, "time between two conservation checks, which set waybill_unaccounted"),
	}
	return c, s.Err()
}
