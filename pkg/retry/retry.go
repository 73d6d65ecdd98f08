package retry

import (
	"fmt"
	"math/bits"
	"time"

	"waybill.internal/pkg/planted"
)

// Bounds of a Policy.
const (
	MaxDelays     = 8              // each delay is a topic
	MaxTopicDelay = time.Hour      // a longer wait belongs in the ledger
	MaxAttempts   = 1000           // attempts of one record
	MaxRetryAfter = 24 * time.Hour // a longer wish of a third party is cut to this
)

// jitterShare is the part of a ledger wait that jitter may add: one fifth.
const jitterShare = 5

// Policy is the retry schedule of an integration.
type Policy struct {
	Delays      []time.Duration // of the retry topics, rising
	Attempts    int             // attempts in all, the first one included
	GiveUpAfter time.Duration   // age, time spent parked not counted
}

// Default is the policy of an integration that says nothing.
func Default() Policy {
	return Policy{
		Delays:      []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute},
		Attempts:    12,
		GiveUpAfter: 24 * time.Hour,
	}
}

// Validate says what is wrong with the policy and what would be right.
func (p Policy) Validate() error {
	if len(p.Delays) > MaxDelays {
		return fmt.Errorf("retry: %d delays; at most %d, each is a topic", len(p.Delays), MaxDelays)
	}
	last := time.Duration(0)
	for i, d := range p.Delays {
		if d <= last || d > MaxTopicDelay {
			return fmt.Errorf("retry: delay %d is %s; delays must rise, be above 0 and at most %s", i+1, d, MaxTopicDelay)
		}
		last = d
	}
	if p.Attempts < 1 || p.Attempts > MaxAttempts {
		return fmt.Errorf("retry: attempts is %d; give 1 to %d", p.Attempts, MaxAttempts)
	}
	if p.GiveUpAfter <= 0 {
		return fmt.Errorf("retry: give_up_after is %s; give a duration above 0, such as 24h", p.GiveUpAfter)
	}
	return nil
}

// Decision is what happens to a record after a failed attempt.
type Decision struct {
	GiveUp bool          // attempts or age used up: the record is dead; the rest is zero
	Delay  time.Duration // until the next attempt
	Topic  bool          // Delay is one of Policy.Delays: publish to its topic; else wait in the ledger
}

// Next decides after a failed attempt.
//
// attempt is how many attempts the record has used, the failed one included
// (1 after the first); less than 1 counts as 1. age is the time since
// acceptance without parked time. retryAfter is the third party's wish, 0 for
// none. jitter is any random number: all its values spread evenly over the
// jitter of a ledger wait, and the same number gives the same decision.
func (p Policy) Next(attempt int, age, retryAfter time.Duration, jitter uint64) Decision {
	attempt = max(attempt, 1)
	if attempt >= p.Attempts || age >= p.GiveUpAfter {
		return Decision{GiveUp: true}
	}
	least := min(max(retryAfter, 0), MaxRetryAfter)
	if planted.RetryEarly {
		least = 0
	}
	if attempt <= len(p.Delays) {
		least = max(least, p.Delays[attempt-1])
		for _, d := range p.Delays {
			if d >= least {
				return Decision{Delay: d, Topic: true}
			}
		}
		// Sent to the ledger only by its Retry-After: the schedule's own longer
		// waits begin after the topics.
		return Decision{Delay: spread(least, jitter)}
	}
	return Decision{Delay: spread(max(least, p.ledgerWait(attempt)), jitter)}
}

// ledgerWait is the wait after the topics' delays are used up. It is never
// shorter than the longest topic.
func (p Policy) ledgerWait(attempt int) time.Duration {
	wait := 2 * time.Hour
	switch attempt - len(p.Delays) {
	case 1:
		wait = 15 * time.Minute
	case 2:
		wait = 30 * time.Minute
	case 3:
		wait = time.Hour
	}
	for _, d := range p.Delays {
		wait = max(wait, d)
	}
	return wait
}

// spread adds 0 to 20 % to wait, rising with both arguments. The high word of
// the product maps all of uint64 evenly onto the jitter, without a division's
// preference for small values.
func spread(wait time.Duration, jitter uint64) time.Duration {
	extra, _ := bits.Mul64(uint64(wait/jitterShare)+1, jitter)
	return wait + time.Duration(extra)
}
