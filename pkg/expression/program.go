package expression

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// Bounds of one expression and of one evaluation.
const (
	MaxLength    = 4096      // characters of source text
	MaxNodes     = 500       // nodes of the syntax tree, after rewriting
	MaxRounds    = 1_000_000 // predicate evaluations in one Eval
	MaxTextBytes = 1 << 20   // bytes of any text built by an expression
)

// Scope says which names an expression may use.
type Scope struct {
	// Names are the variables given at Eval.
	Names []string
	// Fields, if set, is the variable whose fields are in scope as bare names;
	// Names win over fields of the same name.
	Fields string
	// Known, if not empty, lists the only fields that exist; a bare name that is
	// neither here nor in Names is a compile error.
	Known []string
	// Members lists, for a variable, the only members it has: reading another
	// with a constant name is a compile error.
	Members map[string][]string
}

// Program is a compiled expression.
type Program struct {
	text    string
	program *vm.Program
	rounds  bool // it has predicates, so it needs a budget
	fields  []string
}

// Error is a mistake in an expression or a failure to evaluate it.
type Error struct {
	Expression string // the source text
	Line       int    // 1-based line within Expression
	Column     int    // 1-based column, in characters, within that line
	Message    string
}

func (e *Error) Error() string {
	return fmt.Sprintf("expression %q, column %d: %s", e.Expression, e.Column, e.Message)
}

// Compile parses text and checks every name in it against scope. Its errors are *Error.
func Compile(text string, scope Scope) (*Program, error) {
	if strings.TrimSpace(text) == "" {
		return nil, &Error{Expression: text, Line: 1, Column: 1, Message: "the expression is empty"}
	}
	if len(text) > MaxLength {
		return nil, &Error{Expression: text[:40] + "…", Line: 1, Column: 1,
			Message: fmt.Sprintf("the expression has %d characters; the limit is %d", len(text), MaxLength)}
	}
	names := &collector{scope: scope, lets: map[string]bool{}}
	patch := &rewriter{names: names}
	program, err := compile(text, names, patch)
	if problem := names.problem(text); problem != nil {
		return nil, problem
	}
	if err != nil {
		return nil, located(text, err)
	}
	return &Program{text: text, program: program, rounds: patch.rounds, fields: names.fields()}, nil
}

// compile turns a panic of the library (none is known) into an error: a text
// typed by a person must never end the process.
func compile(text string, names *collector, patch *rewriter) (program *vm.Program, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be compiled: %v", r)
		}
	}()
	options := []expr.Option{
		expr.Env(map[string]any{}), expr.AllowUndefinedVariables(), expr.MaxNodes(MaxNodes),
		expr.DisableAllBuiltins(), expr.Patch(names), expr.Patch(patch),
	}
	for _, name := range builtins() {
		options = append(options, expr.EnableBuiltin(name))
	}
	for name, f := range functions() {
		options = append(options, expr.Function(name, f.call, f.signatures...))
	}
	return expr.Compile(text, options...)
}

// Text is the source of the expression.
func (p *Program) Text() string { return p.text }

// Fields are the bare names read as fields of Scope.Fields, in the order written.
func (p *Program) Fields() []string { return slices.Clone(p.fields) }

// Eval evaluates the expression. The result holds only nil, bool, int, float64,
// json.Number, string, []any and map[string]any; times become RFC 3339 texts in UTC.
// vars is only read. Its errors are *Error; they do not quote values.
func (p *Program) Eval(vars map[string]any) (any, error) {
	if p.rounds {
		vars = maps.Clone(vars)
		if vars == nil {
			vars = map[string]any{}
		}
		vars[budgetName] = &budget{left: MaxRounds}
	}
	out, err := expr.Run(p.program, vars)
	if err != nil {
		problem := located(p.text, err)
		problem.Message = withoutValues(problem.Message)
		return nil, problem
	}
	out, err = plain(out, 0)
	if err != nil {
		return nil, &Error{Expression: p.text, Line: 1, Column: 1, Message: err.Error()}
	}
	return out, nil
}

// Bool evaluates a predicate; anything but true or false is an *Error.
func (p *Program) Bool(vars map[string]any) (bool, error) {
	out, err := p.Eval(vars)
	if err != nil {
		return false, err
	}
	b, ok := out.(bool)
	if !ok {
		return false, &Error{Expression: p.text, Line: 1, Column: 1,
			Message: "the result is " + kind(out) + "; a condition must give true or false"}
	}
	return b, nil
}

func located(text string, err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	out := &Error{Expression: text, Line: 1, Column: 1, Message: err.Error()}
	var at *file.Error
	if errors.As(err, &at) {
		out.Line, out.Column, out.Message = max(at.Line, 1), at.Column+1, at.Message
	}
	out.Message = strings.NewReplacer("<nil>", "nothing (nil)", "type nil", "nothing (nil)",
		"unexpected token EOF", "the expression ends too early").Replace(out.Message)
	out.Message, _, _ = strings.Cut(out.Message, "\n")
	if limited(out.Message) {
		out.Message = fmt.Sprintf("the expression is too big; the limit is %d nodes", MaxNodes)
	}
	return out
}

// withoutValues replaces the texts of the library that quote a value, which may
// be private; its other texts tell types alone.
func withoutValues(message string) string {
	for _, quoting := range []struct{ prefix, instead string }{
		{"invalid operation: int(", "int(…) needs a number, or a text that is a whole number"},
		{"invalid operation: float(", "float(…) needs a number, or a text that is a number"},
		{"invalid order ", "the order must be asc or desc"},
		{"error parsing regexp", "the pattern is not a valid regular expression"},
		{"cannot slice ", "only a text or a list can be sliced"},
		{"cannot fetch ", "there is no such field or element"},
		{"cannot get ", "there is no such field or element"},
		{"index out of range", "there is no such element"},
	} {
		if strings.HasPrefix(message, quoting.prefix) {
			return quoting.instead
		}
	}
	return message
}

func limited(message string) bool {
	return strings.Contains(message, "exceeds maximum allowed nodes")
}

// Nearest gives the word of words that name is most likely a misspelling of, or "".
func Nearest(name string, words []string) string {
	best, least := "", max(1, len(name)/3)+1
	sorted := slices.Sorted(slices.Values(words))
	for _, word := range sorted {
		if d := distance(strings.ToLower(name), strings.ToLower(word), least); d < least && d < len(word) {
			best, least = word, d
		}
	}
	return best
}

// distance is the optimal string alignment distance (a swap of neighbours costs
// one); words longer than 64 bytes are not compared, to bound the work.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
