package notify

import (
	"context"
	"errors"
	"time"

	"waybill.internal/pkg/groupcommit"
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
// A claim whose answer was lost (ledger.ErrUnknown) may have been committed all the
// same. Nobody would tell these outcomes, and nobody take them over while our
// session lives: so the claim is asked for again while it does, and what turns out
// to be ours already is taken. The second claim waits for the first one's locks:
// what it finds is what the first one left. Any other error claimed nothing.
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
	if !errors.Is(err, ledger.ErrUnknown) {
		return claimed, lease, err
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

const (
	// linger is how long a claim waits for those of the other partitions that one poll
	// brought: each in a transaction of its own would cost the most.
	linger = 2 * time.Millisecond
	// maxClaimed bounds the outcomes of one claim, and so its locks.
	maxClaimed = 1000
	// maxAsked bounds the outcomes that wait to be claimed: what so many partitions
	// bring that a full queue is tried again like a failed claim.
	maxAsked = 100 * maxClaimed
)

// Claims makes one claim of the calls for several partitions.
type Claims struct {
	claimer *Claimer
	group   *groupcommit.Group[[]ledger.Ref, []held]
}

// held is a claimed outcome, with the lease it is held under.
type held struct {
	record.Record
	lease confirm.Lease
}

// NewClaims starts it; Close ends it.
func NewClaims(c *Claimer) (*Claims, error) {
	group, err := groupcommit.New(groupcommit.Config[[]ledger.Ref, []held]{
		Commit: groupcommit.Lists(c.claim), Linger: linger,
		// What is counted instead of bytes is outcomes.
		Size: func(refs []ledger.Ref) int { return len(refs) }, MaxBytes: maxClaimed, QueueBytes: maxAsked,
	})
	return &Claims{c, group}, err
}

// Claim is Claimer.Claim, together with other calls.
func (c *Claims) Claim(ctx context.Context, refs []ledger.Ref) ([]record.Record, confirm.Lease, error) {
	lease, err := c.claimer.Session(ctx) // as long as it takes; a claim has only its time for that
	if err != nil {
		return nil, lease, err
	}
	// Not under ctx: see Claimer.Claim.
	claimed, err := c.group.Do(context.WithoutCancel(ctx), refs)
	records := make([]record.Record, len(claimed))
	for i, r := range claimed {
		records[i], lease = r.Record, r.lease
	}
	return records, lease, err
}

// Close claims what still waits.
func (c *Claims) Close(ctx context.Context) error { return c.group.Close(ctx) }

func (c *Claimer) claim(ctx context.Context, refs []ledger.Ref) ([]held, error) {
	records, lease, err := c.Claim(ctx, refs)
	claimed := make([]held, len(records))
	for i, r := range records {
		claimed[i] = held{r, lease}
	}
	return claimed, err
}
