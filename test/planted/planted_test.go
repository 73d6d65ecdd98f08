package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"waybill.internal/pkg/planted"
)

func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// switches reads the bugs' identifiers from a file of pkg/planted: with the
// values of constants, and with "" for variables.
func switches(t *testing.T, name string) map[string]string {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(), "pkg", "planted", name), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, d := range syntax.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok == token.IMPORT {
			continue
		}
		for _, spec := range g.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok || len(v.Names) != 1 || len(v.Values) != 1 {
				t.Fatalf("%s: a declaration that is not one name with one value", name)
			}
			value := ""
			if id, ok := v.Values[0].(*ast.Ident); ok && g.Tok == token.CONST && v.Type == nil {
				value = id.Name
			}
			if v.Names[0].IsExported() {
				found[v.Names[0].Name] = value
			}
		}
	}
	return found
}

// TestEveryBugIsHere: what can be planted is planted somewhere, has catchers, and
// is the constant false in a binary that people use.
func TestEveryBugIsHere(t *testing.T) {
	t.Parallel()
	var names []string
	for _, b := range bugs() {
		names = append(names, b.name)
		if len(b.catchers) == 0 || b.meaning == "" {
			t.Errorf("%s has no catcher or no meaning", b.name)
		}
		for _, c := range b.catchers {
			if c.says == "" || !strings.HasPrefix(c.run, "^Test") {
				t.Errorf("%s: the catcher %s names no test, or does not say what it must say", b.name, c.run)
			}
		}
	}
	if want := planted.Names(); !slices.Equal(names, want) {
		t.Errorf("bugs with catchers are %v, those that can be planted %v", names, want)
	}
	constants, variables := switches(t, "planted.go"), switches(t, "bugs.go")
	if len(constants) != len(names) || len(variables) != len(names) {
		t.Errorf("%d constants and %d variables for %d bugs", len(constants), len(variables), len(names))
	}
	for name, value := range constants {
		if _, ok := variables[name]; value != "false" || !ok {
			t.Errorf("%s is %q without the tag, want the untyped constant false; with it a variable: %t", name, value, ok)
		}
		if !used(t, "planted."+name) {
			t.Errorf("no product code asks for planted.%s", name)
		}
	}
}

// used looks through the product's code.
func used(t *testing.T, text string) bool {
	t.Helper()
	found := false
	for _, folder := range []string{"pkg", "services"} {
		err := filepath.WalkDir(filepath.Join(root(), folder), func(name string, e os.DirEntry, err error) error {
			if err != nil || found || e.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return err
			}
			code, err := os.ReadFile(name)
			found = err == nil && bytes.Contains(code, []byte(text))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func build(t *testing.T, args ...string) (binary string, content []byte) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "binary")
	command := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", binary}, args...), "./services/ingest/cmd/ingest")...)
	command.Dir = root()
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build ingest %v: %v\n%s", args, err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return binary, content
}

// TestNoBinaryHoldsBugs: only a binary that is built with the tag knows of them,
// and that one refuses to run in production, or with a bug that is none.
func TestNoBinaryHoldsBugs(t *testing.T) {
	t.Parallel()
	if _, content := build(t); bytes.Contains(content, []byte(planted.Variable)) || bytes.Contains(content, []byte(planted.Names()[0])) {
		t.Error("a binary that was built without the tag knows the planted bugs")
	}
	binary, content := build(t, "-tags", "planted")
	if !bytes.Contains(content, []byte(planted.Variable)) {
		t.Error("a binary that was built with the tag does not know the planted bugs: this test sees nothing")
	}
	settings := []string{"WAYBILL_POSTGRES_URL=postgres://127.0.0.1:1/none", "WAYBILL_KAFKA_BROKERS=127.0.0.1:1", "WAYBILL_INTEGRATIONS=" + t.TempDir(), "WAYBILL_ADMIN_ADDRESS=127.0.0.1:0"}
	for variable, want := range map[string]string{
		"WAYBILL_ENVIRONMENT=production":  "it does not run in production",
		planted.Variable + "=no_such_bug": "give one of acks_none, ",
	} {
		command := exec.CommandContext(t.Context(), binary)
		command.Env = append(slices.Clone(settings), variable)
		if out, err := command.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("with %s: %v\n%s", variable, err, out)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	if all, err := choose(nil); err != nil || len(all) < 12 {
		t.Errorf("%d bugs, want at least 12; %v", len(all), err)
	}
	if some, err := choose([]string{"step_apart", "acks_none"}); err != nil || len(some) != 2 || some[1].name != "acks_none" {
		t.Errorf("chosen: %v, %v", some, err)
	}
	if _, err := choose([]string{"acks"}); err == nil || !strings.Contains(err.Error(), "-list") {
		t.Errorf("an unknown bug: %v", err)
	}
}
