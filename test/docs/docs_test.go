package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"waybill.internal/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func loaded(t *testing.T) (facts, []page) {
	t.Helper()
	f, err := theFacts()
	if err != nil {
		t.Fatal(err)
	}
	list, err := pages(f.root)
	if err != nil {
		t.Fatal(err)
	}
	return f, list
}

func TestLinks(t *testing.T) {
	t.Parallel()
	f, list := loaded(t)
	for _, p := range list {
		for _, problem := range f.links(p) {
			t.Error(problem)
		}
	}
}

func TestMentions(t *testing.T) {
	t.Parallel()
	f, list := loaded(t)
	if len(list) < 10 {
		t.Fatalf("only %d pages were found below %s", len(list), f.root)
	}
	for _, p := range list {
		for _, problem := range f.mentions(p) {
			t.Error(problem)
		}
	}
}

func TestTheRulesSeeMistakes(t *testing.T) {
	t.Parallel()
	f, _ := loaded(t)
	for _, c := range []struct{ text, want string }{
		{"[x](docs/nowhere.md)", "leads nowhere"},
		{"[x](CONTRIBUTING.md#no-such-heading)", "no such heading"},
		{"# A `b` c!\n[x](#a-b-d)", "no such heading"},
		{"`make demonstrate`", "make has no target demonstrate"},
		{"```\n$ FOO=1 make tset RUN=x\n```", "make has no target tset"},
		{"`waybill trase x`", "waybill has no command trase"},
		{"`waybill dead lists`", "waybill dead has no command lists"},
		{"```\nwaybill audit --graze 3s\n```", "waybill audit has no flag --graze"},
		{"`true && waybill dead requeue --al`", "waybill dead requeue has no flag --al"},
		{"set `WAYBILL_" + "NONSENSE_NAME`", "nothing reads the variable"},
		{"see `pkg/recordd`", "there is no pkg/recordd"},
	} {
		p := page{name: "README.md", text: c.text}
		if problems := append(f.links(p), f.mentions(p)...); len(problems) != 1 || !strings.Contains(problems[0], c.want) {
			t.Errorf("%q: got %q, want one problem with %q", c.text, problems, c.want)
		}
	}
	right := page{name: "README.md", text: "# A `b` c!\n[x](#a-b-c) [y](https://example.com/a) [z](CONTRIBUTING.md)\n`make test TEST_FLAGS=-run=X`\n" +
		"```\n$ waybill dead requeue --all --dry-run; waybill --json audit | jq .\nWAYBILL_POSTGRES_URL_FILE=x waybill doctor\nwaybill: an answer\n```\n`pkg/record`"}
	if problems := append(f.links(right), f.mentions(right)...); len(problems) != 0 {
		t.Errorf("what is right is refused: %q", problems)
	}
}

var kindConst = regexp.MustCompile(`(?m)^\tKind[A-Za-z]+ +Kind = "([a-z_]+)"`)

// TestEveryAlertHasAPage: whoever is woken by an alert finds what to do.
func TestEveryAlertHasAPage(t *testing.T) {
	t.Parallel()
	f, _ := loaded(t)
	source, err := os.ReadFile(filepath.Join(f.root, "pkg", "telemetry", "alerts.go"))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, m := range kindConst.FindAllStringSubmatch(string(source), -1) {
		kinds = append(kinds, m[1])
	}
	if len(kinds) < 5 {
		t.Fatalf("pkg/telemetry declares its kinds in another way: found only %q", kinds)
	}
	index, err := os.ReadFile(filepath.Join(f.root, "docs", "runbook", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		text, err := os.ReadFile(filepath.Join(f.root, "docs", "runbook", kind+".md"))
		if err != nil {
			t.Errorf("the alert %s has no page: %v", kind, err)
			continue
		}
		for _, part := range []string{"## What it means", "## What to look at", "## How to repair", "## How to verify"} {
			if !strings.Contains(string(text), part+"\n") {
				t.Errorf("docs/runbook/%s.md has no %q", kind, part)
			}
		}
		if !strings.Contains(string(index), "("+kind+".md)") {
			t.Errorf("docs/runbook/README.md does not lead to %s.md", kind)
		}
	}
	files, err := filepath.Glob(filepath.Join(f.root, "docs", "runbook", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".md"); name != "README" && !slices.Contains(kinds, name) {
			t.Errorf("docs/runbook/%s.md is about an alert that is never raised", name)
		}
	}
}
