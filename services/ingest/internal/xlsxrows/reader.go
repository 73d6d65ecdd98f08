package xlsxrows

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

const (
	maxRaw   = 4 << 10  // bytes that a broken row shows of itself
	maxGrown = 256      // times that the rows may be longer as JSON than in the sheet,
	freeRows = 64 << 20 // beyond so many bytes
)

// Reader reads the rows of one sheet. It holds no goroutine and does not close the
// source; it may hold a temporary file until Close.
type Reader struct {
	sheet   *sheetRows
	fill    *fillings // nil: merged cells have their value in the first one
	columns []string  // nil: as far as each row goes
	keys    [][]byte  // of columns, as JSON with the colon
	maxRow  int
	rows    int
	given   int64 // bytes of JSON
	body    []byte
	err     error // sticky: why no more rows come
}

// New opens the sheet that f describes and stands before its first row, or behind
// the mark. maxRow bounds a row in bytes of its texts and of its JSON. temp is the
// folder for a temporary file when the texts of cells are many; "" is the system's.
// The error is a *rows.FileError, one of the source or of the temporary file.
func New(src io.ReaderAt, size int64, f *integration.Sheet, maxRow int, from *rows.Mark, temp string) (*Reader, error) {
	b, err := Inspect(src, size)
	if err != nil {
		return nil, err
	}
	which, err := b.sheet(f.Sheet)
	if err != nil {
		return nil, err
	}
	r := &Reader{maxRow: maxRow}
	if f.Merged == "fill" {
		if r.fill, err = b.readMerged(which, maxRow); err != nil {
			return nil, err
		}
	}
	if r.sheet, err = b.openRows(which, maxRow, temp); err != nil {
		return nil, err
	}
	r.setColumns(f.Columns)
	if f.Header > 0 {
		err = r.header(f.Header)
	}
	if err == nil {
		err = r.resume(from)
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// header passes over the rows before the header's and takes the names from it.
func (r *Reader) header(line int) error {
	for {
		w, err := r.sheet.next()
		if errors.Is(err, io.EOF) {
			r.err = io.EOF
			return nil // no header, no rows: an empty sheet
		}
		if err != nil {
			return err
		}
		if w.number < line {
			if r.fill != nil {
				err = r.fill.fill(w)
			}
			if err != nil {
				return err
			}
			continue
		}
		if w.number == line && !w.empty() {
			return r.takeHeader(w)
		}
		if w.number == line || w.empty() {
			continue
		}
		return &rows.FileError{Code: rows.BadHeader, Line: line, Message: fmt.Sprintf(
			"row %d should name the columns and is empty; set header to the row that does (the next one with a value is row %d)", line, w.number)}
	}
}

func (r *Reader) takeHeader(w *row) error {
	bad := func(format string, args ...any) error {
		return &rows.FileError{Code: rows.BadHeader, Line: w.number, Message: fmt.Sprintf(format, args...)}
	}
	if w.tooLong {
		return bad("the header is longer than %d bytes; is it the right row?", r.maxRow)
	}
	last := w.width
	for last > 0 && len(bytes.TrimSpace(w.cells[last-1].text)) == 0 {
		last--
	}
	if len(r.columns) > 0 {
		if last > len(r.columns) {
			return bad("the header has %d columns, %d are configured", last, len(r.columns))
		}
		return nil
	}
	names, seen := make([]string, last), make(map[string]int, last)
	for i := range names {
		name := oneLine(strings.TrimSpace(string(w.cells[i].text)))
		first, twice := seen[name]
		what := ""
		switch {
		case name == "":
			what = fmt.Sprintf("column %s has no name", columnName(i))
		case w.cells[i].kind == failed:
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
	r.setColumns(names)
	return nil
}

// oneLine makes a name that was wrapped within its cell one line.
func oneLine(name string) string {
	if strings.IndexFunc(name, func(c rune) bool { return unicode.IsControl(c) && c != 0 }) < 0 {
		return name
	}
	return strings.Join(strings.Fields(name), " ")
}

func (r *Reader) setColumns(names []string) {
	if len(names) == 0 {
		return
	}
	r.columns = append([]string(nil), names...)
	r.keys = make([][]byte, len(names))
	for i, n := range names {
		r.keys[i] = append(quote(nil, []byte(n)), ':')
	}
}

// resume passes over the rows that are done.
func (r *Reader) resume(from *rows.Mark) error {
	if from == nil {
		return nil
	}
	if from.Columns != len(r.columns) {
		return wrong(rows.MarkMismatch, "the mark counts %d columns, the file has %d: it is another file", from.Columns, len(r.columns))
	}
	for r.rows < from.Rows {
		_, err := r.Next()
		if rowErr := (*rows.RowError)(nil); err == nil || errors.As(err, &rowErr) {
			continue
		}
		if errors.Is(err, io.EOF) {
			return wrong(rows.MarkMismatch, "%d rows are done, but the sheet has %d: it is another file", from.Rows, r.rows)
		}
		return err
	}
	return nil
}

// Columns gives the names of the columns; nil where each row has its own.
func (r *Reader) Columns() []string { return r.columns }

// Merged counts the ranges of merged cells, once the last row has been read.
func (r *Reader) Merged() int { return r.sheet.merged }

// Mark gives the place behind the row that was given last.
func (r *Reader) Mark() rows.Mark {
	return rows.Mark{Rows: r.rows, Line: r.sheet.row.number + 1, Offset: -1, Columns: len(r.columns)}
}

// Close frees the temporary file, if there is one.
func (r *Reader) Close() error {
	if r.err == nil || errors.Is(r.err, io.EOF) {
		r.err = errors.New("xlsxrows: the reader is closed")
	}
	r.sheet.close()
	return nil
}

// Next gives the next row that is not empty.
func (r *Reader) Next() (rows.Row, error) {
	for r.err == nil {
		w, err := r.sheet.next()
		if err == nil && r.fill != nil {
			err = r.fill.fill(w)
		}
		if err != nil {
			r.err = err
			break
		}
		if w.empty() {
			continue
		}
		if r.given > freeRows && r.given > maxGrown*r.sheet.part.read {
			r.err = &rows.FileError{Code: rows.Bomb, Line: w.number, Message: fmt.Sprintf("the rows are more than %d times as long as JSON as they are in the sheet; leave out the columns that are empty", maxGrown)}
			break
		}
		r.rows++
		return r.give(w)
	}
	return rows.Row{}, r.err
}

// give makes the JSON of a row, or says what is wrong with it.
func (r *Reader) give(w *row) (rows.Row, error) {
	code, message := r.write(w)
	r.given += int64(len(r.body))
	var value any
	if code == "" {
		var err error
		if value, err = integration.DecodeJSON(r.body); err != nil {
			code, message = rows.InvalidJSON, "the row cannot be written as JSON: "+err.Error()
		}
	}
	if code != "" {
		raw := append([]byte(nil), r.body[:min(len(r.body), maxRaw)]...)
		return rows.Row{}, &rows.RowError{Line: w.number, Number: r.rows, Code: code, Message: message, Raw: raw}
	}
	return rows.Row{Number: r.rows, Line: w.number, Body: append([]byte(nil), r.body...), Value: value}, nil
}

// write makes the JSON of a row in r.body.
func (r *Reader) write(w *row) (code rows.Code, message string) {
	tooLong := fmt.Sprintf("the row is longer than %d bytes", r.maxRow)
	width := len(r.columns)
	if r.columns == nil {
		for width = w.width; width > 0 && w.cells[width-1].kind == blank; width-- {
		}
	}
	r.body = append(r.body[:0], '{')
	for i := range max(width, w.width) {
		c := cell{}
		if i < w.width {
			c = w.cells[i]
		}
		switch {
		case i >= width && len(c.text) == 0:
			continue
		case i >= width:
			return rows.Ragged, fmt.Sprintf("a value stands in column %s, behind the last of %d columns", columnName(i), width)
		case c.kind == failed && code == "":
			code, message = rows.CellError, fmt.Sprintf("cell %s%d holds the error %s instead of a value", columnName(i), w.number, c.text)
		case code == "" && bytes.IndexByte(c.text, 0) >= 0:
			code, message = rows.NUL, fmt.Sprintf("cell %s%d contains a NUL character", columnName(i), w.number)
		}
		if w.tooLong || len(r.body)+len(c.text) > r.maxRow {
			return rows.RowTooLong, tooLong
		}
		r.writeCell(i, c)
	}
	r.body = append(r.body, '}')
	if code == "" && (w.tooLong || len(r.body) > r.maxRow) {
		return rows.RowTooLong, tooLong
	}
	return code, message
}

func (r *Reader) writeCell(i int, c cell) {
	if i > 0 {
		r.body = append(r.body, ',')
	}
	if r.columns != nil {
		r.body = append(r.body, r.keys[i]...)
	} else {
		r.body = append(strconv.AppendInt(append(r.body, `"c`...), int64(i)+1, 10), `":`...)
	}
	switch c.kind {
	case blank:
		r.body = append(r.body, "null"...)
	case literal:
		r.body = append(r.body, c.text...)
	default:
		r.body = quote(r.body, c.text)
	}
}
