package boundary

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// modfile is what `go mod edit -json` tells and these tests need.
type modfile struct {
	folder  string // relative to the root
	Module  struct{ Path string }
	Go      string
	Require []struct {
		Path     string
		Version  string
		Indirect bool
	}
	Replace []struct{ Old, New struct{ Path string } }
}

func (m modfile) requires(name string) (found, indirect bool) {
	for _, r := range m.Require {
		if r.Path == name {
			return true, r.Indirect
		}
	}
	return false, false
}

// moduleProblems says what keeps a module from building outside the workspace.
// A replace line is not inherited: each module needs one for every module of ours
// that it reaches, also through another.
func moduleProblems(m modfile, all map[string]modfile, imports map[string]map[string]bool) []string {
	var problems []string
	say := func(format string, args ...any) {
		problems = append(problems, m.folder+"/go.mod: "+fmt.Sprintf(format, args...))
	}
	if want := module + m.folder; m.Module.Path != want {
		say("the module is %s, want %s", m.Module.Path, want)
	}
	replaced := map[string]string{}
	for _, r := range m.Replace {
		if strings.HasPrefix(r.Old.Path, module) {
			replaced[r.Old.Path] = path.Join(m.folder, r.New.Path)
		} else {
			say("replaces %s: what others publish is taken as it is", r.Old.Path)
		}
	}
	reach := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		for next := range imports[name] {
			if !reach[next] && next != m.Module.Path {
				reach[next] = true
				visit(next)
			}
		}
	}
	visit(m.Module.Path)
	for _, name := range slices.Sorted(maps.Keys(reach)) {
		if found, _ := m.requires(name); !found && imports[m.Module.Path][name] {
			say("imports %s without a require line", name)
		}
		if replaced[name] != all[name].folder {
			say("needs the line: replace %s => %s", name, relative(m.folder, all[name].folder))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(replaced)) {
		if all[name].folder == "" {
			say("replaces %s, which does not exist", name)
		}
	}
	return problems
}

func relative(from, to string) string {
	rel, err := filepath.Rel(from, to)
	if err != nil {
		return to
	}
	return filepath.ToSlash(rel)
}

// modules reads every go.mod that go.work uses.
func modules(t *testing.T, root string) map[string]modfile {
	t.Helper()
	var work struct {
		Use []struct{ DiskPath string }
	}
	goJSON(t, root, &work, "work", "edit", "-json")
	all := map[string]modfile{}
	for _, u := range work.Use {
		m := modfile{folder: path.Clean(u.DiskPath)}
		goJSON(t, filepath.Join(root, m.folder), &m, "mod", "edit", "-json")
		all[m.Module.Path] = m
	}
	return all
}

func goJSON(t *testing.T, folder string, v any, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = folder
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go %s in %s: %v", strings.Join(args, " "), folder, err)
	}
	if err := json.Unmarshal(out, v); err != nil {
		t.Fatalf("go %s in %s: %v", strings.Join(args, " "), folder, err)
	}
}

// owner is the module with the longest path that holds a package.
func owner(pkg string, all map[string]modfile) string {
	best := ""
	for name := range all {
		if matches(pkg, name) && len(name) > len(best) {
			best = name
		}
	}
	return best
}

// between gives which module imports which, tests included: tidy counts them.
func between(code []source, all map[string]modfile) map[string]map[string]bool {
	imports := map[string]map[string]bool{}
	for _, s := range code {
		from := owner(module+s.folder(), all)
		for _, imported := range s.imports {
			if to := owner(imported, all); to != "" && to != from {
				if imports[from] == nil {
					imports[from] = map[string]bool{}
				}
				imports[from][to] = true
			}
		}
	}
	return imports
}

func TestModules(t *testing.T) {
	t.Parallel()
	r := read(t)
	all := modules(t, r.root)
	imports := between(r.code, all)
	versions := map[string]bool{}
	for _, m := range all {
		versions[m.Go] = true
		for _, p := range moduleProblems(m, all, imports) {
			t.Error(p)
		}
		if _, err := os.Stat(filepath.Join(r.root, m.folder, "go.sum")); err != nil && len(m.Require) > 0 {
			t.Errorf("%s: %v", m.folder, err)
		}
	}
	if len(versions) != 1 {
		t.Errorf("the modules name different versions of Go: %v", slices.Sorted(maps.Keys(versions)))
	}
	for name := range r.text {
		if path.Base(name) == "go.mod" {
			if m := all[module+path.Dir(name)]; m.folder == "" {
				t.Errorf("%s is not in go.work", name)
			}
		}
	}
}

func TestModuleBreaches(t *testing.T) {
	t.Parallel()
	make := func(folder string, text string) modfile {
		m := modfile{folder: folder}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	proto := make("proto", `{"Module":{"Path":"waybill.internal/proto"}}`)
	pkg := make("pkg", `{"Module":{"Path":"waybill.internal/pkg"},"Require":[{"Path":"waybill.internal/proto"}],"Replace":[{"Old":{"Path":"waybill.internal/proto"},"New":{"Path":"../proto"}}]}`)
	imports := map[string]map[string]bool{pkg.Module.Path: {proto.Module.Path: true}, "waybill.internal/test": {pkg.Module.Path: true}}
	const head = `{"Module":{"Path":"waybill.internal/test"},"Require":[{"Path":"waybill.internal/pkg"}],"Replace":[`
	const toPkg = `{"Old":{"Path":"waybill.internal/pkg"},"New":{"Path":"../pkg"}}`
	const toProto = `{"Old":{"Path":"waybill.internal/proto"},"New":{"Path":"../proto"}}`
	for title, c := range map[string]struct{ text, want string }{
		"whole":          {head + toPkg + "," + toProto + "]}", ""},
		"through":        {head + toPkg + "]}", "needs the line: replace waybill.internal/proto => ../proto"},
		"wrong folder":   {head + `{"Old":{"Path":"waybill.internal/pkg"},"New":{"Path":"./pkg"}},` + toProto + "]}", "needs the line: replace waybill.internal/pkg => ../pkg"},
		"no require":     {strings.Replace(head, "internal/pkg", "internal/pkgs", 1) + toPkg + "," + toProto + "]}", "imports waybill.internal/pkg without a require line"},
		"gone":           {head + toPkg + "," + toProto + `,{"Old":{"Path":"waybill.internal/gone"},"New":{"Path":"../gone"}}]}`, "which does not exist"},
		"another's":      {head + toPkg + "," + toProto + `,{"Old":{"Path":"example.com/x"},"New":{"Path":"../x"}}]}`, "is taken as it is"},
		"another's name": {strings.Replace(head, "internal/test", "internal/tests", 1) + toPkg + "," + toProto + "]}", "want waybill.internal/test"},
	} {
		m := make("test", c.text)
		all := map[string]modfile{"waybill.internal/proto": proto, "waybill.internal/pkg": pkg, "waybill.internal/test": m}
		got := strings.Join(moduleProblems(m, all, imports), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: want %q, got %q", title, c.want, got)
		}
	}
}
