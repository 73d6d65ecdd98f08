// Package conserve checks from time to time that no record is lost: it compares
// the tally with a recount and looks for records with nothing under way. It
// also folds the tally. One replica does so at a time is enough; several do no harm.
package conserve

import (
	"context"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
)

const (
	// Grace is how long a record may stand with nothing under way before it is overdue.
	Grace     = time.Minute
	foldEvery = 10 * time.Second
	foldRows  = 20_000
)

// Checker runs until its context ends.
type Checker struct {
	ledger  *ledger.Ledger
	every   time.Duration
	log     *zap.Logger
	audited func(ledger.Audit)
}

// New makes a checker that audits every so often.
func New(l *ledger.Ledger, every time.Duration, log *zap.Logger, audited func(ledger.Audit)) *Checker {
	return &Checker{ledger: l, every: every, log: log, audited: audited}
}

// Run folds and audits until ctx ends.
func (c *Checker) Run(ctx context.Context) error {
	fold, audit := time.NewTicker(foldEvery), time.NewTicker(c.every)
	defer fold.Stop()
	defer audit.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-fold.C:
			err = c.ledger.FoldTally(ctx, foldRows)
		case <-audit.C:
			var a ledger.Audit
			if a, err = c.ledger.Audit(ctx, Grace); err == nil {
				c.audited(a)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.log.Warn("a conservation check failed; the next one goes on", zap.Error(err))
		}
	}
}
