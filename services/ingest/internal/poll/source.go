package poll

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/accept"
)

// look is the time between two looks into the ledger for something that is due.
const look = 2 * time.Second

// Config of New. All fields are required.
type Config struct {
	Ledger    *ledger.Ledger
	Sessions  *ledger.Sessions
	Publisher *outbox.Publisher
	Acceptor  *accept.Acceptor
	Catalog   *catalog.Catalog
	Log       *zap.Logger
	Alert     func(telemetry.Problem)
	// Count is told how many items were answered how: received, duplicate or refused.
	Count func(integration, source, answer string, items int)
	// Runs is told how a run ended: done or failed.
	Runs func(integration, source, result string)
	// Round is told how a regular run goes, by the time at which it began. Nil: nobody is.
	Round func(integration, source string, run time.Time, state telemetry.RunState)
	// Missed is told how many webhooks of a source were found that had not arrived.
	Missed func(integration, webhook string, n int)
}

// Source is one polled API. Run is called again after a pause, one at a time.
type Source struct {
	Config
	integration string
	source      string
	client      *egress.Client
	pace        *rate.Limiter
	zone        *time.Location
	ensured     bool
	rangeFirst  bool // the last turn was the regular run's: a range is next, if one waits
}

// New makes a Source for each poll of the catalog.
func New(c Config) ([]*Source, error) {
	var sources []*Source
	for _, e := range c.Catalog.Entries() {
		for i := range e.Sources {
			if e.Sources[i].Poll == nil {
				continue
			}
			s, err := newSource(c, e.Name, &e.Sources[i])
			if err != nil {
				return nil, err
			}
			sources = append(sources, s)
		}
	}
	return sources, nil
}

func newSource(c Config, name string, src *integration.Source) (*Source, error) {
	s := &Source{Config: c, integration: name, source: src.Name, pace: rate.NewLimiter(rate.Inf, 1)}
	s.Log = c.Log.With(zap.String(telemetry.FieldIntegration, name), zap.String(telemetry.FieldSource, src.Name))
	var err error
	if s.zone, err = time.LoadLocation(src.Poll.Timezone); err != nil {
		return nil, fmt.Errorf("%s: time zone: %w", s.Name(), err)
	}
	if s.client, err = egress.New(egress.Options{AllowPrivate: src.Poll.AllowPrivate, Timeout: src.Poll.Timeout, MaxResponse: maxPage, MaxIdlePerHost: 1}); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name(), err)
	}
	if perSecond := src.Poll.Rate.PerSecond(); perSecond > 0 {
		s.pace = rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/10)))
	}
	return s, nil
}

// Name is unique among the sources.
func (s *Source) Name() string { return "poll " + s.integration + "/" + s.source }

// Run polls whenever something is due and no other ingest does, until ctx ends.
// What is under way then is given up between two pages, or in the middle of a
// request: what is committed is gone on behind.
func (s *Source) Run(ctx context.Context) error {
	defer s.client.Close()
	for ctx.Err() == nil {
		worked, err := s.turn(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("the poll could not be made; it is tried again", zap.Error(err))
		}
		if worked && err == nil {
			continue // a range may wait, or the next turn of this run
		}
		if clock.Sleep(ctx, look+rand.N(look/4)) != nil {
			return nil
		}
	}
	return nil
}

// turn is false when nothing was due, or another ingest has the source.
func (s *Source) turn(ctx context.Context) (worked bool, err error) {
	session, err := s.Sessions.Current(ctx)
	if err != nil {
		return false, err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !s.ensured {
		if err := s.Ledger.EnsurePoll(call, s.integration, s.source); err != nil {
			return false, err
		}
		s.ensured = true
	}
	p, taken, err := s.Ledger.TakePoll(call, session.ID, s.integration, s.source, s.rangeFirst)
	if err != nil || !taken {
		return false, err
	}
	s.rangeFirst = p.Request == 0
	return true, s.work(ctx, session, p)
}
