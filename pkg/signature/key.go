package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Bounds of a shared secret in bytes. The specification ends at 64; Svix lets its
// customers choose secrets of up to 75.
const (
	MinSecretBytes = 24
	MaxSecretBytes = 75
)

// MaxIDBytes bounds a message id.
const MaxIDBytes = 256

const (
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"

	versionHMAC    = "v1"
	versionEd25519 = "v1a"
)

// Key is one key of a partner. The zero Key verifies nothing and signs nothing.
type Key struct {
	secret  []byte
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// ParseKey reads a key in one of the forms listed in the package comment.
// The error never repeats the text, which may be a secret.
func ParseKey(text string) (Key, error) {
	switch {
	case strings.HasPrefix(text, publicPrefix):
		b, err := decodeBase64(text[len(publicPrefix):])
		if err != nil || len(b) != ed25519.PublicKeySize {
			return Key{}, fmt.Errorf("signature: a %s key must be base64 of %d bytes", publicPrefix, ed25519.PublicKeySize)
		}
		return Key{public: b}, nil
	case strings.HasPrefix(text, privatePrefix):
		return parsePrivate(text[len(privatePrefix):])
	default:
		b, err := decodeBase64(strings.TrimPrefix(text, secretPrefix))
		if err != nil {
			return Key{}, errors.New("signature: a secret must be base64, with or without the prefix " + secretPrefix)
		}
		if len(b) < MinSecretBytes || len(b) > MaxSecretBytes {
			return Key{}, fmt.Errorf("signature: a secret must have %d to %d bytes before base64, this one has %d", MinSecretBytes, MaxSecretBytes, len(b))
		}
		return Key{secret: b}, nil
	}
}

func parsePrivate(text string) (Key, error) {
	b, err := decodeBase64(text)
	if err != nil || (len(b) != ed25519.SeedSize && len(b) != ed25519.PrivateKeySize) {
		return Key{}, fmt.Errorf("signature: a %s key must be base64 of %d or %d bytes", privatePrefix, ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	private := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
	// A private key carries its public half; a half that does not belong to the
	// seed would make signatures that nobody can verify.
	if len(b) == ed25519.PrivateKeySize && !private.Equal(ed25519.PrivateKey(b)) {
		return Key{}, fmt.Errorf("signature: the public half of the %s key does not belong to its seed", privatePrefix)
	}
	return Key{private: private, public: private.Public().(ed25519.PublicKey)}, nil
}

// decodeBase64 reads padded or unpadded standard base64, strictly: no line
// breaks, no stray trailing bits.
func decodeBase64(text string) ([]byte, error) {
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("not base64")
	}
	if strings.HasSuffix(text, "=") {
		return base64.StdEncoding.Strict().DecodeString(text)
	}
	return base64.RawStdEncoding.Strict().DecodeString(text)
}

// CanSign says whether the key can sign; a public key cannot.
func (k Key) CanSign() bool { return len(k.secret) > 0 || len(k.private) > 0 }

// IsZero says whether the key holds nothing.
func (k Key) IsZero() bool { return len(k.secret) == 0 && len(k.public) == 0 }

// Format hides the key from every fmt verb.
func (Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[key hidden]") }

// MarshalText hides the key from encoders.
func (Key) MarshalText() ([]byte, error) { return []byte("[key hidden]"), nil }

// Signature signs one message and gives one entry of the signature list,
// such as "v1,…". The time is cut to whole seconds.
func (k Key) Signature(id string, at time.Time, body []byte) (string, error) {
	if err := checkID(id); err != nil {
		return "", fmt.Errorf("signature: sign message: %w", err)
	}
	if at.Unix() < 0 {
		return "", fmt.Errorf("signature: sign message %s: time %s lies before 1970", id, at)
	}
	content := signedContent(id, strconv.FormatInt(at.Unix(), 10), body)
	switch {
	case len(k.secret) > 0:
		return versionHMAC + "," + base64.StdEncoding.EncodeToString(mac(k.secret, content)), nil
	case len(k.private) > 0:
		return versionEd25519 + "," + base64.StdEncoding.EncodeToString(ed25519.Sign(k.private, content)), nil
	default:
		return "", fmt.Errorf("signature: sign message %s: the key cannot sign (a public key, or none)", id)
	}
}

func mac(secret, content []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(content)
	return h.Sum(nil)
}

func signedContent(id, timestamp string, body []byte) []byte {
	content := make([]byte, 0, len(id)+len(timestamp)+2+len(body))
	content = append(content, id...)
	content = append(content, '.')
	content = append(content, timestamp...)
	content = append(content, '.')
	return append(content, body...)
}

// checkID keeps ids to visible ASCII without a full stop, which separates the
// parts of what is signed.
func checkID(id string) error {
	if id == "" {
		return &Error{Code: MissingID, Header: HeaderID, Detail: "the message id is empty"}
	}
	if len(id) > MaxIDBytes {
		return &Error{Code: MalformedID, Header: HeaderID, Detail: fmt.Sprintf("the message id is longer than %d bytes", MaxIDBytes)}
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '.' {
			return &Error{Code: MalformedID, Header: HeaderID, Detail: "the message id must be visible ASCII without blanks and without a full stop"}
		}
	}
	return nil
}
