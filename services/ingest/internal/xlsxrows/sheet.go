package xlsxrows

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/grid"
	"waybill.internal/services/ingest/internal/xmlrows/xmlscan"
)

// Bounds of a sheet: what Excel can address.
const (
	maxRows    = 1 << 20
	maxColumns = 1 << 14
	maxSheet   = 64 << 30 // bytes of a sheet
)

type cell struct {
	kind  grid.Kind
	text  []byte
	there bool // it is among the row's used
}

// row is the row at hand; its memory is used again for the next one. A row may have
// two cells, of which one is its 16,384th: nothing is done for those between.
type row struct {
	number  int // from 1
	width   int // cells up to the last one that is there
	cells   []cell
	used    []int // columns of the cells that are there, in the order of the file
	size    int   // bytes of text
	tooLong bool  // the rest of its texts was left out
}

// keptText is how much room for one cell's text is kept for the next row.
const keptText = 2 << 10

func (w *row) reset(number int) {
	for _, i := range w.used {
		kept := w.cells[i].text[:0]
		if cap(kept) > keptText {
			kept = nil
		}
		w.cells[i] = cell{text: kept}
	}
	*w = row{number: number, cells: w.cells, used: w.used[:0]}
}

func (w *row) at(column int) *cell {
	for len(w.cells) <= column {
		w.cells = append(w.cells, cell{})
	}
	w.width = max(w.width, column+1)
	c := &w.cells[column]
	if !c.there {
		c.there, w.used = true, append(w.used, column)
	}
	return c
}

// Last is part of grid.Cells.
func (w *row) Last(tells func(k grid.Kind, text []byte) bool) int {
	n := 0
	for _, i := range w.used {
		if i >= n && tells(w.cells[i].kind, w.cells[i].text) {
			n = i + 1
		}
	}
	return n
}

// Cell is part of grid.Cells.
func (w *row) Cell(column int) (grid.Kind, []byte) {
	if column >= w.width {
		return grid.Blank, nil
	}
	return w.cells[column].kind, w.cells[column].text
}

// TooLong is part of grid.Cells.
func (w *row) TooLong() bool { return w.tooLong }

// empty says whether no cell holds anything; an empty text is nothing.
func (w *row) empty() bool {
	return !w.tooLong && w.Last(func(_ grid.Kind, text []byte) bool { return len(text) > 0 }) == 0
}

// sheetRows reads the rows of a sheet as a stream.
type sheetRows struct {
	part   *part
	book   *Book
	kinds  []grid.DateKind
	texts  *texts
	maxRow int
	row    row
	count  int // elements of rows
	merged int
	inRows bool

	rich    richText
	value   []byte
	inValue bool
}

func (b *Book) openRows(s SheetInfo, maxRow int, temp string) (*sheetRows, error) {
	kinds, err := b.formats()
	if err != nil {
		return nil, err
	}
	shared, err := b.readTexts(temp)
	if err != nil {
		return nil, err
	}
	p, err := b.archive.open(s.part, maxSheet)
	if err != nil {
		shared.close()
		return nil, err
	}
	return &sheetRows{part: p, book: b, kinds: kinds, texts: shared, maxRow: maxRow}, nil
}

func (s *sheetRows) close() {
	s.part.Close()
	s.texts.close()
}

// next gives the next row, also an empty one, until the next call.
func (s *sheetRows) next() (*row, error) {
	for {
		t, err := s.part.scan.Next()
		if errors.Is(err, io.EOF) {
			return nil, err
		}
		if err != nil {
			return nil, s.part.explain(err, s.row.number)
		}
		depth := s.part.scan.Depth()
		switch {
		case t.Kind == xmlscan.End:
			s.inRows = s.inRows && depth > 1
		case t.Kind != xmlscan.Start:
		case depth == 1 && t.Name.Local != "worksheet":
			return nil, s.wrong(rows.Unsupported, "the sheet is no worksheet (%s)", strconv.Quote(t.Name.Local))
		case depth == 2:
			s.inRows = t.Name.Local == "sheetData"
		case depth == 3 && t.Name.Local == "mergeCell":
			s.merged++
		case depth == 3 && s.inRows && t.Name.Local == "row":
			if err := s.readRow(t); err != nil {
				return nil, s.part.explain(err, s.row.number)
			}
			return &s.row, nil
		}
	}
}

func (s *sheetRows) wrong(code rows.Code, format string, args ...any) error {
	return &rows.FileError{Code: code, Line: s.row.number, Message: fmt.Sprintf(format, args...)}
}

func (s *sheetRows) readRow(t xmlscan.Token) error {
	number := s.row.number + 1
	if place := attribute(t, "r"); place != "" {
		n, err := strconv.Atoi(place)
		if err != nil || n < 1 {
			return s.wrong(rows.Malformed, "%s is no number of a row", strconv.Quote(place))
		}
		number = n
	}
	if s.count++; number > maxRows || s.count > maxRows {
		return s.wrong(rows.TooLarge, "there are more than %d rows, which a sheet cannot have", maxRows)
	}
	s.row.reset(number)
	column := -1
	for {
		t, err := s.part.scan.Next()
		if err != nil {
			return err
		}
		switch {
		case t.Kind == xmlscan.End && s.part.scan.Depth() == 2:
			return nil
		case t.Kind == xmlscan.Start && s.part.scan.Depth() == 4 && t.Name.Local == "c":
			if column, err = s.readCell(t, column+1); err != nil {
				return err
			}
		}
	}
}

// readCell reads a cell that stands in column unless it says otherwise.
func (s *sheetRows) readCell(t xmlscan.Token, column int) (int, error) {
	var kind [16]byte
	shape, style := kind[:0], 0
	for _, a := range t.Attrs {
		if a.Name.Space != "" {
			continue
		}
		switch a.Name.Local {
		case "r":
			n, ok := columnOf(a.Value)
			if !ok {
				return 0, s.wrong(rows.Malformed, "%s is no place of a cell", strconv.Quote(string(a.Value[:min(len(a.Value), 20)])))
			}
			column = n
		case "t":
			shape = append(shape, a.Value[:min(len(a.Value), len(kind))]...)
		case "s":
			style, _ = strconv.Atoi(string(a.Value)) // without a number: the first
		}
	}
	if column >= maxColumns {
		return 0, s.wrong(rows.TooLarge, "a cell stands in column %d; a sheet has %d", column+1, maxColumns)
	}
	if err := s.gather(); err != nil {
		return 0, err
	}
	if s.row.size > s.maxRow {
		s.row.tooLong = true
		return column, nil
	}
	return column, s.take(s.row.at(column), string(shape), style)
}

// gather collects what stands in the cell at hand, up to its end.
func (s *sheetRows) gather() error {
	s.rich.reset()
	s.value, s.inValue = s.value[:0], false
	for {
		t, err := s.part.scan.Next()
		if err != nil {
			return err
		}
		switch {
		case t.Kind == xmlscan.End && s.part.scan.Depth() == 3:
			return nil
		case t.Kind == xmlscan.Text && s.inValue:
			if len(s.value) <= s.maxRow {
				s.value = append(s.value, t.Text...)
			}
		case t.Name.Local == "v":
			s.inValue = t.Kind == xmlscan.Start
		default:
			s.rich.take(t)
		}
		if len(s.value) > s.maxRow || len(s.rich.text) > s.maxRow {
			s.row.size = s.maxRow + 1
		}
	}
}

// take puts what was gathered into a cell.
func (s *sheetRows) take(c *cell, shape string, style int) error {
	c.kind, c.text = grid.Blank, c.text[:0]
	value := s.value
	if shape != "str" {
		value = bytes.TrimSpace(value)
	}
	if shape != "inlineStr" && len(value) == 0 {
		if shape == "str" {
			c.kind = grid.Text
		}
		return nil
	}
	switch shape {
	case "s":
		if err := s.takeShared(c, value); err != nil {
			return err
		}
	case "inlineStr":
		c.kind = grid.Text
		if len(s.rich.text) > 0 {
			value = s.rich.text
		}
		c.text = append(c.text, unescape(value)...)
	case "b":
		c.kind, c.text = grid.Literal, strconv.AppendBool(c.text, string(value) == "1" || string(value) == "true")
	case "e":
		c.kind, c.text = grid.Failed, append(c.text, value...)
	case "", "n":
		s.takeNumber(c, value, style)
	default: // the text of a formula, a date as text, and what is yet to be invented
		c.kind, c.text = grid.Text, append(c.text, unescape(value)...)
	}
	s.row.size += len(c.text)
	return nil
}

func (s *sheetRows) takeShared(c *cell, value []byte) error {
	i, err := strconv.Atoi(string(value[:min(len(value), 20)]))
	if err != nil {
		i = -1
	}
	shared, ok, err := s.texts.get(i)
	if err != nil {
		return err
	}
	c.kind, c.text = grid.Text, append(c.text, shared...)
	if !ok {
		c.kind, c.text = grid.Failed, append(c.text, "of a text that is not in the file"...)
	}
	return nil
}

func (s *sheetRows) takeNumber(c *cell, value []byte, style int) {
	if style >= 0 && style < len(s.kinds) && s.kinds[style] != grid.NoDate {
		if v, err := strconv.ParseFloat(string(value[:min(len(value), 40)]), 64); err == nil {
			var ok bool
			if c.text, ok = grid.AppendMoment(c.text, v, s.kinds[style], s.book.Date1904); ok {
				c.kind = grid.Text
				return
			}
		}
	}
	var ok bool
	c.kind = grid.Literal
	if c.text, ok = number(c.text, value); !ok {
		c.kind, c.text = grid.Failed, append(c.text, "of a number that is none"...)
	}
}
