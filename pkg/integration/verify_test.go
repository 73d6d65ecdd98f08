package integration_test

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
)

func verifying(t *testing.T, rules string) (*integration.Integration, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.yaml")
	write(t, file, []byte("integration: x\nsources:\n  - webhook: {path: /in/x, verify: {"+rules+"}}\n"))
	return integration.Load(file, variables)
}

func TestVerifyOfEveryScheme(t *testing.T) {
	t.Parallel()
	field, _ := reflect.TypeFor[integration.Verify]().FieldByName("Scheme")
	var listed []provider.Scheme
	for part := range strings.SplitSeq(field.Tag.Get("jsonschema"), ",") {
		if name, ok := strings.CutPrefix(part, "enum="); ok {
			listed = append(listed, provider.Scheme(name))
		}
	}
	if !slices.Equal(listed, provider.Schemes()) {
		t.Fatalf("the schema lists %v, there are %v", listed, provider.Schemes())
	}
	for _, scheme := range provider.Schemes() {
		if scheme == provider.None || scheme == provider.HMAC {
			continue
		}
		want := provider.Config{Scheme: scheme}
		rules := "scheme: " + string(scheme) + ", secrets: ['${KEY}']"
		if want.NeedsPublicURL() {
			want.PublicURL = "https://hooks.example.com"
			rules += ", public_url: " + want.PublicURL
		}
		in, err := verifying(t, rules)
		if !scheme.HasEventID() {
			if err == nil || !strings.Contains(err.Error(), "carry no event id") {
				t.Errorf("%s: %v", scheme, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
			continue
		}
		if scheme.Timed() {
			want.Tolerance = 5 * time.Minute
		}
		if got := in.Sources[0].Webhook.Verify.Verification(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", scheme, got, want)
		}
	}
}

func TestVerifyAcrossKeys(t *testing.T) {
	t.Parallel()
	const key = ", secrets: ['${KEY}']"
	for rules, says := range map[string]string{
		"scheme: twilio, public_url: 'https://hooks.example.com'" + key:     "",
		"scheme: hmac, header: X-S, id: X-Id" + key:                         "",
		"scheme: twilio" + key:                                              "sources[0].webhook.verify: twilio signs the address that it posts to, and without public_url",
		"scheme: square" + key:                                              "public_url: https://hooks.example.com",
		"scheme: hmac, header: X-S, id: X-Id, content: '{url}{body}'" + key: "hmac signs the address",
		"scheme: hmac, header: X-S, id: X-Id, content: '{url}{body}', public_url: 'https://hooks.example.com'" + key:                                 "",
		"scheme: hmac, header: X-S, id: X-Id, content: '{path}{body}'" + key:                                                                         "",
		"scheme: hmac, header: X-S, id: X-Id, content: '{timestamp}.{body}', timestamp: t=, parameter: v1, encoding: base64url, tolerance: 1m" + key: "",
		"scheme: stripe":                                                          "stripe needs secrets",
		"scheme: stripe, secrets: []":                                             "secrets",
		"scheme: stripe, header: X-S" + key:                                       "verify.header: header belongs to the scheme hmac or api-key, not stripe",
		"scheme: stripe, user: ann" + key:                                         "verify.user: user belongs to the scheme basic",
		"scheme: stripe, public_url: https://x" + key:                             "verify.public_url: public_url belongs to",
		"scheme: square, public_url: 'x'" + key:                                   "verify.public_url: \"x\" is no address",
		"scheme: hmac" + key:                                                      "add header",
		"scheme: hmac, header: 'X S', id: X-Id" + key:                             "verify.header: \"x s\" is no header name",
		"scheme: hmac, header: X-S, id: X-Id, content: '{body' " + key:            "verify.content: content has a { without",
		"scheme: hmac, header: X-S, id: X-Id, content: '{timestamp}{body}'" + key: "verify.content: content signs {timestamp}",
		"scheme: hmac, header: X-S, id: X-Id, timestamp: X-T" + key:               "verify.timestamp: the time is not signed",
		"scheme: hmac, header: X-S, id: X-Id, algorithm: md5" + key:               "verify.algorithm",
		"scheme: hmac, header: X-S" + key:                                         "carry no event id",
		"scheme: github, tolerance: 1m" + key:                                     "verify.tolerance: github signs no time",
		"scheme: none, secrets: ['${KEY}']":                                       "none",
		"scheme: none":                                                            "for forms only",
		"scheme: digest" + key:                                                    "is not one of",
	} {
		_, err := verifying(t, rules)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s\ngot %v\nwant it to say %q", rules, err, says)
		}
	}
}
