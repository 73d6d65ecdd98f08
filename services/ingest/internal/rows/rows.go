// Package rows is what every reader of a file format gives: one row a record, in
// order, broken ones included, and a mark to go on at after a crash.
//
// A reader streams: it holds one row, never the file, unless its package says so.
// A broken row is a *RowError and does not stop the file; a file that cannot be
// read as it is described is a *FileError and does. Whatever the bytes are, a
// reader ends with one of these within bounded time and memory and never panics.
package rows

import (
	"fmt"
)

// Row is one row that could be read.
type Row struct {
	Number int    // from 1; broken rows count, headers and blank rows do not
	Line   int    // where it begins: the physical line, or the row of the sheet; from 1
	Body   []byte // one JSON object, the same bytes for the same row every time
	Value  any    // Body decoded, as integration.DecodeJSON gives it
}

// Mark is a place between two rows of a file, kept in the ledger. Of the fields a
// reader uses those that help it; Rows is always there.
type Mark struct {
	Rows    int    `json:"rows"`              // rows done
	Line    int    `json:"line,omitempty"`    // where the next row begins, from 1
	Offset  int64  `json:"offset,omitempty"`  // byte of the unpacked file where the next row begins; -1: unknown
	Columns int    `json:"columns,omitempty"` // columns a row must have; 0: not known yet
	Member  string `json:"member,omitempty"`  // the file of the archive
	Before  int    `json:"before,omitempty"`  // rows of the archive's files before that
}

// Reader reads the rows of one file. It is not safe for concurrent use.
type Reader interface {
	// Next gives the next row. The error is io.EOF after the last one, a *RowError
	// for a broken row (reading goes on), a *FileError, or an error of the source.
	// After any but a *RowError it is given again.
	Next() (Row, error)
	// Mark is the place after the row that Next gave last.
	Mark() Mark
	// Close frees what the reader holds, not what it reads from.
	Close() error
}

// Code names what is wrong with a row or a file. Codes never change their meaning.
type Code string

// What is wrong with a row.
const (
	Ragged            Code = "ragged"             // other than the expected number of columns
	BareQuote         Code = "bare_quote"         // a quote inside an unquoted cell
	StrayQuote        Code = "stray_quote"        // text after the closing quote of a cell
	UnterminatedQuote Code = "unterminated_quote" // no closing quote before the end of the file
	BareCR            Code = "bare_carriage_return"
	InvalidBytes      Code = "invalid_bytes" // not text of the file's charset
	NUL               Code = "nul"
	RowTooLong        Code = "row_too_long"
	TooManyColumns    Code = "too_many_columns"
	InvalidJSON       Code = "invalid_json" // a line or an item that is no JSON
	CellError         Code = "cell_error"   // a spreadsheet's #N/A, #REF! and the like where a value should be
)

// What is wrong with a file.
const (
	BadHeader      Code = "bad_header"
	UnknownCharset Code = "unknown_charset"
	MarkMismatch   Code = "mark_mismatch"
	WrongFormat    Code = "wrong_format" // the bytes are not of the format that is configured
	Malformed      Code = "malformed"    // they are, but cannot be read on
	Truncated      Code = "truncated"    // the file ends in the middle
	Encrypted      Code = "encrypted"    // a password is needed
	Bomb           Code = "bomb"         // unpacked or expanded, it is out of all proportion
	TooDeep        Code = "too_deep"     // nested deeper than is read
	TooLarge       Code = "too_large"    // a bound of the format's reader is passed
	NotFound       Code = "not_found"    // the sheet, element, list or archive member is not there
	Unsupported    Code = "unsupported"  // a version or feature of the format that is not read
)

// RowError is a broken row. Reading can go on.
type RowError struct {
	Line    int    // where the row begins, from 1
	Number  int    // number of the row, from 1, header not counted
	Code    Code   //
	Message string // a sentence for the partner, without the row's values
	Raw     []byte // what stands in the file, at most the first 4 KiB
}

// Error gives the place and the sentence.
func (e *RowError) Error() string {
	return fmt.Sprintf("row %d at line %d: %s: %s", e.Number, e.Line, e.Code, e.Message)
}

// FileError is a file that cannot be read as asked. Reading cannot go on.
type FileError struct {
	Code    Code
	Line    int // physical line or row, from 1; 0: the whole file
	Message string
}

// Error gives the place and the sentence.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("file: %s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("file, line %d: %s: %s", e.Line, e.Code, e.Message)
}
