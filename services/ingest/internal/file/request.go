package file

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

const (
	// requestPoll is the time between two questions to the ledger for what people asked for.
	requestPoll = time.Second
	// maxRequests bounds the requests that wait for one source in this process; more stay in the ledger.
	maxRequests = 8
)

// Desk brings what people ask for (`waybill file pull`) from the ledger to the
// sources of this process. Several replicas share the requests.
type Desk struct {
	ledger   *ledger.Ledger
	sessions *ledger.Sessions
	catalog  *catalog.Catalog
	log      *zap.Logger
	sources  map[string]*Source
}

// NewDesk serves the given sources.
func NewDesk(l *ledger.Ledger, sessions *ledger.Sessions, c *catalog.Catalog, log *zap.Logger, sources []*Source) *Desk {
	d := &Desk{ledger: l, sessions: sessions, catalog: c, log: log, sources: map[string]*Source{}}
	for _, s := range sources {
		d.sources[s.integration+"/"+s.source] = s
	}
	return d
}

// forget drops the latest versions that an integration kept which keeps none any
// more: they grow old, and must not be compared with if it keeps them again.
func (d *Desk) forget(ctx context.Context) {
	for _, e := range d.catalog.Entries() {
		if e.TracksEntities() {
			continue
		}
		if err := d.ledger.ForgetEntities(ctx, e.Name); err != nil && ctx.Err() == nil {
			d.log.Warn("old versions of entities could not be dropped; the next start tries again", zap.String(telemetry.FieldIntegration, e.Name), zap.Error(err))
		}
	}
}

// Run asks until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	d.forget(ctx)
	if len(d.sources) == 0 {
		<-ctx.Done()
		return nil
	}
	for clock.Sleep(ctx, requestPoll) == nil {
		if err := d.ask(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("the ledger could not be asked for requests; it is asked again", zap.Error(err))
		}
	}
	return nil
}

func (d *Desk) ask(ctx context.Context) error {
	var free []string
	for name, s := range d.sources {
		if len(s.requests) == 0 {
			free = append(free, name)
		}
	}
	if len(free) == 0 {
		return nil
	}
	session, err := d.sessions.Current(ctx)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	requests, err := d.ledger.TakeRequests(call, session.ID, free, maxRequests)
	for _, r := range requests {
		d.sources[r.Integration+"/"+r.Source].requests <- r // there is room: it was empty, and the source puts back at most the one it carries out
	}
	return err
}

// answer carries a request out: it looks until no file is left that may still
// become whole, at most maxFollowUps times, and tells what became of it.
func (s *Source) answer(ctx context.Context, q ledger.FileRequest) {
	log := s.Log.With(zap.Int64("request", q.ID), zap.String("actor", q.Actor))
	log.Info("a person asked for files", zap.Int64("allow_deletes_of", q.AllowFile))
	s.request, s.asked, s.ended, s.waiting = q.ID, true, 0, 0
	defer func() { s.request, s.asked = 0, false }()
	var err error
	if q.AllowFile > 0 {
		err = s.carryOut(ctx, q.AllowFile)
	} else {
		err = s.lookLong(ctx)
	}
	switch {
	case ctx.Err() != nil: // paused, or stopped: this source goes on with it, or the next process does
		select {
		case s.requests <- q:
		default: // as many wait already; the next process takes it
		}
		return
	case errors.Is(err, errSessionEnded):
		log.Warn("the session ended before the request did; it is taken again under the next one", zap.Error(err))
		return
	}
	a := ledger.FileAnswer{Found: s.ended, Waiting: s.waiting}
	if err != nil {
		a.Error = err.Error()
		s.troubled(err)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.Ledger.EndRequest(call, q.ID, a); err != nil {
		log.Warn("what became of the request could not be told", zap.Error(err))
	}
}

func (s *Source) lookLong(ctx context.Context) error {
	for n := 0; ; n++ {
		pending, err := s.look(ctx)
		if err != nil || !pending || n == maxFollowUps || clock.Sleep(ctx, s.standing()) != nil {
			return err
		}
		s.asked = n == 0 // a file that failed is tried once
	}
}
