package csvrows

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
	"waybill.internal/services/ingest/internal/rows/charset"
	"waybill.internal/services/ingest/internal/rows/lines"
)

// Bounds that are not settings.
const (
	maxColumns  = 16384    // of a row, as in spreadsheets
	minRowBytes = 16       // of maxRow
	maxRowBytes = 64 << 20 // of maxRow
)

// Reader reads the rows of one file. It is not safe for concurrent use and holds
// no goroutine; it does not close the source.
type Reader struct {
	format  *integration.CSV
	text    charset.Text
	dialect dialect
	framer  *framer
	body    rows.Object
	scratch []byte
	maxRow  int

	header []string // as it stands in the file
	cells  []string // of the row at hand
	width  int      // columns a row must have; 0: not known yet
	rows   int
	blank  int
	empty  int   // of the framer's, those before the rows
	err    error // sticky: why no more rows come
}

// New reads the start of the file, at most 64 KiB and the header, and stands before
// the first row, or behind the mark. The source must begin with the file's first
// byte, also when resuming. maxRow bounds a row, in the file and as JSON, in bytes.
// An empty file and one with only a header are fine. The error is a
// *rows.FileError, or one of the source.
func New(src io.Reader, f *integration.CSV, maxRow int, from *rows.Mark) (*Reader, error) {
	if maxRow < minRowBytes || maxRow > maxRowBytes {
		return nil, fmt.Errorf("csvrows: rows of %d bytes; the bound must lie between %d and %d", maxRow, minRowBytes, maxRowBytes)
	}
	start, err := lines.Open(src, f.Charset)
	if err != nil {
		return nil, err
	}
	r := &Reader{format: f, dialect: dialectOf(f), maxRow: maxRow}
	r.text = r.dialect.settle(f, start)
	r.dialect.look = max(r.dialect.look, len(r.dialect.delim), 1)
	if len(r.dialect.delim) == 0 {
		return nil, errors.New("csvrows: the delimiter is missing")
	}
	start.Text = r.text
	r.framer = &framer{Buffer: start.Buffer(maxRow, r.dialect.separator()), dialect: &r.dialect, max: maxRow}
	if err := r.begin(); err != nil {
		return nil, err
	}
	r.empty = r.framer.empty
	if from != nil {
		if err := r.resume(*from); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// begin passes over the preamble and settles the column names.
func (r *Reader) begin() error {
	if err := r.framer.preamble(r.format.Preamble); err != nil {
		return err
	}
	r.setColumns(r.format.Columns)
	if !r.format.Header {
		return nil
	}
	for {
		fr, err := r.framer.next()
		if err == io.EOF {
			return nil // no header, no rows: an empty file
		}
		if err != nil {
			return err
		}
		code, message := r.parse(fr)
		if code != "" {
			return &rows.FileError{Code: rows.BadHeader, Line: fr.line, Message: "the header cannot be read: " + string(code) + ": " + message}
		}
		if allBlank(r.cells) {
			continue
		}
		return r.takeHeader(fr.line)
	}
}

func (r *Reader) takeHeader(line int) error {
	r.header = append([]string(nil), r.cells...)
	if n := len(r.format.Columns); n > 0 {
		if len(r.header) != n {
			return &rows.FileError{Code: rows.BadHeader, Line: line, Message: fmt.Sprintf("the header has %d columns, %d are configured", len(r.header), n)}
		}
		return nil
	}
	names := make([]string, len(r.header))
	for i, c := range r.header {
		names[i] = strings.TrimSpace(c)
	}
	if err := checkNames(names); err != nil {
		return &rows.FileError{Code: rows.BadHeader, Line: line, Message: err.Error() + "; mend the file, or name the columns in the integration"}
	}
	r.setColumns(names)
	return nil
}

func (r *Reader) setColumns(names []string) {
	if len(names) > 0 {
		r.body = rows.NewObject(names)
		r.width = len(names)
	}
}

// setWidth names the columns of a file without names: c1, c2, …
func (r *Reader) setWidth(n int) {
	names := make([]string, n)
	for i := range names {
		names[i] = "c" + strconv.Itoa(i+1)
	}
	r.setColumns(names)
}

func checkNames(names []string) error {
	seen := make(map[string]int, len(names))
	for i, n := range names {
		if n == "" {
			return fmt.Errorf("column %d has no name", i+1)
		}
		if strings.IndexFunc(n, unicode.IsControl) >= 0 {
			return fmt.Errorf("the name of column %d contains control characters", i+1)
		}
		if first, twice := seen[n]; twice {
			return fmt.Errorf("columns %d and %d are both named %q", first+1, i+1, n)
		}
		seen[n] = i
	}
	return nil
}

// Header gives the first row as it stands in the file, whatever names the columns
// have; nil without one.
func (r *Reader) Header() []string { return r.header }

// Cells gives the cells of the row that Next gave last, also of one that is ragged;
// they are valid until the next call of Next.
func (r *Reader) Cells() []string { return r.cells }

// Columns gives the column names; nil while a file without names has given no row.
func (r *Reader) Columns() []string { return r.body.Names() }

// Charset and Delimiter give what was decided.
func (r *Reader) Charset() string { return r.text.Name }

// Delimiter gives the delimiter that was configured or detected.
func (r *Reader) Delimiter() string { return string(r.dialect.delim) }

// Blank counts the blank rows and empty lines behind the header that were passed
// over so far by this Reader.
func (r *Reader) Blank() int { return r.blank + r.framer.empty - r.empty }

// Close has nothing to free.
func (r *Reader) Close() error { return nil }

// Next gives the next row; see rows.Reader.
func (r *Reader) Next() (rows.Row, error) {
	for r.err == nil {
		fr, err := r.framer.next()
		if err != nil {
			r.err = err
			break
		}
		code, message := r.parse(fr)
		if code == "" && allBlank(r.cells) {
			r.blank++
			continue
		}
		if code == "" && r.width == 0 {
			r.setWidth(len(r.cells))
		}
		if code == "" && len(r.cells) != r.width {
			code, message = rows.Ragged, fmt.Sprintf("the row has %d columns, %d are expected", len(r.cells), r.width)
		}
		r.rows++
		row := rows.Row{Number: r.rows, Line: fr.line}
		if code == "" {
			if row.Body = r.body.JSON(r.cells); len(row.Body) > r.maxRow {
				code, message = rows.RowTooLong, fmt.Sprintf("the row has %d bytes as JSON, at most %d are taken", len(row.Body), r.maxRow)
			}
		}
		if code != "" {
			return rows.Row{}, &rows.RowError{Line: fr.line, Number: r.rows, Code: code, Message: message, Raw: bytes.Clone(fr.raw[:min(len(fr.raw), lines.MaxRaw)])}
		}
		row.Value = r.body.Value(r.cells)
		return row, nil
	}
	return rows.Row{}, r.err
}

// parse leaves the cells of a row in r.cells, or says what is wrong with it.
func (r *Reader) parse(fr frame) (rows.Code, string) {
	r.cells = r.cells[:0]
	if fr.fault != "" {
		return fr.fault, r.explain(fr.fault)
	}
	if fr.fields > maxColumns {
		return rows.TooManyColumns, fmt.Sprintf("the row has %d columns, at most %d are allowed", fr.fields, maxColumns)
	}
	if bytes.IndexByte(fr.raw, 0) >= 0 {
		return rows.NUL, "the row contains a NUL byte (is this UTF-16 without a byte order mark, or a binary file?)"
	}
	row, ok := r.text.Decode(fr.raw, r.scratch)
	if !ok {
		return rows.InvalidBytes, "the row contains bytes that are not " + r.text.Name
	}
	if len(row) > 0 && &row[0] != &fr.raw[0] {
		r.scratch = row // it has grown, perhaps
	}
	r.cells = r.dialect.split(string(row), fr.plain, r.cells)
	return "", ""
}

func (r *Reader) explain(c rows.Code) string {
	switch c {
	case rows.BareQuote:
		return `a quote stands inside an unquoted cell; put the cell in quotes and double those inside`
	case rows.StrayQuote:
		return `text follows the closing quote of a cell; double the quotes inside a quoted cell`
	case rows.UnterminatedQuote:
		return "a quoted cell is not closed before the end of the file"
	case rows.BareCR:
		return "a lone carriage return stands outside quotes; end lines with LF or CR LF"
	default:
		return fmt.Sprintf("the row is longer than %d bytes (or a quoted cell is not closed)", r.maxRow)
	}
}

func allBlank(cells []string) bool {
	for _, c := range cells {
		if strings.TrimSpace(c) != "" {
			return false
		}
	}
	return true
}

// Mark gives the place behind the last row given.
func (r *Reader) Mark() rows.Mark {
	m := rows.Mark{Rows: r.rows, Line: r.framer.Line, Offset: r.framer.Offset, Columns: r.width}
	if !r.text.Placed() || r.framer.Offset < r.framer.single {
		m.Offset = -1
	}
	return m
}

// resume goes to the mark: by its byte, or by reading the rows before it.
func (r *Reader) resume(m rows.Mark) error {
	if m.Rows < 0 || m.Offset < -1 || m.Line < 0 || m.Columns < 0 || m.Columns > maxColumns {
		return &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf("this is no mark of a file of separated values: %+v", m)}
	}
	if m.Offset > 0 && m.Line > 0 && r.text.Placed() {
		return r.jump(m)
	}
	for r.rows < m.Rows {
		if err := rows.Skipped(r.Next()); err != nil {
			return rows.CannotSkip(err, m.Rows, r.rows)
		}
	}
	return nil
}

func (r *Reader) jump(m rows.Mark) error {
	mismatch := &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf("the mark at byte %d does not fit this file", m.Offset)}
	if m.Offset < r.framer.Offset || r.width > 0 && m.Columns != r.width {
		return mismatch
	}
	there, err := r.framer.Jump(m.Offset, m.Line)
	if err != nil {
		return err
	}
	if !there {
		return mismatch
	}
	r.rows = m.Rows
	if r.width == 0 && m.Columns > 0 {
		r.setWidth(m.Columns)
	}
	return nil
}
