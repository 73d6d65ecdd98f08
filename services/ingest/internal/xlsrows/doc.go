// Package xlsrows reads the rows of an old binary spreadsheet (.xls): those of Excel
// 97 to 2003 (BIFF8), of Excel 5 and 95 (BIFF5), and the single sheets of Excel 2
// to 4. Of the file it holds one row, the shared texts and the list of sectors; the
// shared texts are bounded, and files of more than 100 MiB are refused. Where the
// cells of a file are not in the order of its rows, it holds 8 bytes a cell too.
//
// The container is read by code of our own rather than by richardlehane/mscfb, which
// finds each sector by walking the chain from its start and refuses a last sector
// that is cut off, as some writers leave it.
//
// # Sheets and rows
//
// The sheet is the one with the configured name, or number among the visible
// worksheets from 1; without either the first visible one. Hidden sheets are read
// when they are named. Charts, macros and modules are no worksheets.
//
// The row Sheet.Header names the columns; what stands above it is passed over. Names
// lose surrounding blanks; cells behind the last name are no columns. A blank name
// between others or one that is there twice is a [*rows.FileError], as a guessed
// name would bring values into the wrong field: Sheet.Columns is the way out.
// Without a header and without names the columns are c1, c2 and so on, as far as a
// row goes. A row whose cells are all empty is left out and not counted. A value
// behind the last column is a broken row. Lines are rows of the sheet.
//
// # Cells
//
//	number    the shortest decimal text that is this number, never 1e+06
//	date      a text, when the cell's format shows days or times: 2026-03-01,
//	          08:30:00 or 2026-03-01T08:30:00, with milliseconds where there are any
//	          (no zone: a spreadsheet has none). Durations ([h]:mm) and numbers
//	          outside the calendar stay numbers. Both date systems
//	text      as it stands, blanks included
//	boolean   true or false
//	formula   the value that the writing program had worked out
//	error     #N/A, #REF! and so on: the row is broken, and says which cell
//	nothing   null
//
// Merged cells have their value in the first one, or with Sheet.Merged "fill" in
// each of those in rows that hold something else too; the header is never filled.
//
// # What is refused
//
// Passwords ([rows.Encrypted]), containers without a workbook and files that only
// have the name (HTML, CSV, .xlsx: [rows.WrongFormat]), loops and places outside the
// file ([rows.Malformed]), a file that ends too early ([rows.Truncated], after the
// rows that are there), more texts or merged areas than are held ([rows.TooLarge]),
// and rows that are out of all proportion to the file, as when each of a million
// cells refers to one long text ([rows.Bomb]).
//
// # Resuming
//
// A mark says how many rows are done; they are read again and passed over.
package xlsrows
