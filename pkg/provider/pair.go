package provider

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

const secretBytes = 32

// Pair is what a sender signs with and what a receiver verifies with: the same text
// but for the schemes with public keys.
type Pair struct{ Sign, Verify string }

// NewPair makes a new secret in the form the scheme wants.
func NewPair(s Scheme) (Pair, error) {
	raw := make([]byte, secretBytes)
	if _, err := rand.Read(raw); err != nil {
		return Pair{}, fmt.Errorf("make a secret: %w", err)
	}
	same := func(text string) (Pair, error) { return Pair{text, text}, nil }
	switch s {
	case None:
		return Pair{}, fmt.Errorf("the scheme %s has no secret", None)
	case StandardWebhooks, Svix, GitLab:
		return same("whsec_" + base64.StdEncoding.EncodeToString(raw))
	case Stripe:
		return same("whsec_" + hex.EncodeToString(raw))
	case Basic:
		return same("waybill:" + hex.EncodeToString(raw))
	case SendGrid:
		return ecdsaPair()
	case Discord:
		public := ed25519.NewKeyFromSeed(raw).Public().(ed25519.PublicKey)
		return Pair{hex.EncodeToString(raw), hex.EncodeToString(public)}, nil
	default:
		return same(hex.EncodeToString(raw))
	}
}

func ecdsaPair() (Pair, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return Pair{}, fmt.Errorf("write the private key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		return Pair{}, fmt.Errorf("write the public key: %w", err)
	}
	return Pair{base64.StdEncoding.EncodeToString(private), base64.StdEncoding.EncodeToString(public)}, nil
}
