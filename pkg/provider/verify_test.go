package provider_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/signature"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var (
	body = []byte(`{"request_no":"R-1","quantity":2}`)
	now  = time.Unix(1_700_000_000, 0)
)

func mustNew(t testing.TB, c provider.Config) provider.Verifier {
	t.Helper()
	v, err := provider.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantCode(t *testing.T, err error, code provider.Code) {
	t.Helper()
	var e *provider.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
	if e.Detail == "" || e.Header == "" {
		t.Fatalf("the refusal does not say where: %+v", e)
	}
}

func post(raw []byte, h http.Header) provider.Request {
	return provider.Request{Method: http.MethodPost, URL: "https://hooks.example.com/in", Header: h, Body: raw}
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestNewRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config provider.Config
		says   string
	}{
		{"no scheme", provider.Config{Secrets: []string{"a"}}, "unknown scheme"},
		{"unknown scheme", provider.Config{Scheme: "digest", Secrets: []string{"a"}}, "unknown scheme"},
		{"no secrets", provider.Config{Scheme: provider.APIKey}, "needs 1 to 16"},
		{"too many", provider.Config{Scheme: provider.APIKey, Secrets: make([]string, 17)}, "needs 1 to 16"},
		{"empty secret", provider.Config{Scheme: provider.HMAC, Header: "X-S", Secrets: []string{"a", ""}}, "secret 2 is empty"},
		{"blank secret", provider.Config{Scheme: provider.APIKey, Secrets: []string{" "}}, "secret 1 is empty"},
		{"same twice", provider.Config{Scheme: provider.APIKey, Secrets: []string{"abc", "abc"}}, "the same"},
		{"hmac without header", provider.Config{Scheme: provider.HMAC, Secrets: []string{"a"}}, "needs the header"},
		{"bad header", provider.Config{Scheme: provider.HMAC, Header: "X S:", Secrets: []string{"a"}}, "no header name"},
		{"md5", provider.Config{Scheme: provider.HMAC, Header: "X-S", Algorithm: "md5", Secrets: []string{"a"}}, "unknown algorithm"},
		{"base32", provider.Config{Scheme: provider.HMAC, Header: "X-S", Encoding: "base32", Secrets: []string{"a"}}, "unknown encoding"},
		{"prefix for api-key", provider.Config{Scheme: provider.APIKey, Prefix: "x", Secrets: []string{"a"}}, "belongs to the scheme hmac"},
		{"tolerance without a time", provider.Config{Scheme: provider.HMAC, Header: "X-S", Tolerance: 1, Secrets: []string{"a"}}, "tolerance"},
		{"header for standard", provider.Config{Scheme: provider.StandardWebhooks, Header: "X-S", Secrets: []string{secret}}, "belongs to the scheme hmac or api-key"},
		{"short standard secret", provider.Config{Scheme: provider.StandardWebhooks, Secrets: []string{"whsec_c2hvcnQ="}}, "24 to 75"},
		{"negative tolerance", provider.Config{Scheme: provider.StandardWebhooks, Tolerance: -1, Secrets: []string{secret}}, "negative"},
		{"broken digest", provider.Config{Scheme: provider.APIKey, Secrets: []string{"sha256:12"}}, "64 hex"},
		{"key with line break", provider.Config{Scheme: provider.APIKey, Secrets: []string{"top\nsecret"}}, "control"},
		{"key with blank end", provider.Config{Scheme: provider.APIKey, Secrets: []string{"topsecret "}}, "blank"},
		{"key too long", provider.Config{Scheme: provider.APIKey, Secrets: []string{strings.Repeat("k", 5000)}}, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := provider.New(c.config)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want it to say %q", err, c.says)
			}
			if strings.Contains(err.Error(), "topsecret") {
				t.Fatalf("the error repeats the secret: %v", err)
			}
		})
	}
}

func TestAPIKey(t *testing.T) {
	t.Parallel()
	digest := sha256.Sum256([]byte("third-key"))
	v := mustNew(t, provider.Config{Scheme: provider.APIKey, Secrets: []string{"first-key", "second-key", "sha256:" + hex.EncodeToString(digest[:])}})
	own := mustNew(t, provider.Config{Scheme: provider.APIKey, Header: "X-Token", Secrets: []string{"first-key"}})
	for _, c := range []struct {
		name string
		v    provider.Verifier
		h    http.Header
		key  int
		code provider.Code
	}{
		{"first", v, header("X-Api-Key", "first-key"), 0, ""},
		{"second", v, header("X-Api-Key", "second-key"), 1, ""},
		{"by digest", v, header("X-Api-Key", "third-key"), 2, ""},
		{"bearer", v, header("Authorization", "Bearer first-key"), 0, ""},
		{"bearer in any case", v, header("Authorization", "bEARER first-key"), 0, ""},
		{"own header", own, header("X-Token", "first-key"), 0, ""},
		{"own header only", own, header("X-Api-Key", "first-key"), 0, provider.MissingKey},
		{"none", v, header(), 0, provider.MissingKey},
		{"empty", v, header("X-Api-Key", ""), 0, provider.MissingKey},
		{"bearer empty", v, header("Authorization", "Bearer "), 0, provider.MissingKey},
		{"bearer without key", v, header("Authorization", "Bearer"), 0, provider.MissingKey},
		{"basic", v, header("Authorization", "Basic first-key"), 0, provider.MissingKey},
		{"wrong", v, header("X-Api-Key", "other"), 0, provider.BadKey},
		{"prefix", v, header("X-Api-Key", "first-ke"), 0, provider.BadKey},
		{"longer", v, header("X-Api-Key", "first-key1"), 0, provider.BadKey},
		{"case", v, header("X-Api-Key", "First-key"), 0, provider.BadKey},
		{"the digest itself", v, header("X-Api-Key", "sha256:"+hex.EncodeToString(digest[:])), 0, provider.BadKey},
		{"huge", v, header("X-Api-Key", strings.Repeat("k", 10_000)), 0, provider.BadKey},
		{"twice", v, header("X-Api-Key", "first-key", "X-Api-Key", "first-key"), 0, signature.DuplicateHeader},
		{"both headers", v, header("X-Api-Key", "first-key", "Authorization", "Bearer first-key"), 0, signature.DuplicateHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.v.Verify(post(body, c.h), now)
			if c.code != "" {
				wantCode(t, err, c.code)
				return
			}
			if err != nil || got.KeyIndex != c.key {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
}

func sum(newHash func() hash.Hash, key string, raw []byte) []byte {
	m := hmac.New(newHash, []byte(key))
	m.Write(raw)
	return m.Sum(nil)
}

func TestHMACEveryVariant(t *testing.T) {
	t.Parallel()
	hashes := map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}
	for algorithm, newHash := range hashes {
		for _, encoding := range []string{"hex", "base64"} {
			for _, prefix := range []string{"", algorithm + "="} {
				t.Run(algorithm+" "+encoding+" "+prefix, func(t *testing.T) {
					t.Parallel()
					v := mustNew(t, provider.Config{Scheme: provider.HMAC, Header: "X-S", Algorithm: algorithm, Encoding: encoding, Prefix: prefix, Secrets: []string{"old", "new"}})
					encode := hex.EncodeToString
					if encoding == "base64" {
						encode = base64.StdEncoding.EncodeToString
					}
					mac := sum(newHash, "new", body)
					got, err := v.Verify(post(body, header("X-S", prefix+encode(mac))), now)
					if err != nil || got.KeyIndex != 1 || got.EventID != "" {
						t.Fatalf("got %+v, %v", got, err)
					}
					for bit := range len(mac) * 8 {
						mac[bit/8] ^= 1 << (bit % 8)
						_, err := v.Verify(post(body, header("X-S", prefix+encode(mac))), now)
						wantCode(t, err, signature.BadSignature)
						mac[bit/8] ^= 1 << (bit % 8)
					}
					for cut := range len(mac) {
						_, err := v.Verify(post(body, header("X-S", prefix+encode(mac[:cut]))), now)
						if err == nil {
							t.Fatalf("accepted %d of %d bytes", cut, len(mac))
						}
					}
				})
			}
		}
	}
}

func TestHMACRefusals(t *testing.T) {
	t.Parallel()
	v := mustNew(t, provider.Config{Scheme: provider.HMAC, Header: "X-S", Prefix: "sha256=", Secrets: []string{"key"}})
	good := "sha256=" + hex.EncodeToString(sum(sha256.New, "key", body))
	for _, c := range []struct {
		name string
		h    http.Header
		code provider.Code
	}{
		{"none", header(), signature.MissingSignature},
		{"empty", header("X-S", ""), signature.MissingSignature},
		{"prefix only", header("X-S", "sha256="), signature.MalformedSignature},
		{"no prefix", header("X-S", good[7:]), signature.MalformedSignature},
		{"other prefix", header("X-S", "sha512="+good[7:]), signature.MalformedSignature},
		{"not hex", header("X-S", "sha256="+strings.Repeat("x", 64)), signature.MalformedSignature},
		{"half", header("X-S", good[:39]), signature.MalformedSignature},
		{"longer", header("X-S", good+"00"), signature.MalformedSignature},
		{"list", header("X-S", good+","+good), signature.MalformedSignature},
		{"twice", header("X-S", good, "X-S", good), signature.DuplicateHeader},
		{"empty key's MAC", header("X-S", "sha256="+hex.EncodeToString(sum(sha256.New, "", body))), signature.BadSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := v.Verify(post(body, c.h), now)
			wantCode(t, err, c.code)
		})
	}
	if _, err := v.Verify(post(body, header("X-S", "sha256="+strings.ToUpper(good[7:]))), now); err != nil {
		t.Fatalf("upper case hex names the same bytes: %v", err)
	}
}

func TestStandardWebhooksEventIDAndTolerance(t *testing.T) {
	t.Parallel()
	key, err := signature.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	h, err := signature.Sign([]signature.Key{key}, "evt_7", now, body)
	if err != nil {
		t.Fatal(err)
	}
	other := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("o", 32)))
	v := mustNew(t, provider.Config{Scheme: provider.StandardWebhooks, Secrets: []string{other, secret}})
	got, err := v.Verify(post(body, h), now)
	if err != nil || got != (provider.Verified{KeyIndex: 1, EventID: "evt_7"}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	narrow := mustNew(t, provider.Config{Scheme: provider.StandardWebhooks, Secrets: []string{secret}, Tolerance: 10 * time.Second})
	for offset, v := range map[time.Duration]provider.Verifier{301 * time.Second: v, -301 * time.Second: v, 11 * time.Second: narrow, -11 * time.Second: narrow} {
		_, err := v.Verify(post(body, h), now.Add(offset))
		wantCode(t, err, signature.TimestampOutOfRange)
	}
	for offset, v := range map[time.Duration]provider.Verifier{299 * time.Second: v, -299 * time.Second: v, 10 * time.Second: narrow} {
		if _, err := v.Verify(post(body, h), now.Add(offset)); err != nil {
			t.Fatalf("%s: %v", offset, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	configs := []provider.Config{
		{Scheme: provider.APIKey, Secrets: []string{"first-key"}},
		{Scheme: provider.HMAC, Header: "X-Api-Key", Prefix: "sha256=", Secrets: []string{"key"}},
		{Scheme: provider.HMAC, Header: "X-Api-Key", Encoding: "base64", Algorithm: "sha512", Secrets: []string{"key"}},
		{Scheme: provider.StandardWebhooks, Secrets: []string{secret}},
	}
	var all []provider.Verifier
	for _, c := range configs {
		all = append(all, mustNew(f, c))
	}
	f.Add("first-key", "Bearer x", "v1,AAAA", []byte("{}"))
	f.Add("sha256=00", "", "v1a,", []byte(nil))
	f.Fuzz(func(t *testing.T, key, auth, list string, raw []byte) {
		h := header("X-Api-Key", key, "webhook-id", "evt", "webhook-timestamp", "1700000000", "webhook-signature", list)
		if auth != "" {
			h.Set("Authorization", auth)
		}
		for _, v := range all {
			_, err := v.Verify(post(raw, h), now)
			if err == nil && key == "first-key" && auth == "" {
				continue // the right key
			}
			var e *provider.Error
			if err == nil {
				t.Fatalf("accepted key %q auth %q list %q", key, auth, list)
			} else if !errors.As(err, &e) || e.Code == "" {
				t.Fatalf("refused without a code: %v", err)
			}
		}
	})
}
