package webhook

import (
	"bytes"
	"fmt"
)

// item is one element of a batch: bytes of the body, and the line of the body
// that it begins in, from 1.
type item struct {
	raw  []byte
	line int
}

// splitError says why a body is no batch.
type splitError struct {
	line    int
	message string
}

func (e *splitError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.message) }

// isList tells whether JSON begins as a list.
func isList(raw []byte) bool {
	rest := bytes.TrimLeft(raw, " \t\r\n")
	return len(rest) > 0 && rest[0] == '['
}

// splitList finds the elements of a JSON list, without copying and without
// judging them: whatever is wrong inside one element stays its own matter, as
// far as quotes and brackets still tell where it ends. At most limit+1 elements
// are given. The error is a *splitError.
func splitList(raw []byte, limit int) ([]item, error) {
	var items []item
	lines := lineCounter{raw: raw, line: 1}
	at := skipSpace(raw, 0) + 1 // isList has seen the bracket
	for {
		at = skipSpace(raw, at)
		start := at
		end, err := elementEnd(raw, at)
		if err != nil {
			return nil, &splitError{lines.at(start), err.Error()}
		}
		last := raw[end] == ']'
		if element := bytes.TrimRight(raw[start:end], " \t\r\n"); len(element) > 0 || !last || len(items) > 0 {
			items = append(items, item{element, lines.at(start)})
		}
		at = end + 1
		switch {
		case len(items) > limit:
			return items, nil
		case last && skipSpace(raw, at) < len(raw):
			return nil, &splitError{lines.at(skipSpace(raw, at)), "something follows the end of the list; send one list"}
		case last:
			return items, nil
		}
	}
}

// elementEnd finds the comma or the bracket that ends the element at.
func elementEnd(raw []byte, at int) (int, error) {
	for depth := 0; at < len(raw); at++ {
		switch raw[at] {
		case '"':
			for at++; at < len(raw) && raw[at] != '"'; at++ {
				if raw[at] == '\\' {
					at++
				}
			}
		case '[', '{':
			depth++
		case '}':
			depth = max(depth-1, 0)
		case ']':
			if depth == 0 {
				return at, nil
			}
			depth--
		case ',':
			if depth == 0 {
				return at, nil
			}
		}
	}
	return 0, fmt.Errorf("the list is not closed after what begins here; look for a missing quote or bracket, or for a cut body")
}

func skipSpace(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\t' || raw[at] == '\r' || raw[at] == '\n') {
		at++
	}
	return at
}

// splitLines gives the lines of NDJSON that are not blank, at most limit+1.
func splitLines(raw []byte, limit int) []item {
	var items []item
	line := 0
	for text := range bytes.Lines(raw) {
		line++
		if text = bytes.TrimSpace(text); len(text) > 0 {
			items = append(items, item{text, line})
		}
		if len(items) > limit {
			break
		}
	}
	return items
}

// lineCounter counts lines up to rising offsets.
type lineCounter struct {
	raw  []byte
	to   int
	line int
}

func (c *lineCounter) at(offset int) int {
	offset = min(offset, len(c.raw))
	c.line += bytes.Count(c.raw[c.to:offset], []byte{'\n'})
	c.to = offset
	return c.line
}
