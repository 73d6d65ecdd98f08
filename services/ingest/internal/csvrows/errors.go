package csvrows

import "fmt"

// Code names what is wrong with a row or a file. Codes never change their
// meaning.
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
)

// What is wrong with a file.
const (
	BadHeader      Code = "bad_header"
	UnknownCharset Code = "unknown_charset"
	MarkMismatch   Code = "mark_mismatch"
)

// RowError is a broken row. Reading can go on.
type RowError struct {
	Line    int    // physical line the row starts at, from 1
	Number  int    // number of the row, from 1, header not counted
	Code    Code   //
	Message string // a sentence for the partner
	Raw     []byte // the row's bytes as they stand in the file, at most the first 4 KiB
}

// Error gives the place and the sentence.
func (e *RowError) Error() string {
	return fmt.Sprintf("row %d at line %d: %s: %s", e.Number, e.Line, e.Code, e.Message)
}

// FileError is a file that cannot be read as asked. Reading cannot go on.
type FileError struct {
	Code    Code
	Line    int // physical line, from 1; 0: the whole file
	Message string
}

// Error gives the place and the sentence.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("csv file: %s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("csv file, line %d: %s: %s", e.Line, e.Code, e.Message)
}
