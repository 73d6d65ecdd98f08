package provider

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

// Bounds of what is looked at; more is refused, not ignored.
const (
	maxSignatures     = 32   // signatures of one request that are compared
	maxSignatureBytes = 4096 // length of a signature header
	maxTimeDigits     = 13   // of a time: milliseconds until the year 2286
)

// content is what was signed, in parts, so that a large body is not copied.
type content [][]byte

func (c content) sum(h hash.Hash) []byte {
	for _, part := range c {
		h.Write(part)
	}
	return h.Sum(nil)
}

func (c content) joined() []byte {
	var all []byte
	for _, part := range c {
		all = append(all, part...)
	}
	return all
}

// proof is one thing a key must explain: one of the signatures fits one of the
// contents. Signatures have their full length; there is at least one of each.
type proof struct {
	header     string // what the refusal names
	hash       func() hash.Hash
	signatures [][]byte
	contents   []content
}

// reading is what a request claims.
type reading struct {
	proofs     []proof // all of them must hold under one key
	at         time.Time
	timed      bool
	timeHeader string
}

// key is one live secret or public key. With a secret, fits takes the same time
// whether or not it does.
type key interface{ fits(p proof) bool }

type macKey []byte

func (k macKey) fits(p proof) bool {
	found := false
	for _, c := range p.contents {
		want := c.sum(hmac.New(p.hash, k))
		for _, s := range p.signatures {
			if hmac.Equal(want, s) {
				found = true
			}
		}
	}
	return found
}

type ecdsaKey struct{ public *ecdsa.PublicKey }

func (k ecdsaKey) fits(p proof) bool {
	for _, c := range p.contents {
		digest := c.sum(sha256.New())
		for _, s := range p.signatures {
			if ecdsa.VerifyASN1(k.public, digest, s) {
				return true
			}
		}
	}
	return false
}

type edKey ed25519.PublicKey

func (k edKey) fits(p proof) bool {
	for _, c := range p.contents {
		raw := c.joined()
		for _, s := range p.signatures {
			if len(s) == ed25519.SignatureSize && ed25519.Verify(ed25519.PublicKey(k), raw, s) {
				return true
			}
		}
	}
	return false
}

// rules are how one provider signs.
type rules struct {
	key  func(secret string) (key, error)
	read func(Request) (reading, error)
}

type proofVerifier struct {
	scheme    Scheme
	rules     rules
	config    Config
	keys      []key
	indexes   []int // of each key in Config.Secrets
	tolerance time.Duration
}

func newProofVerifier(c Config) (Verifier, error) {
	r, err := rulesOf(c)
	if err != nil {
		return nil, err
	}
	v := &proofVerifier{scheme: c.Scheme, rules: r, config: c, tolerance: c.Tolerance}
	if v.tolerance == 0 {
		v.tolerance = DefaultTolerance
	}
	for i, secret := range c.Secrets {
		if c.Scheme == Meta && strings.HasPrefix(secret, TokenPrefix) {
			continue
		}
		k, err := r.key(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		v.keys, v.indexes = append(v.keys, k), append(v.indexes, i)
	}
	if len(v.keys) == 0 {
		return nil, errors.New("has only verify tokens (" + TokenPrefix + "…); add the app secret")
	}
	v.config.Secrets = nil
	return v, nil
}

func (v *proofVerifier) Verify(r Request, now time.Time) (Verified, error) {
	r.URL = publicURL(v.config.PublicURL, r.URL)
	got, err := v.rules.read(r)
	if err != nil {
		return Verified{}, err
	}
	if got.timed {
		if err := near(got.at, now, v.tolerance, got.timeHeader); err != nil {
			return Verified{}, err
		}
	}
	found := -1
	for i, k := range v.keys {
		all := len(got.proofs) > 0
		for _, p := range got.proofs {
			if !k.fits(p) {
				all = false
			}
		}
		if all && found < 0 {
			found = v.indexes[i]
		}
	}
	if found < 0 {
		return Verified{}, &Error{Code: signature.BadSignature, Header: got.proofs[0].header,
			Detail: "the signature fits no key we know; sign the raw bytes as sent, with the secret of this webhook"}
	}
	return Verified{KeyIndex: found, EventID: EventID(v.config, r)}, nil
}

// near judges a signed time, past and future alike.
func near(at, now time.Time, tolerance time.Duration, header string) error {
	if d := now.Sub(at); d > tolerance || d < -tolerance {
		return &Error{Code: signature.TimestampOutOfRange, Header: header, Detail: fmt.Sprintf(
			"the timestamp lies %s from our clock, at most %s is allowed; sign each sending anew", d.Truncate(time.Second), tolerance)}
	}
	return nil
}

// parseTime takes plain digits only, because the text itself is signed: seconds, or
// with 13 digits milliseconds.
func parseTime(text, header string) (time.Time, error) {
	bad := &Error{Code: signature.MalformedTimestamp, Header: header, Detail: "the timestamp must be whole seconds since 1970 in plain digits"}
	if text == "" {
		return time.Time{}, &Error{Code: signature.MissingTimestamp, Header: header, Detail: "the timestamp is missing or empty"}
	}
	if len(text) > maxTimeDigits || strings.Trim(text, "0123456789") != "" {
		return time.Time{}, bad
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, bad
	}
	if len(text) == maxTimeDigits {
		return time.UnixMilli(n), nil
	}
	return time.Unix(n, 0), nil
}

// encoding is how the bytes of a signature are written.
type encoding string

const (
	asHex       encoding = "hex"
	asBase64    encoding = "base64"
	asBase64URL encoding = "base64url"
)

// decode gives exactly size bytes or nothing: an empty or short signature never
// reaches a comparison.
func (e encoding) decode(text string, size int) ([]byte, bool) {
	var b []byte
	var err error
	switch e {
	case asBase64:
		b, err = base64.StdEncoding.Strict().DecodeString(oneLine(text))
	case asBase64URL:
		if strings.HasSuffix(text, "=") {
			b, err = base64.URLEncoding.Strict().DecodeString(oneLine(text))
		} else {
			b, err = base64.RawURLEncoding.Strict().DecodeString(oneLine(text))
		}
	default:
		b, err = hex.DecodeString(text)
	}
	return b, err == nil && len(b) == size && size > 0
}

// oneLine makes what Go's base64 would pass over, line breaks, an error.
func oneLine(text string) string {
	if strings.ContainsAny(text, "\r\n") {
		return "!"
	}
	return text
}

func (e encoding) encode(b []byte) string {
	switch e {
	case asBase64:
		return base64.StdEncoding.EncodeToString(b)
	case asBase64URL:
		return base64.RawURLEncoding.EncodeToString(b)
	default:
		return hex.EncodeToString(b)
	}
}

// describe is for refusals.
func (e encoding) describe(size int) string {
	switch e {
	case asBase64:
		return fmt.Sprintf("%d characters of padded base64", base64.StdEncoding.EncodedLen(size))
	case asBase64URL:
		return fmt.Sprintf("%d bytes as URL-safe base64", size)
	default:
		return fmt.Sprintf("%d hex digits", hex.EncodedLen(size))
	}
}

func rawKey(secret string) (key, error) { return macKey(secret), nil }

func hexKey(secret string) (key, error) {
	b, err := hex.DecodeString(secret)
	if err != nil || len(b) == 0 {
		return nil, errors.New("the key must be hexadecimal, as the provider shows it")
	}
	return macKey(b), nil
}

func edPublicKey(secret string) (key, error) {
	b, err := hex.DecodeString(secret)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the public key must be %d hex digits", 2*ed25519.PublicKeySize)
	}
	return edKey(b), nil
}

func ecdsaPublicKey(secret string) (key, error) {
	wrong := errors.New("the verification key must be an ECDSA P-256 public key: base64 as SendGrid shows it, or PEM")
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(secret))
	if block, _ := pem.Decode([]byte(secret)); block != nil {
		der, err = block.Bytes, nil
	}
	if err != nil {
		return nil, wrong
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, wrong
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, wrong
	}
	return ecdsaKey{public}, nil
}
