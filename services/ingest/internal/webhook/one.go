package webhook

import (
	"context"
	"errors"
	"net/http"

	"go.uber.org/zap"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/provider"
	"waybill.internal/services/ingest/internal/accept"
)

// event answers a request whose body is one record. The spare key is the event's
// when it has none of its own; "": such an event is refused.
func (x *exchange) event(raw []byte, spareKey string) {
	ctx, cancel := x.within(acceptTimeout)
	defer cancel()
	arrival, err := x.prepare(ctx, item{raw: raw, line: 1}, x.eventID, spareKey)
	if err == nil {
		var receipt ledger.Receipt
		if receipt, err = x.acceptor.Accept(ctx, arrival); err == nil {
			x.noticed(arrival, receipt)
			x.accepted(receipt)
			return
		}
	}
	x.failed(err)
}

var errDecoders = errors.New("too many bodies are being decoded")

// tooLarge is the error of a record that is larger than any may be.
func tooLarge(size int) error {
	return fault.New(fault.Data, "record_too_large", "the record has %d bytes, at most %d are taken", size, maxRecord)
}

// prepare decodes and validates a few bodies at a time; only the raw bytes are
// kept while the commit is waited for.
func (x *exchange) prepare(ctx context.Context, i item, eventID, spareKey string) (ledger.Arrival, error) {
	if len(i.raw) > maxRecord {
		return ledger.Arrival{}, tooLarge(len(i.raw))
	}
	if err := x.decoder.Acquire(ctx, 1); err != nil {
		return ledger.Arrival{}, &accept.Unavailable{Err: errDecoders}
	}
	defer x.decoder.Release(1)
	body, err := integration.DecodeJSON(i.raw)
	if err != nil {
		if x.known { // a stranger's nonsense says nothing of the partner's format
			x.acceptor.Unread(x.entry.Name, x.source.Name, "unreadable")
		}
		return ledger.Arrival{}, unreadable(err, i)
	}
	arrival, err := x.acceptor.Prepare(ctx, accept.Input{Entry: x.entry, Source: x.source, Body: body, Raw: i.raw, ContentType: jsonType,
		Headers: x.headers, KeyHeaders: x.keyHeaders(), EventID: eventID, SpareKey: spareKey, TrackingID: x.tracking,
		Request: func() ledger.Interaction { return x.interaction(i.raw, http.StatusOK, "") }})
	return arrival, noObject(err, body)
}

// noObject: where an expression fails on a body that has no fields at all, not
// the integration is wrong but the body.
func noObject(err error, body any) error {
	_, object := body.(map[string]any)
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Class != fault.Bug || object {
		return err
	}
	return fault.Wrap(err, fault.Data, "invalid", "the body is not an object with the fields that this integration looks for")
}

// unreadable places an error of the JSON in the body that was sent.
func unreadable(err error, i item) error {
	f := fault.Wrap(err, fault.Data, "unreadable", "the body is not the JSON it should be: %v", err)
	if at, ok := errors.AsType[*integration.SyntaxError](err); ok {
		line := at.Line + i.line - 1
		if i.line > 1 {
			f.Message = "the item is not the JSON it should be: " + at.Message
		}
		f.Detail = []fault.Problem{{Line: line, Code: "syntax", Message: at.Message}}
	}
	return f
}

// noticed counts an arrival that is in the ledger, and tells people what they should know.
func (x *exchange) noticed(a ledger.Arrival, receipt ledger.Receipt) {
	answer := "received"
	switch {
	case receipt.Refused:
		answer = "refused"
	case receipt.Duplicate && !receipt.Revived:
		answer = "duplicate"
	}
	x.count(x.entry.Name, x.source.Name, answer)
	id := receipt.Record.ID.String()
	if receipt.Conflict {
		x.alert("conflict", x.entry.Name, fault.New(fault.Duplicate, "conflict", "a known idempotency key came with another body"), id)
	}
	if a.Failure != nil && !receipt.Duplicate {
		x.alert("rejected", x.entry.Name, &fault.Error{Class: a.Failure.Class, Code: a.Failure.Code, Message: a.Failure.Message}, id)
	}
}

// told is the status of a receipt; a refused one has a problem instead.
func told(receipt ledger.Receipt) (int, *problemDocument) {
	switch {
	case receipt.Refused:
		return http.StatusConflict, &problemDocument{Code: "conflict",
			Detail: "this idempotency key came before with another body, and the integration refuses that; the first record is " + receipt.Record.ID.String()}
	case receipt.Duplicate && !receipt.Revived:
		return http.StatusOK, nil
	}
	return http.StatusAccepted, nil
}

func (x *exchange) accepted(receipt ledger.Receipt) {
	status, refused := told(receipt)
	switch {
	case x.person():
		x.thank()
	case refused != nil:
		x.problem(status, *refused)
	case x.wants:
		x.body(x.wanted.Status, x.wanted.ContentType, x.wanted.Body)
	case status == http.StatusAccepted:
		x.answer(provider.Scheme(x.source.Webhook.Verify.Scheme).AcceptedStatus(), receiptOf(receipt))
	default:
		x.answer(status, receiptOf(receipt))
	}
}

// judge tells by whose fault something could not be accepted: the status, and
// the fault that an integration of ours has, if it is that.
func judge(err error) (status int, ours *fault.Error) {
	if _, down := errors.AsType[*accept.Unavailable](err); down {
		return http.StatusServiceUnavailable, nil
	}
	f := fault.Of(err)
	switch {
	case f.Class != fault.Data:
		return http.StatusServiceUnavailable, f
	case f.Code == "unreadable":
		return http.StatusBadRequest, nil
	case f.Code == "record_too_large", f.Code == "file_too_large", f.Code == "too_many_fields":
		return http.StatusRequestEntityTooLarge, nil
	}
	return http.StatusUnprocessableEntity, nil
}

// failed answers what could not be accepted.
func (x *exchange) failed(err error) {
	status, ours := judge(err)
	if ours != nil {
		x.keep(status, ours)
		x.alert("integration", x.entry.Name, ours, x.tracking.String())
	}
	if status == http.StatusServiceUnavailable {
		x.unavailable(err)
		return
	}
	x.refuse(status, err)
}

// unavailable is our own fault: 503, and the sender tries again.
func (x *exchange) unavailable(err error) {
	x.count(x.entry.Name, x.source.Name, "unavailable")
	x.log.Warn("an arrival could not be stored; its sender was told to try again", zap.String("tracking_id", x.tracking.String()), zap.String("integration", x.entry.Name), zap.Error(err))
	x.w.Header().Set("Retry-After", retryAfter)
	if x.raw == nil {
		x.closeUnread()
	}
	x.problem(http.StatusServiceUnavailable, problemDocument{Code: "unavailable", Detail: "the event could not be stored now; send it again"})
}

// closeUnread: it is cheaper to end the connection than to read the rest of a large body.
func (x *exchange) closeUnread() {
	if x.r.ContentLength < 0 || x.r.ContentLength > keepReading {
		x.w.Header().Set("Connection", "close")
	}
}
