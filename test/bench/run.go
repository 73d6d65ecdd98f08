package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"waybill.internal/test/harness"
)

// run is every repetition of every variant, and what they gave.
type run struct {
	options
	servers  *harness.Servers
	progress io.Writer
	samples  []Sample
	hot      map[string][]float64            // by variant
	peak     map[string]map[string][]float64 // by variant and service, MiB
}

// all interleaves: a repetition is measured of every variant before the next
// begins, in turning order, so that what changes on the machine meets them alike.
func (r *run) all(ctx context.Context, variants []variant) error {
	r.hot, r.peak = map[string][]float64{}, map[string]map[string][]float64{}
	for repetition := range r.repetitions {
		turn := slices.Clone(variants)
		if repetition%2 == 1 {
			slices.Reverse(turn)
		}
		for _, v := range turn {
			if err := r.one(ctx, v, repetition); err != nil {
				return fmt.Errorf("repetition %d of %s: %w", repetition+1, v.name, err)
			}
		}
		if r.wants("pipe") {
			sample, err := r.calibrated(func() (Sample, error) {
				return measurePipe(ctx, r.servers, fmt.Sprintf("pipe%d", repetition), r.burst)
			})
			if err != nil {
				return err
			}
			r.keep("pipe", pipeName, repetition, sample)
		}
	}
	return nil
}

func (r *run) one(ctx context.Context, v variant, repetition int) (err error) {
	profiles := ""
	if r.profiles != "" {
		profiles = filepath.Join(r.profiles, fmt.Sprintf("%s-%d-", v.name, repetition+1))
	}
	c, err := newCell(ctx, r.servers, v, fmt.Sprintf("%s%d", v.name, repetition), profiles)
	if err != nil {
		return err
	}
	for _, s := range scenarios(r.burst) {
		if !r.wants(s.name) {
			continue
		}
		profiled := c.profile(ctx, s.name)
		sample, err := r.calibrated(func() (Sample, error) { return s.run(ctx, c) })
		err = errors.Join(err, profiled())
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", s.name, err), c.close())
		}
		r.keep(s.name, v.name, repetition, sample)
	}
	return r.end(ctx, v, c)
}

// end stops a cell's services and keeps what is known only then.
func (r *run) end(ctx context.Context, v variant, c *cell) error {
	var errs []error
	for _, service := range services {
		errs = append(errs, c.stop(service))
	}
	share, err := c.hot(ctx)
	r.hot[v.name] = append(r.hot[v.name], share)
	if r.peak[v.name] == nil {
		r.peak[v.name] = map[string][]float64{}
	}
	for service, bytes := range c.peak {
		r.peak[v.name][service] = append(r.peak[v.name][service], float64(bytes)/(1<<20))
	}
	return errors.Join(append(errs, err, c.close())...)
}

// calibrated measures the host's speed right before and after.
func (r *run) calibrated(measure func() (Sample, error)) (Sample, error) {
	before, err := calibrate()
	if err != nil {
		return Sample{}, err
	}
	s, err := measure()
	if err != nil {
		return s, err
	}
	after, err := calibrate()
	s.Calibration = float64(before+after) / 2 / float64(time.Millisecond)
	return s, err
}

func (r *run) keep(scenario, variant string, repetition int, s Sample) {
	s.Scenario, s.Variant, s.Repetition = scenario, variant, repetition+1
	r.samples = append(r.samples, s)
	fmt.Fprintf(r.progress, "%-10s %-9s %d/%d  %6.0f accepted/s  %6.0f finished/s  %7.0f µs CPU a record  %5.1f %% of the machine  calibration %.1f ms\n",
		scenario, variant, s.Repetition, r.repetitions, s.AcceptedPS, s.FinishedPS, s.perRecord(""), s.share(""), s.Calibration)
}
