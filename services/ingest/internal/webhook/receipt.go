package webhook

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/ingest/internal/verify"
)

const receiptsPath = "/v1/receipts/"

// receipt answers GET /v1/receipts/{id} to whoever shows a key of the record's
// integration. Another partner's record is as unknown as one that never was.
func (x *exchange) receipt(name string) {
	x.headers = lowerCase(egress.RedactHeader(x.r.Header))
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		x.w.Header().Set("Allow", "GET, HEAD")
		x.turnAway(http.StatusMethodNotAllowed, "method_not_allowed", "get the receipt")
		return
	}
	allowed := x.mayRead()
	if len(allowed) == 0 {
		x.w.Header().Set("WWW-Authenticate", "Bearer")
		x.turnAway(http.StatusUnauthorized, "bad_key", "show one of your keys as X-Api-Key or as a bearer token")
		return
	}
	id, err := record.ParseID(name)
	if err != nil {
		x.turnAway(http.StatusBadRequest, "bad_id", err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), acceptTimeout)
	defer cancel()
	found, err := x.ledger.Records(ctx, []record.ID{id})
	if err != nil {
		x.log.Warn("a receipt could not be read: " + err.Error())
		x.w.Header().Set("Retry-After", retryAfter)
		x.problem(http.StatusServiceUnavailable, "unavailable", "the receipt could not be read now; ask again", nil)
		return
	}
	r, ok := found[id]
	if !ok || !allowed[r.Integration] {
		x.turnAway(http.StatusNotFound, "not_found", "no record of yours has the id "+id.String())
		return
	}
	if !x.note(http.StatusOK, r.Integration, "") {
		return
	}
	x.answer(http.StatusOK, receiptOf(ledger.Receipt{Record: r}))
}

// mayRead lists the integrations whose key the request shows.
func (x *exchange) mayRead() map[string]bool {
	shown := x.r.Header.Get("X-Api-Key")
	if token, ok := strings.CutPrefix(x.r.Header.Get("Authorization"), "Bearer "); ok && shown == "" {
		shown = token
	}
	if shown == "" {
		return nil
	}
	digest, err := verify.KeyDigest(shown)
	if err != nil || strings.HasPrefix(shown, verify.DigestPrefix) {
		return nil // a digest is not the key
	}
	allowed := map[string]bool{}
	for _, e := range x.catalog.Entries() {
		for _, key := range readKeys(e) {
			value, err := key.Reveal()
			if err != nil {
				continue // not set, and so nobody's key
			}
			want, err := verify.KeyDigest(value)
			if err != nil {
				continue
			}
			// Digests have one length: the time taken tells nothing about the key's.
			if subtle.ConstantTimeCompare(digest[:], want[:]) == 1 {
				allowed[e.Name] = true
			}
		}
	}
	return allowed
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
