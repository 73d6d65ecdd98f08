package provider_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/provider"
)

// FuzzRequest throws anything at every scheme: nothing is accepted whose secret the
// fuzzer cannot know, nothing panics, and every refusal says why.
func FuzzRequest(f *testing.F) {
	type target struct {
		config   provider.Config
		verifier provider.Verifier
	}
	var all []target
	for _, pair := range everyConfig(f) {
		c := pair[1]
		all = append(all, target{c, mustNew(f, c)})
		signed, err := provider.Sign(pair[0], sample(c.Scheme, "abc"), now)
		if err != nil {
			f.Fatal(err)
		}
		var header strings.Builder
		if err := signed.Header.Write(&header); err != nil {
			f.Fatal(err)
		}
		signed.Body[len(signed.Body)/2] ^= 1
		f.Add(header.String(), signed.URL, signed.Body)
	}
	f.Add("X-Twilio-Signature: AAAA\r\n", "https://a?bodySHA256=%zz&", []byte("a=b;c"))
	f.Add("HmacSignature: x\r\nContent-Type: multipart/form-data; boundary=\r\n", "::", []byte(`{"notificationItems":[1,null,{}]}`))
	f.Fuzz(func(t *testing.T, header, url string, raw []byte) {
		h := http.Header{}
		for line := range strings.SplitSeq(header, "\r\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				h.Add(name, value)
			}
		}
		r := provider.Request{Method: http.MethodPost, URL: url, Header: h, Body: raw}
		for _, target := range all {
			before := string(raw)
			at := now
			if signed, ok := provider.SignedAt(target.config, r); ok {
				at = signed // so that the time is no shelter
			}
			_, err := target.verifier.Verify(r, at.Add(time.Second))
			var e *provider.Error
			switch {
			case err == nil && covers(target.config.Scheme) && !seeded(target.config.Scheme):
				t.Fatalf("%s accepted %q %q %q", target.config.Scheme, header, url, raw)
			case err != nil && (!errors.As(err, &e) || e.Code == "" || e.Detail == ""):
				t.Fatalf("%s refused without saying why: %v", target.config.Scheme, err)
			}
			provider.Handshake(target.config.Scheme, r, target.config.Secrets)
			provider.EventID(target.config, r)
			if string(raw) != before {
				t.Fatalf("%s changed the body", target.config.Scheme)
			}
		}
	})
}

// covers: the others are accepted for what they show, whatever the body is.
func covers(s provider.Scheme) bool {
	return s != provider.APIKey && s != provider.Basic && s != provider.GitLab && s != provider.Mailgun && s != provider.Adyen
}

// seeded schemes can be given back what was signed: the flipped bit of a form may
// spell the same fields.
func seeded(s provider.Scheme) bool { return s == provider.Twilio }
