// Package csvrows reads separated values (CSV, TSV and the like) as a stream, in
// constant memory, and goes on after broken rows. It keeps the contract of package
// rows: one row of a file is one record; a broken row is a rejected record with its
// line number and does not stop the file.
//
// # Rows
//
// A row is numbered from 1; broken rows count, the header and blank rows do not.
// A row is blank when each of its cells is empty or white space. Rows end with LF
// or CR LF, the last one may lack its end; a file whose first 64 KiB hold a CR and
// no LF outside of quotation marks is one of an old Mac, its rows end with CR. With
// row_end only that ends a row, and line ends right after it are passed over. Cells
// are given as they stand, blanks, leading zeros and line ends inside quotation
// marks included. A row is an object of texts, in the order of the file.
//
// # Quotation marks
//
// A cell that begins with one ends with one, and those inside are doubled, or
// escaped if there is an escape character (then a doubled one is none). Others are
// a broken row, unless stray_quotes says keep: then a mark inside an unquoted cell
// is text, and so is what follows a closing one up to the delimiter.
//
// # Broken rows
//
// Each is a *rows.RowError. After one, reading goes on at the next row end. When a
// quoted cell that was to reach over several row ends turns out broken (a stray
// quote, no closing quote before the bound of a row or before the end of the file),
// only what stands before its first row end is broken and the rest is read as rows
// of their own: a forgotten quote costs one row, not the rest of the file. This
// takes at most one more pass over each bound of a row, because a line with an even
// number of quotes cannot leave a quoted cell open. A line that goes on for more
// than 64 MiB is a *rows.FileError. With stray_quotes: keep such lines can, so there
// no row takes several lines in the part that was looked at in vain.
//
// # Header
//
// Names lose surrounding blanks. A blank name, one that is there twice or one
// with control characters is a *rows.FileError: a guessed name would bring values
// into the wrong field. The way out are columns in the integration, which replace
// the names of the header.
//
// # Resuming
//
// A mark leads back to the byte of the file, or, for charsets that are decoded
// before rows are cut (UTF-16, many Asian ones), to the number of the row: then the
// rows before are read again.
package csvrows
