// Package webhook takes events that partners post over HTTP: verify the raw
// bytes, decode, accept, answer. Every answer carries a Trackingid header, under
// which the interaction is kept; what is told to come again (503, 429) is only logged.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/services/ingest/internal/accept"
)

const (
	// bodyBudget bounds the bytes of all bodies that are read or wait for their commit.
	bodyBudget = 32 << 20
	// budgetWait is how long a request waits for room; then 503.
	budgetWait = 200 * time.Millisecond
	// budgetStep is how much of a body is admitted at once: what a sender only
	// announces takes no room from others.
	budgetStep = 64 << 10
	// BodyTimeout is how long a sender may take to send its body.
	BodyTimeout = 10 * time.Second
	// Requests that show no valid key are kept at this rate; beyond it they are told
	// to come later, so that whoever has no key cannot fill the ledger.
	strangersPerSecond = 100
	strangersAtOnce    = 1000
	// acceptTimeout bounds the wait for the commit, so that every answer is out within 3 s.
	acceptTimeout = 1200 * time.Millisecond
	retryAfter    = "5" // seconds, in every 503
	keepReading   = 256 << 10
)

// Alert is told of what a person should know: an integration whose expression
// fails, a known key with another body, a rejected record, a panic. The subject
// is a record's id or a tracking id: what to trace.
type Alert func(kind string, integration string, f *fault.Error, subject string)

// Handler serves every webhook source and the receipts.
type Handler struct {
	ledger    *ledger.Ledger
	acceptor  *accept.Acceptor
	catalog   *catalog.Catalog
	log       *zap.Logger
	alert     Alert
	count     func(integration, source, answer string)
	verifiers *verifiers

	routes  map[string]route
	budget  *semaphore.Weighted            // bytes of all bodies
	shares  map[string]*semaphore.Weighted // of the budget, by path: at most half for one
	strange *rate.Limiter
	decoder *semaphore.Weighted // decoded bodies at once: decoded, a body may be many times its size
}

type route struct {
	integration string
	source      string
}

// Config of New.
type Config struct {
	Ledger   *ledger.Ledger
	Acceptor *accept.Acceptor
	Catalog  *catalog.Catalog
	Log      *zap.Logger
	Alert    Alert
	Count    func(integration, source, answer string)
}

// New makes the handler for the catalog's current webhook sources.
func New(c Config) (*Handler, error) {
	h := &Handler{ledger: c.Ledger, acceptor: c.Acceptor, catalog: c.Catalog, log: c.Log, alert: c.Alert, count: c.Count,
		verifiers: newVerifiers(), routes: map[string]route{}, budget: semaphore.NewWeighted(bodyBudget), shares: map[string]*semaphore.Weighted{},
		strange: rate.NewLimiter(strangersPerSecond, strangersAtOnce), decoder: semaphore.NewWeighted(int64(2 * runtime.GOMAXPROCS(0)))}
	for _, e := range c.Catalog.Entries() {
		for _, s := range e.Sources {
			if s.Webhook == nil {
				continue
			}
			if other, taken := h.routes[s.Webhook.Path]; taken {
				return nil, fmt.Errorf("integrations %s and %s both take webhooks on %s; give one of them another path", other.integration, e.Name, s.Webhook.Path)
			}
			h.routes[s.Webhook.Path] = route{e.Name, s.Name}
			h.shares[s.Webhook.Path] = semaphore.NewWeighted(bodyBudget / 2)
		}
	}
	return h, nil
}

// exchange is one request on its way to an answer.
type exchange struct {
	*Handler
	w        http.ResponseWriter
	r        *http.Request
	tracking uuid.UUID
	at       time.Time
	entry    catalog.Entry
	source   *integration.Source
	raw      []byte
	headers  map[string]string // as they are kept
	answered bool
}

// ServeHTTP routes by the exact path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Handler: h, w: w, r: r, tracking: uuid.Must(uuid.NewV7()), at: h.ledger.Now()}
	w.Header().Set("Trackingid", x.tracking.String())
	defer x.survive()
	if strings.HasPrefix(r.URL.Path, receiptsPath) {
		x.receipt(strings.TrimPrefix(r.URL.Path, receiptsPath))
		return
	}
	route, ok := h.routes[r.URL.Path]
	if !ok {
		x.headers = lowerCase(egress.RedactHeader(r.Header))
		x.turnAway(http.StatusNotFound, "not_found", "nothing is taken on this path")
		return
	}
	x.entry, _ = h.catalog.Get(route.integration)
	x.source, _ = x.entry.Source(route.source)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		x.turnAway(http.StatusMethodNotAllowed, "method_not_allowed", "post the event")
		return
	}
	x.take()
}

// survive turns a panic into an alert and our own fault: 503.
func (x *exchange) survive() {
	value := recover()
	if value == nil {
		return
	}
	if value == http.ErrAbortHandler {
		panic(value)
	}
	f := fault.FromPanic(value, debug.Stack())
	x.alert("panic", x.integration(), f, x.tracking.String())
	if !x.answered {
		x.w.Header().Set("Retry-After", retryAfter)
		x.problem(http.StatusServiceUnavailable, "unavailable", "the request could not be handled now; send it again", nil)
	}
}

// take answers one posted event.
func (x *exchange) take() {
	release, ok := x.read()
	if !ok {
		return
	}
	defer release()
	x.headers = lowerCase(egress.RedactHeader(x.r.Header))
	if err := x.verify(); err != nil {
		if x.tooStrange() {
			return
		}
		x.refuse(http.StatusUnauthorized, err)
		return
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), acceptTimeout)
	defer cancel()
	arrival, err := x.prepare(ctx)
	if err == nil {
		var receipt ledger.Receipt
		if receipt, err = x.acceptor.Accept(ctx, arrival); err == nil {
			x.accepted(arrival, receipt)
			return
		}
	}
	x.failed(err)
}

// tooStrange answers 429 when too many requests without a valid key came lately.
func (x *exchange) tooStrange() bool {
	if x.strange.Allow() {
		return false
	}
	x.w.Header().Set("Retry-After", retryAfter)
	x.problem(http.StatusTooManyRequests, "too_many_refused", "too many requests without a valid key came lately", nil)
	return true
}

// errNoRoom says that bodies under way fill their budget.
var errNoRoom = errors.New("the bodies under way fill their budget")

// read takes the body under the budget of all bodies. The caller releases the
// budget when the body is no longer held.
func (x *exchange) read() (release func(), ok bool) {
	limit := int64(x.source.Webhook.MaxBody)
	size := x.r.ContentLength
	if size > limit {
		x.refuse(http.StatusRequestEntityTooLarge, fault.New(fault.Data, "body_too_large", "the body has %d bytes, at most %d are taken", size, limit))
		return nil, false
	}
	var taken int64
	share := x.shares[x.r.URL.Path]
	release = func() {
		x.budget.Release(taken)
		share.Release(taken)
	}
	raw, err := x.readSteps(http.MaxBytesReader(x.w, x.r.Body, limit), size, share, &taken)
	if err == nil {
		x.raw = raw
		return release, true
	}
	release()
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
	case errors.Is(err, errNoRoom):
		x.unavailable(err)
	case tooLarge:
		x.refuse(http.StatusRequestEntityTooLarge, fault.New(fault.Data, "body_too_large", "the body has more than %d bytes", limit))
	default:
		x.refuse(http.StatusBadRequest, fault.Wrap(err, fault.Data, "body_incomplete", "the body could not be read to its end"))
	}
	return nil, false
}

// readSteps reads a body of the announced length (below 0: unknown), taking room
// for each part before it is read.
func (x *exchange) readSteps(body io.Reader, length int64, share *semaphore.Weighted, taken *int64) ([]byte, error) {
	var raw []byte
	for {
		step := int64(budgetStep)
		if length >= 0 {
			step = min(step, length-int64(len(raw)))
		}
		if step == 0 && length >= 0 {
			return raw, nil
		}
		if err := x.room(step, share); err != nil {
			return nil, err
		}
		*taken += step
		start := len(raw)
		raw = slices.Grow(raw, int(step))[:start+int(step)]
		n, err := io.ReadFull(body, raw[start:])
		raw = raw[:start+n]
		switch {
		case length < 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
			return raw, nil
		case err != nil:
			return nil, err
		}
	}
}

// room waits a little for a part of the budgets.
func (x *exchange) room(step int64, share *semaphore.Weighted) error {
	ctx, cancel := context.WithTimeout(x.r.Context(), budgetWait)
	defer cancel()
	if err := share.Acquire(ctx, step); err != nil {
		return errNoRoom
	}
	if err := x.budget.Acquire(ctx, step); err != nil {
		share.Release(step)
		return errNoRoom
	}
	return nil
}

func (x *exchange) verify() error {
	v, err := x.verifiers.of(x.entry, x.source)
	if err != nil {
		return err
	}
	if _, err := v.Verify(x.raw, x.r.Header, x.ledger.Now()); err != nil {
		return err
	}
	return nil
}

// prepare decodes and validates a few bodies at a time; only the raw bytes are
// kept while the commit is waited for.
func (x *exchange) prepare(ctx context.Context) (ledger.Arrival, error) {
	if err := x.decoder.Acquire(ctx, 1); err != nil {
		return ledger.Arrival{}, &accept.Unavailable{Err: errors.New("too many bodies are being decoded")}
	}
	defer x.decoder.Release(1)
	body, err := integration.DecodeJSON(x.raw)
	if err != nil {
		return ledger.Arrival{}, fault.Wrap(err, fault.Data, "unreadable", "the body is not the JSON it should be: %v", err)
	}
	return x.acceptor.Prepare(ctx, accept.Input{Entry: x.entry, Source: x.source, Body: body, Raw: x.raw, ContentType: x.r.Header.Get("Content-Type"),
		Headers: x.headers, KeyHeaders: allHeaders(x.r.Header), TrackingID: x.tracking, Request: func() ledger.Interaction { return x.interaction(http.StatusOK, "") }})
}

func (x *exchange) accepted(a ledger.Arrival, receipt ledger.Receipt) {
	r := receipt.Record
	switch {
	case receipt.Refused:
		x.count(x.entry.Name, x.source.Name, "refused")
		x.problem(http.StatusConflict, "conflict", "this idempotency key came before with another body, and the integration refuses that; the first record is "+r.ID.String(), nil)
	case receipt.Duplicate && !receipt.Revived:
		x.count(x.entry.Name, x.source.Name, "duplicate")
		x.answer(http.StatusOK, receiptOf(receipt))
	default:
		x.count(x.entry.Name, x.source.Name, "received")
		x.answer(http.StatusAccepted, receiptOf(receipt))
	}
	if receipt.Conflict {
		x.alert("conflict", x.entry.Name, fault.New(fault.Duplicate, "conflict", "a known idempotency key came with another body"), r.ID.String())
	}
	if a.Failure != nil && !receipt.Duplicate {
		x.alert("rejected", x.entry.Name, &fault.Error{Class: a.Failure.Class, Code: a.Failure.Code, Message: a.Failure.Message}, r.ID.String())
	}
}

// failed answers what could not be accepted: by whose fault?
func (x *exchange) failed(err error) {
	if _, ours := errors.AsType[*accept.Unavailable](err); ours {
		x.unavailable(err)
		return
	}
	f := fault.Of(err)
	switch {
	case f.Class != fault.Data:
		x.keep(http.StatusServiceUnavailable, f)
		x.alert("integration", x.entry.Name, f, x.tracking.String())
		x.unavailable(err)
	case f.Code == "unreadable":
		x.refuse(http.StatusBadRequest, f)
	default:
		x.refuse(http.StatusUnprocessableEntity, f)
	}
}

// unavailable is our own fault: 503, and the sender tries again.
func (x *exchange) unavailable(err error) {
	x.count(x.entry.Name, x.source.Name, "unavailable")
	x.log.Warn("an arrival could not be stored; its sender was told to try again", zap.String("tracking_id", x.tracking.String()), zap.String("integration", x.entry.Name), zap.Error(err))
	x.w.Header().Set("Retry-After", retryAfter)
	if x.raw == nil && (x.r.ContentLength < 0 || x.r.ContentLength > keepReading) {
		x.w.Header().Set("Connection", "close") // cheaper than reading the rest of a large body to its end
	}
	x.problem(http.StatusServiceUnavailable, "unavailable", "the event could not be stored now; send it again", nil)
}

// allHeaders is what keys are made of: unlike what is kept, nothing in it is
// redacted or left out. The server bounds the whole header.
func allHeaders(h http.Header) map[string]string {
	out := make(map[string]string, len(h))
	for name, values := range h {
		out[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return out
}

func lowerCase(h map[string]string) map[string]string {
	out := make(map[string]string, len(h))
	for name, value := range h {
		out[strings.ToLower(name)] = value
	}
	return out
}
