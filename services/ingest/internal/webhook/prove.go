package webhook

import (
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"waybill.internal/pkg/provider"
	"waybill.internal/services/ingest/internal/accept"
)

// request is what came, as the provider's rules look at it.
func (x *exchange) request() provider.Request {
	return provider.Request{Method: x.r.Method, URL: x.proxies.scheme(x.r) + "://" + x.r.Host + x.r.URL.RequestURI(), Header: x.r.Header, Body: x.raw}
}

// look finds a handshake and proves the sender, of a few bodies at a time: some
// proofs lie inside the body, and decoded a body may be many times its size. A
// handshake that is not signed needs no proof.
func (x *exchange) look() (greeting provider.Answer, asked bool, err error) {
	ctx, cancel := x.within(lookTimeout)
	defer cancel()
	if err := x.decoder.Acquire(ctx, 1); err != nil {
		return greeting, false, &accept.Unavailable{Err: errDecoders}
	}
	defer x.decoder.Release(1)
	greeting, asked = x.verifiers.handshake(x.entry, x.source, x.request())
	if asked && !greeting.Signed {
		return greeting, true, nil
	}
	return greeting, asked, x.verify()
}

// verify proves who sent the request; what it proves is the body as it was packed.
func (x *exchange) verify() error {
	v, err := x.verifiers.of(x.entry, x.source)
	if err != nil {
		return err
	}
	verified, err := v.Verify(x.request(), x.ledger.Now())
	if err != nil {
		return err
	}
	scheme := provider.Scheme(x.source.Webhook.Verify.Scheme)
	x.eventID, x.known = verified.EventID, scheme != provider.None
	x.wanted, x.wants = provider.Accepted(scheme, x.request())
	return nil
}

// greet answers a provider's question whether we are here.
func (x *exchange) greet(answer provider.Answer) {
	if !x.known && x.tooStrange() {
		return
	}
	if !x.note(answer.Status, x.integration(), "") {
		return
	}
	scheme := x.source.Webhook.Verify.Scheme
	x.log.Info("a provider's handshake was answered", zap.String("integration", x.entry.Name), zap.String("scheme", scheme), zap.Int("status", answer.Status))
	if answer.Status >= http.StatusBadRequest {
		x.problem(answer.Status, problemDocument{Code: "handshake_refused", Detail: fmt.Sprintf("the handshake of %s does not show what it must", scheme)})
		return
	}
	x.body(answer.Status, answer.ContentType, answer.Body)
}
