package webhook

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/record"
	"waybill.internal/services/ingest/internal/accept"
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
	Header     string          `json:"header,omitempty"` // the header of the request that it is about
	TrackingID string          `json:"tracking_id"`
	Errors     []fault.Problem `json:"errors,omitempty"`
}

// body sends an answer whole.
func (x *exchange) body(status int, kind string, body []byte) {
	if kind != "" {
		x.w.Header().Set("Content-Type", kind)
	}
	x.answered = true
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead && len(body) > 0 { // 204 has none
		_, _ = x.w.Write(body) // a sender that is gone asks again
	}
}

func (x *exchange) answer(status int, body any) { x.json(status, jsonType, body) }

func (x *exchange) json(status int, kind string, body any) {
	document, err := json.Marshal(body)
	if err != nil { // our own types: cannot be
		status, document = http.StatusInternalServerError, []byte(`{}`)
	}
	x.body(status, kind, append(document, '\n'))
}

// problem answers what went wrong: to programs as a document, to people as a page.
func (x *exchange) problem(status int, p problemDocument) {
	document := x.document(status, p)
	if x.browser() {
		x.page(status, personal(*document))
		return
	}
	x.json(status, "application/problem+json", document)
}

// document fills in what every problem has.
func (x *exchange) document(status int, p problemDocument) *problemDocument {
	p.Type, p.Title, p.Status, p.TrackingID = "about:blank", http.StatusText(status), status, x.tracking.String()
	return &p
}

// explain says what is wrong with a request that is refused.
func explain(err error) problemDocument {
	if bad, ok := errors.AsType[*provider.Error](err); ok {
		return problemDocument{Code: string(bad.Code), Detail: bad.Detail, Header: bad.Header}
	}
	if bad, ok := errors.AsType[*splitError](err); ok {
		return problemDocument{Code: "unreadable", Detail: bad.Error(), Errors: []fault.Problem{{Line: bad.line, Code: "syntax", Message: bad.message}}}
	}
	f := fault.Of(err)
	return problemDocument{Code: f.Code, Detail: f.Message, Errors: f.Detail}
}

// refuse keeps the request in a row of its own and then tells the sender what
// is wrong with it. If the row cannot be kept the fault is ours as well: 503.
func (x *exchange) refuse(status int, err error) {
	bad, proof := errors.AsType[*provider.Error](err)
	if proof {
		x.unproven(x.entry.Name, x.source.Name, bad)
	}
	_, split := errors.AsType[*splitError](err)
	if !proof && !split && fault.Of(err).Class != fault.Data {
		if f, broken := errors.AsType[*fault.Error](err); broken { // such as secrets that cannot be read
			x.alert("integration", x.entry.Name, f, x.tracking.String())
		}
		x.failed(&accept.Unavailable{Err: err})
		return
	}
	if !x.known && x.tooStrange() {
		return
	}
	p := explain(err)
	ctx, cancel := x.beyond(acceptTimeout)
	defer cancel()
	document, err := json.Marshal(x.document(status, p))
	if err != nil {
		document = nil
	}
	if err := x.acceptor.Refuse(ctx, x.interaction(x.raw, status, string(document))); err != nil {
		x.unavailable(err)
		return
	}
	x.count(x.entry.Name, x.source.Name, "refused")
	if status == http.StatusUnauthorized {
		x.w.Header().Set("WWW-Authenticate", challenge(provider.Scheme(x.source.Webhook.Verify.Scheme)))
	}
	x.problem(status, p)
}

// challenge names what a request is to be proven with.
func challenge(s provider.Scheme) string {
	switch s {
	case provider.Basic:
		return `Basic realm="waybill"`
	case provider.APIKey:
		return "Bearer"
	}
	return "Signature"
}

// turnAway answers a request that brought nothing: it asked for what is not
// there, or not for it to see.
func (x *exchange) turnAway(status int, code, detail string) {
	if !x.known && x.tooStrange() {
		return
	}
	p := problemDocument{Code: code, Detail: detail}
	document, err := json.Marshal(x.document(status, p))
	if err != nil {
		document = nil
	}
	if x.note(status, x.integration(), string(document)) {
		x.problem(status, p)
	}
}

// keep keeps, if that can be done, a request that failed by our own fault, so
// that whoever mends it can see what it met.
func (x *exchange) keep(status int, f *fault.Error) {
	ctx, cancel := x.beyond(acceptTimeout)
	defer cancel()
	i := x.interaction(x.raw, status, "")
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
	ctx, cancel := x.beyond(acceptTimeout)
	defer cancel()
	i := x.interaction(x.raw, status, response)
	i.Kind, i.Integration = ledger.ReadInteraction, integration
	if err := x.acceptor.Refuse(ctx, i); err != nil {
		x.log.Warn("an interaction could not be kept", zap.String("tracking_id", x.tracking.String()), zap.Error(err))
		x.askAgain()
		return false
	}
	return true
}

// interaction is this exchange, or that about one item of it, as the ledger keeps it.
func (x *exchange) interaction(raw []byte, status int, response string) ledger.Interaction {
	header, err := json.Marshal(x.headers)
	if err != nil || len(x.headers) == 0 {
		header = nil
	}
	return ledger.Interaction{TrackingID: x.tracking, Integration: x.integration(), Method: x.r.Method, URL: egress.RedactURL(x.r.URL.String()), Status: status,
		Duration: x.ledger.Now().Sub(x.at), RequestHeader: header, RequestBody: egress.Capture(raw).Data, ResponseBody: response, At: x.at}
}
