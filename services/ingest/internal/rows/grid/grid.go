// Package grid makes rows of a spreadsheet's cells, the same for every kind of
// workbook: the header gives the keys, a cell is a text, a number or a boolean, and
// what a number means as a date is told by its format.
package grid

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
)

// maxRaw bounds what a broken row shows of itself, in bytes.
const maxRaw = 4 << 10

// Kind says what a cell holds.
type Kind uint8

// The kinds.
const (
	Blank   Kind = iota
	Text         // also an empty one
	Literal      // a number or a boolean as JSON
	Failed       // an error such as #N/A, in text
)

// Cells is one row of a sheet. Columns count from 0.
type Cells interface {
	// Cell gives a cell; Blank where there is none.
	Cell(column int) (Kind, []byte)
	// Last is how many cells there are up to the last one that tells says yes to.
	Last(tells func(k Kind, text []byte) bool) int
	// TooLong says that the row was longer than is read.
	TooLong() bool
}

// Table writes the rows of a sheet as JSON.
type Table struct {
	Columns []string // nil: as far as each row goes
	MaxRow  int      // bytes of a row's texts, and of its JSON
	Rows    int      // given so far, broken ones too
	Given   int64    // bytes of JSON so far

	keys [][]byte // of Columns, as JSON with the colon
	body []byte
}

// SetColumns names the columns; none leaves them to the header.
func (t *Table) SetColumns(names []string) {
	if len(names) == 0 {
		return
	}
	t.Columns = append([]string(nil), names...)
	t.keys = make([][]byte, len(names))
	for i, n := range names {
		t.keys[i] = append(quote(nil, []byte(n)), ':')
	}
}

// Header takes the names of the columns from a row, unless they are set: then it is
// only not to be wider. The error is a *rows.FileError.
func (t *Table) Header(line int, w Cells) error {
	bad := func(format string, args ...any) error {
		return &rows.FileError{Code: rows.BadHeader, Line: line, Message: fmt.Sprintf(format, args...)}
	}
	if w.TooLong() {
		return bad("the header is longer than %d bytes; is it the right row?", t.MaxRow)
	}
	last := w.Last(func(_ Kind, text []byte) bool { return len(bytes.TrimSpace(text)) > 0 })
	if len(t.Columns) > 0 {
		if last > len(t.Columns) {
			return bad("the header has %d columns, %d are configured", last, len(t.Columns))
		}
		return nil
	}
	names, seen := make([]string, last), make(map[string]int, last)
	for i := range names {
		kind, text := w.Cell(i)
		name := oneLine(strings.TrimSpace(string(text)))
		first, twice := seen[name]
		what := ""
		switch {
		case name == "":
			what = fmt.Sprintf("column %s has no name", columnName(i))
		case kind == Failed:
			what = fmt.Sprintf("the name of column %s is the error %s", columnName(i), name)
		case strings.ContainsRune(name, 0):
			what = fmt.Sprintf("the name of column %s contains a NUL character", columnName(i))
		case twice:
			what = fmt.Sprintf("columns %s and %s are both named %q", columnName(first), columnName(i), name)
		}
		if what != "" {
			return bad("%s; mend the file, or name the columns in the integration", what)
		}
		names[i], seen[name] = name, i
	}
	t.SetColumns(names)
	return nil
}

// NoHeader is the error of a sheet whose header's row is empty; next is the first
// row behind it that is not, 0 if there is none.
func NoHeader(line, next int) error {
	hint := ""
	if next > 0 {
		hint = fmt.Sprintf(" (the next one with a value is row %d)", next)
	}
	return &rows.FileError{Code: rows.BadHeader, Line: line, Message: fmt.Sprintf("row %d should name the columns and is empty; set header to the row that does%s", line, hint)}
}

// oneLine makes a name that was wrapped within its cell one line.
func oneLine(name string) string {
	if strings.IndexFunc(name, func(c rune) bool { return unicode.IsControl(c) && c != 0 }) < 0 {
		return name
	}
	return strings.Join(strings.Fields(name), " ")
}

// Resume passes over the rows that are done, by reading them.
func (t *Table) Resume(from *rows.Mark, next func() (rows.Row, error)) error {
	if from == nil {
		return nil
	}
	mismatch := func(format string, args ...any) error {
		return &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf(format, args...) + ": it is another file"}
	}
	if from.Columns != len(t.Columns) {
		return mismatch("the mark counts %d columns, the file has %d", from.Columns, len(t.Columns))
	}
	for t.Rows < from.Rows {
		_, err := next()
		if _, broken := errors.AsType[*rows.RowError](err); err == nil || broken {
			continue
		}
		if errors.Is(err, io.EOF) {
			return mismatch("%d rows are done, but the sheet has %d", from.Rows, t.Rows)
		}
		return err
	}
	return nil
}

// Row gives the next row, which stands in this line, or a *rows.RowError that says
// what is wrong with it.
func (t *Table) Row(line int, w Cells) (rows.Row, error) {
	t.Rows++
	code, message := t.write(line, w)
	t.Given += int64(len(t.body))
	var value any
	if code == "" {
		var err error
		if value, err = integration.DecodeJSON(t.body); err != nil {
			code, message = rows.InvalidJSON, "the row cannot be written as JSON: "+err.Error()
		}
	}
	if code != "" {
		raw := append([]byte(nil), t.body[:min(len(t.body), maxRaw)]...)
		return rows.Row{}, &rows.RowError{Line: line, Number: t.Rows, Code: code, Message: message, Raw: raw}
	}
	return rows.Row{Number: t.Rows, Line: line, Body: append([]byte(nil), t.body...), Value: value}, nil
}

// write makes the JSON of a row in t.body.
func (t *Table) write(line int, w Cells) (code rows.Code, message string) {
	tooLong := fmt.Sprintf("the row is longer than %d bytes", t.MaxRow)
	width := len(t.Columns)
	if t.Columns == nil {
		width = w.Last(func(k Kind, _ []byte) bool { return k != Blank })
	}
	t.body = append(t.body[:0], '{')
	for i := range width {
		kind, text := w.Cell(i)
		switch {
		case kind == Failed && code == "":
			code, message = rows.CellError, fmt.Sprintf("cell %s%d holds the error %s instead of a value", columnName(i), line, text)
		case code == "" && bytes.IndexByte(text, 0) >= 0:
			code, message = rows.NUL, fmt.Sprintf("cell %s%d contains a NUL character", columnName(i), line)
		}
		if w.TooLong() || len(t.body)+len(text) > t.MaxRow {
			return rows.RowTooLong, tooLong
		}
		t.cell(i, kind, text)
	}
	if last := w.Last(func(_ Kind, text []byte) bool { return len(text) > 0 }); last > width {
		return rows.Ragged, fmt.Sprintf("a value stands in column %s, behind the last of %d columns", columnName(last-1), width)
	}
	t.body = append(t.body, '}')
	if code == "" && (w.TooLong() || len(t.body) > t.MaxRow) {
		return rows.RowTooLong, tooLong
	}
	return code, message
}

func (t *Table) cell(i int, kind Kind, text []byte) {
	if i > 0 {
		t.body = append(t.body, ',')
	}
	if t.Columns != nil {
		t.body = append(t.body, t.keys[i]...)
	} else {
		t.body = append(strconv.AppendInt(append(t.body, `"c`...), int64(i)+1, 10), `":`...)
	}
	switch kind {
	case Blank:
		t.body = append(t.body, "null"...)
	case Literal:
		t.body = append(t.body, text...)
	default:
		t.body = quote(t.body, text)
	}
}

// quote appends a JSON string.
func quote(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	plain := 0 // where what needs no escape begins
	for i, b := range text {
		if b >= ' ' && b != '"' && b != '\\' {
			continue
		}
		to = append(to, text[plain:i]...)
		plain = i + 1
		switch b {
		case '"', '\\':
			to = append(to, '\\', b)
		case '\n':
			to = append(to, '\\', 'n')
		default:
			to = append(to, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		}
	}
	return append(append(to, text[plain:]...), '"')
}

// columnName gives the letters of a column, from 0.
func columnName(n int) string {
	if n < 26 {
		return string(rune('A' + n))
	}
	return columnName(n/26-1) + string(rune('A'+n%26))
}
