package cases_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/services/ingest/internal/cases"
)

// folder writes files and a manifest that lists them.
func folder(t *testing.T, files map[string]string, expect map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	var listed []map[string]any
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := map[string]any{"file": name, "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(text))), "bytes": len(text)}
		if e, ok := expect[name]; ok {
			f["expect"] = json.RawMessage(e)
		}
		listed = append(listed, f)
	}
	raw, err := json.Marshal(map[string]any{"files": listed})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// signed is a vector whose signature holds.
const signed = `{"id":"v1","provider":"github","body":"Hello, World!","secret":"It's a Secret to Everybody",
	"headers":{"X-Hub-Signature-256":"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},"why":"documented","expect":"EXPECT"}`

func TestVectorsFindWrongExpectations(t *testing.T) {
	t.Parallel()
	vector := func(expect string) string { return strings.Replace(signed, "EXPECT", expect, 1) }
	for _, c := range []struct {
		name, file, text, expect string
		says                     string // empty: no difference
	}{
		{"valid", "webhooks/vectors/a.json", "[" + vector("valid") + "]", `{"valid":1}`, ""},
		{"bad body", "webhooks/vectors/a.json", "[" + vector("valid_signature_bad_body") + "]", "", ""},
		{"policy", "webhooks/vectors/a.json", "[" + vector("policy") + "]", "", ""},
		{"two secrets, one twice", "webhooks/vectors/a.json", "[" + strings.Replace(vector("valid"), `"secret":`, `"secrets":["x","x","It's a Secret to Everybody"],"secret":`, 1) + "]", "", ""},
		{"header twice", "webhooks/vectors/a.json", "[" + strings.NewReplacer(`"sha256=`, `["a","sha256=`, `17"}`, `17"]}`).Replace(vector("invalid")) + "]", "", ""},
		{"wrongly invalid", "webhooks/vectors/a.json", "[" + vector("invalid") + "]", "", "v1 (documented): accepted"},
		{"wrongly valid", "webhooks/vectors/a.json", "[" + strings.Replace(vector("valid"), "Hello", "hello", 1) + "]", "", "refused: bad_signature"},
		{"empty secret", "webhooks/vectors/a.json", "[" + strings.Replace(vector("valid"), "It's a Secret to Everybody", "", 1) + "]", "", "secret 1 is empty"},
		{"body is JSON", "webhooks/vectors/a.json", `[{"id":"g","provider":"gitlab","body":"{}","secret":"tok","headers":{"X-Gitlab-Token":"tok"},"expect":"valid_signature_bad_body"}]`, "", "the body was read"},
		{"count", "webhooks/vectors/a.json", "[" + vector("valid") + "]", `{"valid":2}`, "vectors that expect valid: got 1, want 2"},
		{"unknown expectation", "webhooks/vectors/a.json", "[" + vector("maybe") + "]", "", `"maybe" is not known`},
		{"unknown provider", "webhooks/vectors/a.json", "[" + strings.Replace(vector("valid"), `"github"`, `"nobody"`, 1) + "]", "", "no scheme verifies"},
		{"none", "webhooks/vectors/a.json", "[]", "", "no vectors"},
		{"no list", "webhooks/vectors/a.json", "{}", "", "cannot be read"},
		{"payload", "webhooks/payloads/stripe/a.json", `{"id":"evt_1"}`, "", ""},
		{"payload without id", "webhooks/payloads/stripe/a.json", `{"no":"evt_1"}`, "", "gives no event id"},
		{"payload broken", "webhooks/payloads/github/a.json", `{"id":`, "", "not read"},
		{"payload of an unknown provider", "webhooks/payloads/somebody/a.json", `{}`, "", ""},
		{"multipart", "webhooks/payloads/sendgrid/a.txt", "--b\nContent-Disposition: form-data; name=\"a\"\n\n1\n--b--", "", ""},
		{"escaped form", "webhooks/payloads/twilio/a.txt", "MessageSid=SM1&Body=a%26b%3Bc\n", "", ""},
		{"slack: what has no id", "webhooks/payloads/slack/a.json", `{"type":"url_verification","challenge":"c"}`, "", ""},
		{"slack: event without id", "webhooks/payloads/slack/a.json", `{"type":"event_callback"}`, "", "gives no event id"},
		{"adyen: of a terminal", "webhooks/payloads/adyen/a.json", `{"SaleToPOIRequest":{}}`, "", ""},
		{"adyen: nothing", "webhooks/payloads/adyen/a.json", `{"type":"a.updated"}`, "", "gives no event id"},
		{"gogs", "webhooks/payloads/gogs/a.json", `{}`, "", ""},
		{"no form", "webhooks/payloads/twilio/a.txt", "words", "", "neither JSON nor"},
		{"multipart cut off", "webhooks/payloads/sendgrid/a.txt", "--b\nContent-Disposition: form-data; name=\"a\"\n\n1\n", "", "field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect := map[string]string{}
			if c.expect != "" {
				expect[c.file] = c.expect
			}
			var out bytes.Buffer
			result, err := cases.Run(folder(t, map[string]string{c.file: c.text}, expect), &out)
			if err != nil {
				t.Fatal(err)
			}
			if result.OK() != (c.says == "") || !strings.Contains(out.String(), c.says) {
				t.Errorf("%d differences, want %q said:\n%s", result.Differences, c.says, out.String())
			}
		})
	}
}
