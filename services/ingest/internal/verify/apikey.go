package verify

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

const (
	keyHeader     = "X-Api-Key"
	bearerHeader  = "Authorization"
	DigestPrefix  = "sha256:"
	maxKeyBytes   = 4096 // a longer key is refused before it is hashed
	bearerKeyword = "bearer"
)

// keyVerifier holds digests only: the keys themselves are not kept.
type keyVerifier struct {
	header  string // empty: X-Api-Key or Authorization
	digests [][sha256.Size]byte
}

func newKeyVerifier(c Config) (Verifier, error) {
	v := &keyVerifier{header: c.Header}
	for i, s := range c.Secrets {
		d, err := KeyDigest(s)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		v.digests = append(v.digests, d)
	}
	return v, nil
}

// KeyDigest is the SHA-256 of an API key, or the digest that stands for one as
// DigestPrefix and 64 hex digits.
func KeyDigest(secret string) ([sha256.Size]byte, error) {
	var d [sha256.Size]byte
	if text, ok := strings.CutPrefix(secret, DigestPrefix); ok {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != len(d) {
			return d, fmt.Errorf("%s must be followed by %d hex digits", DigestPrefix, 2*len(d))
		}
		return [sha256.Size]byte(b), nil
	}
	if len(secret) > maxKeyBytes {
		return d, fmt.Errorf("an API key has at most %d bytes", maxKeyBytes)
	}
	for i := range len(secret) {
		// A header cannot carry control characters, and servers cut blanks at its
		// ends: such a key could never match.
		if secret[i] < ' ' || secret[i] == 0x7f {
			return d, errors.New("an API key must not contain control characters")
		}
	}
	if strings.TrimSpace(secret) != secret {
		return d, errors.New("an API key must not begin or end with a blank")
	}
	return sha256.Sum256([]byte(secret)), nil
}

func (v *keyVerifier) Verify(_ []byte, h http.Header, _ time.Time) (Verified, error) {
	key, header, err := v.presented(h)
	if err != nil {
		return Verified{}, err
	}
	bad := &Error{Code: BadKey, Header: header, Detail: "the key is not one we know"}
	if len(key) > maxKeyBytes {
		return Verified{}, bad
	}
	got := sha256.Sum256([]byte(key))
	found := -1
	for i := range v.digests {
		if subtle.ConstantTimeCompare(got[:], v.digests[i][:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Verified{}, bad
	}
	return Verified{KeyIndex: found}, nil
}

// presented gives the key of a request and the header it came in.
func (v *keyVerifier) presented(h http.Header) (key, header string, err error) {
	if v.header != "" {
		key, err = single(h, v.header, MissingKey)
		return key, v.header, err
	}
	if h.Values(keyHeader) != nil && h.Values(bearerHeader) != nil {
		return "", "", &Error{Code: signature.DuplicateHeader, Header: keyHeader,
			Detail: "a key is given both in " + keyHeader + " and in " + bearerHeader + "; give one"}
	}
	if h.Values(bearerHeader) == nil {
		key, err = single(h, keyHeader, MissingKey)
		return key, keyHeader, err
	}
	text, err := single(h, bearerHeader, MissingKey)
	if err != nil {
		return "", bearerHeader, err
	}
	word, token, _ := strings.Cut(text, " ")
	if !strings.EqualFold(word, bearerKeyword) || token == "" {
		return "", bearerHeader, &Error{Code: MissingKey, Header: bearerHeader, Detail: `the header Authorization must read "Bearer" and the key`}
	}
	return token, bearerHeader, nil
}
