// Package verify decides whether a webhook comes from the partner it claims to
// come from. It looks at the raw bytes of the body, before anything parses them,
// and at the headers.
//
// Three schemes:
//
//   - api-key: a key in the header X-Api-Key or in "Authorization: Bearer …", or
//     in one header of your naming (GitLab's X-Gitlab-Token). A configured key may
//     also be given as "sha256:" and 64 hex digits, so that the key itself need
//     not be known here.
//   - hmac: an HMAC of the body in a header, as hex or base64, with or without a
//     prefix. GitHub is {Header: X-Hub-Signature-256, Prefix: "sha256="}, Shopify
//     is {Header: X-Shopify-Hmac-Sha256, Encoding: base64}.
//   - standard-webhooks: id, timestamp and signatures by the Standard Webhooks
//     specification (see package signature), also under the svix- names.
//
// Every scheme takes several live keys, tries all of them in constant time and
// says which one matched. A refusal is an [*Error] with a [Code] and is the
// sender's fault (401); its text holds no key and no signature.
//
// Only standard-webhooks signs an event id, so only it gives one in
// [Verified.EventID]; an id in any other header could be changed by whoever
// repeats the request, and an integration that uses one says so itself.
package verify

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

// Scheme names a way to verify.
type Scheme string

// The schemes.
const (
	APIKey           Scheme = "api-key"
	HMAC             Scheme = "hmac"
	StandardWebhooks Scheme = "standard-webhooks"
)

// MaxSecrets bounds the live keys of one webhook.
const MaxSecrets = signature.MaxKeys

// Config says how a webhook is verified. Fields a scheme does not use must be
// empty, so that a setting without effect is an error and not a surprise.
type Config struct {
	Scheme  Scheme
	Secrets []string // 1 to MaxSecrets, none empty, none twice
	Header  string   // hmac: required; api-key: instead of the two usual ones

	Algorithm string // hmac: sha256 (default), sha512 or sha1
	Encoding  string // hmac: hex (default) or base64
	Prefix    string // hmac: text before the digits, such as "sha256="

	Tolerance time.Duration // standard-webhooks: distance of the timestamp from now, default 5 minutes
}

// Verified is a request whose sender is known.
type Verified struct {
	KeyIndex int    // which of Config.Secrets matched, from 0
	EventID  string // the signed event id; only standard-webhooks has one
}

// Verifier verifies requests. It is safe for concurrent use.
type Verifier interface {
	// Verify checks the raw body against the headers as of now, the ledger's
	// time. A refusal is an *Error.
	Verify(raw []byte, h http.Header, now time.Time) (Verified, error)
}

// Error is a refused request; Code is one of signature's codes or one of the two
// below.
type Error = signature.Error

// Code names the reason of a refusal.
type Code = signature.Code

// Reasons of the scheme api-key.
const (
	MissingKey Code = "missing_key"
	BadKey     Code = "bad_key"
)

// New makes the verifier of a configuration, or says what is wrong with it. The
// error never repeats a secret.
func New(c Config) (Verifier, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("verify %s: %w", c.Scheme, err)
	}
	var v Verifier
	var err error
	switch c.Scheme {
	case APIKey:
		v, err = newKeyVerifier(c)
	case HMAC:
		v, err = newMACVerifier(c)
	case StandardWebhooks:
		v, err = newStandardVerifier(c)
	default:
		return nil, fmt.Errorf("verify: unknown scheme %q, known are %s, %s and %s", c.Scheme, APIKey, HMAC, StandardWebhooks)
	}
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", c.Scheme, err)
	}
	return v, nil
}

func (c Config) check() error {
	if len(c.Secrets) == 0 || len(c.Secrets) > MaxSecrets {
		return fmt.Errorf("needs 1 to %d secrets, has %d", MaxSecrets, len(c.Secrets))
	}
	seen := make(map[string]int, len(c.Secrets))
	for i, s := range c.Secrets {
		if strings.TrimSpace(s) == "" {
			return fmt.Errorf("secret %d is empty", i+1)
		}
		if first, twice := seen[s]; twice {
			return fmt.Errorf("secrets %d and %d are the same", first+1, i+1)
		}
		seen[s] = i
	}
	if c.Header != "" && !validHeaderName(c.Header) {
		return fmt.Errorf("%q is no header name", c.Header)
	}
	if c.Scheme != HMAC && (c.Algorithm != "" || c.Encoding != "" || c.Prefix != "") {
		return errors.New("algorithm, encoding and prefix belong to the scheme hmac")
	}
	if c.Scheme != StandardWebhooks && c.Tolerance != 0 {
		return errors.New("a tolerance belongs to the scheme standard-webhooks: nothing else signs a time")
	}
	if c.Scheme == StandardWebhooks && c.Header != "" {
		return errors.New("the headers of standard-webhooks have fixed names, leave header out")
	}
	return nil
}

// validHeaderName keeps to the characters of real header names; a name outside
// of them could never be found in a request.
func validHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// single gives the one value of a header; twice is refused, because two readers
// could disagree on which value counts.
func single(h http.Header, name string, missing Code) (string, error) {
	values := h.Values(name)
	switch {
	case len(values) > 1:
		return "", &Error{Code: signature.DuplicateHeader, Header: name, Detail: "the header " + name + " is given more than once"}
	case len(values) == 0 || values[0] == "":
		return "", &Error{Code: missing, Header: name, Detail: "the header " + name + " is missing or empty"}
	}
	return values[0], nil
}

type standardVerifier struct{ v *signature.Verifier }

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
	return standardVerifier{v}, nil
}

func (s standardVerifier) Verify(raw []byte, h http.Header, now time.Time) (Verified, error) {
	got, err := s.v.Verify(raw, h, now)
	if err != nil {
		return Verified{}, err
	}
	return Verified{KeyIndex: got.KeyIndex, EventID: got.ID}, nil
}
