package testmaterial_test

import (
	"os"
	"path/filepath"
	"testing"

	"waybill.internal/pkg/testmaterial"
)

// Not parallel, all of these: they set the environment or the working folder.
func TestTheVariableWins(t *testing.T) {
	t.Setenv(testmaterial.Variable, "elsewhere")
	if got := testmaterial.Folder(t); got != "elsewhere" {
		t.Errorf("%q", got)
	}
}

func TestBesideTheRepository(t *testing.T) {
	t.Setenv(testmaterial.Variable, "")
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(base, "repository", "pkg", "deep")
	if err := os.MkdirAll(deep, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "repository", "go.work"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	if got, want := testmaterial.Folder(t), filepath.Join(base, "shared", "cases"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// fatal notes that a test was ended.
type fatal struct {
	testing.TB
	ended bool
}

func (f *fatal) Fatalf(string, ...any) {
	f.ended = true
	panic(f)
}

func TestNowhereIsAFailure(t *testing.T) {
	t.Setenv(testmaterial.Variable, "")
	t.Chdir(string(filepath.Separator))
	f := &fatal{TB: t}
	defer func() {
		if r := recover(); r != any(f) || !f.ended {
			t.Errorf("the test goes on without its material: %v", r)
		}
	}()
	testmaterial.Folder(f)
}
