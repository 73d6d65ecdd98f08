package xlsxrows

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/grid"
	"waybill.internal/services/ingest/internal/xmlrows/xmlscan"
)

const (
	maxMerged   = 200_000 // ranges of a sheet
	maxFillings = 1 << 14 // cells that ranges cover in one row
	maxFilled   = 8       // times that the texts of all ranges of a row may be as long as a row
)

// area is a range of merged cells, from 0 in columns and from 1 in rows.
type area struct {
	top, bottom, left, right int
	kind                     grid.Kind
	text                     []byte
}

// fillings puts the value of merged cells into each of them.
type fillings struct {
	areas  []area // by top
	active []area
	maxRow int
}

// readMerged reads the ranges of a sheet, which stand behind its rows: the sheet is
// unpacked once more for it.
func (b *Book) readMerged(s SheetInfo, maxRow int) (*fillings, error) {
	p, err := b.archive.open(s.part, maxSheet)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	f := &fillings{maxRow: maxRow}
	for {
		t, err := p.scan.Next()
		if errors.Is(err, io.EOF) {
			slices.SortStableFunc(f.areas, func(a, b area) int { return cmp.Compare(a.top, b.top) })
			return f, nil
		}
		if err == nil && t.Kind == xmlscan.Start && p.scan.Depth() == 3 && t.Name.Local == "mergeCell" {
			err = f.add(attribute(t, "ref"))
		}
		if err != nil {
			return nil, p.explain(err, 0)
		}
	}
}

func (f *fillings) add(ref string) error {
	first, last, _ := bytes.Cut([]byte(ref), []byte{':'})
	if len(last) == 0 {
		last = first
	}
	var a area
	var ok [4]bool
	a.left, ok[0] = columnOf(first)
	a.right, ok[1] = columnOf(last)
	a.top, ok[2] = rowOf(first)
	a.bottom, ok[3] = rowOf(last)
	switch {
	case ok != [4]bool{true, true, true, true} || a.left > a.right || a.top > a.bottom || a.right >= maxColumns || a.bottom > maxRows:
		return wrong(rows.Malformed, "%s is no range of merged cells", strconv.Quote(ref[:min(len(ref), 40)]))
	case len(f.areas) == maxMerged:
		return wrong(rows.TooLarge, "there are more than %d ranges of merged cells", maxMerged)
	}
	f.areas = append(f.areas, a)
	return nil
}

func rowOf(place []byte) (int, bool) {
	n, err := strconv.Atoi(string(bytes.TrimLeft(place, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")))
	return n, err == nil && n > 0
}

// fill fills a row. Rows must come in order: of one that does not, the ranges that
// began before are not known any more. A range without a value has nothing to give,
// and an empty row gets nothing: there may be very many of both.
func (f *fillings) fill(w *row) error {
	if w.empty() {
		return nil
	}
	f.active = slices.DeleteFunc(f.active, func(a area) bool { return a.bottom < w.number })
	for len(f.areas) > 0 && f.areas[0].top <= w.number {
		a := f.areas[0]
		f.areas = f.areas[1:]
		if a.top != w.number || a.left >= w.width || len(w.cells[a.left].text) == 0 {
			continue
		}
		a.kind, a.text = w.cells[a.left].kind, append([]byte(nil), w.cells[a.left].text...)
		f.active = append(f.active, a)
	}
	covered, held := 0, 0
	for _, a := range f.active {
		if covered += a.right - a.left + 1; covered > maxFillings {
			return &rows.FileError{Code: rows.Malformed, Line: w.number, Message: "ranges of merged cells lie over each other"}
		}
		if held += len(a.text); held > maxFilled*f.maxRow {
			return &rows.FileError{Code: rows.TooLarge, Line: w.number, Message: fmt.Sprintf("the merged cells that reach into this row hold more than %d bytes of text", maxFilled*f.maxRow)}
		}
	}
	for _, a := range f.active {
		for i := a.left; i <= a.right; i++ {
			if w.size += len(a.text); w.size > f.maxRow {
				w.tooLong = true
				return nil
			}
			c := w.at(i)
			c.kind, c.text = a.kind, append(c.text[:0], a.text...)
		}
	}
	return nil
}
