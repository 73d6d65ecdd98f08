package acknowledger

import (
	"time"

	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/daemon"
)

// Config is everything the acknowledger is told by its environment.
type Config struct {
	Backbone backbone.Config
	// InFlight is how many outcomes are held in memory, over all integrations.
	InFlight int
	// Drain is how long answers are waited for at the stop.
	Drain time.Duration
}

func load(s *daemon.Settings) (Config, error) {
	c := Config{
		Backbone: backbone.Load(s),
		InFlight: s.Int("WAYBILL_ACKNOWLEDGER_IN_FLIGHT", 2000, 2, 100_000, "outcomes held in memory, divided evenly over the integrations that acknowledge"),
		Drain:    s.Duration("WAYBILL_ACKNOWLEDGER_DRAIN", 15*time.Second, 0, 10*time.Minute, "how long the partners' answers are waited for at the stop"),
	}
	return c, s.Err()
}
