// Package csvrows reads the rows of a CSV file as a stream, in constant memory,
// and goes on after broken ones. One row of a file is one record; a broken row
// is a rejected record with its line number and does not stop the file.
//
//	r, err := csvrows.NewReader(file, csvrows.Options{Header: true})
//	for {
//		row, err := r.Next()
//		var broken *csvrows.RowError
//		switch {
//		case err == io.EOF:           // the file is done, r.Mark().Rows rows in all
//		case errors.As(err, &broken): // row broken.Number is a rejected record; go on
//		case err != nil:              // the file cannot be read on: *FileError or an I/O error
//		}
//	}
//
// # Rows
//
// A row is numbered from 1; broken rows count, the header and blank rows do not.
// A row is blank when each of its cells is empty or white space. Lines end with
// LF or CR LF, the last one may lack its end. A line end inside a quoted cell is
// given as LF. Cells are given as they stand, blanks and leading zeros included.
//
// # Broken rows
//
// Each is a [*RowError] with a [Code]. After one, reading goes on at the next
// line. When a quoted cell that was to reach over several lines turns out broken
// (a stray quote, no closing quote before MaxRowBytes or before the end of the
// file), only its first line is broken and the second line is read as a row of
// its own: a forgotten quote costs one row, not the rest of the file. This takes
// at most one more pass over each MaxRowBytes, because a line with an even number
// of quotes cannot leave a quoted cell open.
//
// # Characters
//
// A byte order mark decides; else text that is valid UTF-8 and is not plain ASCII
// is UTF-8; else the declared charset; else ASCII is read as UTF-8 and all other
// as windows-1252. This is decided on the first 64 KiB; bytes later on that do
// not fit make their row a broken row. ISO-8859-1 is read as windows-1252, as
// browsers do.
//
// # Header
//
// Names lose surrounding blanks. A blank name, one that is there twice or one
// with control characters is a [*FileError]: a guessed name would bring values
// into the wrong field. Options.Columns is the way out, it replaces the header.
//
// # Resuming
//
// [Reader.Mark] after row k, stored in the transaction that stores row k, makes
// a new Reader over the same bytes with the same Options go on at row k+1, with
// the same numbers, lines and results as if nothing had happened.
package csvrows
