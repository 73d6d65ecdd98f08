package confirm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/groupcommit"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/telemetry"
)

const (
	// maxOutcomes bounds the outcomes settled in one transaction: a batch of one
	// answer (at most 500) and what other answers brought meanwhile.
	maxOutcomes = 1000
	maxAnswers  = 200
	maxWaiting  = 10 * maxOutcomes // a full queue is tried again like a failed commit
	firstRetry  = 50 * time.Millisecond
	lastRetry   = time.Second
)

// Lease is what outcomes were claimed under.
type Lease struct {
	ID    int64
	Ends  <-chan struct{} // closed when the session has lapsed
	Alive func() bool     // asked right before anything leaves
	Quit  func()          // gives the session up; nil: it ends by itself
}

// End gives the session up, so that what it holds is taken over.
func (l Lease) End() {
	if l.Quit != nil {
		l.Quit()
	}
}

// LeaseOf is the lease that a session gives.
func LeaseOf(s *ledger.Session) Lease {
	return Lease{ID: s.ID, Ends: s.Context().Done(), Alive: s.Alive, Quit: s.End}
}

// Verdict is what one answer means for the outcomes it was about.
type Verdict struct {
	Lease       Lease
	Settlements []ledger.Settlement
}

// Ledger is what a Settler needs of the ledger.
type Ledger interface {
	Settle(ctx context.Context, session int64, settlements []ledger.Settlement) ([]ledger.Settled, []ledger.Batch, error)
}

// Settler gathers verdicts, many to a transaction. It is safe for concurrent use.
type Settler struct {
	ledger  Ledger
	publish func([]ledger.Batch)
	log     *zap.Logger
	group   *groupcommit.Group[Verdict, []ledger.Settled]
}

// NewSettler starts a settler; Close flushes and stops it.
func NewSettler(l Ledger, p *outbox.Publisher, log *zap.Logger) (*Settler, error) {
	s := &Settler{ledger: l, log: log, publish: func(batches []ledger.Batch) {
		// Outcomes carry no payload.
		p.Enqueue(batches, func(ledger.Item) outbox.Source { return outbox.Source{} })
	}}
	var err error
	s.group, err = groupcommit.New(groupcommit.Config[Verdict, []ledger.Settled]{
		Commit: s.commit, MaxItems: maxAnswers, QueueItems: maxWaiting,
		// What is counted instead of bytes is outcomes: they bound the locks of a transaction.
		Size: func(v Verdict) int { return len(v.Settlements) }, MaxBytes: maxOutcomes, QueueBytes: maxWaiting,
	})
	return s, err
}

// Close commits what waits.
func (s *Settler) Close(ctx context.Context) error { return s.group.Close(ctx) }

func (s *Settler) commit(ctx context.Context, verdicts []Verdict) ([][]ledger.Settled, error) {
	var all []ledger.Settlement
	for _, v := range verdicts {
		all = append(all, v.Settlements...)
	}
	settled, batches, err := s.ledger.Settle(ctx, verdicts[len(verdicts)-1].Lease.ID, all)
	if err != nil {
		return nil, err
	}
	if len(batches) > 0 {
		s.publish(batches)
	}
	results := make([][]ledger.Settled, len(verdicts))
	for i, v := range verdicts {
		results[i], settled = settled[:len(v.Settlements)], settled[len(v.Settlements):]
	}
	return results, nil
}

// Settle returns when the verdict is committed, with one answer per settlement,
// or when ctx or the lease has ended: then the re-driver takes the outcomes over
// and they are told again.
func (s *Settler) Settle(ctx context.Context, v Verdict) ([]ledger.Settled, error) {
	if len(v.Settlements) == 0 {
		return nil, nil
	}
	wait := firstRetry
	for {
		settled, err := s.group.Do(ctx, v)
		switch {
		case err == nil:
			return settled, nil
		case errors.Is(err, groupcommit.ErrClosed), errors.Is(err, groupcommit.ErrTooLarge):
			return nil, fmt.Errorf("settle %d outcomes: %w", len(v.Settlements), err)
		case ledger.DataFault(err): // only what the partner answered can hold such a value; the verdict counts more
			v.Settlements = withoutInteractions(v.Settlements)
		}
		s.log.Warn("outcomes could not be settled; it is tried again while the session lives", zap.Stringer(telemetry.FieldRecord, v.Settlements[0].ID),
			zap.Int(telemetry.FieldCount, len(v.Settlements)), zap.Error(err))
		if err := v.Lease.wait(ctx, wait, err); err != nil {
			return nil, err
		}
		wait = min(2*wait, lastRetry)
	}
}

// wait is an error when ctx or the lease ended first.
func (l Lease) wait(ctx context.Context, d time.Duration, cause error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("settle outcomes: out of time: %w", cause)
	case <-l.Ends:
	case <-timer.C:
		if l.Alive() {
			return nil
		}
	}
	return fmt.Errorf("settle outcomes: the session has lapsed: %w", cause)
}

func withoutInteractions(list []ledger.Settlement) []ledger.Settlement {
	bare := make([]ledger.Settlement, len(list))
	for i, s := range list {
		s.Interactions = nil
		bare[i] = s
	}
	return bare
}
