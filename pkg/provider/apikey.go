package provider

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

const (
	keyHeader    = "X-Api-Key"
	bearerHeader = "Authorization"
	// DigestPrefix begins a secret that is the SHA-256 of the key or password, not
	// the key itself.
	DigestPrefix  = "sha256:"
	maxKeyBytes   = 4096 // a longer key is refused before it is hashed
	bearerKeyword = "bearer"
	basicKeyword  = "basic"
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

func (v *keyVerifier) Verify(r Request, _ time.Time) (Verified, error) {
	key, header, err := v.presented(r.Header)
	if err != nil {
		return Verified{}, err
	}
	bad := &Error{Code: BadKey, Header: header, Detail: "the key is not one we know"}
	if len(key) > maxKeyBytes {
		return Verified{}, bad
	}
	found := match(key, v.digests)
	if found < 0 {
		return Verified{}, bad
	}
	return Verified{KeyIndex: found}, nil
}

// match gives the index of the digest that is the key's, or -1. Digests have one
// length, so the time taken tells nothing about any key.
func match(key string, digests [][sha256.Size]byte) int {
	got := sha256.Sum256([]byte(key))
	found := -1
	for i := range digests {
		if subtle.ConstantTimeCompare(got[:], digests[i][:]) == 1 {
			found = i
		}
	}
	return found
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

// basicVerifier holds digests of "user:password", or of passwords when the user is
// configured.
type basicVerifier struct {
	user    string
	digests [][sha256.Size]byte
}

func newBasicVerifier(c Config) (Verifier, error) {
	v := &basicVerifier{user: c.User}
	for i, s := range c.Secrets {
		if c.User == "" && !strings.HasPrefix(s, DigestPrefix) && !strings.Contains(s, ":") {
			return nil, fmt.Errorf("secret %d must read user:password, or user must be set", i+1)
		}
		d, err := KeyDigest(s)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		v.digests = append(v.digests, d)
	}
	return v, nil
}

func (v *basicVerifier) Verify(r Request, _ time.Time) (Verified, error) {
	text, err := single(r.Header, bearerHeader, MissingKey)
	if err != nil {
		return Verified{}, err
	}
	word, encoded, _ := strings.Cut(text, " ")
	if !strings.EqualFold(word, basicKeyword) || len(encoded) > maxKeyBytes {
		return Verified{}, &Error{Code: MissingKey, Header: bearerHeader, Detail: `the header Authorization must read "Basic" and user:password in base64`}
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(oneLine(encoded))
	if err != nil {
		return Verified{}, &Error{Code: MissingKey, Header: bearerHeader, Detail: "what follows Basic in the header Authorization is not base64"}
	}
	shown, rightUser := string(pair), true
	if v.user != "" {
		user, password, _ := strings.Cut(shown, ":")
		wantUser, gotUser := sha256.Sum256([]byte(v.user)), sha256.Sum256([]byte(user))
		rightUser, shown = subtle.ConstantTimeCompare(wantUser[:], gotUser[:]) == 1, password
	}
	found := match(shown, v.digests)
	if found < 0 || !rightUser {
		return Verified{}, &Error{Code: BadKey, Header: bearerHeader, Detail: "the user name and password are none we know"}
	}
	return Verified{KeyIndex: found}, nil
}
