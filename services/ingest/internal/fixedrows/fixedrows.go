// Package fixedrows reads lines whose columns have fixed places, counted in
// characters of the file's charset, not in bytes.
//
// A line is a row: an object of texts in the order of the configured columns, with
// the blanks around each value left out. Lines end with LF or CR LF (or CR alone in
// a file of an old Mac). Blank lines, the preamble and lines that begin with the
// comment character are passed over. Characters that belong to no column are passed
// over, too.
//
// A line that ends before its last column does is ragged, a broken row: a number
// that was cut would be another number. With pad it is read as if blanks followed,
// for partners whose tools cut blanks off the ends of lines. Broken rows and the
// bounds of lines are as in package csvrows.
package fixedrows

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/charset"
	"waybill.internal/services/ingest/internal/rows/lines"
)

const (
	minRowBytes = 16
	maxRowBytes = 64 << 20
)

// Reader reads the rows of one file. It is not safe for concurrent use and holds no
// goroutine; it does not close the source.
type Reader struct {
	format  *integration.Fixed
	text    charset.Text
	cutter  *lines.Cutter
	body    rows.Object
	scratch []byte
	cells   []string
	maxRow  int
	need    int // characters a line must have
	rows    int
	err     error // sticky
}

// New reads the start of the file and stands before the first row, or behind the
// mark. maxRow bounds a row, in the file and as JSON, in bytes. The error is a
// *rows.FileError, or one of the source.
func New(src io.Reader, f *integration.Fixed, maxRow int, from *rows.Mark) (*Reader, error) {
	if maxRow < minRowBytes || maxRow > maxRowBytes {
		return nil, fmt.Errorf("fixedrows: rows of %d bytes; the bound must lie between %d and %d", maxRow, minRowBytes, maxRowBytes)
	}
	start, err := lines.Open(src, f.Charset)
	if err != nil {
		return nil, err
	}
	if !start.Text.Fits(f.Comment) {
		start.Text = start.Text.Whole()
	}
	r := &Reader{format: f, text: start.Text, cutter: start.Cutter(maxRow), maxRow: maxRow, cells: make([]string, len(f.Columns))}
	names := make([]string, len(f.Columns))
	for i, c := range f.Columns {
		names[i] = c.Name
		r.need = max(r.need, c.Start-1+c.Width)
	}
	r.body = rows.NewObject(names)
	for n := f.Preamble; n > 0; {
		line, err := r.cutter.Next()
		if err == io.EOF {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		if !r.comment(line) {
			n--
		}
	}
	if from != nil {
		if err := r.resume(*from); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Reader) comment(l lines.Line) bool {
	return r.format.Comment != "" && bytes.HasPrefix(l.Raw, []byte(r.format.Comment))
}

// Next gives the next row; see rows.Reader.
func (r *Reader) Next() (rows.Row, error) {
	for r.err == nil {
		line, err := r.cutter.Next()
		if err != nil {
			r.err = err
			break
		}
		if r.comment(line) || !line.TooLong && len(bytes.TrimSpace(line.Raw)) == 0 {
			continue
		}
		r.rows++
		code, message := r.parse(line)
		row := rows.Row{Number: r.rows, Line: line.Number}
		if code == "" {
			if row.Body = r.body.JSON(r.cells); len(row.Body) > r.maxRow {
				code, message = rows.RowTooLong, fmt.Sprintf("the row has %d bytes as JSON, at most %d are taken", len(row.Body), r.maxRow)
			}
		}
		if code != "" {
			return rows.Row{}, &rows.RowError{Line: line.Number, Number: r.rows, Code: code, Message: message, Raw: bytes.Clone(line.Raw[:min(len(line.Raw), lines.MaxRaw)])}
		}
		row.Value = r.body.Value(r.cells)
		return row, nil
	}
	return rows.Row{}, r.err
}

// parse leaves the cells of a line in r.cells, or says what is wrong with it.
func (r *Reader) parse(line lines.Line) (rows.Code, string) {
	if line.TooLong {
		return rows.RowTooLong, fmt.Sprintf("the line is longer than %d bytes", r.maxRow)
	}
	if bytes.IndexByte(line.Raw, 0) >= 0 {
		return rows.NUL, "the line contains a NUL byte (is this UTF-16 without a byte order mark, or a binary file?)"
	}
	row, ok := r.text.Decode(line.Raw, r.scratch)
	if !ok {
		return rows.InvalidBytes, "the line contains bytes that are not " + r.text.Name
	}
	if len(row) > 0 && &row[0] != &line.Raw[0] {
		r.scratch = row
	}
	text := string(row)
	has := utf8.RuneCountInString(text)
	if has < r.need && !r.format.Pad {
		return rows.Ragged, fmt.Sprintf("the line has %d characters, %d are expected", has, r.need)
	}
	places := place{text: text, ascii: has == len(text)}
	for i, c := range r.format.Columns {
		r.cells[i] = strings.Trim(places.cut(c.Start-1, c.Width), " \t")
	}
	return "", ""
}

// place finds characters in a text: at once if it is ASCII, else from the last
// place on, since columns mostly follow each other.
type place struct {
	text  string
	ascii bool
	char  int // at byte
	byte  int
}

// cut gives so many characters, fewer at the end of the text.
func (p *place) cut(start, width int) string {
	if p.ascii {
		start = min(start, len(p.text))
		return p.text[start : start+min(width, len(p.text)-start)]
	}
	from := p.seek(start)
	return p.text[from:p.seek(start+width)]
}

func (p *place) seek(char int) int {
	if char < p.char {
		p.char, p.byte = 0, 0
	}
	for p.char < char && p.byte < len(p.text) {
		_, n := utf8.DecodeRuneInString(p.text[p.byte:])
		p.byte += n
		p.char++
	}
	return p.byte
}

// Mark gives the place behind the last row given.
func (r *Reader) Mark() rows.Mark { return r.cutter.Mark(r.rows) }

// Close has nothing to free.
func (r *Reader) Close() error { return nil }

func (r *Reader) resume(m rows.Mark) error {
	if there, err := r.cutter.Jump(m); there || err != nil {
		r.rows = m.Rows
		return err
	}
	for r.rows < m.Rows {
		if err := rows.Skipped(r.Next()); err != nil {
			return rows.CannotSkip(err, m.Rows, r.rows)
		}
	}
	return nil
}
