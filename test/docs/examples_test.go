package docs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
)

// TestExamplesLoad holds the integrations that the pages about sources show: each
// YAML block is a whole file that Waybill takes as it stands.
func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	_, list := loaded(t)
	for name, least := range map[string]int{"docs/files.md": 8, "docs/polls.md": 5, "docs/kafka.md": 2} {
		examples := 0
		for _, p := range list {
			if p.name != name {
				continue
			}
			for i, block := range strings.Split(p.text, "```yaml\n")[1:] {
				text, _, closed := strings.Cut(block, "```")
				file := filepath.Join(t.TempDir(), strconv.Itoa(i)+".yaml")
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := integration.Load(file, anySecret); err != nil || !closed {
					t.Errorf("%s, example %d: %v", name, i+1, err)
				}
				examples++
			}
		}
		if examples < least {
			t.Errorf("%s has %d examples, at least %d are expected", name, examples, least)
		}
	}
}

// TestReadyMadeConfigurationsLoad does the same for deploy/examples.
func TestReadyMadeConfigurationsLoad(t *testing.T) {
	t.Parallel()
	f, _ := loaded(t)
	files, err := filepath.Glob(filepath.Join(f.root, "deploy", "examples", "*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if _, err := integration.Load(file, anySecret); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
}

// anySecret is set for every secret; addresses keep their defaults.
func anySecret(name string) (string, bool) {
	secret := strings.HasSuffix(name, "_SECRET") || strings.HasSuffix(name, "_TOKEN") || strings.HasSuffix(name, "_PASSWORD") || strings.HasSuffix(name, "_KEY")
	return "x", secret
}
