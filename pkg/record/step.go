package record

import (
	"cmp"
	"fmt"
	"time"
)

// Fact is one thing that happened, as the shell that saw it tells Step.
type Fact struct {
	Event   Event
	Session int64   // with Claimed, Isolated and Sent: who takes or has it
	Version int64   // with Claimed: the version to pin if this is the first attempt
	Failure Failure // with Invalid, Refused, Failed, SetAside, GaveUp, Unconfirmed
	// Until is, with SetAside, Behind and Held, when a parked record is released
	// (zero: by a person); with Redriven, when the lost message was due.
	Until time.Time
	// Number is, with Confirmed, the outcome number that the partner named.
	Number int
}

// Policy is what an integration decides about its records. All funcs are pure.
type Policy struct {
	// Tells reports whether the partner wants to be told this final state.
	Tells func(State) bool
	// Retry gives the wait after the given number of spent attempts.
	Retry func(attempt int, age, retryAfter time.Duration) Schedule
	// Resend gives the wait after the given number of tries at telling.
	Resend func(try int, age, retryAfter time.Duration) Schedule
	// ParkFor is how long a record stays parked before it is released by itself.
	ParkFor time.Duration
}

// Schedule is when to try again.
type Schedule struct {
	GiveUp bool
	Delay  time.Duration
	Topic  bool // Delay is exactly that of a retry topic; else it waits in the ledger
}

// Topic is the kind of topic a message goes to.
type Topic string

const (
	TopicWork       Topic = "work"
	TopicRetryAfter Topic = "retry_after" // the retry topic with Effect.Delay
	TopicRetry      Topic = "retry"       // releases
	TopicReplay     Topic = "replay"      // requeues and backfills
	TopicResult     Topic = "result"
	TopicDeadLetter Topic = "dead-letter"
)

// Wait is why a record has a row in the ledger's waiting table.
type Wait string

const (
	WaitRetry          Wait = "retry"          // retrying, longer than the retry topics reach
	WaitParked         Wait = "parked"         // parked; a due time unless a person holds it
	WaitDead           Wait = "dead"           // for a person
	WaitOutcome        Wait = "outcome"        // the outcome's next resend
	WaitUnacknowledged Wait = "unacknowledged" // for a person
)

// Waits lists every kind of wait. The ledger's CHECK restates it.
func Waits() []Wait {
	return []Wait{WaitRetry, WaitParked, WaitDead, WaitOutcome, WaitUnacknowledged}
}

// Effect is what a transition causes beside the row itself. The order is
// fixed: the row, its waiting rows and the outbox rows of its messages commit
// in one transaction; then messages leave; then an offset is marked.
type Effect struct {
	Publish Topic         // a message to this kind of topic, or ""
	Delay   time.Duration // with TopicRetryAfter
	Wait    Wait          // a waiting row of this kind, or ""
	Unwait  Wait          // delete the waiting row of this kind, or ""
	Due     time.Time     // with Publish to a retry topic or Wait; zero: until a person acts
}

// AloneAfter is the number of lost claims after which a record is suspected of
// taking its worker down: it is then begun alone (Isolated), and dead if lost
// after that. Lost while it still waits for its turn, it stays suspected.
const AloneAfter = 2

// begunAlone is what Losses counts of a suspected record that was begun alone.
const begunAlone = AloneAfter + 1

// Suspected reports whether the record must be begun alone: Isolated first.
func (r Record) Suspected() bool { return r.Losses == AloneAfter }

// Step decides one transition. It is pure: same arguments, same answer. The
// error is ErrIllegal (wrapped) when the fact cannot be true of r.
func Step(p Policy, r Record, f Fact, now time.Time) (Record, []Effect, error) {
	// A transaction's time is that of its begin: one that began earlier and waited for
	// the record's lock comes after the one that held it.
	if now.Before(r.MovedAt) {
		now = r.MovedAt
	}
	if _, ok := outcomeTransitions[f.Event]; ok && r.State.Final() {
		return stepOutcome(p, r, f, now)
	}
	if _, err := Next(r.State, f.Event); err != nil { // a policy is asked only about what can be
		return r, nil, fmt.Errorf("record %s: %w", r.ID, err)
	}
	f = decide(p, r, f, now)
	to, err := Next(r.State, f.Event)
	if err != nil {
		return r, nil, fmt.Errorf("record %s: %w", r.ID, err)
	}
	from := r.State
	r.State, r.Session = to, 0
	r.Fence++
	var effects []Effect
	if f.Event != Claimed { // what is claimed came by a message: its waiting row went when that was published
		effects = leave(nil, from, r.Outcome.State)
	}
	r.count(f, from, now)
	r.MovedAt = now
	return r.enter(p, f, from, now, effects)
}

// decide turns what a worker saw into what it means for this record.
func decide(p Policy, r Record, f Fact, now time.Time) Fact {
	if f.Failure.Class == ClassNone {
		f.Failure.Class = unnamed(f.Event)
	}
	if f.Event == Lost && r.Losses >= begunAlone {
		f.Event = GaveUp
		f.Failure = Failure{Class: ClassBug, Code: "worker_lost", Message: fmt.Sprintf("lost %d times with its worker, the last time worked alone", r.Losses)}
	}
	if f.Event != Failed {
		return f
	}
	switch f.Failure.Class {
	case ClassData, ClassDuplicate:
		f.Event = Refused
	case ClassOutage, ClassSlow, ClassCredentials:
		f.Event = SetAside
		if f.Until.IsZero() {
			f.Until = now.Add(max(p.ParkFor, f.Failure.RetryAfter))
		}
	case ClassBug:
		if r.Losses >= AloneAfter {
			f.Event = GaveUp
		}
	default:
		if p.Retry(r.Attempt, now.Sub(r.Since), f.Failure.RetryAfter).GiveUp {
			f.Event = GaveUp
		}
	}
	return f
}

// unnamed is the class of a failure whose adapter named none: a rejected or
// dead record always says why.
func unnamed(e Event) Class {
	switch e {
	case Invalid, Refused:
		return ClassData
	case Failed:
		return ClassSystem
	case SetAside:
		return ClassOutage
	case GaveUp:
		return ClassBug
	}
	return ClassNone
}

// untried reports whether no attempt since the last requeue may have sent a
// request: one that was lost or set aside is handed back, but has left its mark.
func (r Record) untried() bool {
	return r.Attempt == 0 && r.Losses == 0 && r.Failure.Class == ClassNone
}

// leave removes the waiting rows that held the record where it was.
func leave(effects []Effect, from State, outcome OutcomeState) []Effect {
	switch from {
	case Retrying:
		effects = append(effects, Effect{Unwait: WaitRetry})
	case Parked:
		effects = append(effects, Effect{Unwait: WaitParked})
	case Dead:
		effects = append(effects, Effect{Unwait: WaitDead})
	}
	switch outcome {
	case OutcomeDue:
		effects = append(effects, Effect{Unwait: WaitOutcome})
	case Unacknowledged:
		effects = append(effects, Effect{Unwait: WaitUnacknowledged})
	}
	return effects
}

// count keeps the attempt, loss and age counters. An attempt is spent by a
// claim and handed back when the failure was not the record's own.
func (r *Record) count(f Fact, from State, now time.Time) {
	switch f.Event {
	case Accepted, Invalid:
		r.AcceptedAt, r.Since = now, now
		r.Outcome.State = NoOutcome
	case Claimed:
		if r.untried() && f.Version != 0 { // else a retry would send other bytes under the same key
			r.Version = f.Version
		}
		r.Attempt++
		r.Session = f.Session
	case Lost:
		r.Attempt = max(0, r.Attempt-1)
		r.Losses = min(r.Losses+1, AloneAfter)
	case Isolated:
		r.Session = f.Session
		r.Losses = begunAlone
	case GivenBack, SetAside:
		r.Attempt = max(0, r.Attempt-1)
		r.Losses = min(r.Losses, AloneAfter)                      // begun alone and not ended: it must be again
		if f.Event == GivenBack && f.Failure.Class != ClassNone { // it had begun
			r.Failure = f.Failure
		}
	case Released, Held:
		if from == Parked { // held while parked: the time before the hold was parked too
			r.Since = r.Since.Add(max(0, now.Sub(r.MovedAt)))
		}
	case Requeued, Replayed, Revived:
		r.Attempt, r.Losses, r.Since = 0, 0, now
		r.Outcome.State = NoOutcome
	}
	switch f.Event {
	case Failed:
		r.Losses = 0
		if f.Failure.Class == ClassBug {
			r.Losses = AloneAfter
		}
	case Succeeded, Refused, SetAside, Overtaken:
		r.Losses = 0
	}
	switch f.Event {
	case Behind:
		f.Failure.Class = cmp.Or(f.Failure.Class, r.Failure.Class) // being behind does not undo that it was tried
		r.Failure = f.Failure
	case Invalid, Refused, Failed, SetAside, GaveUp:
		r.Failure = f.Failure
	case Succeeded, Requeued, Replayed, Revived, Overtaken:
		r.Failure = Failure{}
	}
	r.Failure.RetryAfter = 0
}

// enter adds what holds the record in its new state: a message, a waiting row or an outcome.
func (r Record) enter(p Policy, f Fact, from State, now time.Time, effects []Effect) (Record, []Effect, error) {
	switch r.State {
	case Queued:
		effects = append(effects, Effect{Publish: queueTopic(f.Event)})
	case Retrying:
		effects = append(effects, r.retry(p, f, from, now))
	case Parked:
		effects = append(effects, Effect{Wait: WaitParked, Due: f.Until})
	case Dead:
		effects = append(effects, Effect{Wait: WaitDead}, Effect{Publish: TopicDeadLetter})
	}
	if r.State.Final() && p.Tells(r.State) {
		r.Outcome = Outcome{Number: r.Outcome.Number + 1, State: OutcomeDue, Since: now}
		effects = append(effects, Effect{Publish: TopicResult})
	} else {
		r.Outcome.State = NoOutcome
	}
	return r, effects, nil
}

func queueTopic(e Event) Topic {
	switch e {
	case Requeued, Replayed:
		return TopicReplay
	case Released, Lost:
		return TopicRetry
	default:
		return TopicWork
	}
}

func (r Record) retry(p Policy, f Fact, from State, now time.Time) Effect {
	if from == Retrying && f.Until.After(now) { // its message was lost before it was due
		return Effect{Wait: WaitRetry, Due: f.Until}
	}
	if from == Retrying {
		return Effect{Publish: TopicRetry}
	}
	s := p.Retry(r.Attempt, now.Sub(r.Since), f.Failure.RetryAfter)
	due := now.Add(s.Delay)
	if s.Topic {
		return Effect{Publish: TopicRetryAfter, Delay: s.Delay, Due: due}
	}
	return Effect{Wait: WaitRetry, Due: due}
}

// stepOutcome moves the outcome of a final record; the record's state stays.
func stepOutcome(p Policy, r Record, f Fact, now time.Time) (Record, []Effect, error) {
	if f.Event == Confirmed && f.Number != r.Outcome.Number {
		return r, nil, fmt.Errorf("record %s: %w: outcome %d was confirmed, but %d is the current one", r.ID, ErrIllegal, f.Number, r.Outcome.Number)
	}
	if _, err := NextOutcome(r.Outcome.State, f.Event); err != nil {
		return r, nil, fmt.Errorf("record %s: %w", r.ID, err)
	}
	var s Schedule
	if f.Event == Unconfirmed {
		if s = p.Resend(r.Outcome.Try, now.Sub(r.Outcome.Since), f.Failure.RetryAfter); s.GiveUp {
			f.Event = PartnerGone
		}
	}
	to, err := NextOutcome(r.Outcome.State, f.Event)
	if err != nil {
		return r, nil, fmt.Errorf("record %s: %w", r.ID, err)
	}
	var effects []Effect
	if f.Event != Sent {
		effects = leave(nil, "", r.Outcome.State)
	}
	r.Outcome.State, r.Session = to, 0
	r.Fence++
	r.MovedAt = now
	switch f.Event {
	case Sent:
		r.Session = f.Session
		r.Outcome.Try++
	case Unconfirmed:
		effects = append(effects, Effect{Wait: WaitOutcome, Due: now.Add(s.Delay)})
	case PartnerGone:
		effects = append(effects, Effect{Wait: WaitUnacknowledged})
	case SendLost, Due:
		effects = append(effects, Effect{Publish: TopicResult})
	case SendRequeued:
		r.Outcome.Try, r.Outcome.Since = 0, now
		effects = append(effects, Effect{Publish: TopicResult})
	}
	return r, effects, nil
}
