package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
)

// TestProvidersDocument holds docs/providers.md true: its examples load (with the
// steps that an integration must have) and every scheme has its row.
func TestProvidersDocument(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/providers.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(raw), "```yaml\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("%d examples", len(blocks))
	}
	dir := t.TempDir()
	set := func(name string) (string, bool) { return "x", !strings.HasSuffix(name, "_FILE") }
	for i, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		file := filepath.Join(dir, fmt.Sprintf("%d.yaml", i))
		write(t, file, []byte(text))
		if _, err := integration.Load(file, set); err != nil {
			t.Errorf("example %d: %v", i+1, err)
		}
	}
	for _, s := range provider.Schemes() {
		if !strings.Contains(string(raw), "\n| `"+string(s)+"`") {
			t.Errorf("%s has no row", s)
		}
	}
}
