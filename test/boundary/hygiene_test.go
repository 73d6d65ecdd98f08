package boundary

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	longFile     = 450 // lines
	longFunction = 90  // lines
)

var (
	// A path of the machine that it was written on says nothing elsewhere.
	machinePath = regexp.MustCompile(`(?:^|[^\w.$}/-])/(?:work|root|home|Users)/`)
	unfinished  = regexp.MustCompile(`\b(?:TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	emptyName   = regexp.MustCompile(`(?:^|/)(?:utils?|common|helpers?|misc|models?)(?:/|\.go$|_test\.go$)`)
)

func textProblems(name, text string) []string {
	var problems []string
	if emptyName.MatchString(name) {
		problems = append(problems, name+": a name that says nothing: name what it gives, or move it to its one caller")
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if machinePath.MatchString(line) {
			problems = append(problems, fmt.Sprintf("%s:%d: the path of a machine", name, n))
		}
		if unfinished.MatchString(line) {
			problems = append(problems, fmt.Sprintf("%s:%d: unfinished: do it or leave it out", name, n))
		}
	}
	return problems
}

// sleeps finds real sleeps where a test waits; in virtual time they are fine.
func sleeps(s source) []string {
	if !s.test() && !s.suite() && !s.in("test/harness") && !s.in("test/world") || slices.Contains(s.imports, "testing/synctest") {
		return nil
	}
	var problems []string
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && isSelector(call.Fun, "time", "Sleep") {
			problems = append(problems, fmt.Sprintf("%s:%d: a test sleeps: wait for a signal, poll with a deadline, or use testing/synctest", s.path, s.line(n)))
		}
		return true
	})
	return problems
}

func isSelector(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// undocumented finds exported identifiers of pkg without a comment.
func undocumented(s source) []string {
	if !s.in("pkg") || s.test() || s.syntax.Name.Name == "main" || ast.IsGenerated(s.syntax) {
		return nil
	}
	var problems []string
	say := func(n ast.Node, what string) {
		problems = append(problems, fmt.Sprintf("%s:%d: %s has no comment", s.path, s.line(n), what))
	}
	var types map[string]bool // documented by the declaration before
	for _, d := range s.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			known := d.Recv != nil && wellKnown[d.Name.Name]
			if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !known {
				say(d, d.Name.Name)
			}
		case *ast.GenDecl:
			explained := false // a comment holds until the next blank line
			for i, spec := range d.Specs {
				explained = explained && s.line(spec)-s.set.Position(d.Specs[i-1].End()).Line <= 1
				explained = explained || comment(d, spec, types)
				if name := exportedName(spec); name != "" && !explained {
					say(spec, name)
				}
			}
			types = documentedTypes(d)
		}
	}
	return problems
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// wellKnown are methods whose meaning the standard library documents.
var wellKnown = map[string]bool{ //nolint:gochecknoglobals // a table
	"Error": true, "Unwrap": true, "Is": true, "As": true, "String": true, "GoString": true, "Format": true,
	"MarshalText": true, "UnmarshalText": true, "MarshalJSON": true, "UnmarshalJSON": true,
}

// comment says whether a declaration is explained: by its own comment, by its
// group's, or, for the values of a type, by the type right before.
func comment(d *ast.GenDecl, spec ast.Spec, types map[string]bool) bool {
	if d.Doc != nil {
		return true
	}
	switch x := spec.(type) {
	case *ast.TypeSpec:
		return x.Doc != nil || x.Comment != nil
	case *ast.ValueSpec:
		of, _ := x.Type.(*ast.Ident)
		return x.Doc != nil || x.Comment != nil || (of != nil && types[of.Name])
	default:
		return true
	}
}

func documentedTypes(d *ast.GenDecl) map[string]bool {
	types := map[string]bool{}
	for _, spec := range d.Specs {
		if x, ok := spec.(*ast.TypeSpec); ok && (d.Doc != nil || x.Doc != nil) {
			types[x.Name.Name] = true
		}
	}
	return types
}

// exportedName gives the first exported name of a type or value; "" if there is none.
func exportedName(spec ast.Spec) string {
	var names []*ast.Ident
	switch x := spec.(type) {
	case *ast.TypeSpec:
		names = []*ast.Ident{x.Name}
	case *ast.ValueSpec:
		names = x.Names
	}
	for _, n := range names {
		if n.IsExported() {
			return n.Name
		}
	}
	return ""
}

func TestText(t *testing.T) {
	t.Parallel()
	r := read(t)
	for name, text := range r.text {
		if ext := path.Ext(name); ext == ".sum" || ext == ".secret" || name == "LICENSE" {
			continue
		}
		for _, p := range textProblems(name, text) {
			t.Error(p)
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	packages := map[string]bool{}
	for _, s := range read(t).code {
		for _, p := range append(sleeps(s), undocumented(s)...) {
			t.Error(p)
		}
		if !s.test() && !ast.IsGenerated(s.syntax) {
			packages[s.folder()] = true
			documented[s.folder()] = documented[s.folder()] || s.syntax.Doc != nil
		}
		warnOfSize(t, s)
	}
	for folder := range packages {
		if !documented[folder] {
			t.Errorf("%s: the package has no comment", folder)
		}
	}
}

// warnOfSize is a reason to look again, not a failure: splitting for the count is worse.
func warnOfSize(t *testing.T, s source) {
	t.Helper()
	if ast.IsGenerated(s.syntax) {
		return
	}
	if n := s.set.Position(s.syntax.End()).Line; n > longFile {
		t.Logf("look again: %s has %d lines", s.path, n)
	}
	for _, d := range s.syntax.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			if n := s.set.Position(f.End()).Line - s.line(f); n > longFunction {
				t.Logf("look again: %s:%d: %s has %d lines", s.path, s.line(f), f.Name.Name, n)
			}
		}
	}
}

func TestScriptsRun(t *testing.T) {
	t.Parallel()
	r := read(t)
	for name, text := range r.text {
		if !strings.HasPrefix(text, "#!") {
			continue
		}
		info, err := os.Stat(filepath.Join(r.root, filepath.FromSlash(name)))
		if err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s begins with #! and cannot be executed (%v)", name, err)
		}
		if !strings.Contains(text, "\nset -") {
			t.Errorf("%s goes on after an error: it needs `set -eu` at least", name)
		}
	}
}

func TestHygieneBreaches(t *testing.T) {
	t.Parallel()
	text := func(name, text string) []string { return textProblems(name, text) }
	code := func(rule func(source) []string) func(string, string) []string {
		return func(name, text string) []string { return rule(planted(t, name, text)) }
	}
	for title, c := range map[string]struct {
		rule       func(name, text string) []string
		name, text string
		problems   int
	}{
		"machine path":         {text, "docs/x.md", "see /ro" + "ot/x and\n/ho" + "me/x", 2},
		"not a machine path":   {text, "docs/x.md", "queued/wo" + "rk/done https://a.example/ho" + "me/x", 0},
		"unfinished":           {text, "pkg/a/a.go", "// TO" + "DO: later\n", 1},
		"empty name":           {text, "pkg/utils/a.go", "", 1},
		"empty file name":      {text, "pkg/a/helpers.go", "", 1},
		"a name that contains": {text, "pkg/commonness/a.go", "", 0},
		"sleep":                {code(sleeps), "pkg/a/a_test.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }", 1},
		"sleep in a suite":     {code(sleeps), "pkg/a/atest/a.go", "package atest\nimport \"time\"\nfunc f() { time.Sleep(1) }", 1},
		"sleep in a program":   {code(sleeps), "services/a/a.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }", 0},
		"sleep in the harness": {code(sleeps), "test/harness/a.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }", 1},
		"sleep in a world":     {code(sleeps), "test/world/a.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }", 1},
		"virtual sleep":        {code(sleeps), "pkg/a/a_test.go", "package a\nimport (\"time\"; \"testing/synctest\")\nfunc f() { time.Sleep(1); synctest.Wait() }", 0},
		"bare function":        {code(undocumented), "pkg/a/a.go", "package a\nfunc F() {}", 1},
		"bare method":          {code(undocumented), "pkg/a/a.go", "package a\n// T is.\ntype T[E any] struct{}\nfunc (t *T[E]) F() {}", 1},
		"method of own":        {code(undocumented), "pkg/a/a.go", "package a\ntype t struct{}\nfunc (t) F() {}", 0},
		"bare type and value":  {code(undocumented), "pkg/a/a.go", "package a\ntype T int\nconst C = 1\nvar V, w = 1, 2", 3},
		"values of a type":     {code(undocumented), "pkg/a/a.go", "package a\n// T is.\ntype T int\nconst (\n\tA T = iota\n\tB\n\n\tC\n)", 1},
		"error text":           {code(undocumented), "pkg/a/a.go", "package a\n// T is.\ntype T int\nfunc (T) Error() string { return \"\" }", 0},
		"group":                {code(undocumented), "pkg/a/a.go", "package a\n// Limits.\nconst (\n\tA = 1\n\tB = 2\n)\nvar C = 1 // is one", 0},
		"a service":            {code(undocumented), "services/a/a.go", "package a\nfunc F() {}", 0},
	} {
		if got := c.rule(c.name, c.text); len(got) != c.problems {
			t.Errorf("%s: want %d problems, got %q", title, c.problems, got)
		}
	}
}
