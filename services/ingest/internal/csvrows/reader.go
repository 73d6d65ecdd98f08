package csvrows

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Reader reads the rows of one file. It is not safe for concurrent use and holds
// no goroutine; it does not close the source.
type Reader struct {
	opts    Options
	text    text
	delim   byte
	framer  *framer
	parser  rowParser
	scratch []byte

	columns []string
	width   int // columns a row must have; 0: not known yet
	rows    int
	blank   int
	err     error // sticky: why no more rows come
}

// NewReader reads the start of the file, at most 64 KiB and the header, and
// stands before the first row (or behind the mark). The source must begin with
// the file's first byte, also when resuming; one that can seek is sought.
// An empty file and one with only a header are fine.
func NewReader(src io.Reader, o Options) (*Reader, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	base := int64(-1)
	seeker, canSeek := src.(io.Seeker)
	if canSeek {
		if at, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			base = at
		}
	}
	prefix, whole, err := readPrefix(src)
	if err != nil {
		return nil, err
	}
	r := &Reader{opts: o}
	if r.text, err = decideCharset(prefix, whole, o.Charset); err != nil {
		return nil, err
	}
	if r.delim, err = r.decideDelimiter(prefix); err != nil {
		return nil, err
	}
	all := io.MultiReader(bytes.NewReader(prefix[r.text.bom:]), src)
	r.framer = &framer{src: r.text.reader(all), delim: r.delim, comment: byte(o.Comment), quotes: !o.NoQuotes,
		max: o.MaxRowBytes, line: 1, offset: int64(r.text.bom)}
	r.parser.init(r.delim)
	if err := r.begin(); err != nil {
		return nil, err
	}
	if err := r.resume(seeker, base); err != nil {
		return nil, err
	}
	return r, nil
}

// readPrefix reads up to prefixBytes and says whether that is the whole file.
// io.ReadFull would not do: it cannot tell a short file from a source that itself
// reports io.ErrUnexpectedEOF, as a cut-off gzip file does.
func readPrefix(src io.Reader) (prefix []byte, whole bool, err error) {
	prefix = make([]byte, prefixBytes)
	n, empty := 0, 0
	for n < len(prefix) {
		m, err := src.Read(prefix[n:])
		n += m
		if err == io.EOF {
			return prefix[:n], true, nil
		}
		if err == nil && m == 0 {
			if empty++; empty >= maxEmptyReads {
				err = io.ErrNoProgress
			}
		}
		if err != nil {
			return nil, false, fmt.Errorf("csvrows: read the start of the file: %w", err)
		}
	}
	return prefix, false, nil
}

func (r *Reader) decideDelimiter(prefix []byte) (byte, error) {
	if r.opts.Delimiter != 0 {
		return byte(r.opts.Delimiter), nil
	}
	sample, err := io.ReadAll(r.text.reader(bytes.NewReader(prefix[r.text.bom:])))
	if err != nil {
		return 0, fmt.Errorf("csvrows: decode the start of the file as %s: %w", r.text.name, err)
	}
	return detectDelimiter(sample, r.opts), nil
}

// begin passes over the preamble and settles the column names.
func (r *Reader) begin() error {
	for range r.opts.Preamble {
		if _, err := r.framer.passLine(); err != nil {
			return err
		}
	}
	r.setColumns(r.opts.Columns)
	if !r.opts.Header {
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
		cells, code, message := r.parse(fr)
		if code != "" {
			return &FileError{Code: BadHeader, Line: fr.line, Message: "the header cannot be read: " + string(code) + ": " + message}
		}
		if allBlank(cells) {
			continue
		}
		return r.takeHeader(cells, fr.line)
	}
}

func (r *Reader) takeHeader(cells []string, line int) error {
	if len(r.opts.Columns) > 0 {
		if len(cells) != len(r.opts.Columns) {
			return &FileError{Code: BadHeader, Line: line, Message: fmt.Sprintf("the header has %d columns, %d are configured", len(cells), len(r.opts.Columns))}
		}
		return nil
	}
	names := make([]string, len(cells))
	for i, c := range cells {
		names[i] = strings.TrimSpace(c)
	}
	if err := checkNames(names); err != nil {
		return &FileError{Code: BadHeader, Line: line, Message: err.Error() + "; mend the file, or name the columns in the integration"}
	}
	r.setColumns(names)
	return nil
}

func (r *Reader) setColumns(names []string) {
	if len(names) > 0 {
		r.columns = append([]string(nil), names...)
		r.width = len(names)
	}
}

// setWidth names the columns of a file without names.
func (r *Reader) setWidth(n int) {
	r.width = n
	r.columns = make([]string, n)
	for i := range r.columns {
		r.columns[i] = "c" + strconv.Itoa(i+1)
	}
}

func checkNames(names []string) error {
	seen := make(map[string]int, len(names))
	for i, n := range names {
		if n == "" {
			return fmt.Errorf("column %d has no name", i+1)
		}
		if strings.IndexFunc(n, unicode.IsControl) >= 0 {
			return fmt.Errorf("the name of column %d contains control characters (are the line ends a lone CR?)", i+1)
		}
		if first, twice := seen[n]; twice {
			return fmt.Errorf("columns %d and %d are both named %q", first+1, i+1, n)
		}
		seen[n] = i
	}
	return nil
}

// Columns gives the column names; nil while a file without names has given no row.
func (r *Reader) Columns() []string { return r.columns }

// Charset and Delimiter give what was decided.
func (r *Reader) Charset() string { return r.text.name }

// Delimiter gives the delimiter that was configured or detected.
func (r *Reader) Delimiter() rune { return rune(r.delim) }

// Blank counts the rows of only empty cells passed over so far by this Reader;
// empty lines are not counted.
func (r *Reader) Blank() int { return r.blank }

// Next gives the next row, a *RowError for a broken one (reading goes on), io.EOF
// at the end of the file, or why the file cannot be read on; the last two stay.
func (r *Reader) Next() (Row, error) {
	for r.err == nil {
		fr, err := r.framer.next()
		if err != nil {
			r.err = err
			break
		}
		cells, code, message := r.parse(fr)
		if code == "" && allBlank(cells) {
			r.blank++
			continue
		}
		if code == "" && r.width == 0 {
			r.setWidth(len(cells))
		}
		if code == "" && len(cells) != r.width {
			code, message = Ragged, fmt.Sprintf("the row has %d columns, %d are expected", len(cells), r.width)
		}
		r.rows++
		if code != "" {
			raw := append([]byte(nil), fr.raw[:min(len(fr.raw), maxRawBytes)]...)
			return Row{}, &RowError{Line: fr.line, Number: r.rows, Code: code, Message: message, Raw: raw}
		}
		return Row{Number: r.rows, Line: fr.line, Columns: r.columns, Values: cells}, nil
	}
	return Row{}, r.err
}

// parse gives the cells of a row, or what is wrong with it.
func (r *Reader) parse(fr frame) ([]string, Code, string) {
	if fr.fault != "" {
		return nil, fr.fault, r.explain(fr.fault)
	}
	if fr.fields > r.opts.MaxColumns {
		return nil, TooManyColumns, fmt.Sprintf("the row has %d columns, at most %d are allowed", fr.fields, r.opts.MaxColumns)
	}
	if bytes.IndexByte(fr.raw, 0) >= 0 {
		return nil, NUL, "the row contains a NUL byte (is this UTF-16 without a byte order mark, or a binary file?)"
	}
	row, ok := r.text.decode(fr.raw, r.scratch)
	if r.text.rows != nil {
		r.scratch = row
	}
	if !ok {
		return nil, InvalidBytes, "the row contains bytes that are not " + r.text.name
	}
	if !fr.quoted {
		return strings.Split(string(row), string(rune(r.delim))), "", ""
	}
	cells, err := r.parser.parse(row)
	if err != nil {
		return nil, StrayQuote, err.Error()
	}
	return cells, "", ""
}

func (r *Reader) explain(c Code) string {
	switch c {
	case BareQuote:
		return `a quote stands inside an unquoted cell; put the cell in quotes and double those inside`
	case StrayQuote:
		return `text follows the closing quote of a cell; double the quotes inside a quoted cell`
	case UnterminatedQuote:
		return "a quoted cell is not closed before the end of the file"
	case BareCR:
		return "a lone carriage return stands outside quotes; end lines with LF or CR LF"
	default:
		return fmt.Sprintf("the row is longer than %d bytes (or a quoted cell is not closed)", r.opts.MaxRowBytes)
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
func (r *Reader) Mark() Mark {
	m := Mark{Rows: r.rows, Line: r.framer.line, Offset: r.framer.offset, Columns: r.width}
	if r.text.stream != nil {
		m.Offset = -1
	}
	return m
}

// resume goes to where Options say.
func (r *Reader) resume(seeker io.Seeker, base int64) error {
	skip := r.opts.SkipRows
	if m := r.opts.From; m != nil {
		if m.Offset >= 0 && r.text.stream == nil {
			return r.jump(*m, seeker, base)
		}
		skip = m.Rows
	}
	for r.rows < skip {
		_, err := r.Next()
		if rowErr := (*RowError)(nil); err != nil && !errors.As(err, &rowErr) {
			if err == io.EOF {
				return &FileError{Code: MarkMismatch, Message: fmt.Sprintf("%d rows are done by the mark, but the file has %d: it is another file", skip, r.rows)}
			}
			return err
		}
	}
	return nil
}

// seekFrom is the distance below which reading on is cheaper than seeking.
const seekFrom = 1 << 20

func (r *Reader) jump(m Mark, seeker io.Seeker, base int64) error {
	f := r.framer
	mismatch := &FileError{Code: MarkMismatch, Message: fmt.Sprintf("the mark at byte %d does not fit this file", m.Offset)}
	if m.Offset < f.offset || (r.width > 0 && m.Columns != r.width) {
		return mismatch
	}
	if base >= 0 && m.Offset-f.offset > seekFrom {
		end, err := seeker.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("csvrows: seek the end of the file: %w", err)
		}
		if base+m.Offset > end {
			return mismatch
		}
		if _, err := seeker.Seek(base+m.Offset, io.SeekStart); err != nil {
			return fmt.Errorf("csvrows: seek to byte %d: %w", m.Offset, err)
		}
		f.src, f.start, f.end, f.offset, f.err = seeker.(io.Reader), 0, 0, m.Offset, nil
	}
	for f.offset < m.Offset {
		if f.start == f.end && !f.fill() {
			if err := f.failed(); err != nil {
				return err
			}
			return mismatch
		}
		f.drop(int(min(m.Offset-f.offset, int64(f.end-f.start))))
	}
	f.line, r.rows = m.Line, m.Rows
	if r.width == 0 && m.Columns > 0 {
		r.setWidth(m.Columns)
	}
	return nil
}

// rowParser gives one cut row at a time to one encoding/csv Reader, so that no
// buffer is made per row.
type rowParser struct {
	feed *bytes.Reader
	end  *strings.Reader
	buf  *bufio.Reader
	csv  *csv.Reader
}

func (p *rowParser) init(delim byte) {
	p.feed, p.end = bytes.NewReader(nil), strings.NewReader("")
	p.buf = bufio.NewReaderSize(nil, 4096)
	p.csv = csv.NewReader(p.buf)
	p.csv.Comma = rune(delim)
	p.csv.FieldsPerRecord = -1
}

func (p *rowParser) parse(row []byte) ([]string, error) {
	p.feed.Reset(row)
	p.end.Reset("\n")
	p.buf.Reset(io.MultiReader(p.feed, p.end))
	cells, err := p.csv.Read()
	if err != nil {
		var detail *csv.ParseError
		if errors.As(err, &detail) {
			err = detail.Err // its line numbers are not the file's
		}
		return nil, err
	}
	for _, c := range cells {
		if !utf8.ValidString(c) {
			return nil, errors.New("a cell is no text")
		}
	}
	return cells, nil
}
