package integration_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
)

// TestHostileFiles: shapes that are known to be dear for parsers end in mistakes.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.yaml")
	for name, raw := range map[string]string{
		"deep flow lists": strings.Repeat("[", 5000),
		"deeper lists":    strings.Repeat("[", 250000),
		"deep flow maps":  strings.Repeat("{a: ", 5000),
		"deeper maps":     strings.Repeat("{a: ", 60000),
		"deep blocks":     strings.Repeat("- ", 120000),
		"deep keys":       strings.Repeat("? ", 120000),
		"many keys":       strings.Repeat("a: b\n", 10000),
		"many lines":      strings.Repeat("a: b\n", 50000),
		"bombs":           "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
		"nul":             "integration: \x00\n",
		"not UTF-8":       "integration: \xff\xfe\n",
		"wide line":       "integration: " + strings.Repeat("x", 100000),
	} {
		write(t, path, []byte(raw))
		_, err := integration.Load(path, variables)
		var mistakes integration.Mistakes
		if !errors.As(err, &mistakes) || len(mistakes) > 100 {
			t.Errorf("%s: %v", name, err)
		}
	}
	write(t, path, make([]byte, 2<<20))
	if _, err := integration.Load(path, variables); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Error(err)
	}
}
