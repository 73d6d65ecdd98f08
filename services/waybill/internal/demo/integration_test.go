package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/integration"
)

func TestGenerateMakesAnIntegrationThatLoads(t *testing.T) {
	t.Parallel()
	shipped := filepath.Join("..", "..", "..", "..", "deploy", "integrations", "service-requests.yaml")
	lookup := func(string) (string, bool) { return "whsec_x", true }
	for drop, sources := range map[string]int{"": 1, "/drop": 2} {
		dir := t.TempDir()
		if err := generate(shipped, dir, parties{crm: "http://127.0.0.1:1", status: "http://127.0.0.1:2/status", drop: drop}); err != nil {
			t.Fatal(err)
		}
		in, err := integration.Load(filepath.Join(dir, "service-requests.yaml"), lookup)
		if err != nil {
			t.Fatal(err)
		}
		if len(in.Sources) != sources || in.Process.Retry.Attempts != 4 || in.Process.Retry.Delays[2] != 10*time.Second ||
			in.Acknowledge.Post.To != "http://127.0.0.1:2/status" || !in.Destinations["crm"].AllowPrivate || len(in.Process.Steps) != 4 {
			t.Errorf("generated: %d sources, %+v, %+v", len(in.Sources), in.Process.Retry, in.Acknowledge.Post)
		}
	}
}

func TestGenerateSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := generate(filepath.Join(dir, "nowhere.yaml"), dir, parties{})
	if err == nil || !strings.Contains(err.Error(), "--integration") {
		t.Errorf("a missing file: %v", err)
	}
	other := filepath.Join(dir, "other.yaml")
	if err := os.WriteFile(other, []byte("integration: other\nsources: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = generate(other, t.TempDir(), parties{})
	if err == nil || !strings.Contains(err.Error(), "[destinations] is not there") {
		t.Errorf("another integration: %v", err)
	}
}

func TestTyped(t *testing.T) {
	t.Parallel()
	if got := typed([]string{"dead", "it's", "a b"}); got != ` dead 'it'\''s' 'a b'` {
		t.Errorf("typed: %s", got)
	}
}
