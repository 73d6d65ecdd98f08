package xlsrows

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/grid"
)

// Bounds of a sheet: what the format can address.
const (
	maxRows    = 1 << 16
	maxColumns = 256
)

// cell is one cell of a row. Its text lies in its own buffer or is one of the shared
// texts, which are not copied: a small sheet can refer to a long one millions of
// times.
type cell struct {
	kind grid.Kind
	text []byte
	own  []byte
}

func (c *cell) set(k grid.Kind, own []byte) { c.kind, c.own, c.text = k, own, own }

// errorText names an error value.
func errorText(code byte) string {
	switch code {
	case 0x00:
		return "#NULL!"
	case 0x07:
		return "#DIV/0!"
	case 0x0F:
		return "#VALUE!"
	case 0x17:
		return "#REF!"
	case 0x1D:
		return "#NAME?"
	case 0x24:
		return "#NUM!"
	case 0x2A:
		return "#N/A"
	default:
		return fmt.Sprintf("#ERROR %d", code)
	}
}

// number gives a number as its format shows it: as a date, a time or both, else as
// the shortest decimal text that is this number.
func (b *book) number(to []byte, v float64, shown grid.DateKind) (grid.Kind, []byte) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return grid.Failed, append(to, "#NUM!"...)
	}
	if to, ok := grid.AppendMoment(to, v, shown, b.Date1904); ok {
		return grid.Text, to
	}
	return grid.Literal, strconv.AppendFloat(to, v, 'f', -1, 64)
}

// rk unpacks a number of 4 bytes.
func rk(v uint32) float64 {
	f := float64(int32(v) >> 2)
	if v&2 == 0 {
		f = math.Float64frombits(uint64(v&^3) << 32)
	}
	if v&1 != 0 {
		f /= 100
	}
	return f
}

// shown gives what of a moment a cell shows, by the number of its format. Cells of
// version 2 name the number format themselves.
func (b *book) shown(r rec, at int) grid.DateKind {
	if b.Version < 30 {
		return b.numberFormat(int(r.u8(at+1)) & 0x3F)
	}
	if i := int(r.u16(at)); i < len(b.cells) {
		return b.cells[i]
	}
	return grid.NoDate
}

// isCell says whether records of a type hold cells that are not blank.
func (b *book) isCell(op uint16) bool {
	switch op {
	case opInteger2, opNumber2, opLabel2, opBoolErr2:
		return b.Version <= 45
	case opFormula2, opNumber, opLabel, opBoolErr, opFormula3, opFormula4, opRK, opMulRK, opRString, opLabelSST:
		return true
	}
	return false
}

// attributes is how many bytes of format lie between a cell's column and its value.
func (b *book) attributes(op uint16) int {
	if op <= opBoolErr2 || op == opFormula2 && b.Version < 30 {
		return 3
	}
	return 2
}

// fill puts the cells of a record into the row. The scanner may move on to records
// that belong to it: a formula's text.
func (b *book) fill(row *row, s *scanner, r rec) error {
	if r.op == opMulRK {
		return b.fillMany(row, r)
	}
	at := 4 + b.attributes(r.op)
	least := at + 2
	switch r.op {
	case opNumber, opNumber2, opFormula2, opFormula3, opFormula4:
		least = at + 8
	case opRK, opLabelSST:
		least = at + 4
	case opLabel2:
		least = at + 1
	}
	if err := r.need(least); err != nil {
		return err
	}
	c, err := row.at(int(r.u16(2)), r)
	if err != nil {
		return err
	}
	switch r.op {
	case opInteger2:
		c.set(b.number(c.own[:0], float64(r.u16(at)), b.shown(r, 4)))
	case opNumber, opNumber2:
		c.set(b.number(c.own[:0], float(r, at), b.shown(r, 4)))
	case opRK:
		c.set(b.number(c.own[:0], rk(r.u32(at)), b.shown(r, 4)))
	case opBoolErr, opBoolErr2:
		c.setBoolErr(r.u8(at), r.u8(at+1) != 0)
	case opLabelSST:
		shared, ok := b.strings.get(r.u32(at))
		if !ok {
			return malformed("the cell at byte %d refers to text %d, the workbook has %d%s", r.at, r.u32(at), b.strings.count, badCompoundEnd)
		}
		c.kind, c.text = grid.Text, shared
	case opLabel, opLabel2, opRString:
		return b.fillLabel(c, s, r, at)
	default:
		return b.fillFormula(c, s, r, at)
	}
	return nil
}

func float(r rec, at int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(r.data[at:]))
}

func (c *cell) setBoolErr(value byte, isError bool) {
	c.set(grid.Literal, strconv.AppendBool(c.own[:0], value != 0))
	if isError {
		c.set(grid.Failed, append(c.own[:0], errorText(value)...))
	}
}

func (b *book) fillLabel(c *cell, s *scanner, r rec, at int) (err error) {
	own := c.own[:0]
	switch {
	case b.Version >= 80:
		own, err = (&parts{s: s, data: r.data[at:]}).appendText(own, 2)
	case r.op == opLabel2:
		own, err = b.appendShort(own, r.data[at:], 1)
	default:
		own, err = b.appendShort(own, r.data[at:], 2)
	}
	c.set(grid.Text, own)
	return err
}

// fillMany puts the numbers of one record into neighbouring cells.
func (b *book) fillMany(row *row, r rec) error {
	if err := r.need(12); err != nil {
		return err
	}
	first := int(r.u16(2))
	for i := range (len(r.data) - 6) / 6 {
		c, err := row.at(first+i, r)
		if err != nil {
			return err
		}
		c.set(b.number(c.own[:0], rk(r.u32(4+6*i+2)), b.shown(r, 4+6*i)))
	}
	return nil
}

// fillFormula takes the value that the program which wrote the file had worked out.
func (b *book) fillFormula(c *cell, s *scanner, r rec, at int) error {
	if r.u16(at+6) != 0xFFFF {
		c.set(b.number(c.own[:0], float(r, at), b.shown(r, 4)))
		return nil
	}
	switch value := r.u8(at + 2); r.u8(at) {
	case 0:
		return b.fillResult(c, s)
	case 1:
		c.setBoolErr(value, false)
	case 2:
		c.setBoolErr(value, true)
	default: // an empty text
		c.set(grid.Text, c.own[:0])
	}
	return nil
}

// maxBehindFormula bounds the records between a formula and its text: shared
// formulas, arrays and tables.
const maxBehindFormula = 16

// fillResult takes the text that follows a formula; without one it is empty.
func (b *book) fillResult(c *cell, s *scanner) error {
	c.set(grid.Text, c.own[:0])
	for range maxBehindFormula {
		switch op, ok := s.peek(); {
		case !ok, op == opEOF, isBOF(op):
			return nil
		case op == opString, op == opString2:
			r, err := s.next()
			if err != nil {
				return err
			}
			return b.takeResult(c, s, r)
		case b.isCell(op):
			return nil
		}
		if _, err := s.next(); err != nil {
			return err
		}
	}
	return nil
}

func (b *book) takeResult(c *cell, s *scanner, r rec) (err error) {
	if b.Version >= 80 {
		if len(r.data) < 3 {
			return nil // some writers leave the flags of an empty text out
		}
		own, err := (&parts{s: s, data: r.data}).appendText(c.own[:0], 2)
		c.set(grid.Text, own)
		return err
	}
	lengthBytes := 2
	if b.Version < 30 {
		lengthBytes = 1
	}
	data := append([]byte(nil), r.data...)
	for len(data) < maxResult { // a longer text goes on in further records
		if op, ok := s.peek(); !ok || op != opContinue {
			break
		}
		if r, err = s.next(); err != nil {
			return err
		}
		data = append(data, r.data...)
	}
	own, err := b.appendShort(c.own[:0], data, lengthBytes)
	c.set(grid.Text, own)
	return err
}

// maxResult is the longest text of a formula in versions before 8, in bytes.
const maxResult = 1 << 16

// row is the row at hand.
type row struct {
	number int // of the sheet, from 0
	width  int // cells up to the last one that was there
	cells  []cell
}

func (w *row) reset(number int) {
	for i := range w.cells[:w.width] {
		w.cells[i] = cell{own: w.cells[i].own[:0]}
	}
	w.number, w.width = number, 0
}

// at gives the place of a cell.
func (w *row) at(column int, r rec) (*cell, error) {
	if column >= maxColumns {
		return nil, &rows.FileError{Code: rows.TooLarge, Line: w.number + 1, Message: fmt.Sprintf("a cell stands in column %d, .xls has %d (the record at byte %d)", column+1, maxColumns, r.at)}
	}
	for len(w.cells) <= column {
		w.cells = append(w.cells, cell{})
	}
	w.width = max(w.width, column+1)
	return &w.cells[column], nil
}

// empty says whether no cell holds anything; an empty text is nothing.
func (w *row) empty() bool {
	for _, c := range w.cells[:w.width] {
		if len(c.text) > 0 {
			return false
		}
	}
	return true
}

// Cell is part of grid.Cells.
func (w *row) Cell(column int) (grid.Kind, []byte) {
	if column >= w.width {
		return grid.Blank, nil
	}
	return w.cells[column].kind, w.cells[column].text
}

// Last is part of grid.Cells.
func (w *row) Last(tells func(k grid.Kind, text []byte) bool) int {
	for n := w.width; n > 0; n-- {
		if c := w.cells[n-1]; tells(c.kind, c.text) {
			return n
		}
	}
	return 0
}

// TooLong is part of grid.Cells: the texts are shared, however long a row is.
func (w *row) TooLong() bool { return false }
