package integration

import (
	"maps"
	"slices"

	"waybill.internal/pkg/expression"
)

// Field is a value to build: an expression, or a map or list of fields.
type Field struct {
	expr   *Expr
	object map[string]*Field
	list   []*Field
}

func (f *Field) fromNode(d *decoder, n *node, path string) {
	d.out.places[path] = n
	switch n.kind {
	case objectNode:
		f.object = map[string]*Field{}
		for _, e := range n.entries {
			f.object[e.name] = new(Field)
			f.object[e.name].fromNode(d, e.value, join(path, e.name))
		}
	case listNode:
		f.list = []*Field{}
		for i, item := range n.items {
			f.list = append(f.list, new(Field))
			f.list[i].fromNode(d, item, index(path, i))
		}
	case nullNode:
		f.expr = &Expr{text: "nil"}
	default:
		f.expr = &Expr{text: n.text}
	}
}

func (f Field) document() any {
	switch {
	case f.expr != nil:
		return f.expr.text
	case f.list != nil:
		out := make([]any, len(f.list))
		for i, item := range f.list {
			out[i] = item.document()
		}
		return out
	}
	out := map[string]any{}
	for name, field := range f.object {
		out[name] = field.document()
	}
	return out
}

// each visits every expression with its path, in a fixed order.
func (f *Field) each(path string, visit func(path string, e *Expr)) {
	if f.expr != nil {
		visit(path, f.expr)
	}
	for i, item := range f.list {
		item.each(index(path, i), visit)
	}
	for _, name := range slices.Sorted(maps.Keys(f.object)) {
		f.object[name].each(join(path, name), visit)
	}
}

// eval builds the value; every expression that fails adds a problem.
func (f *Field) eval(vars map[string]any, pointer string, problems *[]Problem) any {
	switch {
	case f.expr != nil:
		value, err := f.expr.program.Eval(vars)
		if err != nil {
			*problems = append(*problems, Problem{Pointer: pointer, Code: CodeExpression, Message: err.Error()})
		}
		return value
	case f.list != nil:
		out := make([]any, len(f.list))
		for i, item := range f.list {
			out[i] = item.eval(vars, pointer+"/"+itoa(i), problems)
		}
		return out
	}
	out := make(map[string]any, len(f.object))
	for _, name := range slices.Sorted(maps.Keys(f.object)) {
		out[name] = f.object[name].eval(vars, pointer+"/"+escapePointer(name), problems)
	}
	return out
}

func (m *Map) fromNode(d *decoder, n *node, path string) {
	d.out.places[path] = n
	if n.kind != objectNode || len(n.entries) == 0 || len(n.entries) > maxItems {
		d.wrong(path, "this is %s; write a map of 1 to %d entries, target: source path or expression", n.kind, maxItems)
		return
	}
	m.Fields = map[string]Field{}
	for _, e := range n.entries {
		at := join(path, e.name)
		var f Field
		f.fromNode(d, e.value, at)
		d.matches(at, e.name, "ident")
		m.Fields[e.name] = f
	}
}

func (m Map) document() any {
	out := map[string]any{}
	for name, field := range m.Fields {
		out[name] = field.document()
	}
	return out
}

// compile turns the text of e into a program; a mistake is reported at its place.
func (b *builder) compile(path string, e *Expr, scope expression.Scope) {
	if e == nil || e.text == "" && b.out.place(path).kind != textNode {
		return
	}
	program, err := expression.Compile(e.text, scope)
	if err != nil {
		b.expressionMistake(path, err)
		return
	}
	e.program = program
}
