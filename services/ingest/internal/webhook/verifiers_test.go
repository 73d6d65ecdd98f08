package webhook

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
)

// vars are variables that a test changes.
type vars struct {
	mu     sync.Mutex
	values map[string]string
}

func (v *vars) lookup(name string) (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, ok := v.values[name]
	return value, ok
}

func (v *vars) set(name, value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.values[name] = value
}

func entryOf(t *testing.T, v *vars, rules string) (catalog.Entry, *integration.Source) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tea.yaml")
	if err := os.WriteFile(file, []byte("integration: tea\nsources:\n  - webhook: {path: /in/tea, verify: {"+rules+"}}\nrecord: {idempotency_key: body.id}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := integration.Load(file, v.lookup)
	if err != nil {
		t.Fatal(err)
	}
	return catalog.Entry{Integration: in}, &in.Sources[0]
}

func TestVerifiersFollowRotation(t *testing.T) {
	t.Parallel()
	v := &vars{values: map[string]string{"OLD": "old", "NEW": "new"}}
	e, s := entryOf(t, v, "scheme: github, secrets: ['${OLD}', '${NEW}']")
	all := newVerifiers()
	now := time.Unix(1_700_000_000, 0)
	verify := func(secret string, at time.Time) (provider.Verified, error) {
		t.Helper()
		signed, err := provider.Sign(provider.Config{Scheme: provider.GitHub, Secrets: []string{secret}}, provider.Request{Body: []byte("{}"), Header: http.Header{"X-Github-Delivery": {"d1"}}}, at)
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := all.of(e, s)
		if err != nil {
			t.Fatal(err)
		}
		return verifier.Verify(signed, at)
	}
	for i, secret := range []string{"old", "new"} {
		if got, err := verify(secret, now); err != nil || got != (provider.Verified{KeyIndex: i, EventID: "d1"}) {
			t.Errorf("%s: %+v, %v", secret, got, err)
		}
	}
	// The old secret is taken away: the new one keeps its place in the list.
	v.set("OLD", "")
	if got, err := verify("new", now.Add(time.Hour)); err != nil || got.KeyIndex != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := verify("old", now); err == nil {
		t.Error("a secret that is gone still verifies")
	}
	v.set("NEW", "newer")
	if _, err := verify("new", now); err == nil {
		t.Error("a secret that was changed still verifies")
	}
	want := []provider.Use{{Source: "tea/webhook", Index: 0, At: now}, {Source: "tea/webhook", Index: 1, At: now.Add(time.Hour)}}
	if got := (&Handler{verifiers: all}).SecretUses(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	v.set("NEW", "")
	if _, err := all.of(e, s); fault.Of(err).Class != fault.Credentials {
		t.Errorf("without any secret: %v", err)
	}
}

func TestHandshakesNeedNoVerifier(t *testing.T) {
	t.Parallel()
	v := &vars{values: map[string]string{"APP": "app", "TOKEN": "token:tok"}}
	e, s := entryOf(t, v, "scheme: meta, secrets: ['${APP}', '${TOKEN}']")
	ask := provider.Request{Method: http.MethodGet, URL: "https://in.example.com/in/tea?hub.mode=subscribe&hub.challenge=42&hub.verify_token=tok"}
	if answer, ok := newVerifiers().handshake(e, s, ask); !ok || string(answer.Body) != "42" || answer.Signed {
		t.Errorf("%+v, %v", answer, ok)
	}
	v.set("TOKEN", "")
	if answer, ok := newVerifiers().handshake(e, s, ask); !ok || answer.Status != http.StatusForbidden {
		t.Errorf("%+v, %v", answer, ok)
	}
}
