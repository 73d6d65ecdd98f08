// Package destination calls third parties under their limits: so many calls at
// once, so many a second, each proving who we are.
package destination

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
)

// maxDestinations bounds how many are kept; a process has as many as its integrations name.
const maxDestinations = 10_000

// Set holds the destinations of this process. It is safe for concurrent use.
type Set struct {
	userAgent string

	mu    sync.Mutex
	known map[string]*destination
}

// NewSet makes an empty set; destinations are made when they are first called.
func NewSet(userAgent string) *Set {
	return &Set{userAgent: userAgent, known: map[string]*destination{}}
}

type destination struct {
	config integration.Destination
	client *egress.Client
	places *semaphore.Weighted
	pace   *rate.Limiter // nil: no limit
}

// Do waits for a place under the destination's limits and makes one call.
func (s *Set) Do(ctx context.Context, in *integration.Integration, name string, timeout time.Duration, r egress.Request) (egress.Response, egress.Interaction, error) {
	d, err := s.get(in, name)
	if err != nil {
		return egress.Response{}, egress.Interaction{}, err
	}
	if err := d.places.Acquire(ctx, 1); err != nil {
		return egress.Response{}, egress.Interaction{}, fault.Wrap(err, fault.System, "stopped", "the attempt ended while it waited for a place at %s", name)
	}
	defer d.places.Release(1)
	if d.pace != nil {
		if err := d.pace.Wait(ctx); err != nil {
			return egress.Response{}, egress.Interaction{}, fault.Wrap(err, fault.System, "stopped", "the attempt ended while it waited for its turn at %s", name)
		}
	}
	r.Header = r.Header.Clone()
	if err := d.config.Auth.Apply(r.Header); err != nil {
		return egress.Response{}, egress.Interaction{}, fault.Wrap(err, fault.Credentials, "secret_unreadable", "the credentials of %s cannot be read", name)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return d.client.Do(ctx, r)
}

// Close closes unused connections.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.known {
		d.client.Close()
	}
}

func (s *Set) get(in *integration.Integration, name string) (*destination, error) {
	config, ok := in.Destinations[name]
	if !ok {
		return nil, fault.New(fault.Bug, "unknown_destination", "integration %s names no destination %s", in.Name, name)
	}
	key := in.Name + "/" + name
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.known[key]; d != nil && d.config.URL == config.URL && d.config.Concurrency == config.Concurrency && d.config.Rate == config.Rate {
		return d, nil
	}
	if old := s.known[key]; old != nil {
		old.client.Close() // calls under way on it end by their own deadline
	}
	if len(s.known) >= maxDestinations {
		return nil, fault.New(fault.System, "too_many_destinations", "%d destinations are in use already", maxDestinations)
	}
	client, err := egress.New(egress.Options{AllowPrivate: config.AllowPrivate, Timeout: config.Timeout, MaxIdlePerHost: config.Concurrency, UserAgent: s.userAgent})
	if err != nil {
		return nil, fmt.Errorf("destination %s: %w", key, err)
	}
	d := &destination{config: config, client: client, places: semaphore.NewWeighted(int64(config.Concurrency))}
	if perSecond := config.Rate.PerSecond(); perSecond > 0 {
		d.pace = rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/10)))
	}
	s.known[key] = d
	return d, nil
}
