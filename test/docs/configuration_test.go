package docs

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"waybill.internal/test/harness"
)

var update = flag.Bool("update", false, "write docs/configuration.md again") //nolint:gochecknoglobals // a flag of the test binary

const preamble = `# Configuration

Written by ` + "`go test ./docs -update`" + ` (in ` + "`test`" + `) from the binaries' own ` + "`--help`" + ` and from ` + "`docs/integration.schema.json`" + `; a test fails when it is stale.

Two things are configured: the **processes**, by environment variables, and the **integrations**, by one YAML file each.

## Variables

Every variable ` + "`NAME`" + ` may also be given as a file: ` + "`NAME_FILE`" + ` names a file of at most 64 KiB that holds the value. Giving both is a mistake. All mistakes are told at once, each with the variable, the problem and the fix, and the process ends with code 2.

Durations are written like ` + "`500ms`, `10s`, `5m`, `24h`" + `; a ` + "`-`" + ` in the column *default* means that nothing is set.
`

const betweenVariablesAndKeys = `
## Integration files

One YAML file per integration, in the folder ` + "`WAYBILL_INTEGRATIONS`" + `. Check one with ` + "`waybill check FILE`" + `; it tells every mistake with file, line and column. Editors that read the first line of ` + "`deploy/integrations/service-requests.yaml`" + ` complete the keys.

An *expression* is written in the language of ` + "`pkg/expression`" + `: field paths such as ` + "`body.order.id`" + `, operators, functions; a constant text stands in quotes. A *secret* is a reference, ` + "`${NAME}`" + `, looked up each time it is used.

Some keys are read and checked, but carried out only when their feature is there: see [Not built yet](ARCHITECTURE.md#not-built-yet).
`

// setting is one line of a binary's --help.
type setting struct{ name, def, text string }

var settingLine = regexp.MustCompile(`(?m)^  (WAYBILL_[A-Z_]+)  +(\S+)  +(.*)$`)

func TestConfigurationIsUpToDate(t *testing.T) {
	t.Parallel()
	bin, err := harness.Build("")
	if err != nil {
		t.Fatal(err)
	}
	binaries := map[string][]setting{}
	for _, name := range []string{"ingest", "processor", "acknowledger"} {
		help, err := output(filepath.Join(bin, name), "--help")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range settingLine.FindAllStringSubmatch(help, -1) {
			binaries[name] = append(binaries[name], setting{m[1], m[2], m[3]})
		}
		if len(binaries[name]) < 5 {
			t.Fatalf("%s --help lists only %d settings:\n%s", name, len(binaries[name]), help)
		}
	}
	schema, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "integration.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := writeKeys(schema)
	if err != nil {
		t.Fatal(err)
	}
	want := preamble + writeVariables(binaries) + betweenVariablesAndKeys + keys
	file := filepath.Join(harness.Root(), "docs", "configuration.md")
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file) // missing: make it with -update
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("docs/configuration.md is stale from %q on: run `go test ./docs -update` in test and commit it", firstDifference(string(have), want))
	}
}

func firstDifference(have, want string) string {
	lines := strings.Split(have, "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(lines) || lines[i] != line {
			return line
		}
	}
	return "its end"
}

func writeVariables(binaries map[string][]setting) string {
	var out bytes.Buffer
	shared := func(s setting) bool {
		for _, list := range binaries {
			if !slices.Contains(list, s) {
				return false
			}
		}
		return true
	}
	out.WriteString("\n### Every binary\n\n`ingest`, `processor` and `acknowledger`; the command `waybill` reads those of the ledger, of Kafka and of the integrations too.\n\n")
	table := func(list []setting) {
		out.WriteString("| variable | default | what it is |\n| --- | --- | --- |\n")
		for _, s := range list {
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", s.name, value(s.def), cell(s.text))
		}
	}
	var common []setting
	for _, s := range binaries["ingest"] {
		if shared(s) {
			common = append(common, s)
		}
	}
	table(common)
	for _, name := range []string{"ingest", "processor", "acknowledger"} {
		fmt.Fprintf(&out, "\n### %s\n\n", name)
		table(slices.DeleteFunc(slices.Clone(binaries[name]), shared))
	}
	return out.String()
}

func value(def string) string {
	if def == "-" || def == "required" {
		return def
	}
	return "`" + def + "`"
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// node is what is read of a JSON Schema.
type node struct {
	Ref         string           `json:"$ref"`
	Type        any              `json:"type"`
	Description string           `json:"description"`
	Default     any              `json:"default"`
	Enum        []any            `json:"enum"`
	Items       *node            `json:"items"`
	OneOf       []node           `json:"oneOf"`
	Required    []string         `json:"required"`
	Properties  map[string]*node `json:"properties"`
	Additional  json.RawMessage  `json:"additionalProperties"`
	Defs        map[string]*node `json:"$defs"`
}

// writeKeys describes the root and every type it reaches, breadth first.
func writeKeys(schema []byte) (string, error) {
	var root node
	if err := json.Unmarshal(schema, &root); err != nil {
		return "", fmt.Errorf("docs/integration.schema.json: %w", err)
	}
	var out bytes.Buffer
	queue, seen := []string{""}, map[string]bool{"": true}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		n, title := &root, "The file"
		if name != "" {
			if n, title = root.Defs[name], name; n == nil {
				return "", fmt.Errorf("docs/integration.schema.json refers to %s, which it does not define", name)
			}
		}
		if len(n.Properties) == 0 {
			return "", fmt.Errorf("docs/integration.schema.json: %s has no keys", title)
		}
		fmt.Fprintf(&out, "\n### %s\n\n| key | type | default | what it is |\n| --- | --- | --- | --- |\n", title)
		for _, key := range slices.Sorted(maps.Keys(n.Properties)) {
			p := n.Properties[key]
			def := "-"
			if slices.Contains(n.Required, key) {
				def = "required"
			} else if p.Default != nil {
				text, err := json.Marshal(p.Default)
				if err != nil {
					return "", err
				}
				def = "`" + strings.Trim(string(text), `"`) + "`"
			}
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", key, p.kind(&root), cell(def), cell(p.Description))
			for _, next := range p.refs() {
				if !seen[next] && root.table(next) {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
	}
	return out.String(), nil
}

// table reports whether a type is a table of keys; what is none is told in its own words.
func (n *node) table(name string) bool {
	return n.Defs[name] == nil || len(n.Defs[name].Properties) > 0
}

func refName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// refs are the types that a key's value is made of.
func (n *node) refs() []string {
	var list []string
	if n.Ref != "" {
		list = append(list, refName(n.Ref))
	}
	if n.Items != nil {
		list = append(list, n.Items.refs()...)
	}
	for i := range n.OneOf {
		list = append(list, n.OneOf[i].refs()...)
	}
	if values := n.values(); values != nil {
		list = append(list, values.refs()...)
	}
	return list
}

// values is the schema of a map's values, nil if there is none.
func (n *node) values() *node {
	var values node
	if len(n.Additional) == 0 || n.Additional[0] != '{' || json.Unmarshal(n.Additional, &values) != nil {
		return nil
	}
	return &values
}

// kind says in a few words what may be written. root has the types.
func (n *node) kind(root *node) string {
	switch {
	case n.Ref != "" && !root.table(refName(n.Ref)):
		return strings.TrimSuffix(strings.ToLower(root.Defs[refName(n.Ref)].Description), ".")
	case n.Ref != "":
		return fmt.Sprintf("[%s](#%s)", refName(n.Ref), strings.ToLower(refName(n.Ref)))
	case len(n.Enum) > 0:
		names := make([]string, len(n.Enum))
		for i, e := range n.Enum {
			names[i] = fmt.Sprintf("`%v`", e)
		}
		return strings.Join(names, ", ")
	case n.Items != nil:
		return "list of " + n.Items.kind(root)
	case len(n.OneOf) > 0:
		var names []string
		for i := range n.OneOf {
			names = append(names, n.OneOf[i].kind(root))
		}
		return strings.Join(names, " or ")
	}
	if values := n.values(); values != nil {
		return "map of " + values.kind(root)
	}
	if text, ok := n.Type.(string); ok {
		return text
	}
	return "any"
}
