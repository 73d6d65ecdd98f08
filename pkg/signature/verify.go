package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed message.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// DefaultTolerance is how far a message's timestamp may lie from now, past and
// future, when nothing else is configured.
const DefaultTolerance = 5 * time.Minute

// Bounds of what is looked at; more is refused, not ignored.
const (
	MaxKeys           = 16   // keys of a verifier, and keys a message is signed with
	MaxSignatures     = 32   // entries of one signature list
	MaxSignatureBytes = 4096 // length of the signature header
	maxTimestampBytes = 12   // digits: reaches beyond the year 30000
)

// Sign signs a message with every key and gives its three headers. Sign each
// sending anew, so that a resend carries a fresh timestamp under the same id.
func Sign(keys []Key, id string, at time.Time, body []byte) (http.Header, error) {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return nil, fmt.Errorf("signature: sign message %s: needs 1 to %d keys, has %d", id, MaxKeys, len(keys))
	}
	list := make([]string, 0, len(keys))
	for _, k := range keys {
		s, err := k.Signature(id, at, body)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	h := make(http.Header, 3)
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(HeaderSignature, strings.Join(list, " "))
	return h, nil
}

// Verifier verifies messages with a fixed set of keys. It is safe for
// concurrent use and holds no goroutine.
type Verifier struct {
	keys      []Key
	tolerance time.Duration
}

// NewVerifier takes 1 to MaxKeys keys. A tolerance of zero means
// DefaultTolerance; a negative one is refused.
func NewVerifier(keys []Key, tolerance time.Duration) (*Verifier, error) {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return nil, fmt.Errorf("signature: a verifier needs 1 to %d keys, has %d", MaxKeys, len(keys))
	}
	for i, k := range keys {
		if k.IsZero() {
			return nil, fmt.Errorf("signature: key %d is empty", i+1)
		}
	}
	if tolerance < 0 {
		return nil, errors.New("signature: the tolerance must not be negative")
	}
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	return &Verifier{keys: append([]Key(nil), keys...), tolerance: tolerance}, nil
}

// Verified is a message whose signature holds.
type Verified struct {
	KeyIndex  int       // which of the verifier's keys matched, from 0
	ID        string    // the message id, which the signature covers
	Timestamp time.Time // when the sender says it signed, whole seconds
}

// Verify checks a message's raw body against its headers as of now. A refusal
// is an *Error.
func (v *Verifier) Verify(raw []byte, h http.Header, now time.Time) (Verified, error) {
	m, err := readHeaders(h)
	if err != nil {
		return Verified{}, err
	}
	at, err := parseTimestamp(m.timestamp)
	if err != nil {
		return Verified{}, err
	}
	if d := now.Sub(at); d > v.tolerance || d < -v.tolerance {
		return Verified{}, &Error{Code: TimestampOutOfRange, Header: HeaderTimestamp, Detail: fmt.Sprintf(
			"the timestamp lies %s from our clock, at most %s is allowed; sign each sending anew", d.Truncate(time.Second), v.tolerance)}
	}
	sigs, err := parseSignatures(m.signature)
	if err != nil {
		return Verified{}, err
	}
	index := v.match(sigs, signedContent(m.id, m.timestamp, raw))
	if index < 0 {
		return Verified{}, &Error{Code: BadSignature, Header: HeaderSignature,
			Detail: "no signature fits the body, the id, the timestamp and a key we know; sign the raw bytes as sent"}
	}
	return Verified{KeyIndex: index, ID: m.id, Timestamp: at}, nil
}

type headers struct{ id, timestamp, signature string }

// readHeaders takes the webhook- set, or the svix- set when no webhook- header
// is there; the sets are never mixed.
func readHeaders(h http.Header) (headers, error) {
	prefix := "webhook-"
	if h.Values(HeaderID) == nil && h.Values(HeaderTimestamp) == nil && h.Values(HeaderSignature) == nil {
		for _, name := range []string{"svix-id", "svix-timestamp", "svix-signature"} {
			if h.Values(name) != nil {
				prefix = "svix-"
			}
		}
	}
	var m headers
	for _, f := range []struct {
		name string
		code Code
		to   *string
	}{
		{prefix + "signature", MissingSignature, &m.signature},
		{prefix + "id", MissingID, &m.id},
		{prefix + "timestamp", MissingTimestamp, &m.timestamp},
	} {
		values := h.Values(f.name)
		switch {
		case len(values) > 1:
			return headers{}, &Error{Code: DuplicateHeader, Header: f.name, Detail: "the header " + f.name + " is given more than once"}
		case len(values) == 0 || values[0] == "":
			return headers{}, &Error{Code: f.code, Header: f.name, Detail: "the header " + f.name + " is missing or empty"}
		}
		*f.to = values[0]
	}
	if err := checkID(m.id); err != nil {
		return headers{}, err
	}
	return m, nil
}

// parseTimestamp takes plain digits only, because the text itself is signed.
func parseTimestamp(text string) (time.Time, error) {
	bad := &Error{Code: MalformedTimestamp, Header: HeaderTimestamp, Detail: "the timestamp must be whole seconds since 1970 in plain digits"}
	if len(text) > maxTimestampBytes {
		return time.Time{}, bad
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return time.Time{}, bad
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, bad
	}
	return time.Unix(seconds, 0), nil
}

// parsed is one decoded entry of the list.
type parsed struct {
	ed25519 bool
	bytes   []byte
}

// parseSignatures decodes the entries of known versions. Entries of unknown
// versions are passed over, as the specification asks; a list in which nothing
// can be read is malformed.
func parseSignatures(list string) ([]parsed, error) {
	if len(list) > MaxSignatureBytes {
		return nil, &Error{Code: MalformedSignature, Header: HeaderSignature, Detail: fmt.Sprintf("the header is longer than %d bytes", MaxSignatureBytes)}
	}
	entries := strings.FieldsFunc(list, func(c rune) bool { return c == ' ' })
	if len(entries) > MaxSignatures {
		return nil, &Error{Code: MalformedSignature, Header: HeaderSignature, Detail: fmt.Sprintf("the list has more than %d signatures", MaxSignatures)}
	}
	var out []parsed
	for _, entry := range entries {
		version, text, _ := strings.Cut(entry, ",")
		switch version {
		case versionHMAC:
			if b, ok := decodeExact(text, hmacBytes); ok {
				out = append(out, parsed{bytes: b})
			}
		case versionEd25519:
			if b, ok := decodeExact(text, ed25519.SignatureSize); ok {
				out = append(out, parsed{ed25519: true, bytes: b})
			}
		}
	}
	if len(out) == 0 {
		return nil, &Error{Code: MalformedSignature, Header: HeaderSignature,
			Detail: `no entry reads as "v1," or "v1a," and base64 of the full length`}
	}
	return out, nil
}

const hmacBytes = 32

// decodeExact decodes padded base64 of exactly n bytes; anything else is no
// signature, so that hmac.Equal never meets an empty or a short one.
func decodeExact(text string, n int) ([]byte, bool) {
	if len(text) != base64.StdEncoding.EncodedLen(n) {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	return b, err == nil && len(b) == n
}

// match tries every key against every signature, whatever matched first, so
// that the time taken does not tell which key it was.
func (v *Verifier) match(sigs []parsed, content []byte) int {
	found := -1
	for i, k := range v.keys {
		var want []byte
		if len(k.secret) > 0 {
			want = mac(k.secret, content)
		}
		for _, s := range sigs {
			ok := false
			if s.ed25519 {
				ok = len(k.public) == ed25519.PublicKeySize && ed25519.Verify(k.public, content, s.bytes)
			} else {
				ok = len(want) == hmacBytes && hmac.Equal(want, s.bytes)
			}
			if ok && found < 0 {
				found = i
			}
		}
	}
	return found
}
