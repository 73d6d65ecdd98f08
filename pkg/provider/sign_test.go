package provider_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"waybill.internal/pkg/provider"
)

// described are shapes of the scheme hmac beside the plain one.
func described() map[string]provider.Config {
	base := provider.Config{Scheme: provider.HMAC, Header: "X-S"}
	all := map[string]provider.Config{"plain": base}
	add := func(name string, edit func(c *provider.Config)) {
		c := base
		edit(&c)
		all[name] = c
	}
	add("url", func(c *provider.Config) {
		c.Content, c.Algorithm, c.Encoding = "{method}\n{url}\n{body}", "sha512", "base64"
	})
	add("path", func(c *provider.Config) {
		c.Content, c.Algorithm, c.Encoding = `{method}\n{path}\n{body}`, "sha384", "base64url"
	})
	add("timestamp header", func(c *provider.Config) { c.Content, c.Timestamp, c.Prefix = "{timestamp}.{body}", "X-T", "v1=" })
	add("list", func(c *provider.Config) { c.Content, c.Timestamp, c.Parameter = "{timestamp}.{body}", "t=", "v1" })
	add("list, time in a header", func(c *provider.Config) { c.Content, c.Timestamp, c.Parameter = "{timestamp}.{body}", "X-T", "sig" })
	add("id", func(c *provider.Config) { c.Content, c.ID = "{id}:{header:X-Topic}:{body}", "X-Event-Id" })
	return all
}

// everyConfig has each scheme that proves something, with a pair of secrets.
func everyConfig(t testing.TB) map[string][2]provider.Config {
	all := map[string][2]provider.Config{}
	add := func(name string, c provider.Config) {
		p, err := provider.NewPair(c.Scheme)
		if err != nil {
			t.Fatal(err)
		}
		other, err := provider.NewPair(c.Scheme)
		if err != nil {
			t.Fatal(err)
		}
		sign, verify := c, c
		sign.Secrets, verify.Secrets = []string{p.Sign}, []string{other.Verify, p.Verify}
		all[name] = [2]provider.Config{sign, verify}
	}
	for _, s := range provider.Schemes() {
		if s == provider.None || s == provider.HMAC {
			continue
		}
		add(string(s), provider.Config{Scheme: s})
	}
	for name, c := range described() {
		add("hmac "+name, c)
	}
	token := provider.Config{Scheme: provider.GitLab}
	all["gitlab token"] = [2]provider.Config{token, token}
	for i, secrets := range [][]string{{"tok"}, {"other", "tok"}} {
		pair := all["gitlab token"]
		pair[i].Secrets = secrets
		all["gitlab token"] = pair
	}
	return all
}

// sample is a body of a shape the scheme can sign.
func sample(s provider.Scheme, text string) provider.Request {
	r := provider.Request{Method: http.MethodPost, URL: "https://hooks.example.com/in/orders?shop=1", Header: http.Header{"Content-Type": {"application/json"}, "X-Topic": {"made"}}}
	r.Body = []byte(`{"id":"evt_1","text":"` + text + `"}`)
	switch s {
	case provider.Adyen:
		r.Body = []byte(`{"live":"false","notificationItems":[{"NotificationRequestItem":{"pspReference":"` + text + `","eventCode":"CAPTURE","success":"true","amount":{"value":100,"currency":"EUR"}}}]}`)
	case provider.Mailgun:
		r.Body = []byte(`{"event-data":{"id":"` + text + `"}}`)
	case provider.Twilio:
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = []byte(url.Values{"MessageSid": {"SM" + text}, "Body": {text, "b"}}.Encode())
	}
	return r
}

func clone(r provider.Request) provider.Request {
	r.Header, r.Body = r.Header.Clone(), slices.Clone(r.Body)
	return r
}

// TestWhatSignSignsVerifyAccepts also spoils the secret, the time and the signature.
func TestWhatSignSignsVerifyAccepts(t *testing.T) {
	t.Parallel()
	for name, pair := range everyConfig(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := mustNew(t, pair[1])
			rapid.Check(t, func(t *rapid.T) {
				at := time.Unix(rapid.Int64Range(1_000_000_000, 4_000_000_000).Draw(t, "at"), 0)
				signed, err := provider.Sign(pair[0], sample(pair[0].Scheme, rapid.StringMatching(`[a-zA-Z0-9 ]{1,30}`).Draw(t, "text")), at)
				if err != nil {
					t.Fatal(err)
				}
				got, err := v.Verify(signed, at)
				if err != nil || got.KeyIndex != 1 {
					t.Fatalf("got %+v, %v for %+v", got, err, signed)
				}
				_, timed := provider.SignedAt(pair[1], signed)
				off := time.Duration(rapid.SampledFrom([]int{-301, 301}).Draw(t, "off")) * time.Second
				if _, err := v.Verify(signed, at.Add(off)); (err != nil) != timed {
					t.Fatalf("%s from the signed time: %v, a time is signed: %v", off, err, timed)
				}
				spoil(t, v, signed, at)
			})
		})
	}
}

// spoil flips one bit of what proves the sender, wherever the scheme puts it.
func spoil(t *rapid.T, v provider.Verifier, signed provider.Request, at time.Time) {
	flip := func(b []byte) {
		i := rapid.IntRange(0, len(b)-1).Draw(t, "byte")
		b[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(signed.Header)) {
		if name != "Content-Type" && name != "X-Topic" {
			names = append(names, name)
		}
	}
	spoilt := clone(signed)
	if len(names) == 0 { // the signature is in the body
		return
	}
	name := rapid.SampledFrom(names).Draw(t, "header")
	value := []byte(spoilt.Header.Get(name))
	flip(value)
	spoilt.Header.Set(name, string(value))
	if _, err := v.Verify(spoilt, at); err == nil && !sameMeaning(signed.Header.Get(name), string(value)) {
		t.Fatalf("accepted %s: %q instead of %q", name, value, signed.Header.Get(name))
	}
	twice := clone(signed)
	twice.Header.Add(name, twice.Header.Get(name))
	if _, err := v.Verify(twice, at); err == nil {
		t.Fatalf("accepted %s twice", name)
	}
	empty := clone(signed)
	empty.Header.Set(name, "")
	if _, err := v.Verify(empty, at); err == nil {
		t.Fatalf("accepted %s empty", name)
	}
}

// sameMeaning: the letters of hexadecimal digits and of the word Basic mean the same
// in either case.
func sameMeaning(a, b string) bool { return strings.EqualFold(a, b) }

func TestFlippedBodyIsRefused(t *testing.T) {
	t.Parallel()
	uncovered := []provider.Scheme{provider.APIKey, provider.Basic, provider.Adyen, provider.Mailgun}
	for name, pair := range everyConfig(t) {
		if slices.Contains(uncovered, pair[0].Scheme) || name == "gitlab token" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed, err := provider.Sign(pair[0], sample(pair[0].Scheme, "abc"), now)
			if err != nil {
				t.Fatal(err)
			}
			v := mustNew(t, pair[1])
			for bit := range len(signed.Body) * 8 {
				r := clone(signed)
				r.Body[bit/8] ^= 1 << (bit % 8)
				if _, err := v.Verify(r, now); err == nil && !sameForm(r.Body, signed.Body, pair[0].Scheme) {
					t.Fatalf("accepted with bit %d of the body changed: %s", bit, r.Body)
				}
			}
		})
	}
}

func TestAdyenFieldsAreCovered(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("ab", 32)
	c := provider.Config{Scheme: provider.Adyen, Secrets: []string{key}}
	items := []byte(`{"notificationItems":[{"NotificationRequestItem":{"pspReference":"P1","originalReference":"O1","merchantAccountCode":"M","merchantReference":"R",
		"amount":{"value":1130,"currency":"EUR"},"eventCode":"CAPTURE","success":"true"}},{"NotificationRequestItem":{"pspReference":"P2","eventCode":"REFUND","success":true}}]}`)
	signed, err := provider.Sign(c, provider.Request{Body: items}, now)
	if err != nil {
		t.Fatal(err)
	}
	v := mustNew(t, c)
	if got, err := v.Verify(signed, now); err != nil || len(got.EventID) != 64 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, change := range []string{"P1>P9", "O1>O2", `"M">"N"`, `"R">"S"`, "1130>1131", "EUR>USD", "CAPTURE>REFUND", `"success":"true">"success":"false"`, "P2>P3", `"success":true>"success":false`} {
		from, to, _ := strings.Cut(change, ">")
		r := signed
		r.Body = []byte(strings.Replace(string(signed.Body), from, to, 1))
		if string(r.Body) == string(signed.Body) {
			t.Fatalf("%s changes nothing", change)
		}
		if _, err := v.Verify(r, now); err == nil {
			t.Errorf("accepted with %s", change)
		}
	}
	for name, body := range map[string]string{"empty list": `{"notificationItems":[]}`, "no list": `{}`, "not JSON": `x`, "one unsigned": strings.Replace(string(signed.Body), "hmacSignature", "x", 1),
		"other case": strings.Replace(string(signed.Body), `"eventCode":"CAPTURE"`, `"EventCode":"CAPTURE"`, 1), "null item": `{"notificationItems":[null]}`} {
		if _, err := v.Verify(provider.Request{Body: []byte(body)}, now); err == nil {
			t.Errorf("accepted %s", name)
		}
	}
	// The newer webhooks are signed as a whole.
	platform, err := provider.Sign(c, provider.Request{Body: []byte(`{"type":"balancePlatform.transaction.created","data":{"id":"EV1"}}`)}, now)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Verify(platform, now); err != nil || got.EventID != "EV1:balancePlatform.transaction.created" {
		t.Fatalf("got %+v, %v", got, err)
	}
	platform.Body[5]++
	if _, err := v.Verify(platform, now); err == nil {
		t.Error("accepted another body under the header HmacSignature")
	}
}

func TestNothingIsSignedWithoutItsSecret(t *testing.T) {
	t.Parallel()
	for _, c := range []provider.Config{
		{Scheme: provider.SendGrid, Secrets: []string{"notakey"}},
		{Scheme: provider.Discord, Secrets: []string{"abcd"}},
		{Scheme: provider.Adyen, Secrets: []string{"xyz"}},
		{Scheme: provider.APIKey, Secrets: []string{provider.DigestPrefix + strings.Repeat("0", 64)}},
		{Scheme: provider.StandardWebhooks, Secrets: []string{"whsec_short"}},
		{Scheme: provider.Stripe},
	} {
		if _, err := provider.Sign(c, provider.Request{Body: body}, now); err == nil {
			t.Errorf("%s signed", c.Scheme)
		} else if len(c.Secrets) > 0 && strings.Contains(err.Error(), c.Secrets[0]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}
