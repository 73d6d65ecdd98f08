// Package xlsxrows reads the rows of a spreadsheet (.xlsx) as a stream. Of the file
// it holds one row, the styles of cells and the list of parts; the texts that cells
// share are held up to 16 MiB and beyond that lie in a temporary file.
//
// It is not excelize, because that unpacks every part before the first row, formats
// numbers as they are shown and gives no bound for what a text, a row or a sheet
// may cost.
//
// # Sheets and rows
//
// The sheet is the one with the configured name, or number among the visible
// worksheets from 1; without either the first visible one. Hidden sheets are read
// when they are named. A sheet whose name is a number is found by its name first.
//
// The row Sheet.Header names the columns; what stands above it is passed over. Names
// lose surrounding blanks; cells behind the last name are no columns. A blank name
// between others or one that is there twice is a [*rows.FileError], as a guessed
// name would bring values into the wrong field: Sheet.Columns is the way out.
// Without a header and without names the columns are c1, c2 and so on, as far as a
// row goes. A row whose cells are all empty is left out and not counted. A value
// behind the last column is a broken row. Lines are rows of the sheet; rows and cells
// that do not say where they are follow the one before.
//
// # Cells
//
//	number    as it is written in the file, without an exponent; where Excel wrote
//	          the 16 or 17 digits of a binary fraction, the shortest text that is
//	          this number (1.1, not 1.1000000000000001)
//	date      a text, when the cell's format shows days or times: 2026-03-01,
//	          08:30:00 or 2026-03-01T08:30:00, with milliseconds where there are any
//	          (no zone: a spreadsheet has none). Durations ([h]:mm) and numbers
//	          outside the calendar stay numbers. Both date systems
//	text      as it stands, blanks included; of rich text the text
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
// Passwords ([rows.Encrypted]), .xls, .xlsb and files that only have the name
// ([rows.WrongFormat], [rows.Unsupported]), a missing or cut part, more rows or
// columns than a sheet has, parts that unpack to 200 times their size beyond 64 MiB
// ([rows.Bomb]), entities in a part that expand out of proportion, rows that become
// 256 times as long as JSON as they are in the sheet, or 32 times beyond 1 GiB.
//
// # Resuming
//
// A mark says how many rows are done; they are read again and passed over.
package xlsxrows
