package confirm

import (
	"fmt"
	"slices"
	"time"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/record"
)

// The codes of tries that failed by none of the reasons of package fault.
const (
	CodeNotConfirmed = "not_confirmed" // the answer was a success and did not confirm the outcome
	CodePartnerBusy  = "partner_busy"  // nothing was sent: the partner frees no room
	CodeNoPartner    = "no_partner"    // nothing was sent: the integration does not acknowledge
)

// Answer is what came of one request to the partner.
type Answer struct {
	Response  egress.Response // without meaning when Err is not nil
	Err       error           // there was no usable answer
	StartedAt time.Time       // ledger's clock
	EndedAt   time.Time       // ledger's clock
}

// Judge gives a settlement for each outcome that was told, in their order.
func Judge(a *integration.Acknowledge, answer Answer, told []record.Record) []ledger.Settlement {
	if f, failed := answer.Failure(); failed {
		return Unconfirmed(told, f, answer.StartedAt)
	}
	retryAfter, _ := fault.RetryAfter(answer.Response.Header, answer.EndedAt)
	response := integration.ResponseOf(answer.Response.Status, answer.Response.Header, answer.Response.Body)
	settlements := make([]ledger.Settlement, len(told))
	for i, r := range told {
		item := integration.Item{ID: r.ID.String(), Outcome: r.Outcome.Number, Status: string(r.State)}
		confirmed, err := a.Confirmed(response, item)
		_, text := response.Body.(string)
		switch {
		case err != nil && text: // a page for people instead of an answer: the partner's trouble, which may pass
			settlements[i] = unconfirmed(r, record.Failure{Class: fault.System, Code: CodeNotConfirmed, RetryAfter: retryAfter,
				Message: fmt.Sprintf("the partner answered %d with a body that is not JSON", answer.Response.Status)}, answer.StartedAt)
		case err != nil: // the expression does not fit the answer: a person must mend one of them
			settlements[i] = unconfirmed(r, record.Failure{Class: fault.Bug, Code: integration.CodeExpression, Message: err.Error(), RetryAfter: retryAfter}, answer.StartedAt)
		case confirmed:
			settlements[i] = ledger.Settlement{ID: r.ID, Fence: r.Fence,
				Fact:    record.Fact{Event: record.Confirmed, Number: r.Outcome.Number},
				History: ledger.History{Kind: ledger.NotifyHistory, StartedAt: answer.StartedAt}}
		default:
			settlements[i] = unconfirmed(r, record.Failure{Class: fault.System, Code: CodeNotConfirmed, RetryAfter: retryAfter,
				Message: fmt.Sprintf("the partner answered %d and did not confirm outcome %d of this record", answer.Response.Status, r.Outcome.Number)}, answer.StartedAt)
		}
	}
	return settlements
}

// Failure says why the whole request confirmed nothing; false: each outcome
// must be looked for in the answer.
func (a Answer) Failure() (record.Failure, bool) {
	if a.Err != nil {
		f := fault.Of(a.Err)
		return record.Failure{Class: f.Class, Code: f.Code, Message: f.Message, RetryAfter: f.RetryAfter}, true
	}
	status := a.Response.Status
	f := fault.FromHTTP(status, a.Response.Header, true, a.EndedAt)
	if f == nil || planted.RedirectConfirms && f.Code == "redirect" { // any answer is one
		return record.Failure{}, false
	}
	// The class is kept; the text of a destination that refuses a record would mislead here.
	failure := record.Failure{Class: f.Class, Code: f.Code, RetryAfter: f.RetryAfter, Message: fmt.Sprintf("the partner answered %d and confirmed nothing", status)}
	if f.Class == fault.Data || f.Class == fault.Duplicate {
		failure.Code = fmt.Sprintf("http_%d", status)
	}
	if status >= 300 && status <= 399 {
		failure.Message = fmt.Sprintf("the partner answered %d: redirects are not followed and confirm nothing; put the final address into acknowledge.post.to", status)
	}
	return failure, true
}

// Divisible reports whether the partner refused the request for what is in it,
// so that one status may be to blame for all: it is told again in halves.
func (a Answer) Divisible() bool {
	return a.Err == nil && slices.Contains([]int{400, 413, 422}, a.Response.Status)
}

// Unconfirmed settles a try that confirmed none of these outcomes.
func Unconfirmed(told []record.Record, f record.Failure, startedAt time.Time) []ledger.Settlement {
	settlements := make([]ledger.Settlement, len(told))
	for i, r := range told {
		settlements[i] = unconfirmed(r, f, startedAt)
	}
	return settlements
}

func unconfirmed(r record.Record, f record.Failure, startedAt time.Time) ledger.Settlement {
	return ledger.Settlement{ID: r.ID, Fence: r.Fence,
		Fact:    record.Fact{Event: record.Unconfirmed, Failure: f},
		History: ledger.History{Kind: ledger.NotifyHistory, StartedAt: startedAt, Failure: f}}
}
