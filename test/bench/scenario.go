package main

import (
	"context"
	"fmt"
	"time"

	"waybill.internal/pkg/clock"
)

// scenario is one thing to measure on a running Waybill.
type scenario struct {
	name string
	says string // for the report
	run  func(ctx context.Context, c *cell) (Sample, error)
}

// Sample is what one repetition of one scenario gave.
type Sample struct {
	Scenario    string             `json:"scenario"`
	Variant     string             `json:"variant"`
	Repetition  int                `json:"repetition"`
	Records     int                `json:"records"`
	Seconds     float64            `json:"seconds"`
	CPU         map[string]float64 `json:"cpu_seconds"`     // by process, as the kernel counted it
	Calibration float64            `json:"calibration_ms"`  // CPU time of the fixed work beside it
	WAL         int64              `json:"wal_bytes"`       // of the whole server
	AcceptedPS  float64            `json:"accepted_per_s"`  // receipts
	FinishedPS  float64            `json:"finished_per_s"`  // confirmed by the partner
	P50         float64            `json:"receipt_p50_ms"`  //
	P99         float64            `json:"receipt_p99_ms"`  //
	Unavailable int64              `json:"answers_503"`     // tried again by the generator
	DrainRatio  float64            `json:"drain_to_accept"` // scenario drain only
}

const (
	lowFor   = 15 * time.Second
	idleFor  = 10 * time.Second
	trailing = 500 * time.Millisecond
	warmUp   = 2000
)

// scenarios in the order in which each repetition runs them. "half" needs the
// rate that "burst" found.
func scenarios(burst int) []scenario {
	return []scenario{
		{"burst", fmt.Sprintf("%d records of 1 KiB from %d clients, as fast as receipts come", burst, clients), func(ctx context.Context, c *cell) (Sample, error) {
			s, err := c.measure(ctx, &load{records: burst, size: smallBody, clients: clients})
			c.most = s.AcceptedPS
			return s, err
		}},
		{"half", "half of the burst's accepted records/s, open loop: receipts under an ordinary load", func(ctx context.Context, c *cell) (Sample, error) {
			if c.most == 0 {
				return Sample{}, fmt.Errorf("the scenario half needs burst before it")
			}
			return c.atRate(ctx, c.most/2)
		}},
		{"rate-100", "100 records/s, open loop", func(ctx context.Context, c *cell) (Sample, error) { return c.atRate(ctx, 100) }},
		{"rate-500", "500 records/s, open loop", func(ctx context.Context, c *cell) (Sample, error) { return c.atRate(ctx, 500) }},
		{"rate-1500", "1,500 records/s, open loop", func(ctx context.Context, c *cell) (Sample, error) { return c.atRate(ctx, 1500) }},
		{"big", "1,000 records of 64 KiB from 64 clients", func(ctx context.Context, c *cell) (Sample, error) {
			return c.measure(ctx, &load{records: 1000, size: bigBody, clients: clients})
		}},
		{"drain", "half a burst accepted while the processor is stopped, then worked off", func(ctx context.Context, c *cell) (Sample, error) {
			return c.drain(ctx, burst/2)
		}},
		{"idle", "nothing comes", func(ctx context.Context, c *cell) (Sample, error) { return c.idle(ctx) }},
	}
}

func (c *cell) atRate(ctx context.Context, rate float64) (Sample, error) {
	return c.measure(ctx, &load{records: int(rate * lowFor.Seconds()), size: smallBody, clients: openClients, rate: rate})
}

// measure posts a load and waits until the partner has confirmed all of it.
func (c *cell) measure(ctx context.Context, l *load) (Sample, error) {
	return c.observe(ctx, l, func(ctx context.Context, s *Sample) error {
		start := time.Now()
		if err := c.post(ctx, l); err != nil {
			return err
		}
		if err := c.awaitConfirmed(ctx); err != nil {
			return err
		}
		s.FinishedPS = float64(l.records) / time.Since(start).Seconds()
		return nil
	})
}

// drain compares how fast a backlog comes in with how fast it is worked off.
func (c *cell) drain(ctx context.Context, records int) (Sample, error) {
	l := &load{records: records, size: smallBody, clients: clients}
	if err := c.stop("processor"); err != nil {
		return Sample{}, err
	}
	if err := c.post(ctx, l); err != nil {
		return Sample{}, err
	}
	return c.observe(ctx, l, func(ctx context.Context, s *Sample) error {
		if err := c.start(ctx, "processor"); err != nil {
			return err
		}
		start := time.Now()
		if err := c.awaitConfirmed(ctx); err != nil {
			return err
		}
		s.FinishedPS = float64(records) / time.Since(start).Seconds()
		s.DrainRatio = s.FinishedPS / (float64(records) / l.accepted.Seconds())
		return nil
	})
}

func (c *cell) idle(ctx context.Context) (Sample, error) {
	return c.observe(ctx, nil, func(ctx context.Context, _ *Sample) error { return clock.Sleep(ctx, idleFor) })
}

// observe reads every counter before and after act. What still trails behind the
// last confirmation (marks, offsets, the settlement of the confirmation itself) is counted.
func (c *cell) observe(ctx context.Context, l *load, act func(context.Context, *Sample) error) (Sample, error) {
	var s Sample
	before, err := c.read(ctx)
	if err != nil {
		return s, err
	}
	if err := act(ctx, &s); err != nil {
		return s, err
	}
	if l != nil {
		if err := clock.Sleep(ctx, trailing); err != nil {
			return s, err
		}
	}
	after, err := c.read(ctx)
	if err != nil {
		return s, err
	}
	if l != nil {
		s.Records, s.Unavailable = l.records, l.retries.Load()
		s.AcceptedPS = float64(l.records) / l.accepted.Seconds()
		s.P50, s.P99 = quantile(l.latency, 0.50), quantile(l.latency, 0.99)
		if err := c.stack.AwaitClosed(ctx); err != nil {
			return s, fmt.Errorf("what was confirmed is not closed in the ledger: %w", err)
		}
	}
	s.Seconds, s.WAL, s.CPU = after.at.Sub(before.at).Seconds(), after.wal-before.wal, map[string]float64{}
	for name, cpu := range after.cpu {
		s.CPU[name] = (cpu - before.cpu[name]).Seconds()
	}
	return s, nil
}
