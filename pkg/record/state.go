package record

import "fmt"

// The life of a record, whole. Nothing else in the repository assigns a State.
//
//	accept ─▶ queued | rejected
//	queued, retrying ──claim──▶ processing | superseded | parked
//	processing ──settle──▶ processed | rejected | superseded | retrying | parked | dead
//	processing ──lost, given back──▶ queued          suspected of killing its worker: processing ──isolated──▶ processing
//	parked ──released──▶ queued
//	queued, retrying, parked ──person──▶ parked | discarded          dead ──person──▶ discarded
//	parked, dead, rejected, retrying, discarded ──requeued──▶ queued
//	processed, superseded ──replayed──▶ queued
//
//	outcome, numbered beside it:
//	none ─▶ due ─▶ sent ─▶ acknowledged | due again | unacknowledged ─▶ due (person) | acknowledged (late)

// State says where a record stands. The comment of each state gives three
// facts: what is true in the ledger, who may move it, by when someone must.
type State string

const (
	// None is before the record's row exists; only accept leaves it.
	None State = ""
	// Queued: the row names the outbox batch that carries its message. A claim,
	// the re-driver or a person moves it; the re-driver when its message is lost.
	Queued State = "queued"
	// Processing: the row names a session, which holds the lease. The session's
	// worker settles it; the re-driver takes it once the session has lapsed (8 s).
	Processing State = "processing"
	// Retrying: a failed attempt is spent; a retry topic's batch or a waiting
	// row with a due time holds it. A claim moves it when it is due.
	Retrying State = "retrying"
	// Parked: set aside without spending an attempt; a waiting row says why and,
	// unless it waits for a person, until when. Release moves it.
	Parked State = "parked"
	// Processed: every step's result is committed. Final; only a replay leaves it.
	Processed State = "processed"
	// Rejected: the data is wrong and the row says where. Final until requeued,
	// or revived by a corrected arrival.
	Rejected State = "rejected"
	// Superseded: a newer record of the entity made it pointless. Final.
	Superseded State = "superseded"
	// Discarded: a person gave it up, and the history says who and why. Final until requeued.
	Discarded State = "discarded"
	// Dead: attempts used up or unprocessable; a waiting row without a due time
	// keeps it in sight. A person must requeue or discard it; no timer ever does.
	Dead State = "dead"
)

// States lists every state in life order. The ledger's CHECK restates it.
func States() []State {
	return []State{Queued, Processing, Retrying, Parked, Processed, Rejected, Superseded, Discarded, Dead}
}

// Final reports whether nothing further happens to a record in s by itself,
// so that its outcome is told to the partner.
func (s State) Final() bool {
	return s == Processed || s == Rejected || s == Superseded || s == Discarded || s == Dead
}

// Event names what happened to a record or to its outcome.
type Event string

const (
	Accepted  Event = "accepted"   // base validation passed
	Invalid   Event = "invalid"    // base validation failed, and the integration keeps what is invalid
	Claimed   Event = "claimed"    // a worker's session took it
	Overtaken Event = "overtaken"  // a newer record of the entity is settled already
	Behind    Event = "behind"     // its predecessor in the entity's order is not final
	Isolated  Event = "isolated"   // suspected of killing workers, it is begun now, and nothing else beside it
	Succeeded Event = "succeeded"  // every step is finished
	Refused   Event = "refused"    // a step or the third party refused the data
	Failed    Event = "failed"     // a failure that a later attempt may not meet
	SetAside  Event = "set_aside"  // its destination is out, slow or refuses our credentials
	GaveUp    Event = "gave_up"    // attempts used up, or unprocessable
	Lost      Event = "lost"       // its session lapsed before it was settled
	GivenBack Event = "given_back" // its worker stopped before it began
	Redriven  Event = "redriven"   // its message was lost; it goes out again
	Due       Event = "due"        // its wait in the ledger is over
	Released  Event = "released"   // what it was parked for is over
	Held      Event = "held"       // a person parked it
	Discard   Event = "discard"    // a person gave it up
	Requeued  Event = "requeued"   // a person, or a rule, puts it back to work
	Replayed  Event = "replayed"   // a person asked for it to be done again although it was done
	Revived   Event = "revived"    // it was rejected and arrived again with a corrected body

	Sent         Event = "sent"          // a session took the outcome, to tell the partner
	Confirmed    Event = "confirmed"     // the partner confirmed this outcome number
	Unconfirmed  Event = "unconfirmed"   // the partner's answer did not confirm it
	SendLost     Event = "send_lost"     // the sending session lapsed, or its message was lost
	PartnerGone  Event = "partner_gone"  // resends used up; a person was alerted
	SendRequeued Event = "send_requeued" // a person asked for the outcome to be told again
)

// transitions is the only place that says which event leads where.
var transitions = map[Event]map[State]State{
	Accepted:  {None: Queued},
	Invalid:   {None: Rejected},
	Claimed:   {Queued: Processing, Retrying: Processing},
	Overtaken: {Queued: Superseded, Retrying: Superseded, Processing: Superseded},
	Behind:    {Queued: Parked, Retrying: Parked},
	Isolated:  {Processing: Processing},
	Succeeded: {Processing: Processed},
	Refused:   {Processing: Rejected},
	Failed:    {Processing: Retrying},
	SetAside:  {Processing: Parked},
	GaveUp:    {Processing: Dead},
	Lost:      {Processing: Queued},
	GivenBack: {Processing: Queued},
	Redriven:  {Queued: Queued, Retrying: Retrying},
	Due:       {Retrying: Retrying},
	Released:  {Parked: Queued},
	Held:      {Queued: Parked, Retrying: Parked, Parked: Parked},
	Discard:   {Queued: Discarded, Retrying: Discarded, Parked: Discarded, Dead: Discarded},
	Requeued:  {Parked: Queued, Dead: Queued, Rejected: Queued, Retrying: Queued, Discarded: Queued},
	Replayed:  {Processed: Queued, Superseded: Queued},
	Revived:   {Rejected: Queued},
}

// ErrIllegal is wrapped by Next and NextOutcome when the event cannot happen
// in that state: the caller acts on something it does not hold any more.
var ErrIllegal = fmt.Errorf("illegal transition")

// Next gives the state that on leads to from from, or ErrIllegal.
func Next(from State, on Event) (State, error) {
	to, ok := transitions[on][from]
	if !ok {
		return from, fmt.Errorf("%w: a %s record cannot be %s", ErrIllegal, from, on)
	}
	return to, nil
}

// OutcomeState says how far the partner has been told the record's final state.
type OutcomeState string

const (
	NoOutcome      OutcomeState = "none"           // nothing to tell
	OutcomeDue     OutcomeState = "due"            // on `result`, or waiting for its resend
	OutcomeSent    OutcomeState = "sent"           // a session is telling the partner
	Acknowledged   OutcomeState = "acknowledged"   // the partner confirmed this number; closed
	Unacknowledged OutcomeState = "unacknowledged" // given up on loudly; waits for a person
)

// OutcomeStates lists every outcome state. The ledger's CHECK restates it.
func OutcomeStates() []OutcomeState {
	return []OutcomeState{NoOutcome, OutcomeDue, OutcomeSent, Acknowledged, Unacknowledged}
}

var outcomeTransitions = map[Event]map[OutcomeState]OutcomeState{
	Sent:         {OutcomeDue: OutcomeSent},
	Confirmed:    {OutcomeSent: Acknowledged, OutcomeDue: Acknowledged, Unacknowledged: Acknowledged},
	Unconfirmed:  {OutcomeSent: OutcomeDue},
	SendLost:     {OutcomeSent: OutcomeDue, OutcomeDue: OutcomeDue},
	Due:          {OutcomeDue: OutcomeDue},
	PartnerGone:  {OutcomeSent: Unacknowledged},
	SendRequeued: {Unacknowledged: OutcomeDue},
}

// NextOutcome is Next for the outcome beside a final record.
func NextOutcome(from OutcomeState, on Event) (OutcomeState, error) {
	to, ok := outcomeTransitions[on][from]
	if !ok {
		return from, fmt.Errorf("%w: an outcome that is %s cannot be %s", ErrIllegal, from, on)
	}
	return to, nil
}

// Events lists every event in the order in which they are declared.
func Events() []Event {
	return []Event{Accepted, Invalid, Claimed, Overtaken, Behind, Isolated, Succeeded, Refused, Failed, SetAside, GaveUp, Lost,
		GivenBack, Redriven, Due, Released, Held, Discard, Requeued, Replayed, Revived,
		Sent, Confirmed, Unconfirmed, SendLost, PartnerGone, SendRequeued}
}
