package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/ingest/internal/accept"
	"waybill.internal/services/ingest/internal/verify"
)

// Receipt is what the sender gets, now and whenever it asks.
type Receipt struct {
	ID             record.ID       `json:"id"`
	State          record.State    `json:"state"`
	Integration    string          `json:"integration"`
	IdempotencyKey string          `json:"idempotency_key"`
	EntityKey      string          `json:"entity_key"`
	Duplicate      bool            `json:"duplicate,omitempty"`
	Conflict       bool            `json:"conflict,omitempty"`
	AcceptedAt     time.Time       `json:"accepted_at"`
	Attempts       int             `json:"attempts"`
	Class          record.Class    `json:"class,omitempty"`
	Code           string          `json:"code,omitempty"`
	Message        string          `json:"message,omitempty"`
	Problems       json.RawMessage `json:"problems,omitempty"`
	Outcome        *Outcome        `json:"outcome,omitempty"`
}

// Outcome is how far the sender's own status API has been told.
type Outcome struct {
	Number int                 `json:"number"`
	State  record.OutcomeState `json:"state"`
}

func receiptOf(r ledger.Receipt) Receipt {
	out := Receipt{ID: r.Record.ID, State: r.Record.State, Integration: r.Record.Integration, IdempotencyKey: r.Record.Key, EntityKey: r.Record.EntityKey,
		Duplicate: r.Duplicate, Conflict: r.Conflict, AcceptedAt: r.Record.AcceptedAt.UTC(), Attempts: r.Record.Attempt,
		Class: r.Record.Failure.Class, Code: r.Record.Failure.Code, Message: r.Record.Failure.Message, Problems: r.Record.Failure.Detail}
	if r.Record.Outcome.Number > 0 {
		out.Outcome = &Outcome{r.Record.Outcome.Number, r.Record.Outcome.State}
	}
	return out
}

// problemDocument is RFC 9457.
type problemDocument struct {
	Type       string          `json:"type"`
	Title      string          `json:"title"`
	Status     int             `json:"status"`
	Code       string          `json:"code"`
	Detail     string          `json:"detail"`
	TrackingID string          `json:"tracking_id"`
	Errors     []fault.Problem `json:"errors,omitempty"`
}

func (x *exchange) answer(status int, body any) {
	document, err := json.Marshal(body)
	if err != nil { // our own types: cannot be
		status, document = http.StatusInternalServerError, []byte(`{}`)
	}
	if x.w.Header().Get("Content-Type") == "" {
		x.w.Header().Set("Content-Type", "application/json")
	}
	x.answered = true
	x.w.WriteHeader(status)
	_, _ = x.w.Write(append(document, '\n')) // a sender that is gone asks again
}

func (x *exchange) problem(status int, code, detail string, reasons []fault.Problem) {
	x.w.Header().Set("Content-Type", "application/problem+json")
	x.answer(status, x.document(status, code, detail, reasons))
}

func (x *exchange) document(status int, code, detail string, reasons []fault.Problem) problemDocument {
	return problemDocument{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail, TrackingID: x.tracking.String(), Errors: reasons}
}

// refuse keeps the request in a row of its own and then tells the sender what
// is wrong with it. If the row cannot be kept the fault is ours as well: 503.
func (x *exchange) refuse(status int, err error) {
	code, detail := "", err.Error()
	var reasons []fault.Problem
	if bad, ok := errors.AsType[*verify.Error](err); ok {
		code = string(bad.Code)
	} else {
		f := fault.Of(err)
		if f.Class != fault.Data {
			x.failed(&accept.Unavailable{Err: err})
			return
		}
		code, detail, reasons = f.Code, f.Message, f.Detail
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), acceptTimeout)
	defer cancel()
	document, err := json.Marshal(x.document(status, code, detail, reasons))
	if err != nil {
		document = nil
	}
	if err := x.acceptor.Refuse(ctx, x.interaction(status, string(document))); err != nil {
		x.unavailable(err)
		return
	}
	x.count(x.entry.Name, x.source.Name, "refused")
	if status == http.StatusUnauthorized {
		x.w.Header().Set("WWW-Authenticate", "Signature")
	}
	x.problem(status, code, detail, reasons)
}

// turnAway answers a request that brought nothing: it asked for what is not
// there, or not for it to see.
func (x *exchange) turnAway(status int, code, detail string) {
	if x.tooStrange() {
		return
	}
	document, err := json.Marshal(x.document(status, code, detail, nil))
	if err != nil {
		document = nil
	}
	if x.note(status, x.integration(), string(document)) {
		x.problem(status, code, detail, nil)
	}
}

// keep keeps, if that can be done, a request that failed by our own fault, so
// that whoever mends it can see what it met.
func (x *exchange) keep(status int, f *fault.Error) {
	ctx, cancel := context.WithTimeout(x.r.Context(), acceptTimeout)
	defer cancel()
	i := x.interaction(status, "")
	i.Kind, i.Error = ledger.ReadInteraction, f.Error()
	if err := x.acceptor.Refuse(ctx, i); err != nil {
		x.log.Warn("an interaction could not be kept", zap.String("tracking_id", x.tracking.String()), zap.Error(err))
	}
}

func (x *exchange) integration() string {
	if x.entry.Integration == nil {
		return "" // the path is nobody's
	}
	return x.entry.Name
}

// note keeps a request that brought nothing. False: it could not, and the
// sender was told to ask again.
func (x *exchange) note(status int, integration, response string) bool {
	ctx, cancel := context.WithTimeout(x.r.Context(), acceptTimeout)
	defer cancel()
	i := x.interaction(status, response)
	i.Kind, i.Integration = ledger.ReadInteraction, integration
	if err := x.acceptor.Refuse(ctx, i); err != nil {
		x.log.Warn("an interaction could not be kept", zap.String("tracking_id", x.tracking.String()), zap.Error(err))
		x.w.Header().Set("Retry-After", retryAfter)
		x.problem(http.StatusServiceUnavailable, "unavailable", "ask again", nil)
		return false
	}
	return true
}

// interaction is this exchange as the ledger keeps it.
func (x *exchange) interaction(status int, response string) ledger.Interaction {
	header, err := json.Marshal(x.headers)
	if err != nil || len(x.headers) == 0 {
		header = nil
	}
	return ledger.Interaction{TrackingID: x.tracking, Integration: x.integration(), Method: x.r.Method, URL: egress.RedactURL(x.r.URL.String()), Status: status,
		Duration: x.ledger.Now().Sub(x.at), RequestHeader: header, RequestBody: egress.Capture(x.raw).Data, ResponseBody: response, At: x.at}
}
