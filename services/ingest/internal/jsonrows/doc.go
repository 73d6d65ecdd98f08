// Package jsonrows reads JSON files as a stream: a document with a list of records,
// or one JSON value a line (NDJSON, JSON Lines).
//
// # Records
//
// Each element of the list, or each line that is not blank, is a row. An element
// that is an object is the body as it stands, in a list without the white space
// between its parts; one that is no object (a list, a text, a number) becomes
// {"value": element}. Elements are read by integration.DecodeJSON, whose rules hold:
// a repeated key, text that is no UTF-8, nesting beyond 64 and the like make a
// broken row, and reading goes on with the next. An element or line beyond the bound
// of a row is a broken row, one beyond 64 MiB the end of the file.
//
// # The list
//
// It is the document itself, or what a JSON pointer names. A part * of the pointer
// stands for every element of a list on the way, and the lists found are read one
// after the other. An object where the list should be is one record, null is an
// empty list, anything else is a *rows.FileError; so is a key that is there twice
// on the way, and a list that is nowhere. What lies beside the list is passed over:
// its quotes and brackets must be in order, up to 1,000 deep. The file is read to
// its end: a document that is cut off, or followed by something, fails the file
// after its rows.
//
// Files are UTF-8, or UTF-16 and UTF-32 with a byte order mark.
//
// # Resuming
//
// A mark leads back to the byte behind its row; where there is none (a pointer with
// * or numbers, UTF-16), the rows before are read again.
package jsonrows
