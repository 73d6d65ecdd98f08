package provider_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/signature"
)

func hexMAC(key, text string) string { return hex.EncodeToString(sum(sha256.New, key, []byte(text))) }
func b64MAC(key, text string) string {
	return base64.StdEncoding.EncodeToString(sum(sha256.New, key, []byte(text)))
}

// TestRules are the providers' own rules beyond what the vectors show: code "" is accepted.
func TestRules(t *testing.T) {
	t.Parallel()
	const key, text = "k", `{"id":"evt_1"}`
	ts := strconv.FormatInt(now.Unix(), 10)
	stripe := hexMAC(key, ts+"."+text)
	paddle := hexMAC(key, ts+":"+text)
	slack := hexMAC(key, "v0:"+ts+":"+text)
	hub := hexMAC(key, text)
	sha1Hub := hex.EncodeToString(sum(sha1.New, key, []byte(text)))
	sha512Hub := hex.EncodeToString(sum(sha512.New, key, []byte(text)))
	for _, c := range []struct {
		name   string
		scheme provider.Scheme
		h      http.Header
		code   provider.Code
	}{
		{"stripe: rolled secret", provider.Stripe, header("Stripe-Signature", "t="+ts+",v1="+hexMAC("old", ts+"."+text)+",v1="+stripe+",v0="+stripe), ""},
		{"stripe: upper case names the same bytes", provider.Stripe, header("Stripe-Signature", "t="+ts+",v1="+strings.ToUpper(stripe)), ""},
		{"stripe: unknown parameters", provider.Stripe, header("Stripe-Signature", "a=b,t="+ts+",v1="+stripe+",v2=x"), ""},
		{"stripe: no time", provider.Stripe, header("Stripe-Signature", "v1="+stripe), signature.MissingTimestamp},
		{"stripe: two times", provider.Stripe, header("Stripe-Signature", "t="+ts+",t="+ts+",v1="+stripe), signature.MalformedSignature},
		{"stripe: blank before v1", provider.Stripe, header("Stripe-Signature", "t="+ts+", v1="+stripe), signature.MalformedSignature},
		{"stripe: empty signature", provider.Stripe, header("Stripe-Signature", "t="+ts+",v1="), signature.MalformedSignature},
		{"stripe: fraction", provider.Stripe, header("Stripe-Signature", "t="+ts+".0,v1="+stripe), signature.MalformedTimestamp},
		{"stripe: hexadecimal time", provider.Stripe, header("Stripe-Signature", "t=0x10,v1="+stripe), signature.MalformedTimestamp},
		{"stripe: 40 signatures", provider.Stripe, header("Stripe-Signature", "t="+ts+strings.Repeat(",v1="+stripe, 40)), signature.MalformedSignature},
		{"stripe: 5 KB", provider.Stripe, header("Stripe-Signature", "t="+ts+",v1="+stripe+strings.Repeat(",x=y", 1200)), signature.MalformedSignature},
		{"stripe: twice", provider.Stripe, header("Stripe-Signature", "t="+ts+",v1="+stripe, "Stripe-Signature", "t="+ts+",v1="+stripe), signature.DuplicateHeader},
		{"paddle", provider.Paddle, header("Paddle-Signature", "ts="+ts+";h1="+paddle), ""},
		{"paddle: rolled secret", provider.Paddle, header("Paddle-Signature", "ts="+ts+";h1="+hexMAC("x", "y")+";h1="+paddle), ""},
		{"paddle: commas", provider.Paddle, header("Paddle-Signature", "ts="+ts+",h1="+paddle), signature.MalformedTimestamp},
		{"slack", provider.Slack, header("X-Slack-Signature", "v0="+slack, "X-Slack-Request-Timestamp", ts), ""},
		{"slack: v1", provider.Slack, header("X-Slack-Signature", "v1="+slack, "X-Slack-Request-Timestamp", ts), signature.MalformedSignature},
		{"slack: no time", provider.Slack, header("X-Slack-Signature", "v0="+slack), signature.MissingTimestamp},
		{"slack: two times", provider.Slack, header("X-Slack-Signature", "v0="+slack, "X-Slack-Request-Timestamp", ts, "X-Slack-Request-Timestamp", ts), signature.DuplicateHeader},
		{"slack: from the future", provider.Slack, header("X-Slack-Signature", "v0="+slack, "X-Slack-Request-Timestamp", strconv.FormatInt(now.Unix()+301, 10)), signature.TimestampOutOfRange},
		{"zoom", provider.Zoom, header("x-zm-signature", "v0="+slack, "x-zm-request-timestamp", ts), ""},
		{"github: old server", provider.GitHub, header("X-Hub-Signature", "sha1="+sha1Hub), ""},
		{"github: sha256 under the old name", provider.GitHub, header("X-Hub-Signature", "sha256="+hub), ""},
		{"github: sha512 under the old name", provider.GitHub, header("X-Hub-Signature", "sha512="+sha512Hub), ""},
		{"github: the newer counts", provider.GitHub, header("X-Hub-Signature", "sha1="+sha1Hub, "X-Hub-Signature-256", "sha256="+hexMAC("x", text)), signature.BadSignature},
		{"github: sha1 under the new name", provider.GitHub, header("X-Hub-Signature-256", "sha1="+sha1Hub), signature.MalformedSignature},
		{"github: half", provider.GitHub, header("X-Hub-Signature-256", "sha256="+hub[:32]), signature.MalformedSignature},
		{"meta", provider.Meta, header("X-Hub-Signature-256", "sha256="+hub), ""},
		{"bitbucket", provider.Bitbucket, header("X-Hub-Signature", "sha256="+hub), ""},
		{"bitbucket: sha1", provider.Bitbucket, header("X-Hub-Signature", "sha1="+sha1Hub), signature.MalformedSignature},
		{"gitea: gogs", provider.Gitea, header("X-Gogs-Signature", hub), ""},
		{"gitea: forgejo counts first", provider.Gitea, header("X-Forgejo-Signature", hexMAC("x", text), "X-Gitea-Signature", hub), signature.BadSignature},
		{"gitea: prefix", provider.Gitea, header("X-Gitea-Signature", "sha256="+hub), signature.MalformedSignature},
		{"shopify: hex", provider.Shopify, header("X-Shopify-Hmac-Sha256", hub), signature.MalformedSignature},
		{"shopify: cut off", provider.Shopify, header("X-Shopify-Hmac-Sha256", b64MAC(key, text)[:40]), signature.MalformedSignature},
		{"shopify: line break", provider.Shopify, header("X-Shopify-Hmac-Sha256", b64MAC(key, text)[:20]+"\n"+b64MAC(key, text)[20:]), signature.MalformedSignature},
		{"woocommerce", provider.WooCommerce, header("X-WC-Webhook-Signature", b64MAC(key, text)), ""},
		{"square", provider.Square, header("x-square-hmacsha256-signature", b64MAC(key, "https://hooks.example.com/in"+text)), ""},
		{"square: body only", provider.Square, header("x-square-hmacsha256-signature", b64MAC(key, text)), signature.BadSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := mustNew(t, provider.Config{Scheme: c.scheme, Secrets: []string{key}})
			_, err := v.Verify(post([]byte(text), c.h), now)
			if c.code != "" {
				wantCode(t, err, c.code)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestTwilio(t *testing.T) {
	t.Parallel()
	const key = "token"
	sign := func(text string) string {
		return base64.StdEncoding.EncodeToString(sum(sha1.New, key, []byte(text)))
	}
	jsonBody := `{"a":1}`
	digest := sha256.Sum256([]byte(jsonBody))
	query := "?bodySHA256=" + hex.EncodeToString(digest[:])
	for _, c := range []struct {
		name, url, kind, body, signed string
		ok                            bool
	}{
		{"form", "https://a.example/x?q=1", "form", "B=2&A=1", "https://a.example/x?q=1A1B2", true},
		{"charset", "https://a.example/x", "application/x-www-form-urlencoded; charset=UTF-8", "A=%C3%A9", "https://a.example/xAé", true},
		{"empty value", "https://a.example/x", "form", "A=&B=1", "https://a.example/xAB1", true},
		{"port in the signed one", "https://a.example/x", "form", "A=1", "https://a.example:443/xA1", true},
		{"port in ours", "https://a.example:8443/x", "form", "A=1", "https://a.example/xA1", true},
		{"port in both", "https://a.example:8443/x", "form", "A=1", "https://a.example:8443/xA1", true},
		{"http port", "http://a.example/x", "form", "A=1", "http://a.example:80/xA1", true},
		{"IPv6", "https://[::1]:8443/x", "form", "A=1", "https://[::1]/xA1", true},
		{"credentials", "https://u:p@a.example:8443/x", "form", "A=1", "https://u:p@a.example/xA1", true},
		{"apostrophe escaped by the signer", "https://a.example/x?b=It's+cold", "form", "A=1", "https://a.example/x?b=It%27s+coldA1", true},
		{"apostrophe escaped on the way", "https://a.example/x?b=It%27s%20cold", "form", "A=1", "https://a.example/x?b=It's%20coldA1", true},
		{"another query", "https://a.example/x?b=1", "form", "A=1", "https://a.example/x?b=2A1", false},
		{"query in another order", "https://a.example/x?b=1&c=2", "form", "A=1", "https://a.example/x?c=2&b=1A1", false},
		{"other host", "https://b.example/x", "form", "A=1", "https://a.example/xA1", false},
		{"other path", "https://a.example/y", "form", "A=1", "https://a.example/xA1", false},
		{"field left out", "https://a.example/x", "form", "A=1&B=2", "https://a.example/xA1", false},
		{"JSON", "https://a.example/x" + query, "application/json", jsonBody, "https://a.example/x" + query, true},
		{"JSON, other body", "https://a.example/x" + query, "application/json", `{"a":2}`, "https://a.example/x" + query, false},
		{"JSON without digest", "https://a.example/x", "application/json", jsonBody, "https://a.example/x", false},
		{"JSON, empty digest", "https://a.example/x?bodySHA256=", "application/json", jsonBody, "https://a.example/x?bodySHA256=", false},
		{"JSON, two digests", "https://a.example/x" + query + "&bodySHA256=00", "application/json", jsonBody, "https://a.example/x" + query + "&bodySHA256=00", false},
		{"no body", "https://a.example/x?CallSid=1", "", "", "https://a.example/x?CallSid=1", true},
		{"relative URL", "/x", "form", "A=1", "/xA1", false},
		{"broken form", "https://a.example/x", "form", "A=%zz", "https://a.example/x", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kind := strings.Replace(c.kind, "form", "application/x-www-form-urlencoded", 1)
			if strings.Contains(c.kind, "/") {
				kind = c.kind
			}
			r := provider.Request{Method: http.MethodPost, URL: c.url, Body: []byte(c.body), Header: header("X-Twilio-Signature", sign(c.signed), "Content-Type", kind)}
			_, err := mustNew(t, provider.Config{Scheme: provider.Twilio, Secrets: []string{key}}).Verify(r, now)
			if (err == nil) != c.ok {
				t.Fatal(err)
			}
		})
	}
}

func TestPublicURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ public, inside, signed string }{
		{"", "https://a.example/in?x=1", "https://a.example/in?x=1"},
		{"https://hooks.example.com", "http://10.0.0.1:8080/in?x=1", "https://hooks.example.com/in?x=1"},
		{"https://hooks.example.com/", "http://10.0.0.1:8080/in?x=1", "https://hooks.example.com/in?x=1"},
		{"https://hooks.example.com/outside/in", "http://10.0.0.1:8080/in?x=1", "https://hooks.example.com/outside/in?x=1"},
		{"https://hooks.example.com/outside/in", "http://10.0.0.1:8080/in", "https://hooks.example.com/outside/in"},
		{"https://hooks.example.com", "/in?x=1", "https://hooks.example.com/in?x=1"},
	} {
		v := mustNew(t, provider.Config{Scheme: provider.Square, Secrets: []string{"k"}, PublicURL: c.public})
		r := provider.Request{URL: c.inside, Body: []byte("{}"), Header: header("x-square-hmacsha256-signature", b64MAC("k", c.signed+"{}"))}
		if _, err := v.Verify(r, now); err != nil {
			t.Errorf("%s behind %s: %v", c.inside, c.public, err)
		}
	}
}

func TestMailgun(t *testing.T) {
	t.Parallel()
	ts := strconv.FormatInt(now.Unix(), 10)
	mac := hexMAC("k", ts+"tok")
	v := mustNew(t, provider.Config{Scheme: provider.Mailgun, Secrets: []string{"k"}})
	multi := "--b\r\nContent-Disposition: form-data; name=\"timestamp\"\r\n\r\n" + ts + "\r\n--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\ntok\r\n--b\r\nContent-Disposition: form-data; name=\"signature\"\r\n\r\n" + mac + "\r\n--b--\r\n"
	for _, c := range []struct {
		name, kind, body string
		id               string
		code             provider.Code
	}{
		{"JSON", "application/json", `{"signature":{"timestamp":"` + ts + `","token":"tok","signature":"` + mac + `"},"event-data":{"id":"E1"}}`, "E1", ""},
		{"form", "application/x-www-form-urlencoded", "timestamp=" + ts + "&token=tok&signature=" + mac, "tok", ""},
		{"multipart", "multipart/form-data; boundary=b", multi, "tok", ""},
		{"old", "application/json", `{"signature":{"timestamp":"1521472262","token":"tok","signature":"` + mac + `"}}`, "", signature.TimestampOutOfRange},
		{"no signature", "application/json", `{}`, "", signature.MissingSignature},
		{"short", "application/json", `{"signature":{"timestamp":"` + ts + `","token":"tok","signature":"` + mac[:40] + `"}}`, "", signature.MalformedSignature},
		{"token twice", "application/x-www-form-urlencoded", "timestamp=" + ts + "&token=tok&token=x&signature=" + mac, "", provider.MalformedBody},
		{"text", "text/plain", "hello", "", provider.MalformedBody},
		{"cut off", "application/json", `{"signature":`, "", provider.MalformedBody},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := v.Verify(post([]byte(c.body), header("Content-Type", c.kind)), now)
			if c.code != "" {
				wantCode(t, err, c.code)
			} else if err != nil || got.EventID != c.id {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
}

func TestGitLabBothTokens(t *testing.T) {
	t.Parallel()
	v := mustNew(t, provider.Config{Scheme: provider.GitLab, Secrets: []string{"plain", secret}})
	signed, err := provider.Sign(provider.Config{Scheme: provider.GitLab, Secrets: []string{secret}}, post(body, header("webhook-id", "msg_1")), now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Verify(signed, now)
	if err != nil || got != (provider.Verified{KeyIndex: 1, EventID: "msg_1"}) {
		t.Fatalf("signed: %+v, %v", got, err)
	}
	_, err = v.Verify(signed, now.Add(6*time.Minute))
	wantCode(t, err, signature.TimestampOutOfRange)
	got, err = v.Verify(post(body, header("X-Gitlab-Token", "plain", "Idempotency-Key", "i1", "X-Gitlab-Event-UUID", "e1")), now)
	if err != nil || got != (provider.Verified{KeyIndex: 0, EventID: "i1"}) {
		t.Fatalf("token: %+v, %v", got, err)
	}
	// The signing token itself is no token to show, and a forged signature is not saved by one.
	_, err = v.Verify(post(body, header("X-Gitlab-Token", secret)), now)
	wantCode(t, err, provider.BadKey)
	signed.Body = []byte("{}")
	signed.Header.Set("X-Gitlab-Token", "plain")
	_, err = v.Verify(signed, now)
	wantCode(t, err, signature.BadSignature)
}

func TestBasic(t *testing.T) {
	t.Parallel()
	pair := func(text string) http.Header {
		return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(text)))
	}
	digest := sha256.Sum256([]byte("bob:pass:word"))
	whole := mustNew(t, provider.Config{Scheme: provider.Basic, Secrets: []string{"ann:pw", "sha256:" + hex.EncodeToString(digest[:])}})
	named := mustNew(t, provider.Config{Scheme: provider.Basic, User: "ann", Secrets: []string{"pw", "pw:2"}})
	for _, c := range []struct {
		name string
		v    provider.Verifier
		h    http.Header
		key  int
		code provider.Code
	}{
		{"pair", whole, pair("ann:pw"), 0, ""},
		{"digest of the pair", whole, pair("bob:pass:word"), 1, ""},
		{"user set", named, pair("ann:pw:2"), 1, ""},
		{"lower case", named, header("Authorization", "basic "+base64.StdEncoding.EncodeToString([]byte("ann:pw"))), 0, ""},
		{"other user", named, pair("bob:pw"), 0, provider.BadKey},
		{"no password", named, pair("ann:"), 0, provider.BadKey},
		{"no colon", named, pair("ann"), 0, provider.BadKey},
		{"empty", named, pair(""), 0, provider.BadKey},
		{"not base64", named, header("Authorization", "Basic !!"), 0, provider.MissingKey},
		{"bearer", named, header("Authorization", "Bearer pw"), 0, provider.MissingKey},
		{"none", named, header(), 0, provider.MissingKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.v.Verify(post(body, c.h), now)
			if c.code != "" {
				wantCode(t, err, c.code)
			} else if err != nil || got.KeyIndex != c.key {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
}

func TestTemplateRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		edit func(*provider.Config)
		says string
	}{
		{func(c *provider.Config) { c.Content = "{timestamp}" }, "must hold {body}"},
		{func(c *provider.Config) { c.Content = "{body" }, "{ without"},
		{func(c *provider.Config) { c.Content = "body}" }, "} without"},
		{func(c *provider.Config) { c.Content = "{Body}" }, "knows no {Body}"},
		{func(c *provider.Config) { c.Content = "{body:x}" }, "knows no"},
		{func(c *provider.Config) { c.Content = "{header:}{body}" }, "knows no"},
		{func(c *provider.Config) { c.Content = "{timestamp}{body}" }, "say where it is"},
		{func(c *provider.Config) { c.Content = "{id}{body}" }, "name its header"},
		{func(c *provider.Config) { c.Timestamp = "X-T" }, "not signed"},
		{func(c *provider.Config) { c.Content, c.Timestamp = "{timestamp}{body}", "t=" }, "name the signature's too"},
		{func(c *provider.Config) { c.Content, c.Timestamp = "{timestamp}{body}", "a b" }, "no header name"},
		{func(c *provider.Config) { c.Parameter = "v1=" }, "a name only"},
		{func(c *provider.Config) { c.ID = "a b" }, "no header name"},
		{func(c *provider.Config) { c.Content = strings.Repeat("{body}", 40) }, "more than 32"},
		{func(c *provider.Config) { c.PublicURL = "ftp://x" }, "no address"},
		{func(c *provider.Config) { c.User = "x" }, "belongs to the scheme basic"},
	} {
		config := provider.Config{Scheme: provider.HMAC, Header: "X-S", Secrets: []string{"k"}}
		c.edit(&config)
		if _, err := provider.New(config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want it to say %q", err, c.says)
		}
	}
}

func TestTimesOfTheTemplate(t *testing.T) {
	t.Parallel()
	v := mustNew(t, provider.Config{Scheme: provider.HMAC, Header: "X-S", Content: "{timestamp}.{body}", Timestamp: "X-T", Secrets: []string{"k"}})
	for stamp, code := range map[string]provider.Code{
		strconv.FormatInt(now.Unix(), 10): "", strconv.FormatInt(now.UnixMilli(), 10): "", now.UTC().Format(time.RFC3339): "", now.Add(time.Minute).Format(time.RFC3339Nano): "",
		now.Add(-301 * time.Second).UTC().Format(time.RFC3339): signature.TimestampOutOfRange, strconv.FormatInt(now.UnixMilli()+301_000, 10): signature.TimestampOutOfRange,
		"": signature.MissingTimestamp, "-1": signature.MalformedTimestamp, "T": signature.MalformedTimestamp, "17000000001700": signature.MalformedTimestamp,
	} {
		_, err := v.Verify(post(body, header("X-T", stamp, "X-S", hexMAC("k", stamp+"."+string(body)))), now)
		if code != "" {
			wantCode(t, err, code)
		} else if err != nil {
			t.Errorf("%s: %v", stamp, err)
		}
	}
}
