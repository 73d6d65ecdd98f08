package xlsrows

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"waybill.internal/services/ingest/internal/rows"
)

// maxMerged bounds the merged areas of a sheet that are filled.
const maxMerged = 1 << 18

// sheetRows gives the rows of one sheet in order. Cells are read in the order of the
// file, which nearly always is that of the rows; where it is not, an index of 8
// bytes a record brings them into order.
type sheetRows struct {
	b      *book
	s      *scanner
	row    row
	index  []place // nil: the file is in order
	merged []area  // those not begun, the nearest first; nil: not to be filled
	active [maxColumns]filler
	header int // number of the row that is not filled, -1: none
	done   bool
}

// place is where a record with cells of a row is.
type place struct {
	at  uint32
	row uint16
}

// area is merged cells, bounds included.
type area struct{ top, bottom, left, right uint16 }

// filler is the value that the cells of a column take down to a row.
type filler struct {
	until int
	value cell
}

// openSheet looks through the sheet once: whether the rows are in order, and what
// is merged.
func (b *book) openSheet(sheet Sheet, fill bool) (*sheetRows, error) {
	t := &sheetRows{b: b, s: newScanner(b.src, b.size, sheet.at), header: -1}
	var count int
	last, ordered := uint16(0), true
	err := t.walk(sheet.at, func(r rec) error {
		switch {
		case b.isCell(r.op):
			if err := r.need(4); err != nil {
				return err
			}
			ordered = ordered && r.u16(0) >= last
			last, count = r.u16(0), count+1
		case r.op == opMerged && fill:
			return t.addMerged(r)
		case r.op == opFilePass:
			return b.readSetting(t.s, r)
		}
		return nil
	})
	var broken *rows.FileError
	if errors.As(err, &broken) && broken.Code == rows.Truncated && ordered {
		err = nil // the rows up to there are read; Next says so then
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(t.merged, func(x, y area) int { return cmp.Or(cmp.Compare(x.top, y.top), cmp.Compare(x.left, y.left)) })
	if !ordered {
		if err := t.order(sheet.at, count); err != nil {
			return nil, err
		}
	}
	t.s.at = sheet.at
	return t, t.begin()
}

// begin passes over the header of the sheet.
func (t *sheetRows) begin() error {
	r, err := t.s.next()
	if err == nil && !isBOF(r.op) {
		err = malformed("the sheet does not begin where the workbook says, at byte %d%s", r.at, badCompoundEnd)
	}
	return err
}

// walk gives every record of the sheet itself, not those of charts inside.
func (t *sheetRows) walk(from int64, visit func(rec) error) error {
	t.s.at = from
	if err := t.begin(); err != nil {
		return err
	}
	for depth := 1; depth > 0; {
		r, err := t.s.next()
		if err != nil {
			return err
		}
		switch {
		case isBOF(r.op):
			depth++
		case r.op == opEOF:
			depth--
		case depth == 1:
			if err := visit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *sheetRows) addMerged(r rec) error {
	for at := 2; at+8 <= len(r.data); at += 8 {
		a := area{top: r.u16(at), bottom: r.u16(at + 2), left: r.u16(at + 4), right: r.u16(at + 6)}
		if len(t.merged) == maxMerged {
			return &rows.FileError{Code: rows.TooLarge, Message: fmt.Sprintf("the sheet has more than %d merged areas; set merged: first", maxMerged)}
		}
		if a.top <= a.bottom && a.left <= a.right && a.right < maxColumns {
			t.merged = append(t.merged, a)
		}
	}
	return nil
}

// order makes the index.
func (t *sheetRows) order(from int64, count int) error {
	t.index = make([]place, 0, count)
	err := t.walk(from, func(r rec) error {
		if t.b.isCell(r.op) {
			t.index = append(t.index, place{at: uint32(r.at), row: r.u16(0)})
		}
		return nil
	})
	slices.SortFunc(t.index, func(x, y place) int { return cmp.Or(cmp.Compare(x.row, y.row), cmp.Compare(x.at, y.at)) })
	t.s.hold = jumpBytes
	return err
}

// next gives the next row that has a cell; io.EOF after the last one.
func (t *sheetRows) next() (*row, error) {
	r, err := t.peek()
	if err != nil {
		return nil, err
	}
	t.row.reset(int(r.u16(0)))
	if err := t.take(); err != nil {
		return nil, err
	}
	if t.row.number != t.header && !t.row.empty() {
		t.fill()
	}
	return &t.row, nil
}

// take reads all cells of the row at hand.
func (t *sheetRows) take() error {
	for {
		r, err := t.peek()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if int(r.u16(0)) != t.row.number {
			return nil
		}
		t.skip(r)
		if err := t.b.fill(&t.row, t.s, r); err != nil {
			return err
		}
	}
}

// peek gives the next record with cells and leaves it there.
func (t *sheetRows) peek() (rec, error) {
	if t.done || t.index != nil && len(t.index) == 0 {
		return rec{}, io.EOF
	}
	if t.index != nil {
		t.s.at = int64(t.index[0].at)
	}
	for depth := 1; ; {
		r, err := t.s.next()
		if err != nil {
			return rec{}, err
		}
		switch {
		case isBOF(r.op):
			depth++
		case r.op == opEOF:
			if depth--; depth == 0 {
				t.done = true
				return rec{}, io.EOF
			}
		case depth == 1 && t.b.isCell(r.op):
			if err := r.need(4); err != nil {
				return rec{}, err
			}
			t.s.at = r.at
			return r, nil
		}
	}
}

// skip goes behind a record that peek gave.
func (t *sheetRows) skip(r rec) {
	t.s.at = r.at + 4 + int64(len(r.data))
	if t.index != nil {
		t.index = t.index[1:]
	}
}

// fill gives merged cells the value of their first one. Of areas that begin at the
// same cell the value is copied once.
func (t *sheetRows) fill() {
	n := t.row.number
	for c := range t.active {
		if f := &t.active[c]; f.until >= n && len(f.value.text) > 0 {
			t.put(c, f.value)
		}
	}
	var last area
	var value cell
	for len(t.merged) > 0 && int(t.merged[0].top) <= n {
		a := t.merged[0]
		t.merged = t.merged[1:]
		if int(a.top) < n || int(a.left) >= t.row.width || len(t.row.cells[a.left].text) == 0 {
			continue // its first cell is blank
		}
		if len(value.text) == 0 || a.left != last.left {
			value = cell{kind: t.row.cells[a.left].kind, text: slices.Clone(t.row.cells[a.left].text)}
		}
		last = a
		for c := int(a.left); c <= int(a.right); c++ {
			t.put(c, value)
			t.active[c] = filler{until: int(a.bottom), value: value}
		}
	}
}

func (t *sheetRows) put(column int, value cell) {
	c, err := t.row.at(column, rec{})
	if err == nil {
		c.kind, c.text = value.kind, value.text
	}
}
