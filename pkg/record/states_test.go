package record_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waybill.internal/pkg/record"
)

var update = flag.Bool("update", false, "rewrite the golden files and docs/states.md")

// compare holds text against a file, or rewrites the file with -update.
func compare(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run go test ./record -update and review the difference", err)
	}
	if text == string(want) {
		return
	}
	got, old := strings.Split(text, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(old)) {
		if g, o := line(got, i), line(old, i); g != o {
			t.Fatalf("%s differs at line %d\n  file: %s\n  now:  %s\nrun go test ./record -update and review the difference", filepath.Base(path), i+1, o, g)
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(no such line)"
}

// table prints one row per event that leads anywhere or, with all, for every event.
func table[S ~string](b *strings.Builder, from []S, next func(S, record.Event) (S, error), all bool) {
	b.WriteString("| event |")
	for _, s := range from {
		fmt.Fprintf(b, " %s |", named(s))
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(from)) + "\n")
	for _, e := range record.Events() {
		row, legal := fmt.Sprintf("| %s |", e), false
		for _, s := range from {
			to, err := next(s, e)
			if err != nil {
				row += " · |"
				continue
			}
			legal = true
			row += fmt.Sprintf(" %s |", to)
		}
		if legal || all {
			b.WriteString(row + "\n")
		}
	}
}

func named[S ~string](s S) string {
	if s == "" {
		return "(no row)"
	}
	return string(s)
}

func statesAndNone() []record.State { return append([]record.State{record.None}, record.States()...) }

func TestMatrix(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("Every event in every state of a record; · is illegal.\n\n")
	table(&b, statesAndNone(), record.Next, true)
	b.WriteString("\nEvery event in every state of an outcome; · is illegal.\n\n")
	table(&b, record.OutcomeStates(), record.NextOutcome, true)
	compare(t, filepath.Join("testdata", "matrix.txt"), b.String())
}

func TestEveryEventLeadsSomewhereAndEveryStateIsReached(t *testing.T) {
	t.Parallel()
	reached := map[record.State]bool{}
	outcomes := map[record.OutcomeState]bool{record.NoOutcome: true, record.OutcomeDue: true}
	for _, e := range record.Events() {
		legal := false
		for _, s := range statesAndNone() {
			if to, err := record.Next(s, e); err == nil {
				reached[to], legal = true, true
			}
		}
		for _, s := range record.OutcomeStates() {
			if to, err := record.NextOutcome(s, e); err == nil {
				outcomes[to], legal = true, true
			}
		}
		if !legal {
			t.Errorf("event %s is legal nowhere", e)
		}
	}
	for _, s := range record.States() {
		if !reached[s] {
			t.Errorf("state %s is never reached", s)
		}
	}
	for _, s := range record.OutcomeStates() {
		if !outcomes[s] {
			t.Errorf("outcome state %s is never reached", s)
		}
	}
}

// source is what the comments of state.go say.
type source struct {
	drawing string
	names   map[string]string // constant's name by its value
	facts   map[string]string // comment by the constant's value
	events  []string          // values of the Event constants, as declared
}

func readSource(t *testing.T) source {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "state.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	s := source{names: map[string]string{}, facts: map[string]string{}}
	for _, c := range file.Comments {
		if text, ok := strings.CutPrefix(c.Text(), "The life of a record, whole."); ok {
			_, s.drawing, _ = strings.Cut(text, "\n")
		}
	}
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			for _, spec := range g.Specs {
				s.add(spec.(*ast.ValueSpec))
			}
		}
	}
	if s.drawing == "" {
		t.Fatal("state.go has no drawing")
	}
	return s
}

func (s *source) add(v *ast.ValueSpec) {
	value := strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`)
	kind := v.Type.(*ast.Ident).Name
	key := kind + ":" + value
	s.names[key] = v.Names[0].Name
	s.facts[key] = strings.Join(strings.Fields(v.Doc.Text()+v.Comment.Text()), " ")
	if kind == "Event" {
		s.events = append(s.events, value)
	}
}

func TestDocumentOfStates(t *testing.T) {
	t.Parallel()
	s := readSource(t)
	var declared []string
	for _, e := range record.Events() {
		declared = append(declared, string(e))
	}
	if !slices.Equal(declared, s.events) {
		t.Errorf("Events() is %v, declared are %v", declared, s.events)
	}
	var b strings.Builder
	b.WriteString("# The life of a record\n\nPrinted from `pkg/record/state.go` by its test; `go test ./record -update` in `pkg` rewrites it.\n\n")
	b.WriteString("```text\n" + strings.Trim(s.drawing, "\n") + "\n```\n\n## States\n\n")
	b.WriteString("Each with three facts: what is true in the ledger, who may move it, by when someone must.\n\n| state | final | facts |\n| --- | --- | --- |\n")
	for _, state := range record.States() {
		key := "State:" + string(state)
		fact := strings.TrimPrefix(s.facts[key], s.names[key]+": ")
		if fact == "" {
			t.Errorf("state %s has no facts", state)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", state, yes(state.Final()), fact)
	}
	b.WriteString("\n## Events\n\n| event | what happened |\n| --- | --- |\n")
	for _, e := range record.Events() {
		fmt.Fprintf(&b, "| %s | %s |\n", e, s.facts["Event:"+string(e)])
	}
	b.WriteString("\n## Where an event leads\n\nA column is the state before; · cannot happen.\n\n")
	table(&b, statesAndNone(), record.Next, false)
	b.WriteString("\n## The outcome beside a final record\n\n| outcome | what it says |\n| --- | --- |\n")
	for _, o := range record.OutcomeStates() {
		fmt.Fprintf(&b, "| %s | %s |\n", o, s.facts["OutcomeState:"+string(o)])
	}
	b.WriteString("\n")
	table(&b, record.OutcomeStates(), record.NextOutcome, false)
	compare(t, filepath.Join(root(t), "docs", "states.md"), b.String())
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// root is the folder of go.work.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.work above this test")
		}
		dir = parent
	}
}
