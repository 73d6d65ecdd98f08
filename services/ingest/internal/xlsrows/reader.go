package xlsrows

import (
	"errors"
	"fmt"
	"io"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/grid"
)

const (
	maxGrown   = 64       // times that the rows may be longer as JSON than the file,
	freeGrowth = 64 << 20 // beyond so many bytes,
	mostGrown  = 4        // and beyond so many more, which is what wide columns without
	mostGrowth = 1 << 30  // values may take
)

// Reader reads the rows of one sheet. It is not safe for concurrent use and holds no
// goroutine.
type Reader struct {
	sheet *sheetRows
	table grid.Table
	most  int64 // bytes of JSON that all rows may have
	size  int64 // of the file
	line  int   // of the next row
	err   error // sticky: why no more rows come
}

// New opens the sheet that f describes and stands before its first row, or behind
// the mark. maxRow bounds the JSON of a row in bytes. The error is a *rows.FileError
// or one of the source.
func New(src io.ReaderAt, size int64, f *integration.Sheet, maxRow int, from *rows.Mark) (*Reader, error) {
	b, err := openBook(src, size)
	if err != nil {
		return nil, err
	}
	which, err := b.sheet(f.Sheet)
	if err != nil {
		return nil, err
	}
	sheet, err := b.openSheet(which, f.Merged == "fill")
	if err != nil {
		return nil, err
	}
	sheet.row.number = -1
	r := &Reader{sheet: sheet, table: grid.Table{MaxRow: maxRow}, size: size, most: min(freeGrowth+maxGrown*size, mostGrowth+mostGrown*size), line: 1}
	r.table.SetColumns(f.Columns)
	if f.Header > 0 {
		sheet.header = f.Header - 1
		if err := r.header(f.Header); err != nil {
			return nil, err
		}
	}
	if err := r.table.Resume(from, r.Next); err != nil {
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
		r.line = w.number + 2
		if w.number+1 < line {
			continue
		}
		if w.number+1 > line || w.empty() {
			next := 0
			if !w.empty() {
				next = w.number + 1
			}
			return grid.NoHeader(line, next)
		}
		return r.table.Header(line, w)
	}
}

// Next gives the next row that is not empty.
func (r *Reader) Next() (rows.Row, error) {
	for r.err == nil {
		w, err := r.sheet.next()
		if err != nil {
			r.err = err
			break
		}
		r.line = w.number + 2
		if w.empty() {
			continue
		}
		if r.table.Given > r.most {
			r.err = &rows.FileError{Code: rows.Bomb, Line: w.number + 1, Message: fmt.Sprintf("the rows up to here have %d bytes as JSON, the file %d, which no real sheet has", r.table.Given, r.size)}
			break
		}
		return r.table.Row(w.number+1, w)
	}
	return rows.Row{}, r.err
}

// Columns gives the names of the columns; nil where each row has its own.
func (r *Reader) Columns() []string { return r.table.Columns }

// Mark gives the place behind the row that was given last.
func (r *Reader) Mark() rows.Mark {
	return rows.Mark{Rows: r.table.Rows, Line: r.line, Offset: -1, Columns: len(r.table.Columns)}
}

// Close frees what the reader holds. The source stays open.
func (r *Reader) Close() error {
	r.sheet, r.err = nil, errors.New("xlsrows: the reader is closed")
	return nil
}
