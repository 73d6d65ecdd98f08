package sample_test

import (
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
	"waybill.internal/services/waybill/internal/sample"
)

// TestEverySampleIsReal: every one can be signed, verified and read, and two
// sendings are two events.
func TestEverySampleIsReal(t *testing.T) {
	t.Parallel()
	all, err := sample.List()
	if err != nil {
		t.Fatal(err)
	}
	count := map[provider.Scheme]int{}
	for _, e := range all {
		scheme := provider.Scheme(e.Provider)
		count[scheme]++
		t.Run(e.Provider+" "+e.Name, func(t *testing.T) {
			t.Parallel()
			pair, err := provider.NewPair(scheme)
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := provider.New(provider.Config{Scheme: scheme, Secrets: []string{pair.Verify}})
			if err != nil {
				t.Fatal(err)
			}
			now := time.Unix(1_700_000_000, 0)
			ids := map[string]bool{}
			for _, unique := range []string{"0123456789abcdef01234567", "fedcba9876543210fedcba98"} {
				r, err := sample.New(e.Provider, e.Name, "https://hooks.example.com/in", sample.Fresh{ID: unique, UUID: "u-" + unique, At: now})
				if err != nil {
					t.Fatal(err)
				}
				for _, text := range append([]string{string(r.Body)}, r.Header.Get("webhook-id")) {
					if strings.Contains(text, "{{") {
						t.Errorf("a mark is left: %s", text)
					}
				}
				signed, err := provider.Sign(provider.Config{Scheme: scheme, Secrets: []string{pair.Sign}}, r, now)
				if err != nil {
					t.Fatal(err)
				}
				got, err := verifier.Verify(signed, now)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(r.Header.Get("Content-Type"), "json") {
					if _, err := integration.DecodeJSON(signed.Body); err != nil {
						t.Error(err)
					}
				}
				ids[got.EventID] = true
				_, handshake := provider.Handshake(scheme, signed, []string{pair.Verify})
				if scheme.HasEventID() && got.EventID == "" && !handshake {
					t.Error("no event id")
				}
			}
			if scheme.HasEventID() && len(ids) != 2 && !ids[""] {
				t.Errorf("two sendings have one id: %v", ids)
			}
		})
	}
	for _, scheme := range provider.Schemes() {
		switch scheme {
		case provider.HMAC, provider.APIKey, provider.Basic, provider.None:
			continue // whoever describes these has an event of another provider
		}
		if count[scheme] < 2 {
			t.Errorf("%s has %d samples", scheme, count[scheme])
		}
	}
}

func TestUnknownSamplesNameTheOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ provider, event, says string }{
		{"stripe", "nothing", "payment_intent.succeeded"}, {"nobody", "x", "--list"}, {"../events", "x", "no samples"},
	} {
		if _, err := sample.New(c.provider, c.event, "http://127.0.0.1", sample.Fresh{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v", c.provider, c.event, err)
		}
	}
}
