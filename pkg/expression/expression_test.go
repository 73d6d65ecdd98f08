package expression_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/expression"
)

func scope() expression.Scope {
	return expression.Scope{Names: []string{"body", "headers", "record"}}
}

func vars() map[string]any {
	return map[string]any{
		"headers": map[string]string{"x-kind": "new"},
		"record":  map[string]any{"accepted_at": time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		"body": map[string]any{
			"n": 9007199254740993, "f": 1.5, "big": json.Number("123456789012345678901234567890"), "zero": 0,
			"early": "2026-03-01T12:00:00+02:00", "late": "2026-03-01T11:00:00Z", "name": " Ada ",
			"lines": []any{map[string]any{"sku": "a", "qty": 2}, map[string]any{"sku": "b", "qty": 3}},
			"many":  make([]any, 2000),
		},
	}
}

func TestEval(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		`body.lines[0].sku`:                       "a",
		`body.lines[-1].sku`:                      "b",
		`body.lines[7].sku`:                       nil,
		`body.a.b["c"].d`:                         nil,
		`body?.a?.b`:                              nil,
		`headers["x-kind"]`:                       "new",
		`headers["none"]`:                         nil,
		`body.early < body.late`:                  true,
		`body.early == "2026-03-01T10:00:00Z"`:    true,
		`record.accepted_at > body.late`:          true,
		`record.accepted_at`:                      "2026-03-01T12:00:00Z",
		`body.n == 9007199254740992`:              false,
		`body.n > 9007199254740992.0`:             true,
		`body.big > body.n`:                       true,
		`body.big == body.big`:                    true,
		`body.f * 2`:                              3.0,
		`body.n + 1`:                              9007199254740994,
		`sum(map(body.lines, .qty))`:              5,
		`filter(body.lines, .qty > 2)[0].sku`:     "b",
		`count(body.lines, #.qty >= 2)`:           2,
		`join(map(body.lines, .sku), "-")`:        "a-b",
		`upper(trim(body.name))`:                  "ADA",
		`upper(body.none)`:                        nil,
		`len(body.none)`:                          0,
		`body.none ?? "x"`:                        "x",
		`body.none == nil`:                        true,
		`"a" in ["a", "b"]`:                       true,
		`body.lines[0].sku in ["a", "b"]`:         true,
		`body.none matches "^a"`:                  false,
		`let x = body.f; x + 1`:                   2.5,
		`{"a": body.f, "b": [1, body.none]}.b[0]`: 1,
		`keys({"b": 1, "a": 2})[0]`:               "a",
		`format_time(parse_time("05.03.2026", "02.01.2006"), "2006-01-02")`: "2026-03-05",
		`body.f > 1 ? "big" : "small"`:                                      "big",
		`replace("a-b", "-", "+")`:                                          "a+b",
		`string(12) + "x"`:                                                  "12x",
		`not (body.f > 1)`:                                                  false,
		`body.f in [1.5]`:                                                   true,
	} {
		program, err := expression.Compile(text, scope())
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := program.Eval(vars())
		if err != nil || got != want {
			t.Errorf("%s = %v (%T), %v; want %v (%T)", text, got, got, err, want, want)
		}
	}
}

func TestEvalErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`body.none > 1`:      "cannot compare nothing (nil) with a number",
		`body.name > 1`:      "cannot compare a text with a number",
		`body.name.first`:    "cannot read a field of a text",
		`body.n * body.n`:    "does not fit 64 bits",
		`body.big + 1`:       "too many digits",
		`body.f / body.zero`: "divide by zero",
		`"a" + body.none`:    "cannot add nothing (nil) to a text",
		`body.lines["x"]`:    "indexed by a whole number",
		`int(body.name)`:     "int(…) needs a number",
		`body.many[0] + 1`:   "cannot add nothing (nil) and a number",
		`count(body.many, count(body.many, true) > 0)`: "too much work",
		`replace(replace(replace("` + strings.Repeat("a", 200) + `", "a", "` + strings.Repeat("a", 200) + `"), "a", "` + strings.Repeat("b", 200) + `"), "b", "c")`: "longer than",
	} {
		program, err := expression.Compile(text, scope())
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := program.Eval(vars()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                "empty",
		`bdy.x`:           `did you mean "body"?`,
		`new`:             `a constant text is written 'new'`,
		`now()`:           `there is no clock`,
		`uper(body.x)`:    `did you mean "upper"?`,
		`repeat("x", 9)`:  "no function",
		`$env`:            "not available",
		`$get(body, "x")`: "no function",
		`body.x(1)`:       "only functions can be called",
		`body.x ==`:       "ends too early",
		`"abc`:            "not terminated",
		`let body = 1; 2`: "taken",
		`body + ` + strings.Repeat("1+", 400) + "1": "too big",
		strings.Repeat("x", expression.MaxLength+1): "the limit is 4096",
		`body matches "("`:                          "error parsing regexp",
	} {
		_, err := expression.Compile(text, scope())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestFieldsInScope(t *testing.T) {
	t.Parallel()
	s := expression.Scope{Names: []string{"body"}, Fields: "body", Known: []string{"opened_at", "closed_at", "count"}}
	program, err := expression.Compile("closed_at == nil || closed_at >= opened_at && count > 0", s)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		closed any
		want   bool
	}{{nil, true}, {"2026-01-01T10:00:00+01:00", true}, {"2026-01-01T10:00:00+02:00", false}} {
		got, err := program.Bool(map[string]any{"body": map[string]any{"opened_at": "2026-01-01T09:00:00Z", "closed_at": c.closed, "count": 1}})
		if err != nil || got != c.want {
			t.Errorf("closed %v: %v, %v; want %v", c.closed, got, err, c.want)
		}
	}
	if _, err := expression.Compile("closd_at == nil", s); err == nil || !strings.Contains(err.Error(), `did you mean "closed_at"`) {
		t.Error(err)
	}
	if p, _ := expression.Compile("1 + 1", s); p != nil {
		if _, err := p.Bool(nil); err == nil || !strings.Contains(err.Error(), "must give true or false") {
			t.Error(err)
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	v := map[string]any{"body": map[string]any{"id": "a/b ?", "n": 7, "up": "..", "e": ""}}
	for text, want := range map[string]string{
		"/x/{body.id}/y?q={body.id}&n={body.n}": "/x/a%2Fb%20%3F/y?q=a%2Fb+%3F&n=7",
		"/{{{body.n}}}":                         "/%7B7%7D",
		`/{body.n == 7 ? '}' : "x"}`:            "/%7D",
		"/x}":                                   "error: closing brace",
		"/{body.up}":                            `error: ".." cannot`,
		"/{body.e}":                             `error: "" cannot`,
		"/{body.none}":                          "error: needs a value",
		"/{body.n":                              "error: never closed",
		"/a b":                                  "error: does not belong",
	} {
		got := ""
		tpl, err := expression.CompileTemplate(text, scope())
		if err == nil {
			got, err = tpl.Render(v)
		}
		if fragment, bad := strings.CutPrefix(want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), fragment) {
				t.Errorf("%s: %q, %v; want %s", text, got, err, want)
			}
		} else if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %s", text, got, err, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("body.x > 1")
	f.Add("filter(body.lines, .qty > 2)[0]?.sku ?? 'x'")
	f.Fuzz(func(t *testing.T, text string) {
		program, err := expression.Compile(text, scope())
		if err != nil {
			return
		}
		_, _ = program.Eval(vars())
	})
}

func BenchmarkPredicate(b *testing.B) {
	program, err := expression.Compile("body.late == nil || body.late >= body.early", scope())
	if err != nil {
		b.Fatal(err)
	}
	v := vars()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := program.Bool(v); err != nil {
			b.Fatal(err)
		}
	}
}

// TestErrorsQuoteNoValues: what an expression was given may be private.
func TestErrorsQuoteNoValues(t *testing.T) {
	t.Parallel()
	body := map[string]any{
		"s": "canary(", "line": "\ncanary", "object": map[string]any{"canary": "canary"}, "n": 7340977, "max": 9223372036854775807,
		"huge": json.Number("7340977e999"), "strange": json.Number("canary"), "list": []any{2, 1},
	}
	for text, want := range map[string]string{
		`int(body.s)`:                      "int(…) needs a number",
		`int(body.line)`:                   "int(…) needs a number",
		`int(body.object)`:                 "int(…) needs a number",
		`float(body.s)`:                    "float(…) needs a number",
		`parse_time(body.s, "2006-01-02")`: "not a time of this layout",
		`parse_time("x", body.s)`:          "not a time of this layout",
		`body.huge > 1`:                    "out of range",
		`body.strange > 1`:                 "cannot compare a number that is out of range",
		`body.n * body.max`:                "does not fit 64 bits",
		`body.n[body.s]`:                   "cannot read a field of a number",
		`body.n[body.n]`:                   "cannot read an element of a number",
		`sort(body.list, body.s)`:          "asc or desc",
		`body.object[1:2]`:                 "can be sliced",
		`body.n[1:2]`:                      "can be sliced",
		`"x" matches body.s`:               "not a valid regular expression",
		`upper(body.object)`:               "need a text, got an object",
		`abs(body.s)`:                      "",
		`sum([body.s])`:                    "",
		`max(body.s, 1)`:                   "",
		`take(body.list, body.s)`:          "",
		`split(body.s, body.n)`:            "",
		`1..body.s`:                        "",
		`-body.s`:                          "",
		`body.s % 2`:                       "",
		`body.s ** 2`:                      "",
		`body.n in body.s`:                 "",
		`body.s contains body.n`:           "",
		`body.s ? 1 : 2`:                   "",
		`filter(body.list, body.s)`:        "",
		`{(body.n): 1}`:                    "",
	} {
		program, err := expression.Compile(text, scope())
		if err != nil {
			if want != "" {
				t.Errorf("%s: %v", text, err)
			}
			continue // what cannot be written shows nothing
		}
		_, err = program.Eval(map[string]any{"body": body})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "7340977") {
			t.Errorf("%s: %v; want an error with %q and no value", text, err, want)
		}
	}
}
