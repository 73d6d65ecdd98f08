package integration

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a payload beside its size, which the source limits.
const (
	MaxDepth        = 64  // nesting of lists and objects
	maxNumberLength = 400 // characters of one number
	maxExponent     = 308 // decimal exponent of one number
)

// SyntaxError says where a payload stops being JSON. Column counts characters.
type SyntaxError struct {
	Line, Column int
	Message      string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// DecodeJSON reads exactly one JSON value (RFC 8259) and nothing after it.
//
// Objects become map[string]any and lists []any. Whole numbers that fit become
// int; numbers of at most 15 digits float64; every other number json.Number, so
// that no digit is lost. Stricter than the RFC, because each of these is read in
// different ways by different programs: a repeated key, invalid UTF-8, half of a
// surrogate pair, a byte order mark, nesting beyond MaxDepth, a number of more than
// 400 characters or an exponent beyond ±308. Errors are *SyntaxError.
func DecodeJSON(raw []byte) (any, error) {
	d := &jsonDecoder{raw: raw}
	d.space()
	value, ok := d.value(0)
	if ok {
		d.space()
		if d.at < len(raw) {
			ok = d.fail("something follows the end of the value; send one JSON value")
		}
	}
	if ok {
		return value, nil
	}
	line, column := lineColumn(raw, d.failedAt)
	return nil, &SyntaxError{Line: line, Column: column, Message: d.message}
}

func lineColumn(raw []byte, offset int) (line, column int) {
	before := string(raw[:min(offset, len(raw))])
	line = strings.Count(before, "\n") + 1
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
}

type jsonDecoder struct {
	raw      []byte
	at       int
	failedAt int
	message  string
}

func (d *jsonDecoder) fail(format string, args ...any) bool {
	return d.failAt(d.at, format, args...)
}

func (d *jsonDecoder) failAt(at int, format string, args ...any) bool {
	d.failedAt, d.message = at, fmt.Sprintf(format, args...)
	return false
}

func (d *jsonDecoder) space() {
	for d.at < len(d.raw) {
		switch d.raw[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

func (d *jsonDecoder) peek() byte {
	if d.at < len(d.raw) {
		return d.raw[d.at]
	}
	return 0
}

// unexpected names the byte at hand, or the end.
func (d *jsonDecoder) unexpected(want string) bool {
	if d.at >= len(d.raw) {
		return d.fail("the JSON ends where %s should follow", want)
	}
	r, size := utf8.DecodeRune(d.raw[d.at:])
	if r == utf8.RuneError && size == 1 {
		return d.fail("byte 0x%02x where %s should follow", d.raw[d.at], want)
	}
	return d.fail("%q where %s should follow", r, want)
}

func (d *jsonDecoder) value(depth int) (any, bool) {
	switch c := d.peek(); c {
	case '{', '[':
		if depth >= MaxDepth {
			return nil, d.fail("nested more than %d deep", MaxDepth)
		}
		if c == '{' {
			return d.object(depth + 1)
		}
		return d.list(depth + 1)
	case '"':
		return d.text()
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	case 'n':
		return nil, d.word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return d.number()
		}
		return nil, d.unexpected("a value")
	}
}

func (d *jsonDecoder) word(word string) bool {
	if !strings.HasPrefix(string(d.raw[d.at:min(d.at+len(word), len(d.raw))]), word) {
		return d.fail("a value that is none; did you mean %s?", word)
	}
	d.at += len(word)
	return true
}

func (d *jsonDecoder) object(depth int) (any, bool) {
	out := map[string]any{}
	d.at++
	d.space()
	if d.peek() == '}' {
		d.at++
		return out, true
	}
	for {
		if d.peek() != '"' {
			return nil, d.unexpected("a key in double quotes")
		}
		start := d.at
		key, ok := d.text()
		if !ok {
			return nil, false
		}
		if _, seen := out[key]; seen {
			return nil, d.failAt(start, "the key %q is repeated", shorten(key))
		}
		d.space()
		if d.peek() != ':' {
			return nil, d.unexpected("a colon")
		}
		d.at++
		d.space()
		value, ok := d.value(depth)
		if !ok {
			return nil, false
		}
		out[key] = value
		if more, ok := d.next('}'); !ok || !more {
			return out, ok
		}
	}
}

func (d *jsonDecoder) list(depth int) (any, bool) {
	out := []any{}
	d.at++
	d.space()
	if d.peek() == ']' {
		d.at++
		return out, true
	}
	for {
		value, ok := d.value(depth)
		if !ok {
			return nil, false
		}
		out = append(out, value)
		if more, ok := d.next(']'); !ok || !more {
			return out, ok
		}
	}
}

// next steps over a comma (more follows) or the closing bracket (nothing does).
func (d *jsonDecoder) next(end byte) (more, ok bool) {
	d.space()
	switch d.peek() {
	case ',':
		d.at++
		d.space()
		return true, true
	case end:
		d.at++
		return false, true
	}
	return false, d.unexpected(fmt.Sprintf("a comma or %q", end))
}

func (d *jsonDecoder) text() (string, bool) {
	d.at++
	start := d.at
	for d.at < len(d.raw) {
		switch c := d.raw[d.at]; {
		case c == '"':
			out := string(d.raw[start:d.at])
			d.at++
			return out, true
		case c == '\\':
			return d.escaped(start)
		case !d.character():
			return "", false
		}
	}
	return "", d.fail("the text is never closed")
}

// character steps over one character that is no quote and no backslash.
func (d *jsonDecoder) character() bool {
	c := d.raw[d.at]
	if c < 0x20 {
		return d.fail("control character 0x%02x inside a text; escape it", c)
	}
	if c < utf8.RuneSelf {
		d.at++
		return true
	}
	r, size := utf8.DecodeRune(d.raw[d.at:])
	if r == utf8.RuneError && size == 1 {
		return d.fail("byte 0x%02x is not UTF-8; send UTF-8", c)
	}
	d.at += size
	return true
}

// escaped goes on with a text whose first backslash has been reached.
func (d *jsonDecoder) escaped(start int) (string, bool) {
	out := append([]byte(nil), d.raw[start:d.at]...)
	for d.at < len(d.raw) {
		switch c := d.raw[d.at]; c {
		case '"':
			d.at++
			return string(out), true
		case '\\':
			r, ok := d.escape()
			if !ok {
				return "", false
			}
			out = utf8.AppendRune(out, r)
		default:
			from := d.at
			if !d.character() {
				return "", false
			}
			out = append(out, d.raw[from:d.at]...)
		}
	}
	return "", d.fail("the text is never closed")
}

func (d *jsonDecoder) escape() (rune, bool) {
	if d.at+1 >= len(d.raw) {
		return 0, d.fail("the text is never closed")
	}
	c := d.raw[d.at+1]
	if c == 'u' {
		return d.unicode()
	}
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i < 0 {
		return 0, d.fail("\\%c is no escape", rune(c))
	}
	d.at += 2
	return rune("\"\\/\b\f\n\r\t"[i]), true
}

func (d *jsonDecoder) unicode() (rune, bool) {
	high, ok := d.hex(d.at)
	if !ok {
		return 0, false
	}
	if !utf16.IsSurrogate(high) {
		d.at += 6
		return high, true
	}
	if d.at+7 < len(d.raw) && d.raw[d.at+6] == '\\' && d.raw[d.at+7] == 'u' {
		low, ok := d.hex(d.at + 6)
		if !ok {
			return 0, false
		}
		if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
			d.at += 12
			return r, true
		}
	}
	return 0, d.fail("half of a surrogate pair")
}

func (d *jsonDecoder) hex(at int) (rune, bool) {
	if at+6 > len(d.raw) {
		return 0, d.failAt(at, "\\u needs four hexadecimal digits")
	}
	var r rune
	for _, c := range d.raw[at+2 : at+6] {
		i := strings.IndexByte("0123456789abcdef", c|0x20)
		if c < '0' || i < 0 {
			return 0, d.failAt(at, "\\u needs four hexadecimal digits")
		}
		r = r<<4 | rune(i)
	}
	return r, true
}

func (d *jsonDecoder) digits() int {
	from := d.at
	for c := d.peek(); c >= '0' && c <= '9'; c = d.peek() {
		d.at++
	}
	return d.at - from
}

func (d *jsonDecoder) number() (any, bool) {
	start, whole := d.at, true
	if d.peek() == '-' {
		d.at++
	}
	first := d.at
	if d.digits() == 0 {
		return nil, d.unexpected("a digit")
	}
	if d.raw[first] == '0' && d.at > first+1 {
		return nil, d.failAt(first, "a number does not begin with 0")
	}
	if d.peek() == '.' {
		whole = false
		d.at++
		if d.digits() == 0 {
			return nil, d.unexpected("a digit")
		}
	}
	mantissa, exponent := d.at, 0
	if d.peek()|0x20 == 'e' {
		whole = false
		d.at++
		sign := d.at
		if c := d.peek(); c == '+' || c == '-' {
			d.at++
		}
		if d.digits() == 0 {
			return nil, d.unexpected("a digit")
		}
		var err error
		if exponent, err = strconv.Atoi(string(d.raw[sign:d.at])); err != nil {
			exponent = math.MaxInt32
		}
	}
	if d.at-start > maxNumberLength || exponent > maxExponent || exponent < -maxExponent {
		return nil, d.failAt(start, "the number is out of range (%d characters, exponent ±%d)", maxNumberLength, maxExponent)
	}
	return numberOf(string(d.raw[start:d.at]), string(d.raw[start:mantissa]), whole), true
}

// numberOf keeps a number as int or float64 where that loses no digit.
func numberOf(text, mantissa string, whole bool) any {
	if whole {
		if i, err := strconv.Atoi(text); err == nil {
			return i
		}
		return json.Number(text)
	}
	digits := strings.Trim(strings.ReplaceAll(strings.TrimPrefix(mantissa, "-"), ".", ""), "0")
	if f, err := strconv.ParseFloat(text, 64); err == nil && len(digits) <= 15 && (f != 0 || digits == "") {
		if f == 0 {
			return 0.0 // never minus zero, which the int 0 could not tell from 0
		}
		if m := math.Abs(f); m > 1e-300 && m < 1e300 {
			return f
		}
	}
	return json.Number(text)
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
