package integration

import (
	"fmt"
	"slices"
	"strings"
)

// maxMistakes bounds one report; what is beyond it shows after the first are mended.
const maxMistakes = 100

// Mistake is one thing wrong with an integration file.
type Mistake struct {
	File         string
	Line, Column int    // 1-based; 0 when the integration came from a document
	Path         string // of the key, such as sources[0].webhook.path; may be empty
	Message      string // what is wrong; what to do
	Snippet      string // the line, with a caret under the column; may be empty
}

func (m Mistake) Error() string {
	var out strings.Builder
	out.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&out, ":%d:%d", m.Line, m.Column)
	}
	if m.Path != "" {
		out.WriteString(": " + m.Path)
	}
	out.WriteString(": " + m.Message)
	if m.Snippet != "" {
		out.WriteString("\n" + m.Snippet)
	}
	return out.String()
}

// Mistakes is the error of Load, LoadDir and FromDocument: everything that is
// wrong, in file order, at most 100 a file.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	texts := make([]string, len(m))
	for i, one := range m {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "\n")
}

type mistakes struct {
	file   string
	source []string // lines, for the snippets
	found  Mistakes
	places map[string]*node
}

func newMistakes(file string, source []byte) *mistakes {
	m := &mistakes{file: file, places: map[string]*node{}}
	if source != nil {
		m.source = strings.Split(strings.ReplaceAll(string(source), "\r\n", "\n"), "\n")
	}
	return m
}

func (m *mistakes) add(line, column int, path, message string) {
	if len(m.found) < maxMistakes {
		m.found = append(m.found, Mistake{m.file, line, column, path, message, m.snippet(line, column)})
	}
}

// at reports a mistake at the value of path or, if the file does not have it, at the
// nearest value around it. Only the first of a path is kept: what follows from a
// mistake is no help.
func (m *mistakes) at(path, format string, args ...any) {
	if slices.ContainsFunc(m.found, func(one Mistake) bool { return one.Path == path }) {
		return
	}
	n := m.place(path)
	m.add(n.line, n.column, path, fmt.Sprintf(format, args...))
}

// inside reports a mistake at a column of the text at path.
func (m *mistakes) inside(path string, line, column int, message string) {
	n := m.place(path)
	if n.kind != textNode || n.inner < 0 || line != 1 || n.line == 0 {
		m.add(n.line, n.column, path, message)
		return
	}
	m.add(n.line, n.column+n.inner+column-1, path, message)
}

func (m *mistakes) place(path string) *node {
	for {
		if n, ok := m.places[path]; ok {
			return n
		}
		if path == "" {
			return &node{}
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

func (m *mistakes) snippet(line, column int) string {
	if line < 1 || line > len(m.source) {
		return ""
	}
	// A window of 100 characters keeps a minified file readable.
	text := []rune(strings.ReplaceAll(m.source[line-1], "\t", " "))
	column = min(max(column, 1), len(text)+1)
	from := max(0, column-80)
	text = text[from:min(len(text), from+100)]
	gutter := fmt.Sprintf("%5d | ", line)
	return gutter + string(text) + "\n" + strings.Repeat(" ", len(gutter)-2) + "| " + strings.Repeat(" ", column-1-from) + "^"
}

func (m *mistakes) err() error {
	if len(m.found) == 0 {
		return nil
	}
	slices.SortStableFunc(m.found, func(a, b Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return m.found
}
