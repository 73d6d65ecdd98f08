package notify

import (
	"context"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/acknowledger/internal/confirm"
)

const (
	// claimRetry is the wait before a claim is asked for again.
	claimRetry = 100 * time.Millisecond
	// claimLimit bounds one try at a claim.
	claimLimit = 3 * time.Second
)

// Ledger is what a Claimer needs of the ledger.
type Ledger interface {
	ClaimOutcomes(ctx context.Context, session int64, refs []ledger.Ref) ([]record.Record, error)
	Records(ctx context.Context, ids []record.ID) (map[record.ID]record.Record, error)
}

// Claimer takes due outcomes under this process' session.
type Claimer struct {
	Ledger Ledger
	// Session waits for a live session.
	Session func(ctx context.Context) (confirm.Lease, error)
}

// Claim gives the claimed outcomes in the order of refs; a zero Fence says that
// an outcome is not ours.
//
// A claim whose answer was lost may have been committed all the same. Nobody
// would tell these outcomes, and nobody take them over while our session lives:
// so the claim is asked for again while it does, and what turns out to be ours
// already is taken. The second claim waits for the first one's locks: what it
// finds is what the first one left.
func (c *Claimer) Claim(ctx context.Context, refs []ledger.Ref) ([]record.Record, confirm.Lease, error) {
	lease, err := c.Session(ctx)
	if err != nil {
		return nil, lease, err
	}
	// A rebalance ends ctx. Cut off in the middle of its commit, a claim would leave us not
	// knowing what we hold, and with a live session nobody else would take it: only the
	// session's end ends this.
	ctx = context.WithoutCancel(ctx)
	claimed, err := c.try(ctx, lease.ID, refs)
	if err == nil {
		return claimed, lease, nil
	}
	for failed := err; ; {
		timer := time.NewTimer(claimRetry)
		select {
		case <-lease.Ends: // the next session starts afresh; this one's outcomes are taken over
			timer.Stop()
			return nil, lease, failed
		case <-timer.C:
		}
		claimed, err = c.try(ctx, lease.ID, refs)
		if err == nil {
			err = c.adopt(ctx, lease.ID, refs, claimed)
		}
		if err == nil {
			return claimed, lease, nil
		}
	}
}

func (c *Claimer) try(ctx context.Context, session int64, refs []ledger.Ref) ([]record.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	return c.Ledger.ClaimOutcomes(ctx, session, refs)
}

// adopt fills in what an earlier claim of this session took.
func (c *Claimer) adopt(ctx context.Context, session int64, refs []ledger.Ref, claimed []record.Record) error {
	var missing []record.ID
	for i, r := range claimed {
		if r.Fence == 0 {
			missing = append(missing, refs[i].ID)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	found, err := c.Ledger.Records(ctx, missing)
	if err != nil {
		return err
	}
	for i, ref := range refs {
		r, ok := found[ref.ID]
		if ok && claimed[i].Fence == 0 && r.Session == session && r.Outcome.State == record.OutcomeSent && r.Fence == ref.Fence+1 {
			claimed[i] = r
			delete(found, ref.ID) // the same message twice in one batch claims once
		}
	}
	return nil
}
