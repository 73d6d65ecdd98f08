package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/expression"
)

func responseMembers() []string { return []string{"status", "headers", "body"} }

func recordMembers() []string {
	return []string{"id", "idempotency_key", "entity_key", "integration", "source", "accepted_at"}
}

// known is what earlier steps made, for the names of a step's expressions.
type known struct {
	steps  []string
	mapped []string
}

func (k known) scope(names ...string) expression.Scope {
	return expression.Scope{
		Names: append([]string{"body", "headers", "record", "steps", "mapped"}, names...),
		Members: map[string][]string{"record": recordMembers(), "steps": k.steps, "mapped": k.mapped,
			"response": responseMembers()},
	}
}

func (b *builder) process() {
	p := &b.in.Process
	if p.Share.New+p.Share.Retry+p.Share.Replay == 0 && !b.refused("process.share") {
		b.wrong("process.share", "all shares are 0, so nothing would run; give one a weight")
	}
	if !slices.IsSortedFunc(p.Retry.Delays, func(x, y time.Duration) int { return int(x - y) }) {
		b.wrong("process.retry.delays", "the delays do not rise; sort them")
	}
	var k known
	for i := range p.Steps {
		b.step(&p.Steps[i], index("process.steps", i), &k)
	}
}

func (b *builder) step(s *Step, at string, k *known) {
	kinds := 0
	for _, given := range []bool{s.Lookup != nil, s.Call != nil, s.Map != nil, s.Upsert != nil, s.Custom != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		if kinds > 1 || !b.refused(at) {
			b.wrong(at, "a step has exactly one kind; write one of lookup, call, map, upsert, custom (each step begins with its own hyphen)")
		}
		return
	}
	switch {
	case s.Lookup != nil:
		b.lookupStep(s.Lookup, join(at, "lookup"), k)
	case s.Call != nil:
		b.call(s.Call, join(at, "call"), k)
	case s.Map != nil:
		b.mapStep(s.Map, join(at, "map"), k)
	case s.Upsert != nil:
		b.upsert(s.Upsert, join(at, "upsert"), k)
	default:
		b.stepName(s.Custom.Name, join(at, "custom.name"), k)
	}
}

// stepName makes the result of a step known to those after it.
func (b *builder) stepName(name, at string, k *known) {
	if slices.Contains(k.steps, name) {
		b.wrong(at, "two steps are named %q; choose another name", name)
	}
	if name != "" {
		k.steps = append(k.steps, name)
	}
}

// each compiles the expressions of a map in a fixed order.
func (b *builder) each(at string, exprs map[string]Expr, scope expression.Scope) {
	for _, name := range slices.Sorted(maps.Keys(exprs)) {
		e := exprs[name]
		b.compile(join(at, name), &e, scope)
		exprs[name] = e
	}
}

func (b *builder) lookupStep(l *LookupStep, at string, k *known) {
	b.each(join(at, "key"), l.Key, k.scope())
	b.stepName(l.Name, join(at, "name"), k)
}

func (b *builder) call(c *Call, at string, k *known) {
	d, ok := b.in.Destinations[c.To]
	if !ok && c.To != "" {
		names := slices.Sorted(maps.Keys(b.in.Destinations))
		hint := fmt.Sprintf("add destinations.%s with its url", shorten(c.To))
		if near := expression.Nearest(c.To, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		b.wrong(join(at, "to"), "there is no destination %q; %s", shorten(c.To), hint)
	}
	c.base, c.callTimeout = d.URL, d.Timeout
	if c.Timeout > 0 {
		c.callTimeout = c.Timeout
	}
	scope := k.scope()
	if c.Path.text != "" {
		var err error
		if c.Path.template, err = expression.CompileTemplate(c.Path.text, scope); err != nil {
			b.expressionMistake(join(at, "path"), err)
		}
	}
	b.each(join(at, "headers"), c.Headers, scope)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		b.header(join(join(at, "headers"), name), name, true)
	}
	b.uniqueHeaders(join(at, "headers"), c.Headers)
	if c.Body != nil {
		c.Body.each(join(at, "body"), func(at string, e *Expr) { b.compile(at, e, scope) })
		if c.Method == "GET" {
			b.wrong(join(at, "body"), "a GET has no body; remove it, or use POST")
		}
	}
	answer := k.scope("response")
	b.compile(join(at, "accept"), c.Accept, answer)
	for i := range c.Reject {
		b.compile(join(index(join(at, "reject"), i), "when"), &c.Reject[i].When, answer)
	}
	b.each(join(at, "keep"), c.Keep, answer)
	b.stepName(c.Name, join(at, "name"), k)
}

func (b *builder) uniqueHeaders(at string, headers map[string]Expr) {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if lower := strings.ToLower(name); seen[lower] {
			b.wrong(join(at, name), "the header is given twice; remove one")
		} else {
			seen[lower] = true
		}
	}
}

func (b *builder) mapStep(m *Map, at string, k *known) {
	scope := k.scope()
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		field := m.Fields[name]
		field.each(join(at, name), func(at string, e *Expr) { b.compile(at, e, scope) })
	}
	for name := range m.Fields {
		if !slices.Contains(k.mapped, name) {
			k.mapped = append(k.mapped, name)
		}
	}
	slices.Sort(k.mapped)
}

func (b *builder) upsert(u *Upsert, at string, k *known) {
	if len(u.Columns) == 0 {
		u.Columns = slices.Clone(k.mapped)
	}
	if len(k.mapped) == 0 {
		b.wrong(at, "nothing is mapped before this step; add a map step in front of it")
		return
	}
	for i, column := range u.Columns {
		if !slices.Contains(k.mapped, column) {
			b.wrong(index(join(at, "columns"), i), "no map step before sets %q%s", column, nearest(column, k.mapped))
		}
	}
	for i, column := range u.Key {
		if !slices.Contains(u.Columns, column) {
			b.wrong(index(join(at, "key"), i), "the key column %q is not written by this step%s", column, nearest(column, u.Columns))
		}
	}
}

func nearest(name string, words []string) string {
	if near := expression.Nearest(name, words); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; it has " + strings.Join(words, ", ")
}
