package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

type nodeKind int

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	textNode
	listNode
	objectNode
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "true or false", "a number", "a text", "a list", "a map"}[k]
}

// node is one value of a file, with the place where it begins (0 when it came
// from a document). YAML and JSON become the same tree, so one decoder serves both.
type node struct {
	kind         nodeKind
	text         string // of a bool, number or text
	line, column int
	inner        int // columns between the place and the first character of a text: 1 when quoted, -1 when unknown
	entries      []entry
	items        []*node
}

type entry struct {
	name         string
	line, column int
	value        *node
}

// parseYAML reads one YAML document. What it finds wrong goes to out, and the
// tree is nil when nothing can be made of the file.
func parseYAML(source []byte, out *mistakes) (root *node) {
	defer func() {
		// The parser is not ours, and a file is typed by a person: a panic in
		// it must become an error that names the file.
		if r := recover(); r != nil {
			out.add(1, 1, "", fmt.Sprintf("the YAML cannot be parsed (%v); check indentation and quotes", r))
			root = nil
		}
	}()
	if line := tooDear(source); line > 0 {
		out.add(line, 1, "", "too many brackets, hyphens or question marks for an integration; simplify the file")
		return nil
	}
	parsed, err := parser.ParseBytes(source, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, column, message := 1, 1, err.Error()
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			message = syntax.GetMessage()
			if t := syntax.GetToken(); t != nil && t.Position != nil {
				line, column = t.Position.Line, t.Position.Column
			}
		}
		out.add(line, column, "", "this is not YAML: "+message+"; check indentation and quotes")
		return nil
	}
	var bodies []ast.Node
	for _, doc := range parsed.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	if len(bodies) != 1 {
		out.add(1, 1, "", fmt.Sprintf("the file holds %d YAML documents; write exactly one integration", len(bodies)))
		return nil
	}
	return (&yamlReader{out: out}).read(bodies[0], "", 0)
}

// Bounds that keep the parser's recursion and its quadratic paths small; a file
// typed by a person is far below them.
const (
	maxBrackets = 5000 // opening brackets and braces, in the whole file
	maxNested   = 64   // hyphens or question marks that begin one line
	maxLines    = 10_000
)

// tooDear gives the line that goes over a bound, or 0.
func tooDear(source []byte) int {
	brackets, number := 0, 0
	for line := range bytes.Lines(source) {
		number++
		brackets += bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{"))
		begin := line[:len(line)-len(bytes.TrimLeft(line, "-? \t"))]
		marks := bytes.Count(begin, []byte("-")) + bytes.Count(begin, []byte("?"))
		if brackets > maxBrackets || marks > maxNested || number > maxLines {
			return number
		}
	}
	return 0
}

type yamlReader struct{ out *mistakes }

func place(n ast.Node) (line, column int) {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

func (r *yamlReader) read(n ast.Node, path string, depth int) *node {
	if n == nil {
		return &node{kind: nullNode, line: 1, column: 1}
	}
	line, column := place(n)
	out := &node{line: line, column: column}
	if depth > MaxDepth {
		r.out.add(line, column, path, fmt.Sprintf("nested more than %d deep; flatten it", MaxDepth))
		return out
	}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.BoolNode:
		out.kind, out.text = boolNode, strconv.FormatBool(n.Value)
	case *ast.IntegerNode:
		out.kind, out.text = numberNode, fmt.Sprint(n.Value)
	case *ast.FloatNode:
		out.kind, out.text = numberNode, n.Token.Value
	case *ast.StringNode:
		out.kind, out.text = textNode, n.Value
		if t := n.Token.Type; t == token.DoubleQuoteType || t == token.SingleQuoteType {
			out.inner = 1
		}
	case *ast.LiteralNode:
		out.kind, out.text, out.inner = textNode, n.Value.Value, -1
	case *ast.MappingNode:
		out.line, out.column = r.object(out, n.Values, path, depth, line, column)
	case *ast.MappingValueNode:
		out.line, out.column = r.object(out, []*ast.MappingValueNode{n}, path, depth, line, column)
	case *ast.SequenceNode:
		out.kind = listNode
		for i, item := range n.Values {
			out.items = append(out.items, r.read(item, index(path, i), depth+1))
		}
	default:
		r.out.add(line, column, path, fmt.Sprintf("%s is not supported here; write the value itself", describe(n)))
	}
	return out
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias"
	case *ast.TagNode:
		return "a tag"
	case *ast.MergeKeyNode:
		return "a merge key"
	case *ast.InfinityNode, *ast.NanNode:
		return "a number that is not finite"
	}
	return "a " + n.Type().String()
}

// object begins where its first key does.
func (r *yamlReader) object(out *node, values []*ast.MappingValueNode, path string, depth, line, column int) (int, int) {
	out.kind = objectNode
	seen := map[string]bool{}
	for i, v := range values {
		keyLine, keyColumn := place(v.Key)
		if i == 0 {
			line, column = keyLine, keyColumn
		}
		name, ok := keyName(v.Key)
		switch {
		case !ok:
			r.out.add(keyLine, keyColumn, path, fmt.Sprintf("%s cannot be a key; write a plain word", describe(v.Key)))
			continue
		case seen[name]:
			r.out.add(keyLine, keyColumn, join(path, name), "the key is given twice; remove one")
			continue
		}
		seen[name] = true
		out.entries = append(out.entries, entry{name, keyLine, keyColumn, r.read(v.Value, join(path, name), depth+1)})
	}
	return line, column
}

func keyName(key ast.MapKeyNode) (string, bool) {
	switch k := key.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.BoolNode, *ast.FloatNode, *ast.NullNode:
		return k.GetToken().Value, true
	}
	return "", false
}

// nodeOf makes the tree of a decoded JSON value; keys come in sorted order.
func nodeOf(v any) *node {
	switch v := v.(type) {
	case nil:
		return &node{kind: nullNode}
	case bool:
		return &node{kind: boolNode, text: strconv.FormatBool(v)}
	case string:
		return &node{kind: textNode, text: v}
	case []any:
		out := &node{kind: listNode}
		for _, item := range v {
			out.items = append(out.items, nodeOf(item))
		}
		return out
	case map[string]any:
		out := &node{kind: objectNode}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out.entries = append(out.entries, entry{name: name, value: nodeOf(v[name])})
		}
		return out
	default:
		text, _ := json.Marshal(v) // int, float64 and json.Number always marshal
		return &node{kind: numberNode, text: string(text)}
	}
}

// plain is the value of the tree as DecodeJSON would give it.
func (n *node) plain() (any, error) {
	switch n.kind {
	case nullNode:
		return nil, nil
	case boolNode:
		return n.text == "true", nil
	case textNode:
		return n.text, nil
	case listNode:
		out := make([]any, 0, len(n.items))
		for _, item := range n.items {
			v, err := item.plain()
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case objectNode:
		out := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			v, err := e.value.plain()
			if err != nil {
				return nil, err
			}
			out[e.name] = v
		}
		return out, nil
	}
	return DecodeJSON([]byte(n.text))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
