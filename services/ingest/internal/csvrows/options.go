package csvrows

import (
	"errors"
	"fmt"
)

// Bounds that are not settings.
const (
	prefixBytes     = 64 << 10 // what charset and delimiter are decided on
	maxRawBytes     = 4 << 10  // of a broken row kept in RowError.Raw
	maxPreamble     = 1000     // lines before the header
	defaultRowBytes = 1 << 20
	defaultColumns  = 1024
	limitRowBytes   = 64 << 20
	limitColumns    = 16384
)

// Options say how a file is read. The zero value detects everything and takes
// the first row as data.
type Options struct {
	Delimiter rune   // one ASCII character; 0: the likeliest of comma, semicolon, tab and pipe
	Charset   string // name as in HTML, such as "iso-8859-7"; see the package comment
	Header    bool   // the first row holds the column names

	// Columns names the columns. With Header it replaces the names of the file,
	// which must have as many. Without either, columns are named c1, c2, … and the
	// first row that is not broken says how many there are.
	Columns []string

	MaxRowBytes int // default 1 MiB, at most 64 MiB
	MaxColumns  int // default 1024, at most 16384

	Preamble int  // physical lines to pass over before the header or first row, at most 1000
	Comment  rune // lines that begin with this ASCII character are passed over; 0: none
	NoQuotes bool // quotation marks are plain text, as in many tab-separated files

	// SkipRows passes over that many rows, by reading them. From goes on at a
	// mark, which is cheaper. Give one of them.
	SkipRows int
	From     *Mark
}

// Mark is a place between two rows of a file.
type Mark struct {
	Rows    int   `json:"rows"`    // rows done
	Line    int   `json:"line"`    // physical line the next row starts at, from 1
	Offset  int64 `json:"offset"`  // byte of the file the next row starts at; -1: unknown (UTF-16, UTF-32 and some Asian charsets)
	Columns int   `json:"columns"` // columns a row must have; 0: not known yet
}

func (o *Options) check() error {
	if o.MaxRowBytes == 0 {
		o.MaxRowBytes = defaultRowBytes
	}
	if o.MaxColumns == 0 {
		o.MaxColumns = defaultColumns
	}
	switch {
	case o.MaxRowBytes < 16 || o.MaxRowBytes > limitRowBytes:
		return fmt.Errorf("csvrows: MaxRowBytes must lie between 16 and %d", limitRowBytes)
	case o.MaxColumns < 1 || o.MaxColumns > limitColumns:
		return fmt.Errorf("csvrows: MaxColumns must lie between 1 and %d", limitColumns)
	case len(o.Columns) > o.MaxColumns:
		return fmt.Errorf("csvrows: %d column names, at most %d are allowed", len(o.Columns), o.MaxColumns)
	case o.Preamble < 0 || o.Preamble > maxPreamble:
		return fmt.Errorf("csvrows: Preamble must lie between 0 and %d lines", maxPreamble)
	case o.SkipRows < 0:
		return errors.New("csvrows: SkipRows must not be negative")
	case o.SkipRows > 0 && o.From != nil:
		return errors.New("csvrows: give SkipRows or From, not both")
	case o.From != nil && (o.From.Rows < 0 || o.From.Line < 1 || o.From.Offset < -1 || o.From.Columns < 0 || o.From.Columns > o.MaxColumns):
		return fmt.Errorf("csvrows: no mark of this package: %+v", *o.From)
	case o.Delimiter != 0 && !plain(o.Delimiter):
		return fmt.Errorf("csvrows: %q cannot be a delimiter: it must be one ASCII character other than a quote, a line end or NUL", o.Delimiter)
	case o.Comment != 0 && (!plain(o.Comment) || o.Comment == o.Delimiter):
		return fmt.Errorf("csvrows: %q cannot begin a comment: it must be one ASCII character other than a quote, a line end, NUL or the delimiter", o.Comment)
	}
	if len(o.Columns) > 0 {
		return checkNames(o.Columns)
	}
	return nil
}

func plain(c rune) bool {
	return c > 0 && c < 0x80 && c != '"' && c != '\r' && c != '\n'
}
