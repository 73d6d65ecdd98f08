package provider_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/testmaterial"
)

type vector struct {
	ID         string            `json:"id"`
	Method     string            `json:"method"`
	URL        string            `json:"url"`
	Body       string            `json:"body"`
	BodyFile   string            `json:"body_file"`
	Headers    map[string]string `json:"headers"`
	Secret     string            `json:"secret"`
	Secrets    []string          `json:"secrets"`
	Now        int64             `json:"now"`
	ToleranceS int               `json:"tolerance_s"`
	Expect     string            `json:"expect"`
	Why        string            `json:"why"`
}

func loadVectors(t testing.TB, provider string) []vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testmaterial.Folder(t), "webhooks", "vectors", provider+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) == 0 {
		t.Fatalf("no vectors for %s", provider)
	}
	return vs
}

func (v vector) raw(t testing.TB) []byte {
	t.Helper()
	if v.BodyFile == "" {
		return []byte(v.Body)
	}
	b, err := os.ReadFile(filepath.Join(testmaterial.Folder(t), filepath.FromSlash(v.BodyFile)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v vector) request(t testing.TB) provider.Request {
	h := http.Header{}
	for k, val := range v.Headers {
		h.Set(k, val)
	}
	return provider.Request{Method: http.MethodPost, URL: v.URL, Header: h, Body: v.raw(t)}
}

// clock is the vector's, or the time the request was signed at: some vectors of
// schemes with a time leave the clock out.
func (v vector) clock(t testing.TB, c provider.Config) time.Time {
	if v.Now != 0 {
		return time.Unix(v.Now, 0)
	}
	at, _ := provider.SignedAt(c, v.request(t))
	return at
}

func (v vector) verifier(t testing.TB, c provider.Config) provider.Verifier {
	t.Helper()
	c.Secrets = v.Secrets
	if len(c.Secrets) == 0 {
		c.Secrets = []string{v.Secret}
	}
	if c.Scheme.Timed() {
		c.Tolerance = time.Duration(v.ToleranceS) * time.Second
	}
	ver, err := provider.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return ver
}

// schemes are the providers whose published vectors are there.
func schemes() map[string]provider.Scheme {
	all := map[string]provider.Scheme{"standardwebhooks": provider.StandardWebhooks}
	for _, name := range []provider.Scheme{"svix", "stripe", "github", "shopify", "slack", "gitlab", "bitbucket", "gitea", "twilio", "sendgrid", "adyen", "paddle", "square", "woocommerce", "mailgun"} {
		all[string(name)] = name
	}
	return all
}

func TestProviderVectors(t *testing.T) {
	t.Parallel()
	for name, scheme := range schemes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := provider.Config{Scheme: scheme}
			for _, v := range loadVectors(t, name) {
				_, err := v.verifier(t, config).Verify(v.request(t), v.clock(t, config))
				switch v.Expect {
				case "valid", "valid_signature_bad_body":
					if err != nil {
						t.Errorf("%s (%s): refused: %v", v.ID, v.Why, err)
					}
				case "invalid":
					if err == nil {
						t.Errorf("%s (%s): accepted", v.ID, v.Why)
					}
				default:
					t.Errorf("%s: expectation %q is not decided here", v.ID, v.Expect)
				}
			}
		})
	}
}

// TestVectorsWithFlippedBits flips bits of every valid vector's body. The first
// and last 32 bytes and a stride through the middle are enough for a MAC.
func TestVectorsWithFlippedBits(t *testing.T) {
	t.Parallel()
	for name, scheme := range schemes() {
		if scheme == provider.GitLab || scheme == provider.Mailgun || scheme == provider.Adyen {
			continue // their signatures do not cover the whole body
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := provider.Config{Scheme: scheme}
			for _, v := range loadVectors(t, name) {
				if v.Expect == "invalid" {
					continue
				}
				ver, r, now := v.verifier(t, config), v.request(t), v.clock(t, config)
				for i := range r.Body {
					if i >= 32 && i < len(r.Body)-32 && i%997 != 0 {
						continue
					}
					r.Body[i] ^= 1 << (i % 8)
					// A form is signed by its fields: other bytes of the same fields are no forgery.
					if _, err := ver.Verify(r, now); err == nil && !sameForm(r.Body, v.raw(t), scheme) {
						t.Errorf("%s: accepted with byte %d changed", v.ID, i)
					}
					r.Body[i] ^= 1 << (i % 8)
				}
			}
		})
	}
}

func sameForm(a, b []byte, scheme provider.Scheme) bool {
	if scheme != provider.Twilio {
		return false
	}
	x, errX := url.ParseQuery(string(a))
	y, errY := url.ParseQuery(string(b))
	return errX == nil && errY == nil && maps.EqualFunc(x, y, func(p, q []string) bool {
		return slices.Equal(slices.Compact(slices.Sorted(slices.Values(p))), slices.Compact(slices.Sorted(slices.Values(q))))
	})
}
