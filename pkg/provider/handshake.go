package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// TokenPrefix begins a secret of the scheme meta that is the verify token of the
// handshake. It never verifies an event: it travels in addresses.
const TokenPrefix = "token:"

// maxChallengeBytes bounds what is sent back to whoever asks.
const maxChallengeBytes = 1024

// Answer is what a handshake must be answered with.
type Answer struct {
	Status      int
	ContentType string // empty when there is no body
	Body        []byte
	Signed      bool // give this answer only after Verify accepted the request
}

// Handshake tells whether a request is a provider's question whether we are here
// rather than an event, and how to answer it. Ask it first, for every request of
// the source, GET included: an answer with Signed must wait until Verify has
// accepted the request, any other is given at once, without Verify. No record is
// made of a handshake. The secrets are those of the source's Config; only meta and
// zoom look at them.
//
//	slack        url_verification: the challenge, signed
//	github       the event ping, signed
//	bitbucket    the event diagnostics:ping of Data Center, signed
//	zoom         endpoint.url_validation: the token and its HMAC, signed
//	discord      PING: type 1, signed
//	meta         GET with hub.mode=subscribe: the challenge if the verify token is ours, else 403
//	woocommerce  the form webhook_id=N of a new webhook, which is never signed
func Handshake(s Scheme, r Request, secrets []string) (Answer, bool) {
	if s == Meta {
		return metaHandshake(r, secrets)
	}
	if r.Method != http.MethodPost {
		return Answer{}, false
	}
	switch s {
	case GitHub:
		return Answer{Status: http.StatusOK, Signed: true}, r.Header.Get("X-GitHub-Event") == "ping"
	case Bitbucket:
		return Answer{Status: http.StatusOK, Signed: true}, r.Header.Get("X-Event-Key") == "diagnostics:ping"
	case WooCommerce:
		return Answer{Status: http.StatusOK}, wooPing(r)
	case Slack:
		return slackHandshake(r)
	case Zoom:
		return zoomHandshake(r, secrets)
	case Discord:
		return discordHandshake(r)
	}
	return Answer{}, false
}

func plain(text string) Answer {
	return Answer{Status: http.StatusOK, ContentType: textType, Body: []byte(text)}
}

func slackHandshake(r Request) (Answer, bool) {
	body, ok := small(r)
	challenge := text(at(body, "challenge"))
	if !ok || text(at(body, "type")) != "url_verification" || challenge == "" {
		return Answer{}, false
	}
	a := plain(challenge)
	a.Signed = true
	return a, true
}

// small decodes a body that can be a question: those are short.
func small(r Request) (any, bool) {
	if len(r.Body) > 4*maxChallengeBytes {
		return nil, false
	}
	return decodeBody(r.Body)
}

func discordHandshake(r Request) (Answer, bool) {
	// A ping may describe the whole guild and user it was sent for.
	body, ok := decodeBody(r.Body)
	switch {
	case !ok:
		return Answer{}, false
	case at(body, "event") != nil: // which has the type 1, too
		return Answer{}, false
	case at(body, "type") == json.Number("1"):
		return Answer{Status: http.StatusOK, ContentType: jsonType, Body: []byte(`{"type":1}`), Signed: true}, true
	case at(body, "type") == json.Number("0"): // of webhook events; Discord wants a content type even of nothing
		return Answer{Status: http.StatusNoContent, ContentType: jsonType, Signed: true}, true
	}
	return Answer{}, false
}

func zoomHandshake(r Request, secrets []string) (Answer, bool) {
	body, ok := small(r)
	token := text(at(body, "payload", "plainToken"))
	if !ok || text(at(body, "event")) != "endpoint.url_validation" || token == "" || len(secrets) == 0 {
		return Answer{}, false
	}
	// Zoom wants the token under the secret it signed the question with.
	secret := secrets[0]
	if got, err := timedRead("x-zm-signature", "x-zm-request-timestamp")(r); err == nil {
		for _, s := range secrets {
			if macKey(s).fits(got.proofs[0]) {
				secret = s
			}
		}
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(token))
	answer, err := json.Marshal(map[string]string{"plainToken": token, "encryptedToken": hex.EncodeToString(m.Sum(nil))})
	if err != nil {
		return Answer{}, false
	}
	return Answer{Status: http.StatusOK, ContentType: jsonType, Body: answer, Signed: true}, true
}

func metaHandshake(r Request, secrets []string) (Answer, bool) {
	u, err := url.Parse(r.URL)
	if r.Method != http.MethodGet || err != nil {
		return Answer{}, false
	}
	q := u.Query()
	challenge := q.Get("hub.challenge")
	if q.Get("hub.mode") != "subscribe" || challenge == "" || len(challenge) > maxChallengeBytes {
		return Answer{}, false
	}
	shown, ours := sha256.Sum256([]byte(q.Get("hub.verify_token"))), false
	for _, s := range secrets {
		if token, ok := strings.CutPrefix(s, TokenPrefix); ok && token != "" {
			want := sha256.Sum256([]byte(token))
			if subtle.ConstantTimeCompare(shown[:], want[:]) == 1 {
				ours = true
			}
		}
	}
	if !ours {
		return Answer{Status: http.StatusForbidden}, true
	}
	return plain(challenge), true
}

// wooPing is what WooCommerce sends when a webhook is saved.
func wooPing(r Request) bool {
	id, ok := strings.CutPrefix(string(r.Body[:min(len(r.Body), 40)]), "webhook_id=")
	return ok && id != "" && strings.Trim(id, "0123456789") == "" && len(r.Body) < 40 &&
		r.Header.Values("X-WC-Webhook-Signature") == nil && r.Header.Values("X-WC-Webhook-Topic") == nil &&
		len(r.Header.Values("Content-Type")) == 1
}
