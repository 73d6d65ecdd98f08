package xlsrows

import (
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
	maxRawBytes = 4 << 10  // what a broken row shows of itself
	maxGrown    = 64       // times that the rows may be longer as JSON than the file,
	freeGrowth  = 64 << 20 // beyond so many bytes
)

// Reader reads the rows of one sheet. It is not safe for concurrent use and holds no
// goroutine.
type Reader struct {
	sheet   *sheetRows
	columns []string // nil: as far as each row goes
	keys    [][]byte // of columns, as JSON with the colon
	maxRow  int
	most    int64 // bytes of JSON that all rows may have
	given   int64 // that they had so far
	rows    int
	line    int // of the next row
	body    []byte
	err     error // sticky: why no more rows come
}

// New opens the sheet that f describes and stands before its first row, or behind
// the mark. maxRow bounds the JSON of a row in bytes. The error is a *rows.FileError
// or one of the source.
func New(src io.ReaderAt, size int64, f *integration.Sheet, maxRow int, from *rows.Mark) (*Reader, error) {
	b, err := openBook(src, size)
	if err != nil {
		return nil, err
	}
	which, err := b.sheet(f.Sheet)
	if err != nil {
		return nil, err
	}
	sheet, err := b.openSheet(which, f.Merged == "fill")
	if err != nil {
		return nil, err
	}
	sheet.row.number = -1
	r := &Reader{sheet: sheet, maxRow: maxRow, most: freeGrowth + maxGrown*size, line: 1}
	r.setColumns(f.Columns)
	if f.Header > 0 {
		sheet.header = f.Header - 1
		if err := r.header(f.Header); err != nil {
			return nil, err
		}
	}
	if err := r.resume(from); err != nil {
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
		r.line = w.number + 2
		if w.number+1 < line {
			continue
		}
		if w.number+1 > line || w.empty() {
			hint := ""
			if !w.empty() {
				hint = fmt.Sprintf(" (the next one with a value is row %d)", w.number+1)
			}
			return &rows.FileError{Code: rows.BadHeader, Line: line, Message: fmt.Sprintf("row %d should name the columns and is empty; set header to the row that does%s", line, hint)}
		}
		return r.takeHeader(w, line)
	}
}

func (r *Reader) takeHeader(w *row, line int) error {
	last := w.width
	for last > 0 && strings.TrimSpace(string(w.cells[last-1].text)) == "" {
		last--
	}
	if len(r.columns) > 0 {
		if last > len(r.columns) {
			return &rows.FileError{Code: rows.BadHeader, Line: line, Message: fmt.Sprintf("the header has %d columns, %d are configured", last, len(r.columns))}
		}
		return nil
	}
	names := make([]string, last)
	seen := make(map[string]int, last)
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
			return &rows.FileError{Code: rows.BadHeader, Line: line, Message: what + "; mend the file, or name the columns in the integration"}
		}
		names[i], seen[name] = name, i
	}
	r.setColumns(names)
	return nil
}

// oneLine makes a name that was wrapped within its cell one line.
func oneLine(name string) string {
	if strings.IndexFunc(name, unicode.IsControl) < 0 {
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
		r.keys[i] = append(appendJSON(nil, []byte(n)), ':')
	}
}

// resume passes over the rows that are done.
func (r *Reader) resume(from *rows.Mark) error {
	if from == nil {
		return nil
	}
	mismatch := func(why string) error {
		return &rows.FileError{Code: rows.MarkMismatch, Message: why + ": it is another file"}
	}
	if from.Columns != len(r.columns) {
		return mismatch(fmt.Sprintf("the mark counts %d columns, the file has %d", from.Columns, len(r.columns)))
	}
	for r.rows < from.Rows {
		var broken *rows.RowError
		switch _, err := r.Next(); {
		case errors.Is(err, io.EOF):
			return mismatch(fmt.Sprintf("%d rows are done by the mark, but the sheet has %d", from.Rows, r.rows))
		case err != nil && !errors.As(err, &broken):
			return err
		}
	}
	return nil
}

// Next gives the next row that is not empty.
func (r *Reader) Next() (rows.Row, error) {
	for r.err == nil {
		w, err := r.sheet.next()
		if err != nil {
			r.err = err
			break
		}
		r.line = w.number + 2
		if w.empty() {
			continue
		}
		if r.given > r.most {
			r.err = &rows.FileError{Code: rows.Bomb, Line: w.number + 1, Message: fmt.Sprintf("the rows up to here are more than %d times as long as the file, which no real sheet is", maxGrown)}
			break
		}
		r.rows++
		given, err := r.give(w)
		r.given += int64(len(r.body))
		return given, err
	}
	return rows.Row{}, r.err
}

// give makes the JSON of a row, or says what is wrong with it.
func (r *Reader) give(w *row) (rows.Row, error) {
	code, message := r.write(w)
	var value any
	if code == "" {
		var err error
		if value, err = integration.DecodeJSON(r.body); err != nil {
			code, message = rows.InvalidJSON, "the row cannot be written as JSON: "+err.Error()
		}
	}
	if code != "" {
		raw := append([]byte(nil), r.body[:min(len(r.body), maxRawBytes)]...)
		return rows.Row{}, &rows.RowError{Line: w.number + 1, Number: r.rows, Code: code, Message: message, Raw: raw}
	}
	return rows.Row{Number: r.rows, Line: w.number + 1, Body: append([]byte(nil), r.body...), Value: value}, nil
}

// write makes the JSON of a row in r.body.
func (r *Reader) write(w *row) (code rows.Code, message string) {
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
			code, message = rows.CellError, fmt.Sprintf("column %s holds the error %s instead of a value", columnName(i), c.text)
		case code == "" && strings.IndexByte(string(c.text), 0) >= 0:
			code, message = rows.NUL, fmt.Sprintf("column %s contains a NUL character", columnName(i))
		}
		if len(r.body)+len(c.text) > r.maxRow {
			return rows.RowTooLong, fmt.Sprintf("the row is longer than %d bytes as JSON", r.maxRow)
		}
		r.writeCell(i, c)
	}
	r.body = append(r.body, '}')
	if code == "" && len(r.body) > r.maxRow {
		return rows.RowTooLong, fmt.Sprintf("the row is longer than %d bytes as JSON", r.maxRow)
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
		r.body = appendJSON(r.body, c.text)
	}
}

// appendJSON adds text, which is UTF-8, as a JSON string.
func appendJSON(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c == '\n':
			to = append(to, `\n`...)
		case c < 0x20:
			to = append(to, `\u00`...)
			to = append(to, hex[c>>4], hex[c&15])
		default:
			to = append(to, c)
		}
	}
	return append(to, '"')
}

// Columns gives the names of the columns; nil where each row has its own.
func (r *Reader) Columns() []string { return r.columns }

// Mark gives the place behind the row that was given last.
func (r *Reader) Mark() rows.Mark {
	return rows.Mark{Rows: r.rows, Line: r.line, Offset: -1, Columns: len(r.columns)}
}

// Close frees what the reader holds. The source stays open.
func (r *Reader) Close() error {
	r.sheet, r.body, r.err = nil, nil, errors.New("xlsrows: the reader is closed")
	return nil
}
