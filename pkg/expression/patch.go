package expression

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// Names of the functions and the variable that rewriting brings in. The
// collector refuses every name with a dollar sign, so no source text reaches them.
const (
	getName    = "$get"
	tickName   = "$tick"
	budgetName = "$budget"
)

func operatorName(op string) string { return "$op" + op }

// collector sees the tree as written, before the rewriter changes it.
type collector struct {
	scope   Scope
	used    []*ast.IdentifierNode
	callees []*ast.IdentifierNode
	methods []ast.Node
	members []*ast.MemberNode
	lets    map[string]bool
}

func (c *collector) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		c.used = append(c.used, n)
	case *ast.MemberNode:
		c.members = append(c.members, n)
	case *ast.VariableDeclaratorNode:
		c.lets[n.Name] = true
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			c.callees = append(c.callees, callee)
		} else {
			c.methods = append(c.methods, n)
		}
	}
}

func (c *collector) isCallee(n *ast.IdentifierNode) bool { return slices.Contains(c.callees, n) }

// isField tells whether n reads a field of the scope's Fields variable.
func (c *collector) isField(n *ast.IdentifierNode) bool {
	return c.scope.Fields != "" && !c.isCallee(n) && !c.lets[n.Value] && !slices.Contains(c.scope.Names, n.Value)
}

func (c *collector) problem(text string) error {
	at := func(n ast.Node, message string) error {
		line, column := position(text, n.Location().From)
		return &Error{Expression: text, Line: line, Column: column, Message: message}
	}
	for _, n := range c.methods {
		return at(n, "only functions can be called, not fields")
	}
	for _, n := range c.callees {
		if n.Value == "now" {
			return at(n, "there is no clock, so that a retry gives the same result; use record.accepted_at where record is in scope")
		}
		if !known(n.Value) {
			return at(n, fmt.Sprintf("there is no function %q%s", n.Value, suggestion(n.Value, functionNames())))
		}
	}
	for _, n := range c.members {
		if message := c.unknownMember(n); message != "" {
			return at(n.Property, message)
		}
	}
	for _, n := range c.used {
		if message := c.unknown(n); message != "" {
			return at(n, message)
		}
	}
	for name := range c.lets {
		if slices.Contains(c.scope.Names, name) || strings.Contains(name, "$") {
			return &Error{Expression: text, Line: 1, Column: 1, Message: fmt.Sprintf("%q is taken; choose another name after let", name)}
		}
	}
	return nil
}

func (c *collector) fields() []string {
	var out []string
	for _, n := range c.used {
		if c.isField(n) {
			out = append(out, n.Value)
		}
	}
	return out
}

// unknownMember is called after the rewriter ran, which leaves the collected nodes as they were.
func (c *collector) unknownMember(n *ast.MemberNode) string {
	of, ok := n.Node.(*ast.IdentifierNode)
	name, also := n.Property.(*ast.StringNode)
	if !ok || !also || c.lets[of.Value] {
		return ""
	}
	words, limited := c.scope.Members[of.Value]
	if !limited || slices.Contains(words, name.Value) {
		return ""
	}
	hint := suggestion(name.Value, words)
	if hint == "" && len(words) > 0 {
		hint = "; it has " + strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s has no %q here%s", of.Value, name.Value, hint)
}

func (c *collector) unknown(n *ast.IdentifierNode) string {
	switch {
	case c.isCallee(n), c.lets[n.Value]:
		return ""
	case strings.Contains(n.Value, "$"):
		return fmt.Sprintf("%q is not available here", n.Value)
	case slices.Contains(c.scope.Names, n.Value):
		return ""
	}
	words := slices.Concat(c.scope.Names, c.scope.Known)
	if c.scope.Fields != "" {
		if len(c.scope.Known) == 0 || slices.Contains(c.scope.Known, n.Value) {
			return ""
		}
		return fmt.Sprintf("%q is not a property of the record's schema%s", n.Value, suggestion(n.Value, words))
	}
	hint := suggestion(n.Value, words)
	if hint == "" {
		hint = fmt.Sprintf("; a constant text is written '%s', and the names here are %s", n.Value, strings.Join(c.scope.Names, ", "))
	}
	return fmt.Sprintf("unknown name %q%s", n.Value, hint)
}

func suggestion(name string, words []string) string {
	if near := Nearest(name, words); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// position turns an offset in characters into a 1-based line and column.
func position(text string, offset int) (line, column int) {
	line, column = 1, 1
	for i, r := range []rune(text) {
		if i == offset {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}

// rewriter makes member access nil-safe, comparisons time-aware, arithmetic
// checked, and loops bounded.
type rewriter struct {
	names  *collector
	rounds bool
}

func (r *rewriter) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if r.names.isField(n) {
			r.replace(node, call(getName, &ast.IdentifierNode{Value: r.names.scope.Fields}, &ast.StringNode{Value: n.Value}))
		}
	case *ast.MemberNode:
		r.replace(node, call(getName, n.Node, n.Property))
	case *ast.ChainNode:
		r.replace(node, n.Node) // every access is already nil-safe
	case *ast.BinaryNode:
		if _, ok := operators()[n.Operator]; ok {
			r.replace(node, call(operatorName(n.Operator), n.Left, n.Right))
		}
	case *ast.PredicateNode:
		r.rounds = true
		body := call(tickName, &ast.IdentifierNode{Value: budgetName}, n.Node)
		body.SetLocation(n.Node.Location())
		n.Node = body
	}
}

func (r *rewriter) replace(node *ast.Node, with ast.Node) { ast.Patch(node, with) }

func call(name string, arguments ...ast.Node) *ast.CallNode {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: arguments}
}
