// Package webhook takes what partners send over HTTP, and tells them what became
// of it: events, batches of them, HTML forms, the questions that providers ask
// before they send anything, receipts, and lists of records.
//
// A request goes one way: its source's connections, its body (bounded, unpacked,
// not slower than a least rate), the provider's handshake, the proof of who sent
// it over the raw bytes, its source's rate, its media type. What is left is one
// event (one.go), a batch (batch.go) or a form (form.go), and ends in accept.
//
// Every answer carries a Trackingid header, under which the interaction is kept;
// what is told to come again (503, 429) is only logged, 429 at most once a second.
// Every refusal is a problem document (RFC 9457) with a code that does not change.
// The OpenAPI document of package openapi says what is answered when; test/http
// holds it true.
package webhook

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
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
	"waybill.internal/pkg/provider"
	"waybill.internal/services/ingest/internal/accept"
	"waybill.internal/services/ingest/openapi"
)

const (
	// acceptTimeout bounds the wait for the commit, so that every answer is out within 3 s.
	acceptTimeout = 1200 * time.Millisecond
	// lookTimeout bounds the wait to look into a body, which comes before acceptTimeout.
	lookTimeout = 300 * time.Millisecond
	// batchTimeout bounds the same for all items of a batch.
	batchTimeout = 10 * time.Second
	retryAfter   = "5"  // seconds, in every 503
	retryPaused  = "60" // seconds, while the source is paused
	keepReading  = 256 << 10
)

// The paths of Waybill's own.
const (
	openapiPath  = "/openapi.json"
	recordsPath  = "/v1/records"
	receiptsPath = "/v1/receipts/"
)

// Alert is told of what a person should know: an integration whose expression
// fails, a known key with another body, a rejected record, a panic. The subject
// is a record's id or a tracking id: what to trace.
type Alert func(kind string, integration string, f *fault.Error, subject string)

// Handler serves every webhook source, the receipts and the lists of records.
type Handler struct {
	ledger    *ledger.Ledger
	acceptor  *accept.Acceptor
	catalog   *catalog.Catalog
	log       *zap.Logger
	alert     Alert
	count     func(integration, source, answer string)
	paused    func(integration, source string) bool
	unproven  func(integration, source string, refused *provider.Error)
	verifiers *verifiers

	doors     map[string]door     // by path
	budget    *semaphore.Weighted // bytes of all bodies
	decoder   *semaphore.Weighted // decoded bodies at once: decoded, a body may be many times its size
	strangers strangers
	readers   *readers
	notices   *rate.Limiter // of log lines about limits: a flood is not to fill the log
	proxies   proxies
}

// route is a source by its names.
type route struct {
	integration string
	source      string
}

// door is where a source is reached, with its limits.
type door struct {
	route
	gate *gate
}

// Config of New.
type Config struct {
	Ledger   *ledger.Ledger
	Acceptor *accept.Acceptor
	Catalog  *catalog.Catalog
	Log      *zap.Logger
	Alert    Alert
	Count    func(integration, source, answer string)
	// Paused tells whether a person has paused a source: it takes nothing then. Nil: never.
	Paused func(integration, source string) bool
	// Unproven is told of requests that do not prove who sent them. Nil: nobody is.
	Unproven func(integration, source string, refused *provider.Error)
	// Proxies are the networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
	Proxies []netip.Prefix
}

// New makes the handler for the catalog's current webhook sources.
func New(c Config) (*Handler, error) {
	h := &Handler{ledger: c.Ledger, acceptor: c.Acceptor, catalog: c.Catalog, log: c.Log, alert: c.Alert, count: c.Count,
		verifiers: newVerifiers(), doors: map[string]door{}, budget: semaphore.NewWeighted(bodyBudget),
		decoder: semaphore.NewWeighted(int64(2 * runtime.GOMAXPROCS(0))), strangers: newStrangers(), readers: newReaders(), notices: rate.NewLimiter(1, 10), proxies: c.Proxies}
	if h.paused = c.Paused; h.paused == nil {
		h.paused = func(string, string) bool { return false }
	}
	if h.unproven = c.Unproven; h.unproven == nil {
		h.unproven = func(string, string, *provider.Error) {}
	}
	for _, e := range c.Catalog.Entries() {
		for _, s := range e.Sources {
			if s.Webhook == nil {
				continue
			}
			if other, taken := h.doors[s.Webhook.Path]; taken {
				return nil, fmt.Errorf("integrations %s and %s both take webhooks on %s; give one of them another path", other.integration, e.Name, s.Webhook.Path)
			}
			h.doors[s.Webhook.Path] = door{route{e.Name, s.Name}, newGate(s.Webhook)}
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
	gate     *gate
	raw      []byte
	eventID  string            // the sender's own identity of the event
	headers  map[string]string // as they are kept
	whole    map[string]string // as keys are made of them; made when first needed
	known    bool              // the sender has proven who it is
	wanted   provider.Answer   // what the provider must be told of an event that was taken, in place of a receipt
	wants    bool              // there is such an answer
	answered bool
}

// ServeHTTP routes by the exact path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Handler: h, w: w, r: r, tracking: uuid.Must(uuid.NewV7()), at: h.ledger.Now(), headers: lowerCase(egress.RedactHeader(r.Header))}
	w.Header().Set("Trackingid", x.tracking.String())
	w.Header().Set("X-Content-Type-Options", "nosniff")
	defer x.survive()
	path := r.URL.Path
	door, ok := h.doors[path]
	switch {
	case ok:
		x.entry, _ = h.catalog.Get(door.integration)
		x.source, _ = x.entry.Source(door.source)
		x.gate = door.gate
		x.hide()
		x.enter()
	case path == openapiPath:
		x.openapi()
	case path == recordsPath:
		x.records()
	case strings.HasPrefix(path, receiptsPath):
		x.receipt(strings.TrimPrefix(path, receiptsPath))
	default:
		x.turnAway(http.StatusNotFound, "not_found", "nothing is taken on this path")
	}
}

// hide takes out of what is kept the proof that a partner shows under a header of
// its own naming; those of known names are redacted already.
func (x *exchange) hide() {
	name := strings.ToLower(x.source.Webhook.Verify.Header)
	if _, shown := x.headers[name]; shown {
		x.headers[name] = "[redacted]"
	}
}

// openapi needs nothing but this binary, so that it is there when all else is not.
func (x *exchange) openapi() {
	if !x.reads("get the document") {
		return
	}
	x.w.Header().Set("Cache-Control", "max-age=300")
	x.body(http.StatusOK, "application/json", openapi.Document())
}

// reads refuses every method but those that read.
func (x *exchange) reads(otherwise string) bool {
	if x.r.Method == http.MethodGet || x.r.Method == http.MethodHead {
		return true
	}
	x.w.Header().Set("Allow", "GET, HEAD")
	x.turnAway(http.StatusMethodNotAllowed, "method_not_allowed", otherwise)
	return false
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
		x.problem(http.StatusServiceUnavailable, problemDocument{Code: "unavailable", Detail: "the request could not be handled now; send it again"})
	}
}

// enter answers one request to a source.
func (x *exchange) enter() {
	if !x.gate.connections.TryAcquire(1) {
		x.later(time.Second, "too_many_requests", fmt.Sprintf("%d requests to this path are under way, and no more are taken at once", x.source.Webhook.Connections))
		return
	}
	defer x.gate.connections.Release(1)
	if x.paused(x.entry.Name, x.source.Name) {
		x.pause()
		return
	}
	if x.r.Method != http.MethodPost {
		if answer, asked := x.verifiers.handshake(x.entry, x.source, x.request()); asked && !answer.Signed {
			x.greet(answer)
			return
		}
		x.w.Header().Set("Allow", methods(x.source))
		x.turnAway(http.StatusMethodNotAllowed, "method_not_allowed", "post the event")
		return
	}
	release, ok := x.read()
	if !ok {
		return
	}
	defer release()
	if x.proven() {
		x.take()
	}
}

// pause lets the sender keep what it has until a person resumes the source.
func (x *exchange) pause() {
	x.count(x.entry.Name, x.source.Name, "unavailable")
	x.closeUnread()
	x.w.Header().Set("Retry-After", retryPaused)
	x.problem(http.StatusServiceUnavailable, problemDocument{Code: "paused", Detail: "nothing is taken on this path for now; keep the request and send it again later"})
}

// methods are those of a source: Meta asks by GET whether we are here.
func methods(s *integration.Source) string {
	if provider.Scheme(s.Webhook.Verify.Scheme) == provider.Meta {
		return "GET, POST"
	}
	return http.MethodPost
}

// proven answers handshakes, and what has no proof or is over its rate.
func (x *exchange) proven() bool {
	greeting, asked, err := x.look()
	if err != nil {
		x.refuse(http.StatusUnauthorized, err)
		return false
	}
	if asked {
		x.greet(greeting)
		return false
	}
	if wait := take(x.gate.rate); wait > 0 {
		r := x.source.Webhook.Rate
		x.later(wait, "too_many_requests", fmt.Sprintf("this path takes %d requests in %s", r.Count, r.Per))
		return false
	}
	if x.source.Webhook.Form != nil {
		if wait := x.gate.forms.take(x.proxies.client(x.r)); wait > 0 {
			r := x.source.Webhook.Form.Rate
			x.later(wait, "too_many_requests", fmt.Sprintf("one address may send %d forms in %s", r.Count, r.Per))
			return false
		}
	}
	return true
}

// take answers what came, by its media type.
func (x *exchange) take() {
	kind, boundary, err := contentOf(x.r.Header, x.source)
	w := x.source.Webhook
	switch {
	case err != nil:
		x.refuse(http.StatusUnsupportedMediaType, err)
	case kind == formContent || kind == partsContent:
		x.form(kind, boundary)
	case kind == linesContent:
		x.batch(splitLines(x.raw, w.MaxItems))
	case w.Batch && w.Form == nil && isList(x.raw):
		items, err := splitList(x.raw, w.MaxItems)
		if err != nil {
			x.refuse(http.StatusBadRequest, err)
			return
		}
		x.batch(items)
	default:
		x.event(x.raw, "")
	}
}

// later tells the sender to come again when there is room.
func (x *exchange) later(wait time.Duration, code, detail string) {
	x.w.Header().Set("Retry-After", seconds(wait))
	if x.notices.Allow() {
		x.log.Warn("a request was told to come later, as may be others that are not named", zap.String("tracking_id", x.tracking.String()),
			zap.String("integration", x.integration()), zap.String("code", code), zap.String("limit", detail))
	}
	if x.raw == nil {
		x.closeUnread()
	}
	x.problem(http.StatusTooManyRequests, problemDocument{Code: code, Detail: detail + "; come again after " + seconds(wait) + " s"})
}

// tooStrange answers 429 when too many requests without a valid key came lately,
// from this address or from all.
func (x *exchange) tooStrange() bool {
	wait := x.strangers.take(x.proxies.client(x.r))
	if wait > 0 {
		x.later(wait, "too_many_refused", "too many requests without a valid key came lately")
	}
	return wait > 0
}

// keyHeaders is what keys are made of: unlike what is kept, nothing in it is
// redacted or left out. The server bounds the whole header.
func (x *exchange) keyHeaders() map[string]string {
	if x.whole == nil {
		x.whole = make(map[string]string, len(x.r.Header))
		for name, values := range x.r.Header {
			x.whole[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	return x.whole
}

func lowerCase(h map[string]string) map[string]string {
	out := make(map[string]string, len(h))
	for name, value := range h {
		out[strings.ToLower(name)] = value
	}
	return out
}

// within bounds what is done for the sender, and ends when it is gone.
func (x *exchange) within(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(x.r.Context(), limit)
}

// beyond bounds what is done also for a sender that is gone, or was cut off:
// what it brought is kept.
func (x *exchange) beyond(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(x.r.Context()), limit)
}
