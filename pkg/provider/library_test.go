package provider_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"testing"

	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/signature"
)

// TestAsTheLibrariesDo: where the providers' own libraries agree with each other,
// beyond the vectors; code "" is accepted.
func TestAsTheLibrariesDo(t *testing.T) {
	t.Parallel()
	const text, key = `{"id":"evt_1"}`, "k"
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef01234567"))
	ts := strconv.FormatInt(now.Unix(), 10)
	standard := func(key, id string) string { return "v1," + b64MAC(key, id+"."+ts+"."+text) }
	good, bad := standard("0123456789abcdef01234567", "m"), standard("x", "m")
	hub := "sha256=" + hexMAC(key, text)
	for _, c := range []struct {
		name   string
		scheme provider.Scheme
		secret string
		body   string
		h      http.Header
		code   provider.Code
	}{
		{"svix: the sender's own headers beside", provider.Svix, secret, text, header("svix-id", "m", "svix-timestamp", ts, "svix-signature", good, "webhook-id", "n", "webhook-timestamp", ts, "webhook-signature", bad), ""},
		{"svix: only an id beside", provider.Svix, secret, text, header("svix-id", "m", "svix-timestamp", ts, "svix-signature", good, "webhook-id", "n"), ""},
		{"svix: its own are wrong", provider.Svix, secret, text, header("svix-id", "m", "svix-timestamp", ts, "svix-signature", bad, "webhook-id", "m", "webhook-timestamp", ts, "webhook-signature", good), signature.BadSignature},
		{"svix: its own empty", provider.Svix, secret, text, header("svix-id", "m", "svix-timestamp", ts, "svix-signature", "", "webhook-signature", good), signature.MissingSignature},
		{"svix: its own twice", provider.Svix, secret, text, header("svix-id", "m", "svix-id", "m", "svix-timestamp", ts, "svix-signature", good), signature.DuplicateHeader},
		{"svix: unbranded", provider.Svix, secret, text, header("webhook-id", "m", "webhook-timestamp", ts, "webhook-signature", good), ""},
		{"standard-webhooks: Svix's beside are not looked at", provider.StandardWebhooks, secret, text, header("webhook-id", "m", "webhook-timestamp", ts, "webhook-signature", good, "svix-signature", bad), ""},
		{"standard-webhooks: blanks around the time", provider.StandardWebhooks, secret, text, header("webhook-id", "m", "webhook-timestamp", " "+ts+"\t", "webhook-signature", good), ""},
		{"standard-webhooks: a time of blanks", provider.StandardWebhooks, secret, text, header("webhook-id", "m", "webhook-timestamp", "  ", "webhook-signature", good), signature.MissingTimestamp},
		{"github: empty body", provider.GitHub, key, "", header("X-Hub-Signature-256", "sha256="+hexMAC(key, "")), provider.MalformedBody},
		{"github: body", provider.GitHub, key, text, header("X-Hub-Signature-256", hub), ""},
		{"shopify: empty body", provider.Shopify, key, "", header("X-Shopify-Hmac-Sha256", b64MAC(key, "")), provider.MalformedBody},
		{"shopify: the newer header counts", provider.Shopify, key, text, header("Shopify-Hmac-Sha256", b64MAC(key, text), "X-Shopify-Hmac-Sha256", b64MAC("x", text)), ""},
		{"shopify: the older one does not then", provider.Shopify, key, text, header("Shopify-Hmac-Sha256", b64MAC("x", text), "X-Shopify-Hmac-Sha256", b64MAC(key, text)), signature.BadSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := mustNew(t, provider.Config{Scheme: c.scheme, Secrets: []string{c.secret}}).Verify(post([]byte(c.body), c.h), now)
			refused, _ := errors.AsType[*provider.Error](err)
			if c.code == "" && err != nil || c.code != "" && (refused == nil || refused.Code != c.code) {
				t.Fatalf("got %v, want %q", err, c.code)
			}
		})
	}
}

func TestTwilioAsItsLibraries(t *testing.T) {
	t.Parallel()
	const key, at, form = "k", "https://a.example/x", "application/x-www-form-urlencoded"
	old := func(text string) string { return base64.StdEncoding.EncodeToString(sum(sha1.New, key, []byte(text))) }
	newer := func(text string) string {
		return base64.StdEncoding.EncodeToString(sum(sha256.New, key, []byte(text)))
	}
	const settings = "X-Twilio-Webhooks-Signature-Settings"
	for _, c := range []struct {
		name, url, body, sign string
		settings              []string
		ok                    bool
	}{
		{"shared key", at, "A=1", newer(at + "A1"), []string{settings, "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"}, true},
		{"shared key, in small letters with blanks", at, "A=1", newer(at + "A1"), []string{settings, "key=k, algorithm = hmac_sha256"}, true},
		{"shared key without an algorithm", at, "A=1", old(at + "A1"), []string{settings, "key=k,algorithm="}, true},
		{"SHA-1 as it says", at, "A=1", old(at + "A1"), []string{settings, "algorithm=HMAC_SHA1"}, true},
		{"not the algorithm that it says", at, "A=1", old(at + "A1"), []string{settings, "algorithm=HMAC_SHA256"}, false},
		{"SHA-256 without saying so", at, "A=1", newer(at + "A1"), nil, false},
		{"unknown algorithm", at, "A=1", old(at + "A1"), []string{settings, "algorithm=HMAC_SHA512"}, false},
		{"settings twice", at, "A=1", old(at + "A1"), []string{settings, "algorithm=HMAC_SHA1", settings, "algorithm=HMAC_SHA1"}, false},
		{"a semicolon as it is", at, "A=1;B=2", old(at + "A1;B=2"), nil, true},
		{"escapes that are none", at, "A=100%&B=%zz%41+%4", old(at + "A100%B%zzA %4"), nil, true},
		{"capital host, signed in small letters", "https://A.example/x", "A=1", old(at + "A1"), nil, true},
		{"capital host, signed as it is", "https://A.example/x", "A=1", old("https://A.example/xA1"), nil, true},
		{"capital user stays", "https://U:P@A.example/x", "A=1", old("https://u:p@a.example/xA1"), nil, false},
		{"no path, signed with one", "https://a.example", "A=1", old("https://a.example/A1"), nil, true},
		{"no path but a query", "https://a.example?q=1", "A=1", old("https://a.example:443/?q=1A1"), nil, true},
		{"capital path is another", "https://a.example/X", "A=1", old(at + "A1"), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := header(append(c.settings, "X-Twilio-Signature", c.sign, "Content-Type", form)...)
			_, err := mustNew(t, provider.Config{Scheme: provider.Twilio, Secrets: []string{key}}).Verify(provider.Request{Method: http.MethodPost, URL: c.url, Body: []byte(c.body), Header: h}, now)
			if (err == nil) != c.ok {
				t.Fatal(err)
			}
		})
	}
}

func TestSignTwilioWithSharedKey(t *testing.T) {
	t.Parallel()
	c := provider.Config{Scheme: provider.Twilio, Secrets: []string{"k"}}
	h := header("X-Twilio-Webhooks-Signature-Settings", "key=k,algorithm=HMAC_SHA256", "Content-Type", "application/x-www-form-urlencoded")
	r, err := provider.Sign(c, provider.Request{URL: "https://a.example/x", Header: h, Body: []byte("A=1")}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mustNew(t, c).Verify(r, now); err != nil {
		t.Fatal(err)
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	const form, js = "application/x-www-form-urlencoded", "application/json"
	for _, c := range []struct {
		name       string
		scheme     provider.Scheme
		kind, body string
		status     int // 0: the receipt
		is         string
	}{
		{"twilio: message", provider.Twilio, form, "MessageSid=SM1", 200, `<?xml version="1.0" encoding="UTF-8"?><Response></Response>`},
		{"twilio: no content type", provider.Twilio, "", "", 200, `<?xml version="1.0" encoding="UTF-8"?><Response></Response>`},
		{"twilio: event stream", provider.Twilio, js, `[{"id":"EZ1"}]`, 0, ""},
		{"slack: command", provider.Slack, form, "command=%2Fx", 200, ""},
		{"slack: event", provider.Slack, js, `{"event_id":"E"}`, 0, ""},
		{"discord: command", provider.Discord, js, `{"type":2}`, 200, `{"type":5}`},
		{"discord: button", provider.Discord, js, `{"type":3}`, 200, `{"type":6}`},
		{"discord: completion", provider.Discord, js, `{"type":4}`, 200, `{"type":8,"data":{"choices":[]}}`},
		{"discord: dialog", provider.Discord, js, `{"type":5}`, 200, `{"type":5}`},
		{"discord: event", provider.Discord, js, `{"type":1,"event":{"type":"QUEST_USER_ENROLLMENT"}}`, 204, ""},
		{"discord: something new", provider.Discord, js, `{"type":9}`, 0, ""},
		{"discord: no JSON", provider.Discord, js, `{`, 0, ""},
		{"stripe", provider.Stripe, js, `{"id":"evt_1"}`, 0, ""},
		{"none", provider.None, form, "a=b", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, is := provider.Accepted(c.scheme, post([]byte(c.body), header("Content-Type", c.kind)))
			if is != (c.status != 0) || got.Status != c.status || string(got.Body) != c.is || is && got.ContentType == "" {
				t.Fatalf("got %+v %q, %t", got, got.Body, is)
			}
		})
	}
}
