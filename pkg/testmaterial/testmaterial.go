// Package testmaterial finds the real payloads, signature vectors and files that
// tests read and that are not part of this repository.
package testmaterial

import (
	"os"
	"path/filepath"
	"testing"
)

// Variable names the environment variable that says where the material lies.
const Variable = "WAYBILL_CASES"

// Folder is the one named by [Variable], else shared/cases beside the repository.
// It is not looked into: a test that misses a file in it fails there. The test
// fails here when neither the variable nor the repository's go.work is found.
func Folder(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv(Variable); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return filepath.Join(dir, "..", "shared", "cases")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatalf("no go.work above the test's folder and %s is not set: cannot find the test material", Variable)
		}
		dir = parent
	}
}
