package expression

import (
	"fmt"
	"net/url"
	"strings"
)

// Template is the path and query of a URL with {expression} placeholders.
type Template struct {
	text  string
	parts []part
}

type part struct {
	literal string
	program *Program // nil for a literal
	query   bool     // behind the question mark
}

// CompileTemplate compiles a path such as "/orders/{body.order_no}?lang={headers['accept-language']}".
// A brace that is meant literally is doubled. Its errors are *Error.
func CompileTemplate(text string, scope Scope) (*Template, error) {
	t := &Template{text: text}
	var literal strings.Builder
	query := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case (c == '{' || c == '}') && i+1 < len(text) && text[i+1] == c:
			literal.WriteString(url.PathEscape(string(c)))
			i++
		case c == '}':
			return nil, templateError(text, i, "a closing brace without an opening one; write }} for a literal brace")
		case c == '{':
			end := closing(text, i+1)
			if end < 0 {
				return nil, templateError(text, i, "the brace is never closed; write {{ for a literal brace")
			}
			program, err := Compile(text[i+1:end], scope)
			if err != nil {
				return nil, err
			}
			t.parts = append(t.parts, part{literal: literal.String()}, part{program: program, query: query})
			literal.Reset()
			i = end
		default:
			if c < 0x21 || c == 0x7f || c == '#' || c == '\\' {
				return nil, templateError(text, i, fmt.Sprintf("%q does not belong in a path; percent-encode it", c))
			}
			query = query || c == '?'
			literal.WriteByte(c)
		}
	}
	t.parts = append(t.parts, part{literal: literal.String()})
	return t, nil
}

func templateError(text string, offset int, message string) *Error {
	return &Error{Expression: text, Line: 1, Column: len([]rune(text[:offset])) + 1, Message: message}
}

// closing finds the brace that ends a placeholder, past quoted texts and inner braces.
func closing(text string, from int) int {
	depth, quote := 0, byte(0)
	for i := from; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\' && quote != '`':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"' || c == '`':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i
		case c == '}':
			depth--
		}
	}
	return -1
}

// Text is the source of the template.
func (t *Template) Text() string { return t.text }

// Render fills the placeholders. Each value is escaped, so that it stays within
// its path segment or query value; a value that is missing, or empty, "." or ".."
// in the path, is an error, because the URL would name something else.
func (t *Template) Render(vars map[string]any) (string, error) {
	var out strings.Builder
	for _, p := range t.parts {
		if p.program == nil {
			out.WriteString(p.literal)
			continue
		}
		value, err := p.program.Eval(vars)
		if err != nil {
			return "", err
		}
		text, err := Text(value)
		if err != nil {
			return "", &Error{Expression: p.program.text, Line: 1, Column: 1, Message: err.Error() + "; a URL needs a value"}
		}
		if p.query {
			out.WriteString(url.QueryEscape(text))
			continue
		}
		if text == "" || text == "." || text == ".." {
			return "", &Error{Expression: p.program.text, Line: 1, Column: 1,
				Message: fmt.Sprintf("%q cannot be part of a path", text)}
		}
		out.WriteString(url.PathEscape(text))
	}
	if out.Len() > MaxTextBytes {
		return "", &Error{Expression: t.text, Line: 1, Column: 1, Message: errTextTooLong.Error()}
	}
	return out.String(), nil
}
