package jsonrows

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/lines"
)

const (
	anyElement = "*"
	maxKeys    = 100_000 // of an object on the way to the list
)

// level is a list or an object that is being read: those on the way to the list,
// and the list itself.
type level struct {
	object bool
	part   int // of the pointer, which says what is wanted of it; all parts done: the list
	index  int // of the next element
	begun  bool
	keys   map[string]bool // that were there
}

// Reader reads the list of records of a document. It is not safe for concurrent use
// and holds no goroutine; it does not close the source.
type Reader struct {
	*lines.Buffer
	pointer []string
	levels  []level
	maxRow  int
	placed  bool // a byte of the buffer is one of the file
	begun   bool
	found   bool
	rows    int
	item    []byte
	err     error // sticky
}

// New reads the start of the document and stands before the first row, or behind
// the mark. maxRow bounds a row in bytes. The error is a *rows.FileError, or one of
// the source.
func New(src io.Reader, f *integration.JSON, maxRow int, from *rows.Mark) (*Reader, error) {
	start, err := begin(src, maxRow)
	if err != nil {
		return nil, err
	}
	pointer, err := integration.SplitPointer(f.Items)
	if err != nil {
		return nil, fmt.Errorf("jsonrows: %w", err)
	}
	r := &Reader{Buffer: start.Buffer(maxRow, '\n'), pointer: pointer, maxRow: maxRow, placed: start.Text.Placed()}
	if from != nil {
		if err := r.resume(*from); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Next gives the next row; see rows.Reader.
func (r *Reader) Next() (rows.Row, error) {
	for r.err == nil {
		row, given, err := r.step()
		if given {
			return row, err
		}
		r.err = err
	}
	return rows.Row{}, r.err
}

// step goes on by one element, and says whether that was a row.
func (r *Reader) step() (row rows.Row, given bool, err error) {
	if !r.begun {
		r.begun = true
		return r.descend(0)
	}
	if len(r.levels) == 0 {
		return row, false, r.end()
	}
	top := &r.levels[len(r.levels)-1]
	c, err := r.peek()
	if err != nil {
		return row, false, err
	}
	closing := byte(']')
	if top.object {
		closing = '}'
	}
	if c == closing {
		r.Drop(1)
		r.levels = r.levels[:len(r.levels)-1]
		return row, false, nil
	}
	if top.begun {
		if c != ',' {
			return row, false, r.wrong("%q where a comma or %q should follow", c, closing)
		}
		r.Drop(1)
	}
	top.begun = true
	if top.object {
		return r.member(top)
	}
	return r.element(top)
}

// kept is what is held of a key to know it again: of long ones, of which there may be
// many, a digest.
func kept(key string) string {
	if len(key) <= sha256.Size {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "#" + string(sum[:])
}

func (r *Reader) element(top *level) (row rows.Row, given bool, err error) {
	if top.part == len(r.pointer) {
		row, err = r.record()
		_, broken := err.(*rows.RowError)
		return row, err == nil || broken, err
	}
	part := r.pointer[top.part]
	top.index++
	if part == anyElement || part == strconv.Itoa(top.index-1) {
		return r.descend(top.part + 1)
	}
	return row, false, r.pass()
}

func (r *Reader) member(top *level) (row rows.Row, given bool, err error) {
	line := r.Line
	key, err := r.key()
	if err != nil {
		return row, false, err
	}
	switch {
	case top.keys[kept(key)]:
		return row, false, &rows.FileError{Code: rows.Malformed, Line: line, Message: fmt.Sprintf("the key %q is there twice", short(key))}
	case len(top.keys) >= maxKeys:
		return row, false, &rows.FileError{Code: rows.TooLarge, Line: line, Message: fmt.Sprintf("an object on the way to the list has more than %d keys", maxKeys)}
	}
	top.keys[kept(key)] = true
	if key == r.pointer[top.part] {
		return r.descend(top.part + 1)
	}
	return row, false, r.pass()
}

func short(key string) string { return strings.ToValidUTF8(key[:min(len(key), 100)], "") }

// key reads a key and its colon.
func (r *Reader) key() (string, error) {
	c, err := r.peek()
	if err != nil {
		return "", err
	}
	if c != '"' {
		return "", r.wrong("%q where a key in double quotes should follow", c)
	}
	raw, whole, err := r.capture()
	if err != nil {
		return "", err
	}
	if !whole {
		return "", r.wrong("a key has more than %d bytes", r.maxRow)
	}
	value, err := integration.DecodeJSON(raw)
	if err != nil {
		return "", r.wrong("a key is no JSON text: %v", err)
	}
	key, _ := value.(string)
	if c, err = r.peek(); err != nil {
		return "", err
	}
	if c != ':' {
		return "", r.wrong("%q where a colon should follow", c)
	}
	r.Drop(1)
	return key, nil
}

// descend enters the value at hand, of which the pointer's parts from part on are
// wanted.
func (r *Reader) descend(part int) (row rows.Row, given bool, err error) {
	c, err := r.peek()
	if err != nil {
		return row, false, err
	}
	last := part == len(r.pointer)
	switch {
	case c == '[' && (last || r.pointer[part] == anyElement || isIndex(r.pointer[part])):
		r.levels = append(r.levels, level{part: part})
	case c == '{' && last: // one record instead of a list
		r.found = true
		row, err = r.record()
		_, broken := err.(*rows.RowError)
		return row, err == nil || broken, err
	case c == '{' && r.pointer[part] != anyElement:
		r.levels = append(r.levels, level{object: true, part: part, keys: map[string]bool{}})
	case c == 'n':
		r.found = true
		return row, false, r.pass()
	default:
		return row, false, &rows.FileError{Code: rows.WrongFormat, Line: r.Line, Message: fmt.Sprintf("at %s stands %s; %s", r.where(part), named(c), r.wanted(part))}
	}
	r.found = r.found || last || r.pointer[part] == anyElement
	r.Drop(1)
	return row, false, nil
}

func isIndex(part string) bool {
	n, err := strconv.Atoi(part)
	return err == nil && n >= 0 && strconv.Itoa(n) == part
}

func (r *Reader) where(part int) string {
	if part == 0 {
		return "the top of the document"
	}
	return "/" + strings.Join(r.pointer[:part], "/")
}

func (r *Reader) wanted(part int) string {
	if part == len(r.pointer) {
		return "a list of records is expected there; name it with items"
	}
	return fmt.Sprintf("items goes on with %q there", r.pointer[part])
}

func named(c byte) string {
	switch c {
	case '[':
		return "a list"
	case '{':
		return "an object"
	case '"':
		return "a text"
	case 't', 'f':
		return "true or false"
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return "a number"
		}
		return fmt.Sprintf("%q, which is no JSON", c)
	}
}

// record takes the value at hand as a row.
func (r *Reader) record() (rows.Row, error) {
	if err := r.value(); err != nil {
		return rows.Row{}, err
	}
	line := r.Line
	raw, whole, err := r.capture()
	if err != nil {
		return rows.Row{}, err
	}
	r.item = raw
	r.rows++
	row := rows.Row{Number: r.rows, Line: line}
	code, message := rows.RowTooLong, tooLong(r.maxRow)
	if whole {
		if row.Body, row.Value, code, message = item(raw, r.maxRow); code == "" {
			row.Body = compact(row.Body)
		}
	}
	if code != "" {
		return rows.Row{}, &rows.RowError{Line: line, Number: r.rows, Code: code, Message: message, Raw: bytes.Clone(raw[:min(len(raw), lines.MaxRaw)])}
	}
	return row, nil
}

func compact(body []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(body))
	if err := json.Compact(&out, body); err != nil {
		return body // it was decoded, so this is never reached
	}
	return out.Bytes()
}

// end is behind the document.
func (r *Reader) end() error {
	for {
		w := r.Window()
		rest := bytes.TrimLeft(w, " \t\r\n")
		r.Drop(len(w) - len(rest))
		if len(rest) > 0 {
			return r.wrong("something follows the end of the document; send one JSON document a file, or one a line with ndjson")
		}
		if !r.Fill() {
			break
		}
	}
	if err := r.Failed(); err != nil {
		return err
	}
	if !r.found {
		return &rows.FileError{Code: rows.NotFound, Message: fmt.Sprintf("the document has nothing at /%s; name the list with items", strings.Join(r.pointer, "/"))}
	}
	return io.EOF
}

func (r *Reader) wrong(format string, args ...any) error {
	return &rows.FileError{Code: rows.Malformed, Line: r.Line, Message: fmt.Sprintf(format, args...)}
}

// Item gives what the row that Next gave last was made of, as it stands in the
// file; it is valid until the next call.
func (r *Reader) Item() []byte { return r.item }

// Mark gives the place behind the last row given.
func (r *Reader) Mark() rows.Mark {
	m := rows.Mark{Rows: r.rows, Line: r.Line, Offset: -1}
	if r.jumps() && len(r.levels) == len(r.pointer)+1 && r.rows > 0 {
		m.Offset = r.Offset
	}
	return m
}

// jumps says that what is around a row can be told from the pointer alone.
func (r *Reader) jumps() bool {
	for _, part := range r.pointer {
		if part == anyElement || isIndex(part) {
			return false
		}
	}
	return r.placed
}

// Close has nothing to free.
func (r *Reader) Close() error { return nil }

func (r *Reader) resume(m rows.Mark) error {
	if m.Rows < 0 || m.Offset < -1 || m.Line < 0 {
		return &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf("this is no mark of a JSON file: %+v", m)}
	}
	if m.Offset <= 0 || m.Line == 0 || !r.jumps() {
		for r.rows < m.Rows {
			if err := rows.Skipped(r.Next()); err != nil {
				return rows.CannotSkip(err, m.Rows, r.rows)
			}
		}
		return nil
	}
	there, err := r.Jump(m.Offset, m.Line)
	if err != nil {
		return err
	}
	if !there {
		return &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf("the mark at byte %d does not fit this file", m.Offset)}
	}
	r.rows, r.begun, r.found = m.Rows, true, true
	for i, part := range r.pointer {
		r.levels = append(r.levels, level{object: true, part: i, begun: true, keys: map[string]bool{kept(part): true}})
	}
	r.levels = append(r.levels, level{part: len(r.pointer), begun: true})
	return nil
}
