package provider

import (
	"crypto/ed25519"
	"crypto/sha1" // #nosec G505 -- HMAC-SHA1 is still sound and some providers sign with nothing else
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

func rulesOf(c Config) (rules, error) {
	hub := place{"X-Hub-Signature-256", "sha256=", asHex, sha256.New}
	hubSHA1 := place{"X-Hub-Signature", "sha1=", asHex, sha1.New}
	hubSHA256 := place{"X-Hub-Signature", "sha256=", asHex, sha256.New}
	switch c.Scheme {
	case GitHub:
		return withBody(bodyRules(hub, hubSHA1, hubSHA256, place{"X-Hub-Signature", "sha512=", asHex, sha512.New})), nil
	case Meta:
		return bodyRules(hub, hubSHA1), nil
	case Bitbucket:
		return bodyRules(hubSHA256, hub), nil
	case Gitea:
		return bodyRules(place{"X-Forgejo-Signature", "", asHex, sha256.New}, place{"X-Gitea-Signature", "", asHex, sha256.New},
			place{"X-Gogs-Signature", "", asHex, sha256.New}, hub), nil
	case Shopify:
		return withBody(bodyRules(place{"Shopify-Hmac-Sha256", "", asBase64, sha256.New}, place{"X-Shopify-Hmac-Sha256", "", asBase64, sha256.New})), nil
	case WooCommerce:
		return bodyRules(place{"X-WC-Webhook-Signature", "", asBase64, sha256.New}), nil
	case Square:
		return rules{rawKey, readSquare}, nil
	case Slack:
		return rules{rawKey, timedRead("X-Slack-Signature", "X-Slack-Request-Timestamp")}, nil
	case Zoom:
		return rules{rawKey, timedRead("x-zm-signature", "x-zm-request-timestamp")}, nil
	case Stripe:
		return rules{rawKey, listRead("Stripe-Signature", ",", "t", "v1", ".")}, nil
	case Paddle:
		return rules{rawKey, listRead("Paddle-Signature", ";", "ts", "h1", ":")}, nil
	case SendGrid:
		return rules{ecdsaPublicKey, readSendGrid}, nil
	case Discord:
		return rules{edPublicKey, readDiscord}, nil
	case Adyen:
		return rules{hexKey, readAdyen}, nil
	case Twilio:
		return rules{rawKey, readTwilio}, nil
	case Mailgun:
		return rules{rawKey, readMailgun}, nil
	case HMAC:
		return hmacRules(c)
	default:
		return rules{}, fmt.Errorf("unknown scheme %q, known are %s", c.Scheme, known())
	}
}

// place is where an HMAC of the whole body may stand.
type place struct {
	header, prefix string
	encoding       encoding
	hash           func() hash.Hash
}

// bodyRules reads an HMAC of the body from the first of the places' headers that is
// there; the places of one header differ by their prefix.
func bodyRules(places ...place) rules {
	return rules{rawKey, func(r Request) (reading, error) {
		header := places[0].header
		for _, p := range places {
			if r.Header.Values(p.header) != nil {
				header = p.header
				break
			}
		}
		text, err := single(r.Header, header, signature.MissingSignature)
		if err != nil {
			return reading{}, err
		}
		var wants []string
		for _, p := range places {
			if p.header != header {
				continue
			}
			size := p.hash().Size()
			if digits, ok := strings.CutPrefix(text, p.prefix); ok {
				if b, ok := p.encoding.decode(digits, size); ok {
					return reading{proofs: []proof{{header, p.hash, [][]byte{b}, []content{{r.Body}}}}}, nil
				}
			}
			wants = append(wants, prefixed(p.prefix)+p.encoding.describe(size))
		}
		return reading{}, malformed(header, strings.Join(wants, ", or "))
	}}
}

// withBody refuses an empty body, as the provider's own libraries do: none is ever sent.
func withBody(of rules) rules {
	return rules{of.key, func(r Request) (reading, error) {
		if len(r.Body) == 0 {
			return reading{}, &Error{Code: MalformedBody, Header: "Content-Length", Detail: "the body is empty, and this provider sends none such; was it read before it was verified?"}
		}
		return of.read(r)
	}}
}

func prefixed(prefix string) string {
	if prefix == "" {
		return ""
	}
	return fmt.Sprintf("%q and ", prefix)
}

// timedRead is the way of Slack and Zoom: v0=hex over "v0:time:body".
func timedRead(header, timeHeader string) func(Request) (reading, error) {
	return func(r Request) (reading, error) {
		text, err := single(r.Header, header, signature.MissingSignature)
		if err != nil {
			return reading{}, err
		}
		stamp, err := single(r.Header, timeHeader, signature.MissingTimestamp)
		if err != nil {
			return reading{}, err
		}
		at, err := parseTime(stamp, timeHeader)
		if err != nil {
			return reading{}, err
		}
		digits, ok := strings.CutPrefix(text, "v0=")
		b, whole := asHex.decode(digits, sha256.Size)
		if !ok || !whole {
			return reading{}, malformed(header, `"v0=" and `+asHex.describe(sha256.Size))
		}
		signed := content{[]byte("v0:"), []byte(stamp), []byte(":"), r.Body}
		return reading{proofs: []proof{{header, sha256.New, [][]byte{b}, []content{signed}}}, at: at, timed: true, timeHeader: timeHeader}, nil
	}
}

// list is a signature header of the form t=1,v1=ab,v1=cd.
type list struct {
	time       string
	signatures []string
}

// readList takes the time at most once and every signature. Parameters of other
// names are passed over: providers add schemes.
func readList(text, header, separators, timeName, signatureName string) (list, error) {
	if len(text) > maxSignatureBytes {
		return list{}, malformed(header, fmt.Sprintf("at most %d bytes", maxSignatureBytes))
	}
	var l list
	seen := false
	for _, item := range strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(separators, c) }) {
		name, value, _ := strings.Cut(item, "=")
		switch name {
		case timeName:
			if seen {
				return list{}, malformed(header, timeName+"= once")
			}
			l.time, seen = value, true
		case signatureName:
			l.signatures = append(l.signatures, value)
		}
	}
	if len(l.signatures) > maxSignatures {
		return list{}, malformed(header, fmt.Sprintf("at most %d signatures", maxSignatures))
	}
	return l, nil
}

// decodeAll keeps the signatures that can be one; none is an error.
func (l list) decodeAll(e encoding, size int, header, name string) ([][]byte, error) {
	var all [][]byte
	for _, text := range l.signatures {
		if b, ok := e.decode(text, size); ok {
			all = append(all, b)
		}
	}
	if len(all) == 0 {
		return nil, malformed(header, name+"= and "+e.describe(size))
	}
	return all, nil
}

// listRead is the way of Stripe and Paddle: time and signatures in one header, over
// time, a mark and the body.
func listRead(header, separator, timeName, signatureName, mark string) func(Request) (reading, error) {
	return func(r Request) (reading, error) {
		text, err := single(r.Header, header, signature.MissingSignature)
		if err != nil {
			return reading{}, err
		}
		l, err := readList(text, header, separator, timeName, signatureName)
		if err != nil {
			return reading{}, err
		}
		at, err := parseTime(l.time, header)
		if err != nil {
			return reading{}, err
		}
		all, err := l.decodeAll(asHex, sha256.Size, header, signatureName)
		if err != nil {
			return reading{}, err
		}
		signed := content{[]byte(l.time), []byte(mark), r.Body}
		return reading{proofs: []proof{{header, sha256.New, all, []content{signed}}}, at: at, timed: true, timeHeader: header}, nil
	}
}

const (
	sendGridSignature = "X-Twilio-Email-Event-Webhook-Signature"
	sendGridTimestamp = "X-Twilio-Email-Event-Webhook-Timestamp"
	maxECDSABytes     = 72 // of a DER signature on P-256
	minECDSABytes     = 8
)

func readSendGrid(r Request) (reading, error) {
	text, err := single(r.Header, sendGridSignature, signature.MissingSignature)
	if err != nil {
		return reading{}, err
	}
	stamp, err := single(r.Header, sendGridTimestamp, signature.MissingTimestamp)
	if err != nil {
		return reading{}, err
	}
	at, err := parseTime(stamp, sendGridTimestamp)
	if err != nil {
		return reading{}, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(oneLine(trimmed(text)))
	if err != nil || len(b) < minECDSABytes || len(b) > maxECDSABytes {
		return reading{}, malformed(sendGridSignature, "an ECDSA signature in padded base64")
	}
	signed := content{[]byte(stamp), r.Body}
	return reading{proofs: []proof{{sendGridSignature, sha256.New, [][]byte{b}, []content{signed}}}, at: at, timed: true, timeHeader: sendGridTimestamp}, nil
}

const (
	discordSignature = "X-Signature-Ed25519"
	discordTimestamp = "X-Signature-Timestamp"
)

func readDiscord(r Request) (reading, error) {
	text, err := single(r.Header, discordSignature, signature.MissingSignature)
	if err != nil {
		return reading{}, err
	}
	stamp, err := single(r.Header, discordTimestamp, signature.MissingTimestamp)
	if err != nil {
		return reading{}, err
	}
	at, err := parseTime(stamp, discordTimestamp)
	if err != nil {
		return reading{}, err
	}
	b, ok := asHex.decode(text, ed25519.SignatureSize)
	if !ok {
		return reading{}, malformed(discordSignature, asHex.describe(ed25519.SignatureSize))
	}
	signed := content{[]byte(stamp), r.Body}
	return reading{proofs: []proof{{discordSignature, nil, [][]byte{b}, []content{signed}}}, at: at, timed: true, timeHeader: discordTimestamp}, nil
}

const squareSignature = "X-Square-Hmacsha256-Signature"

func readSquare(r Request) (reading, error) {
	text, err := single(r.Header, squareSignature, signature.MissingSignature)
	if err != nil {
		return reading{}, err
	}
	b, ok := asBase64.decode(text, sha256.Size)
	if !ok {
		return reading{}, malformed(squareSignature, asBase64.describe(sha256.Size))
	}
	return reading{proofs: []proof{{squareSignature, sha256.New, [][]byte{b}, []content{{[]byte(r.URL), r.Body}}}}}, nil
}

// trimmed takes away the blanks around a value, which HTTP does not count to it.
func trimmed(text string) string { return strings.Trim(text, " \t") }

// standardVerifier is standard-webhooks and svix.
type standardVerifier struct {
	v    *signature.Verifier
	svix bool
}

func newStandardVerifier(c Config) (Verifier, error) {
	keys := make([]signature.Key, 0, len(c.Secrets))
	for i, s := range c.Secrets {
		k, err := signature.ParseKey(s)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	v, err := signature.NewVerifier(keys, c.Tolerance)
	if err != nil {
		return nil, err
	}
	return standardVerifier{v, c.Scheme == Svix}, nil
}

func (s standardVerifier) Verify(r Request, now time.Time) (Verified, error) {
	got, err := s.v.Verify(r.Body, standardHeaders(r.Header, s.svix), now)
	if err != nil {
		return Verified{}, err
	}
	return Verified{KeyIndex: got.KeyIndex, EventID: got.ID}, nil
}

// standardHeaders are the three headers that count, of each of their two names. With
// svix Svix's own come before those of Standard Webhooks, one by one: who passes its
// events on may have added his own.
func standardHeaders(h http.Header, svix bool) http.Header {
	out := make(http.Header, 6)
	for _, name := range []string{signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature} {
		own := strings.Replace(name, "webhook-", "svix-", 1)
		values, owned := h.Values(name), h.Values(own)
		if svix {
			if owned == nil {
				owned = values
			}
			values = nil
		}
		for _, v := range values {
			out.Add(name, spare(name, v))
		}
		for _, v := range owned {
			out.Add(own, spare(name, v))
		}
	}
	return out
}

// spare takes the blanks around a time away: its digits are signed, not they.
func spare(name, value string) string {
	if name == signature.HeaderTimestamp {
		return trimmed(value)
	}
	return value
}

// first gives the first of some headers that is there.
func first(h http.Header, names ...string) string {
	for _, name := range names {
		if value := h.Get(name); value != "" {
			return value
		}
	}
	return ""
}
