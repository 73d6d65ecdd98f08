package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/record"
)

// receipt answers GET /v1/receipts/{id} to whoever shows a key of the record's
// integration. Another partner's record is as unknown as one that never was.
func (x *exchange) receipt(name string) {
	if !x.reads("get the receipt") {
		return
	}
	allowed, ok := x.mayRead()
	if !ok {
		return
	}
	id, err := record.ParseID(name)
	if err != nil {
		x.turnAway(http.StatusBadRequest, "bad_id", err.Error())
		return
	}
	ctx, cancel := x.within(acceptTimeout)
	defer cancel()
	found, err := x.ledger.Records(ctx, []record.ID{id})
	if err != nil {
		x.log.Warn("a receipt could not be read", zap.String("tracking_id", x.tracking.String()), zap.Error(err))
		x.askAgain()
		return
	}
	r, ok := found[id]
	if !ok || !contains(allowed, r.Integration) {
		x.turnAway(http.StatusNotFound, "not_found", "no record of yours has the id "+id.String())
		return
	}
	if !x.note(http.StatusOK, r.Integration, "") {
		return
	}
	x.answer(http.StatusOK, receiptOf(ledger.Receipt{Record: r}))
}

// askAgain: what was asked for could not be read, by our own fault.
func (x *exchange) askAgain() {
	x.w.Header().Set("Retry-After", retryAfter)
	x.problem(http.StatusServiceUnavailable, problemDocument{Code: "unavailable", Detail: "the ledger could not be read now; ask again"})
}

func contains(list []string, name string) bool {
	for _, each := range list {
		if each == name {
			return true
		}
	}
	return false
}

// mayRead lists the integrations whose key the request shows, or answers it.
func (x *exchange) mayRead() ([]string, bool) {
	allowed, digest := x.keyOf()
	if len(allowed) == 0 {
		x.w.Header().Set("WWW-Authenticate", "Bearer")
		x.turnAway(http.StatusUnauthorized, "bad_key", "show one of your keys as X-Api-Key or as a bearer token")
		return nil, false
	}
	x.known = true
	if wait := take(x.readers.of(digest)); wait > 0 {
		x.later(wait, "too_many_requests", "one key may ask 20 times a second")
		return nil, false
	}
	return allowed, true
}

// keyOf finds, in the order of names, the integrations that a shown key may read.
func (x *exchange) keyOf() ([]string, [sha256.Size]byte) {
	shown := x.r.Header.Get("X-Api-Key")
	if word, token, _ := strings.Cut(x.r.Header.Get("Authorization"), " "); strings.EqualFold(word, "Bearer") && shown == "" {
		shown = token
	}
	if shown == "" || strings.HasPrefix(shown, provider.DigestPrefix) {
		return nil, [sha256.Size]byte{} // a digest is not the key
	}
	digest, err := provider.KeyDigest(shown)
	if err != nil {
		return nil, digest
	}
	var allowed []string
	for _, e := range x.catalog.Entries() {
		if opens(e, digest) {
			allowed = append(allowed, e.Name)
		}
	}
	return allowed, digest
}

func opens(e catalog.Entry, digest [sha256.Size]byte) bool {
	found := false
	for _, key := range readKeys(e) {
		value, err := key.Reveal()
		if err != nil {
			continue // not set, and so nobody's key
		}
		want, err := provider.KeyDigest(value)
		if err != nil {
			continue
		}
		// Digests have one length: the time taken tells nothing about the key's.
		if subtle.ConstantTimeCompare(digest[:], want[:]) == 1 {
			found = true
		}
	}
	return found
}

func readKeys(e catalog.Entry) []integration.Secret {
	var keys []integration.Secret
	if e.Receipts != nil {
		keys = append(keys, e.Receipts.Keys...)
	}
	for _, s := range e.Sources {
		if s.Webhook != nil && s.Webhook.Verify.Scheme == "api-key" {
			keys = append(keys, s.Webhook.Verify.Secrets...)
		}
	}
	return keys
}

// readers bounds how often each key asks. Only keys that open something come
// here, so there are as many as are configured. It is safe for concurrent use.
type readers struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*rate.Limiter
}

func newReaders() *readers { return &readers{known: map[[sha256.Size]byte]*rate.Limiter{}} }

func (r *readers) of(digest [sha256.Size]byte) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.known[digest]
	if !ok {
		l = rate.NewLimiter(readsPerSecond, readsAtOnce)
		r.known[digest] = l
	}
	return l
}
