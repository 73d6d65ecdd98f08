package egress_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"waybill.internal/pkg/egress"
)

func TestRedaction(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://u:canary@h.example/p":                     "https://redacted@h.example/p",
		"https://h.example/?a=1&access_token=canary&b=2":   "https://h.example/?a=1&access_token=redacted&b=2",
		"https://h.example/?X-Amz-Signature=canary#canary": "https://h.example/?X-Amz-Signature=redacted",
		"https://h.example/?%73ecret=canary":               "https://h.example/?%73ecret=redacted",
		"http://h.example/\x00canary":                      "[unreadable URL]",
	} {
		if got := egress.RedactURL(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for _, name := range []string{
		"Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-Client-Secret", "X-Auth-Token", "Webhook-Signature", "X-Hub-Signature-256",
		"X-Password", "Proxy-Authorization",
	} {
		if got := egress.RedactHeader(http.Header{name: {"canary"}}); got[name] != "[redacted]" {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, body := range []string{
		`{"password":"canary"}`, `{"a":1,"Access_Token" : "canary\"canary","b":2}`, `{"secrets":["canary","canary"]}`,
		`{"api-key":"can` + `ary`, `user=1&client_secret=canary&x=2`, `{"token":12345,"secret":canary}`,
	} {
		if got := egress.Capture([]byte(body)); strings.Contains(got.Data, "canary") {
			t.Errorf("%s: %s", body, got.Data)
		}
	}
	if got := egress.Capture([]byte(`{"a":1,"token":"x","b":2}`)).Data; got != `{"a":1,"token":"[redacted]","b":2}` {
		t.Errorf("more than the secret is taken out: %s", got)
	}
}

func TestSensitive(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"X-Partner-Key": true, "partner_key": true, "key": true, "X-Auth": true, "X-Auth-User": true, "x_auth": true, "Authentication": true,
		"X-Access-Code": true, "access_code": true, "accessKey": true, "Ocp-Apim-Subscription-Key": true, "X-Functions-Key": true, "pwd": true,
		"X-Key": true, "sig": true, "x.key": true,
		"Idempotency-Key": false, "X-Idempotency-Key": false, "Kafka-Key": false, "Entity-Key": false, "entity_key": false, "X-Event-Key": false,
		"Surrogate-Key": false, "WWW-Authenticate": false, "Author": false, "X-Monkey": false, "Keep-Alive": false, "Key-Id": false, "design": false, "": false, "-": false,
	} {
		if got := egress.Sensitive(name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
	// Fields of bodies with such names stay: they are what a record is looked up by.
	if got := egress.Capture([]byte(`{"lookup_key":"a","auth":"b"}`)).Data; got != `{"lookup_key":"a","auth":"b"}` {
		t.Error(got)
	}
}

func TestCapture(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", egress.MaxCapturedBody) // two bytes each
	odd := "x" + long                                   // so that the cap splits a rune
	tests := map[string]struct {
		in                string
		base64, truncated bool
	}{
		"empty": {"", false, false}, "text": {"grüße", false, false}, "full": {long[:egress.MaxCapturedBody], false, false},
		"long": {long, false, true}, "split rune": {odd, false, true}, "binary": {"\xff\xfe\x00", true, false},
		"NUL": {"a\x00b", true, false}, "long binary": {strings.Repeat("\xff", 5000), true, true},
	}
	for name, tt := range tests {
		c := egress.Capture([]byte(tt.in))
		if c.Base64 != tt.base64 || c.Truncated != tt.truncated || c.Bytes != len(tt.in) || !utf8.ValidString(c.Data) {
			t.Errorf("%s: base64 %t, truncated %t, %d bytes", name, c.Base64, c.Truncated, c.Bytes)
		}
		data := c.Data
		if c.Base64 {
			plain, err := base64.StdEncoding.DecodeString(data)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			data = string(plain)
		}
		if !strings.HasPrefix(tt.in, data) || len(data) > egress.MaxCapturedBody || (!c.Truncated && data != tt.in) {
			t.Errorf("%s: is not the beginning", name)
		}
	}
}

func FuzzRedactURL(f *testing.F) {
	f.Add("https://u:p@h/?token=x#f")
	f.Add("%zz")
	f.Fuzz(func(t *testing.T, raw string) {
		if got := egress.RedactURL(raw); !utf8.ValidString(got) || strings.ContainsRune(got, 0) || len(got) > 2100 {
			t.Errorf("%q", got)
		}
	})
}

func FuzzCapture(f *testing.F) {
	f.Add([]byte(`{"token":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if c := egress.Capture(body); !utf8.ValidString(c.Data) || strings.ContainsRune(c.Data, 0) || c.Bytes != len(body) {
			t.Errorf("%+v", c)
		}
	})
}
