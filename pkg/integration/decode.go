package integration

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill.internal/pkg/expression"
)

// fromText is implemented by the types that are one text in the file.
type fromText interface{ fromText(text string) error }

// fromNode is implemented by the types that read the tree themselves.
type fromNode interface {
	fromNode(d *decoder, n *node, path string)
}

// maxItems bounds lists and maps whose tag gives no bound.
const maxItems = 1000

// rules are what the tags of a field say.
type rules struct {
	name          string
	required      bool
	fallback      string
	list          []string // default of a list
	enum          []string
	minimum       string
	maximum       string
	min, max      string
	items         int
	pattern, keys string
	doc           string
}

func rulesOf(f reflect.StructField) (rules, bool) {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" || !f.IsExported() {
		return rules{}, false
	}
	r := rules{name: name, min: f.Tag.Get("min"), max: f.Tag.Get("max"), items: maxItems,
		pattern: f.Tag.Get("pattern"), keys: f.Tag.Get("keys"), list: strings.Fields(f.Tag.Get("list")),
		enum: strings.Fields(f.Tag.Get("enum")), doc: f.Tag.Get("doc")}
	if n, err := strconv.Atoi(f.Tag.Get("items")); err == nil {
		r.items = n
	}
	tag := strings.ReplaceAll(f.Tag.Get("jsonschema"), `\,`, "\x00")
	for word := range strings.SplitSeq(tag, ",") {
		key, value, _ := strings.Cut(strings.ReplaceAll(word, "\x00", ","), "=")
		switch key {
		case "required":
			r.required = true
		case "default":
			r.fallback = value
		case "enum":
			r.enum = append(r.enum, value)
		case "minimum":
			r.minimum = value
		case "maximum":
			r.maximum = value
		}
	}
	return r, true
}

// pattern is a named form of a text, with the words for an error.
type pattern struct {
	form *regexp.Regexp
	hint string
}

func patterns() map[string]pattern {
	return map[string]pattern{
		"name":  {regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`), "use lower-case letters, digits and hyphens, at most 63, beginning with a letter"},
		"ident": {regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`), "use letters, digits and underscores, at most 63, not beginning with a digit"},
		"table": {regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}$`), "write table or schema.table with letters, digits and underscores"},
		"code":  {regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,62}$`), "use lower-case letters, digits, hyphens, dots and underscores, at most 63"},
	}
}

// decoder fills the types of spec.go from a tree, and reports everything wrong.
type decoder struct {
	out      *mistakes
	lookup   Lookup
	patterns map[string]pattern
	secrets  bool // whether a secret that is not set is a mistake
	schemas  func(file string) (any, error)
	files    func(file string, limit int64) ([]byte, error) // nil: what is stored names no files
}

func (d *decoder) wrong(path, format string, args ...any) { d.out.at(path, format, args...) }

// missing is the tree of a key that is not there: its defaults still apply.
func missing(at *node) *node { return &node{kind: objectNode, line: at.line, column: at.column} }

func (d *decoder) object(n *node, path string, v reflect.Value) {
	d.out.places[path] = n
	if n.kind != objectNode {
		d.wrong(path, "this is %s; write a map of %s", n.kind, strings.Join(keyNames(v.Type()), ", "))
		return
	}
	given := map[string]*node{}
	known := keyNames(v.Type())
	for _, e := range n.entries {
		if !slices.Contains(known, e.name) {
			d.out.add(e.line, e.column, join(path, e.name), unknownKey(v.Type(), e.name, known))
			continue
		}
		given[e.name] = e.value
	}
	for i := range v.NumField() {
		r, ok := rulesOf(v.Type().Field(i))
		if !ok {
			continue
		}
		at := join(path, r.name)
		if value, ok := given[r.name]; ok {
			d.value(value, at, v.Field(i), r)
		} else {
			d.absent(n, at, v.Field(i), r)
		}
	}
}

func keyNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if r, ok := rulesOf(t.Field(i)); ok {
			names = append(names, r.name)
		}
	}
	return names
}

func unknownKey(t reflect.Type, name string, known []string) string {
	if t == reflect.TypeFor[Source]() && (name == "poll" || name == "kafka") {
		return name + " sources are not available in this version; use webhook or file"
	}
	if near := expression.Nearest(name, known); near != "" {
		return fmt.Sprintf("unknown key %q; did you mean %q?", shorten(name), near)
	}
	return fmt.Sprintf("unknown key %q; the keys here are %s", shorten(name), strings.Join(known, ", "))
}

func (d *decoder) absent(parent *node, path string, v reflect.Value, r rules) {
	switch {
	case r.required:
		d.wrong(path, "the key is missing; add %s: …", r.name)
	case r.fallback != "":
		d.value(&node{kind: textNode, text: r.fallback, line: parent.line, column: parent.column, inner: -1}, path, v, r)
	case len(r.list) > 0:
		list := &node{kind: listNode, line: parent.line, column: parent.column}
		for _, text := range r.list {
			list.items = append(list.items, &node{kind: textNode, text: text})
		}
		d.value(list, path, v, r)
	case v.Kind() == reflect.Struct && !isScalar(v):
		d.object(missing(parent), path, v)
	}
}

func isScalar(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(fromText)
	return ok
}

func (d *decoder) value(n *node, path string, v reflect.Value, r rules) {
	d.out.places[path] = n
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if n.kind == nullNode && v.Type() != reflect.TypeFor[Field]() {
		d.wrong(path, "the value is missing; write one, or remove the key")
		return
	}
	switch to := v.Addr().Interface().(type) {
	case fromNode:
		to.fromNode(d, n, path)
		return
	case fromText:
		d.scalar(n, path, to, v, r)
		return
	case *time.Duration:
		d.duration(n, path, to, r)
		return
	case *map[string]any:
		d.settings(n, path, to)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, path, v)
	case reflect.Slice:
		d.list(n, path, v, r)
	case reflect.Map:
		d.mapping(n, path, v, r)
	case reflect.String:
		d.text(n, path, v, r)
	case reflect.Int:
		d.whole(n, path, v, r)
	case reflect.Bool:
		if n.kind != boolNode && n.inner >= 0 || n.text != "true" && n.text != "false" {
			d.wrong(path, "this is %s; write true or false", n.kind)
			return
		}
		v.SetBool(n.text == "true")
	}
}

func (d *decoder) scalar(n *node, path string, to fromText, v reflect.Value, r rules) {
	if n.kind == listNode || n.kind == objectNode {
		d.wrong(path, "this is %s; write a text", n.kind)
		return
	}
	if err := to.fromText(n.text); err != nil {
		d.wrong(path, "%v", err)
		return
	}
	switch to := to.(type) {
	case *Secret:
		to.lookup = d.lookup
		if _, err := to.Reveal(); err != nil && d.secrets {
			d.wrong(path, "%v", err)
		}
	case *Bytes:
		var low, high Bytes
		if low.fromText(r.min) == nil && high.fromText(r.max) == nil && (*to < low || *to > high) {
			d.wrong(path, "%s is out of bounds; write a size from %s to %s", n.text, r.min, r.max)
		}
	}
}

func (d *decoder) duration(n *node, path string, to *time.Duration, r rules) {
	if n.kind != textNode {
		d.wrong(path, "this is %s; write a duration with its unit such as 30s", n.kind)
		return
	}
	got, err := durationFromText(n.text)
	if err != nil {
		d.wrong(path, "%v", err)
		return
	}
	low, _ := durationFromText(r.min)
	high, _ := durationFromText(r.max)
	if got < low || got > high {
		d.wrong(path, "%s is out of bounds; write a duration from %s to %s", n.text, r.min, r.max)
		return
	}
	*to = got
}

func (d *decoder) text(n *node, path string, v reflect.Value, r rules) {
	if n.kind != textNode {
		d.wrong(path, "this is %s; write a text, in quotes if needed", n.kind)
		return
	}
	if n.text == "" {
		d.wrong(path, "the text is empty; write a value, or remove the key")
		return
	}
	if len(r.enum) > 0 && !slices.Contains(r.enum, n.text) {
		hint := "write " + strings.Join(r.enum, " or ")
		if near := expression.Nearest(n.text, r.enum); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		d.wrong(path, "%q is not one of %s; %s", shorten(n.text), strings.Join(r.enum, ", "), hint)
		return
	}
	if d.matches(path, n.text, r.pattern) {
		v.SetString(n.text)
	}
}

func (d *decoder) matches(path, text, name string) bool {
	if p, ok := d.patterns[name]; ok && !p.form.MatchString(text) {
		d.wrong(path, "%q is not allowed; %s", shorten(text), p.hint)
		return false
	}
	return true
}

func (d *decoder) whole(n *node, path string, v reflect.Value, r rules) {
	i, err := strconv.Atoi(n.text)
	if err != nil || n.kind != numberNode && n.inner >= 0 {
		d.wrong(path, "%s is not a whole number; write one without quotes", describeValue(n))
		return
	}
	low, errLow := strconv.Atoi(r.minimum)
	high, errHigh := strconv.Atoi(r.maximum)
	if errLow == nil && i < low || errHigh == nil && i > high {
		d.wrong(path, "%d is out of bounds; write a number from %s to %s", i, r.minimum, r.maximum)
		return
	}
	v.SetInt(int64(i))
}

func describeValue(n *node) string {
	if n.kind == listNode || n.kind == objectNode {
		return n.kind.String()
	}
	return strconv.Quote(shorten(n.text))
}

func (d *decoder) list(n *node, path string, v reflect.Value, r rules) {
	if n.kind != listNode {
		d.wrong(path, "this is %s; write a list, for example [a, b] or lines beginning with a hyphen", n.kind)
		return
	}
	if len(n.items) == 0 || len(n.items) > r.items {
		d.wrong(path, "the list has %d elements; write 1 to %d", len(n.items), r.items)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	seen := map[string]bool{}
	for i, item := range n.items {
		d.value(item, index(path, i), v.Index(i), r)
		if item.kind == textNode && seen[item.text] {
			d.wrong(index(path, i), "%q is given twice; remove one", shorten(item.text))
		}
		seen[item.text] = item.kind == textNode
	}
}

func (d *decoder) mapping(n *node, path string, v reflect.Value, r rules) {
	if n.kind != objectNode {
		d.wrong(path, "this is %s; write a map of name: value", n.kind)
		return
	}
	if len(n.entries) == 0 || len(n.entries) > r.items {
		d.wrong(path, "the map has %d entries; write 1 to %d", len(n.entries), r.items)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range n.entries {
		at := join(path, e.name)
		d.out.places[at] = &node{line: e.line, column: e.column}
		d.matches(at, e.name, r.keys)
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, at, element, rules{items: maxItems})
		v.SetMapIndex(reflect.ValueOf(e.name), element)
	}
}

// settings are free values, for a Go function.
func (d *decoder) settings(n *node, path string, to *map[string]any) {
	value, err := n.plain()
	if err != nil {
		d.wrong(path, "%v; write a value that JSON has", err)
		return
	}
	object, ok := value.(map[string]any)
	if !ok {
		d.wrong(path, "this is %s; write a map of name: value", n.kind)
		return
	}
	*to = object
}
