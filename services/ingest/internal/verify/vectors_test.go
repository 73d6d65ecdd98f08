package verify_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"waybill.internal/services/ingest/internal/verify"
)

// casesDir finds the shared test material: WAYBILL_CASES, or the folder beside
// the repository.
func casesDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("WAYBILL_CASES"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return filepath.Join(dir, "..", "shared", "cases")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.work above the test's folder and WAYBILL_CASES is not set: cannot find the test material")
		}
		dir = parent
	}
}

type vector struct {
	ID         string            `json:"id"`
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
	b, err := os.ReadFile(filepath.Join(casesDir(t), "webhooks", "vectors", provider+".json"))
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
	b, err := os.ReadFile(filepath.Join(casesDir(t), filepath.FromSlash(v.BodyFile)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v vector) header() http.Header {
	h := http.Header{}
	for k, val := range v.Headers {
		h.Set(k, val)
	}
	return h
}

func (v vector) verifier(t testing.TB, c verify.Config) verify.Verifier {
	t.Helper()
	c.Secrets = v.Secrets
	if len(c.Secrets) == 0 {
		c.Secrets = []string{v.Secret}
	}
	if c.Scheme == verify.StandardWebhooks {
		c.Tolerance = time.Duration(v.ToleranceS) * time.Second
	}
	ver, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return ver
}

// providers are the third parties whose published vectors one of our schemes
// covers, with the configuration an integration would write.
var providers = map[string]verify.Config{
	"standardwebhooks": {Scheme: verify.StandardWebhooks},
	"svix":             {Scheme: verify.StandardWebhooks},
	"github":           {Scheme: verify.HMAC, Header: "X-Hub-Signature-256", Prefix: "sha256="},
	"bitbucket":        {Scheme: verify.HMAC, Header: "X-Hub-Signature", Prefix: "sha256="},
	"gitea":            {Scheme: verify.HMAC, Header: "X-Gitea-Signature"},
	"shopify":          {Scheme: verify.HMAC, Header: "X-Shopify-Hmac-Sha256", Encoding: "base64"},
	"woocommerce":      {Scheme: verify.HMAC, Header: "X-WC-Webhook-Signature", Encoding: "base64"},
	"gitlab":           {Scheme: verify.APIKey, Header: "X-Gitlab-Token"},
}

func TestProviderVectors(t *testing.T) {
	t.Parallel()
	for provider, config := range providers {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			for _, v := range loadVectors(t, provider) {
				_, err := v.verifier(t, config).Verify(v.raw(t), v.header(), time.Unix(v.Now, 0))
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
	for provider, config := range providers {
		if config.Scheme == verify.APIKey {
			continue // an API key does not cover the body
		}
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			for _, v := range loadVectors(t, provider) {
				if v.Expect == "invalid" {
					continue
				}
				ver, raw, h := v.verifier(t, config), v.raw(t), v.header()
				for i := range raw {
					if i >= 32 && i < len(raw)-32 && i%997 != 0 {
						continue
					}
					raw[i] ^= 1 << (i % 8)
					if _, err := ver.Verify(raw, h, time.Unix(v.Now, 0)); err == nil {
						t.Errorf("%s: accepted with byte %d changed", v.ID, i)
					}
					raw[i] ^= 1 << (i % 8)
				}
			}
		})
	}
}
