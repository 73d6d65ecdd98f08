package rows

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Object makes JSON objects of texts with the same names, in their order, without
// reading any name twice. The zero Object has no names.
type Object struct {
	names []string
	keys  []string // what stands before each value: {"a":" then ","b":"
	size  int      // bytes of all keys
}

// NewObject makes an Object; names must differ and be UTF-8.
func NewObject(names []string) Object {
	o := Object{names: append([]string(nil), names...), keys: make([]string, len(names))}
	for i, name := range names {
		start := `","`
		if i == 0 {
			start = `{"`
		}
		key := append(appendText([]byte(start), name), '"', ':', '"')
		o.keys[i] = string(key)
		o.size += len(key)
	}
	return o
}

// Names gives the names; they must not be changed.
func (o *Object) Names() []string { return o.names }

// JSON gives the object with as many values as names; the values must be UTF-8. It
// is the same as encoding/json's without the escapes for HTML.
func (o *Object) JSON(values []string) []byte {
	size := o.size + 2
	for _, v := range values {
		size += len(v)
	}
	out := make([]byte, 0, size+size/16)
	for i, v := range values {
		out = append(out, o.keys[i]...)
		out = appendText(out, v)
	}
	if len(values) == 0 {
		return append(out, "{}"...)
	}
	return append(out, '"', '}')
}

// Value gives the object as integration.DecodeJSON would.
func (o *Object) Value(values []string) map[string]any {
	m := make(map[string]any, len(values))
	for i, v := range values {
		m[o.names[i]] = v
	}
	return m
}

const hex = "0123456789abcdef"

// appendText appends the inside of a JSON string.
func appendText(out []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			out = append(out, s[from:i]...)
			out = appendEscape(out, c)
			i++
			from = i
			continue
		}
		if c == 0xe2 && i+2 < len(s) && s[i+1] == 0x80 && s[i+2]&^1 == 0xa8 {
			// U+2028 and U+2029 end lines in JavaScript.
			out = append(append(out, s[from:i]...), `\u202`...)
			out = append(out, hex[s[i+2]&0xf])
			i += 3
			from = i
			continue
		}
		i++
	}
	return append(out, s[from:]...)
}

func appendEscape(out []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(out, '\\', c)
	case '\b':
		return append(out, '\\', 'b')
	case '\f':
		return append(out, '\\', 'f')
	case '\n':
		return append(out, '\\', 'n')
	case '\r':
		return append(out, '\\', 'r')
	case '\t':
		return append(out, '\\', 't')
	default:
		return append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
	}
}

// Skipped gives what stopped a reader that passes over rows to get to a mark:
// broken rows do not.
func Skipped(_ Row, err error) error {
	if _, broken := errors.AsType[*RowError](err); broken {
		return nil
	}
	return err
}

// CannotSkip explains why a mark cannot be reached.
func CannotSkip(err error, want, has int) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	return &FileError{Code: MarkMismatch, Message: fmt.Sprintf("%d rows are done by the mark, but the file has %d: it is another file", want, has)}
}
