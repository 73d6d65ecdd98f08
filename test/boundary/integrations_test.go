package boundary

import (
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
)

var integrationFile = regexp.MustCompile(`(?m)^integration:`)

// standIn gives every variable a value of the kind that its name tells.
func standIn(name string) (string, bool) {
	if strings.HasSuffix(name, "_URL") {
		return "https://example.com/path", true
	}
	return "whsec_c3RhbmQtaW4gZm9yIGEgc2VjcmV0IG9mIDI0IGJ5dGVz", true
}

// TestSamplesLoad reads every integration that deploy/ ships.
func TestSamplesLoad(t *testing.T) {
	t.Parallel()
	r := read(t)
	samples := 0
	for name, text := range r.text {
		if ext := path.Ext(name); !strings.HasPrefix(name, "deploy/") || (ext != ".yaml" && ext != ".yml") || !integrationFile.MatchString(text) {
			continue
		}
		samples++
		if _, err := integration.Load(filepath.Join(r.root, filepath.FromSlash(name)), standIn); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(text, "$schema=") {
			t.Errorf("%s: names no schema: editors cannot help", name)
		}
	}
	if samples == 0 {
		t.Error("deploy/ holds no integration")
	}
}
