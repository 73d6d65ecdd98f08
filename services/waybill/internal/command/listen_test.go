package command_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/services/waybill/internal/command"
)

// listener is a running `waybill listen`.
type listener struct {
	lines  *bufio.Scanner
	cancel context.CancelFunc
	code   chan int
	errs   *bytes.Buffer

	URL        string `json:"url"`
	Secret     string `json:"secret"`
	SecretFile string `json:"secret_file"`
}

// heard is one line of it.
type heard struct {
	EventID string `json:"event_id"`
	Verdict string `json:"verdict"`
	Why     string `json:"why"`
	Status  int    `json:"status"`
	Forward string `json:"forward"`
}

func listen(t *testing.T, home string, args ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	l := &listener{lines: bufio.NewScanner(in), cancel: cancel, code: make(chan int, 1), errs: &bytes.Buffer{}}
	go func() { // ends with the context
		l.code <- command.Main(ctx, append([]string{"listen", "--json", "--port", "0"}, args...), command.Surroundings{Stdin: strings.NewReader(""), Stdout: out, Stderr: l.errs, Now: time.Now,
			Lookup: func(name string) (string, bool) { return home, name == "HOME" }})
		_ = out.Close()
	}()
	t.Cleanup(func() { l.stop(t) })
	if !l.lines.Scan() || json.Unmarshal(l.lines.Bytes(), l) != nil {
		t.Fatalf("it does not start: %s", l.errs)
	}
	return l
}

func (l *listener) stop(t *testing.T) {
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.cancel = nil
	if code := <-l.code; code != 0 {
		t.Errorf("exit code %d: %s", code, l.errs)
	}
}

func (l *listener) next(t *testing.T) heard {
	t.Helper()
	var h heard
	if !l.lines.Scan() || json.Unmarshal(l.lines.Bytes(), &h) != nil {
		t.Fatalf("no line: %q %v", l.lines.Text(), l.lines.Err())
	}
	return h
}

// trigger runs while the listener's line is read: its output is a pipe.
func (l *listener) trigger(t *testing.T, args ...string) (int, string, heard) {
	t.Helper()
	type result struct {
		code int
		out  string
	}
	done := make(chan result, 1)
	go func() {
		var out, errs bytes.Buffer
		code := command.Main(t.Context(), append([]string{"trigger"}, args...), command.Surroundings{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now,
			Lookup: func(string) (string, bool) { return "", false }})
		done <- result{code, out.String() + errs.String()}
	}()
	h := l.next(t)
	r := <-done
	return r.code, r.out, h
}

func TestListenForwardsWhatVerifies(t *testing.T) {
	t.Parallel()
	type got struct {
		path, signature, body string
	}
	arrived := make(chan got, 1)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- got{r.URL.RequestURI(), r.Header.Get("webhook-signature"), string(body)}
		w.Header().Set("X-Target", "here")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"ok":true}`)
	}))
	t.Cleanup(target.Close)
	home := t.TempDir()
	l := listen(t, home, "--forward-to", target.URL)
	code, out, h := l.trigger(t, "standard-webhooks", "order.created", "--to", l.URL+"/in/orders?x=1", "--secret", l.SecretFile, "--id", "abc")
	if code != 0 || h.Verdict != "verified" || h.EventID != "msg_abc" || h.Status != 202 || !strings.Contains(out, `{"ok":true}`) {
		t.Fatalf("%d %s %+v", code, out, h)
	}
	g := <-arrived
	if g.path != "/in/orders?x=1" || !strings.HasPrefix(g.signature, "v1,") || !strings.Contains(g.body, `"ord_abc"`) {
		t.Errorf("forwarded %+v", g)
	}

	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, h = l.trigger(t, "standard-webhooks", "order.created", "--to", l.URL, "--secret", other)
	if code != 1 || h.Verdict != "refused" || !strings.Contains(h.Why, "bad_signature") || h.Status != 401 {
		t.Errorf("%d %s %+v", code, out, h)
	}
	target.Close()
	code, out, h = l.trigger(t, "standard-webhooks", "order.created", "--to", l.URL, "--secret", l.SecretFile)
	if code != 1 || h.Verdict != "verified" || h.Status != 502 || !strings.Contains(h.Forward, "not forwarded") {
		t.Errorf("%d %s %+v", code, out, h)
	}
	l.stop(t)

	again := listen(t, home)
	if again.Secret != l.Secret || again.Secret == "" {
		t.Errorf("the secret was %s and is %s", l.Secret, again.Secret)
	}
	info, err := os.Stat(again.SecretFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestListenOfProviders(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for _, c := range []struct{ scheme, event, verdict, says string }{
		{"stripe", "invoice.paid", "verified", ""}, {"slack", "url_verification", "handshake", ""}, {"slack", "slash_command", "verified", ""}, {"github", "ping", "handshake", ""},
		{"sendgrid", "delivered", "verified", ""}, {"discord", "ping", "handshake", ""}, {"discord", "command", "verified", `{"type":5}`}, {"square", "payment.created", "verified", ""},
		{"twilio", "message.received", "verified", "<Response></Response>"}, {"adyen", "CAPTURE", "verified", ""}, {"mailgun", "failed", "verified", ""},
	} {
		t.Run(c.scheme+" "+c.event, func(t *testing.T) {
			t.Parallel()
			l := listen(t, home, "--scheme", c.scheme)
			code, out, h := l.trigger(t, c.scheme, c.event, "--to", l.URL+"/in", "--secret", l.SecretFile)
			if code != 0 || h.Verdict != c.verdict || h.Status != 200 || !strings.Contains(out, c.says) {
				t.Errorf("%d %s %+v", code, out, h)
			}
		})
	}
}

// TestSameIDIsSameEvent: whatever the time, the body and what names the event are the same.
func TestSameIDIsSameEvent(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, event := range [][2]string{{"standard-webhooks", "order.created"}, {"stripe", "invoice.paid"}, {"shopify", "orders/create"}, {"woocommerce", "order.created"}} {
		type sent struct {
			EventID string `json:"event_id"`
			Body    string `json:"body"`
		}
		seen := map[sent]bool{}
		for n := range 2 {
			var out, errs bytes.Buffer
			at := func() time.Time { return time.Date(2026, 5, 1+n, 0, 0, 0, 0, time.UTC) }
			code := command.Main(t.Context(), []string{"trigger", event[0], event[1], "--json", "--dry-run", "--id", "abc", "--secret", secret, "--to", "http://127.0.0.1:1/in"},
				command.Surroundings{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: at, Lookup: func(string) (string, bool) { return "", false }})
			var s sent
			if err := json.Unmarshal(out.Bytes(), &s); code != 0 || err != nil || s.EventID == "" {
				t.Fatalf("%s: %d %v %s %s", event[0], code, err, out.String(), errs.String())
			}
			seen[s] = true
		}
		if len(seen) != 1 {
			t.Errorf("%s: one id makes two events: %v", event[0], seen)
		}
	}
}

func TestListenBoundsBodies(t *testing.T) {
	t.Parallel()
	l := listen(t, t.TempDir())
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.URL, bytes.NewReader(make([]byte, 17<<20)))
	if err != nil {
		t.Fatal(err)
	}
	go func() { // the answer may come before all is sent; the line below is what counts
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	if h := l.next(t); h.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("%+v", h)
	}
}

func TestTriggerBySource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := `
integration: tea
sources:
  - name: hub
    webhook: {path: /in/hub, verify: {scheme: github, secrets: ["${HUB_SECRET}"]}}
  - name: own
    idempotency_key: body.data.id
    webhook: {path: /in/own, verify: {scheme: hmac, header: X-Own, content: "{timestamp}.{body}", timestamp: t=, parameter: v1, secrets: ["${OWN_SECRET}"]}}
process: {steps: [{map: {no: body.no}}, {upsert: {table: orders, key: [no]}}]}
`
	if err := os.WriteFile(filepath.Join(dir, "tea.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{"HUB_SECRET": "hub-secret", "OWN_SECRET": "own-secret", "WAYBILL_INTEGRATIONS": dir}
	for _, c := range []struct {
		args string
		code int
		says []string
	}{
		{"trigger github push --source tea/hub --dry-run", 0, []string{"POST http://127.0.0.1:8080/in/hub", "X-Hub-Signature-256: sha256=", `"ref":"refs/heads/main"`}},
		{"trigger standard-webhooks order.created --source tea/own --to https://in.example.com --dry-run", 0, []string{"POST https://in.example.com/in/own", "X-Own: t="}},
		{"trigger github push --source tea --dry-run", 2, []string{"tea has several webhook sources"}},
		{"trigger github push --source coffee", 2, []string{"no webhook source coffee", "tea/hub, tea/own"}},
		{"trigger stripe invoice.paid --source tea/hub", 2, []string{"takes requests of github"}},
		{"trigger github fork --source tea/hub", 2, []string{"issues, ping, push"}},
		{"trigger github push", 2, []string{"--to must be an address"}},
		{"trigger github push --to http://127.0.0.1:1", 2, []string{"--secret is needed"}},
		{`trigger github push --source tea/hub --dry-run --id a"b`, 2, []string{"--id: letters"}},
		{"trigger github", 2, []string{"name a provider and an event"}},
		{"trigger nobody push --to http://127.0.0.1:1", 2, []string{"no provider"}},
		{"trigger github push --source tea/hub --to http://127.0.0.1:1", 3, []string{"whether it was accepted is unknown"}},
		{"trigger --list", 0, []string{"payment_intent.succeeded", "orders/create", "AUTHORISATION"}},
		{"listen --scheme hmac", 2, []string{"name a provider"}},
		{"listen --forward-to nowhere", 2, []string{"--forward-to"}},
		{"listen", 2, []string{"HOME"}},
	} {
		code, out, errs := line(t, settings, strings.Fields(c.args)...)
		for _, says := range c.says {
			if code != c.code || !strings.Contains(out+errs, says) {
				t.Errorf("waybill %s: exit code %d, want %d, and it must say %q:\n%s%s", c.args, code, c.code, says, out, errs)
			}
		}
	}
}
