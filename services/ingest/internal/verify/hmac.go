package verify

import (
	"crypto/hmac"
	"crypto/sha1" // #nosec G505 -- HMAC-SHA1 is still sound and some providers sign with nothing else
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

type macVerifier struct {
	header  string
	prefix  string
	base64  bool
	size    int // bytes of the MAC
	newHash func() hash.Hash
	secrets [][]byte
}

func newMACVerifier(c Config) (Verifier, error) {
	v := &macVerifier{header: c.Header, prefix: c.Prefix}
	if c.Header == "" {
		return nil, errors.New("needs the header that carries the signature")
	}
	switch c.Algorithm {
	case "", "sha256":
		v.newHash, v.size = sha256.New, sha256.Size
	case "sha512":
		v.newHash, v.size = sha512.New, sha512.Size
	case "sha1":
		v.newHash, v.size = sha1.New, sha1.Size
	default:
		return nil, fmt.Errorf("unknown algorithm %q, known are sha256, sha512 and sha1", c.Algorithm)
	}
	switch c.Encoding {
	case "", "hex":
	case "base64":
		v.base64 = true
	default:
		return nil, fmt.Errorf("unknown encoding %q, known are hex and base64", c.Encoding)
	}
	for _, s := range c.Secrets {
		v.secrets = append(v.secrets, []byte(s))
	}
	return v, nil
}

func (v *macVerifier) Verify(raw []byte, h http.Header, _ time.Time) (Verified, error) {
	text, err := single(h, v.header, signature.MissingSignature)
	if err != nil {
		return Verified{}, err
	}
	got, err := v.decode(text)
	if err != nil {
		return Verified{}, err
	}
	found := -1
	for i, secret := range v.secrets {
		m := hmac.New(v.newHash, secret)
		m.Write(raw)
		if hmac.Equal(m.Sum(nil), got) && found < 0 {
			found = i
		}
	}
	if found < 0 {
		return Verified{}, &Error{Code: signature.BadSignature, Header: v.header,
			Detail: "the signature fits no key we know; sign the raw bytes of the body as sent"}
	}
	return Verified{KeyIndex: found}, nil
}

// decode gives exactly size bytes or a refusal: an empty or short MAC never
// reaches the comparison.
func (v *macVerifier) decode(text string) ([]byte, error) {
	bad := func(want string) error {
		return &Error{Code: signature.MalformedSignature, Header: v.header, Detail: "the header " + v.header + " must hold " + want}
	}
	digits, ok := strings.CutPrefix(text, v.prefix)
	if !ok {
		return nil, bad(fmt.Sprintf("%q and the signature", v.prefix))
	}
	if v.base64 {
		if len(digits) == base64.StdEncoding.EncodedLen(v.size) {
			if b, err := base64.StdEncoding.Strict().DecodeString(digits); err == nil && len(b) == v.size {
				return b, nil
			}
		}
		return nil, bad(fmt.Sprintf("%d characters of padded base64", base64.StdEncoding.EncodedLen(v.size)))
	}
	if len(digits) == hex.EncodedLen(v.size) {
		if b, err := hex.DecodeString(digits); err == nil {
			return b, nil
		}
	}
	return nil, bad(fmt.Sprintf("%d hex digits", hex.EncodedLen(v.size)))
}
