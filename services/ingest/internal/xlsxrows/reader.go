package xlsxrows

import (
	"errors"
	"fmt"
	"io"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/grid"
)

const (
	maxGrown  = 256      // times that the rows may be longer as JSON than in the sheet,
	freeRows  = 64 << 20 // beyond so many bytes,
	mostGrown = 32       // and so many times beyond these, which is what wide columns
	mostRows  = 1 << 30  // without values may take
)

// Reader reads the rows of one sheet. It holds no goroutine and does not close the
// source; it may hold a temporary file until Close.
type Reader struct {
	sheet *sheetRows
	fill  *fillings // nil: merged cells have their value in the first one
	table grid.Table
	err   error // sticky: why no more rows come
}

// New opens the sheet that f describes and stands before its first row, or behind
// the mark. maxRow bounds a row in bytes of its texts and of its JSON. temp is the
// folder for a temporary file when the texts of cells are many; "" is the system's.
// The error is a *rows.FileError, one of the source or of the temporary file.
func New(src io.ReaderAt, size int64, f *integration.Sheet, maxRow int, from *rows.Mark, temp string) (*Reader, error) {
	b, err := Inspect(src, size)
	if err != nil {
		return nil, err
	}
	which, err := b.sheet(f.Sheet)
	if err != nil {
		return nil, err
	}
	r := &Reader{table: grid.Table{MaxRow: maxRow}}
	if f.Merged == "fill" {
		if r.fill, err = b.readMerged(which, maxRow); err != nil {
			return nil, err
		}
	}
	if r.sheet, err = b.openRows(which, maxRow, temp); err != nil {
		return nil, err
	}
	r.table.SetColumns(f.Columns)
	if f.Header > 0 {
		err = r.header(f.Header)
	}
	if err == nil {
		err = r.table.Resume(from, r.Next)
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// header passes over the rows before the header's and takes the names from it.
func (r *Reader) header(line int) error {
	for {
		w, err := r.sheet.next()
		if errors.Is(err, io.EOF) {
			r.err = io.EOF
			return nil // no header, no rows: an empty sheet
		}
		if err != nil {
			return err
		}
		if w.number < line {
			if r.fill != nil {
				err = r.fill.fill(w)
			}
			if err != nil {
				return err
			}
			continue
		}
		if w.number == line && !w.empty() {
			return r.table.Header(line, w)
		}
		if w.number == line || w.empty() {
			continue
		}
		return grid.NoHeader(line, w.number)
	}
}

// Columns gives the names of the columns; nil where each row has its own.
func (r *Reader) Columns() []string { return r.table.Columns }

// Merged counts the ranges of merged cells, once the last row has been read.
func (r *Reader) Merged() int { return r.sheet.merged }

// Mark gives the place behind the row that was given last.
func (r *Reader) Mark() rows.Mark {
	return rows.Mark{Rows: r.table.Rows, Line: r.sheet.row.number + 1, Offset: -1, Columns: len(r.table.Columns)}
}

// Close frees the temporary file, if there is one.
func (r *Reader) Close() error {
	if r.err == nil || errors.Is(r.err, io.EOF) {
		r.err = errors.New("xlsxrows: the reader is closed")
	}
	r.sheet.close()
	return nil
}

// Next gives the next row that is not empty.
func (r *Reader) Next() (rows.Row, error) {
	for r.err == nil {
		w, err := r.sheet.next()
		if err == nil && r.fill != nil {
			err = r.fill.fill(w)
		}
		if err != nil {
			r.err = err
			break
		}
		if w.empty() {
			continue
		}
		if read, given := r.sheet.part.read, r.table.Given; given > freeRows && given > maxGrown*read || given > mostRows && given > mostGrown*read {
			r.err = &rows.FileError{Code: rows.Bomb, Line: w.number, Message: fmt.Sprintf("the rows have %d bytes as JSON and %d in the sheet; leave out the columns that are empty", given, read)}
			break
		}
		return r.table.Row(w.number, w)
	}
	return rows.Row{}, r.err
}
