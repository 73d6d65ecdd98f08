package xlsrows

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/grid"
)

// Bounds of a workbook.
const (
	MaxBytes   = 100 << 20 // bytes of a file that is read
	maxSheets  = 4096
	maxFormats = 1 << 16 // cell formats, and number formats
)

// Sheet is one worksheet of a workbook.
type Sheet struct {
	Name   string
	Hidden bool // in whatever way
	at     int64
}

// Workbook is what a workbook says about itself.
type Workbook struct {
	Version  int // 21, 30, 40, 45, 50 (Excel 5), 70 (Excel 95) or 80 (Excel 97 to 2003)
	Codepage int // 1200 for Unicode; 0: not said
	Date1904 bool
	Sheets   []Sheet  // worksheets in their order, hidden ones too
	Others   []string // charts, macros and modules: no worksheets, though some readers give the numbers that a chart shows
}

// book is an open workbook.
type book struct {
	Workbook
	src     io.ReaderAt // the stream of records
	size    int64
	strings sharedStrings
	formats map[int]grid.DateKind // of number formats by id; in versions up to 4 by order
	order   int                   // number formats so far
	cells   []grid.DateKind       // by number of the cell format
	pending []int                 // by number of the cell format its number format: settled once all are known
}

// Inspect reads what a workbook says about itself, without the rows.
func Inspect(src io.ReaderAt, size int64) (Workbook, error) {
	b, err := openBook(src, size)
	if err != nil {
		return Workbook{}, err
	}
	return b.Workbook, nil
}

// openBook finds the stream of records and reads what stands before the sheets.
func openBook(src io.ReaderAt, size int64) (*book, error) {
	if size > MaxBytes {
		return nil, &rows.FileError{Code: rows.TooLarge, Message: fmt.Sprintf("the file has %d bytes, .xls files of up to %d MiB are read; split it, or save it as .xlsx or .csv", size, MaxBytes>>20)}
	}
	b := &book{formats: map[int]grid.DateKind{}}
	var err error
	if b.src, b.size, err = records(src, size); err != nil {
		return nil, err
	}
	s := newScanner(b.src, b.size, 0)
	r, err := s.next()
	if err != nil {
		return nil, err
	}
	v, err := readBOF(r)
	if err != nil {
		return nil, err
	}
	b.Version = v.biff
	switch {
	case v.begin == beginGlobals || v.biff == 45:
		err = b.readGlobals(s)
	case v.biff < 45 && v.begin == beginSheet:
		err = b.readLone()
	default:
		err = &rows.FileError{Code: rows.Unsupported, Message: "the file holds a chart, a macro sheet or a workspace but no worksheets"}
	}
	if err != nil {
		return nil, err
	}
	if b.Codepage == 0 && b.Version >= 80 {
		b.Codepage = 1200
	}
	return b, nil
}

// records finds the stream of records: all of a file of versions up to 4, and in a
// compound file the stream of the workbook.
func records(src io.ReaderAt, size int64) (io.ReaderAt, int64, error) {
	head := make([]byte, 8)
	if n, err := src.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("xlsrows: read the start of the file: %w", err)
	} else if n < len(head) {
		return nil, 0, &rows.FileError{Code: rows.WrongFormat, Message: fmt.Sprintf("the file has %d bytes, which is no workbook", size)}
	}
	if string(head) != compoundMagic {
		return src, size, foreign(string(head))
	}
	c, err := openCompound(src, size)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range []string{"Workbook", "Book"} {
		if e, ok := c.find(name, entryStream); ok {
			return c.open(e)
		}
	}
	if _, ok := c.find("EncryptedPackage", entryStream); ok {
		return nil, 0, &rows.FileError{Code: rows.Encrypted, Message: "the workbook is an .xlsx that is protected by a password; save it without one"}
	}
	return nil, 0, &rows.FileError{Code: rows.WrongFormat, Message: "the container holds no workbook (a Word document, a mail, an installer?); save it as Excel 97-2003 Workbook"}
}

// foreign names what is often called .xls and is something else.
func foreign(head string) error {
	text := strings.TrimLeft(strings.TrimPrefix(head, "\xEF\xBB\xBF"), " \t\r\n")
	switch {
	case strings.HasPrefix(head, "PK\x03\x04"):
		return &rows.FileError{Code: rows.WrongFormat, Message: "the file is an .xlsx (or another zip archive) by the name of .xls; set format: {xlsx: {}}"}
	case strings.HasPrefix(text, "<"):
		return &rows.FileError{Code: rows.WrongFormat, Message: "the file is HTML or XML by the name of .xls, as many web sites export it; save it as Excel 97-2003 Workbook, or set format: {xml: ...}"}
	case head[0] != 0x09 || head[1] > 0x08 || head[1]%2 != 0:
		return &rows.FileError{Code: rows.WrongFormat, Message: "the file is no .xls workbook (is it text? then set format: {csv: ...}); save it as Excel 97-2003 Workbook"}
	}
	return nil
}

// readGlobals reads the records before the first sheet.
func (b *book) readGlobals(s *scanner) error {
	for {
		r, err := s.next()
		if err != nil {
			return err
		}
		switch r.op {
		case opEOF:
			return b.settleFormats()
		case opSST:
			err = b.readStrings(s, r)
		case opBoundSheet:
			err = b.readSheet(s, r)
		case opSheetHdr:
			err = b.readSheet4(s, r)
		default:
			err = b.readSetting(s, r)
		}
		if err != nil {
			return err
		}
	}
}

// readLone reads the settings of a file of versions 2 to 4, which is one sheet and
// holds them in front of the cells.
func (b *book) readLone() error {
	b.Sheets = []Sheet{{Name: "Sheet 1"}}
	s := newScanner(b.src, b.size, 0)
	depth := 0
	for {
		r, err := s.next()
		if err != nil {
			return err
		}
		switch {
		case isBOF(r.op):
			depth++
		case r.op == opEOF:
			if depth--; depth <= 0 {
				return b.settleFormats()
			}
		case depth == 1:
			if err := b.readSetting(s, r); err != nil {
				return err
			}
		}
	}
}

// readSetting reads a record that is about the whole workbook.
func (b *book) readSetting(s *scanner, r rec) error {
	switch r.op {
	case opFilePass:
		return &rows.FileError{Code: rows.Encrypted, Message: "the workbook is protected by a password; save it without one"}
	case opCodePage:
		b.Codepage = int(r.u16(0))
	case opDateMode:
		b.Date1904 = r.u16(0) == 1
	case opFormat2, opFormat4:
		return b.readFormat(s, r)
	case opXF3, opXF4:
		return b.addCellFormat(int(r.u8(1)))
	case opXF:
		return b.addCellFormat(int(r.u16(2)))
	}
	return nil
}

// readSheet takes up a sheet that the globals list. Charts, macros and modules are
// left out.
func (b *book) readSheet(s *scanner, r rec) error {
	if err := r.need(7); err != nil {
		return err
	}
	sheet := Sheet{at: int64(r.u32(0)), Hidden: r.u8(4)&3 != 0}
	other := r.u8(5) != 0
	name, err := b.shortText(s, r.data[6:])
	if err != nil {
		return err
	}
	if other && len(b.Others) < maxSheets {
		b.Others = append(b.Others, name)
	}
	if other {
		return nil
	}
	sheet.Name = name
	return b.addSheet(sheet)
}

// readSheet4 takes up a sheet of a workbook of version 4 and passes over it.
func (b *book) readSheet4(s *scanner, r rec) error {
	if err := r.need(5); err != nil {
		return err
	}
	name, err := b.shortText(s, r.data[4:])
	if err != nil {
		return err
	}
	length := int64(r.u32(0))
	if err := b.addSheet(Sheet{Name: name, at: s.at}); err != nil {
		return err
	}
	s.at += min(length, max(0, b.size-s.at))
	return nil
}

func (b *book) addSheet(sheet Sheet) error {
	if len(b.Sheets) == maxSheets {
		return &rows.FileError{Code: rows.TooLarge, Message: fmt.Sprintf("the workbook has more than %d sheets", maxSheets)}
	}
	b.Sheets = append(b.Sheets, sheet)
	return nil
}

// shortText reads a text with one byte of length.
func (b *book) shortText(s *scanner, data []byte) (string, error) {
	if b.Version < 80 {
		out, err := b.appendShort(nil, data, 1)
		return string(out), err
	}
	out, err := (&parts{s: s, data: data}).appendText(nil, 1)
	return string(out), err
}

// readFormat takes up a number format.
func (b *book) readFormat(s *scanner, r rec) error {
	id, at := b.order, 0
	b.order++
	if b.Version >= 40 {
		at = 2
	}
	if b.Version >= 50 {
		id = int(r.u16(0))
	}
	if len(b.formats) >= maxFormats || b.order > maxFormats {
		return malformed("the workbook has more than %d number formats", maxFormats)
	}
	var text string
	var err error
	if b.Version >= 80 {
		var out []byte
		out, err = (&parts{s: s, data: r.from(at)}).appendText(nil, 2)
		text = string(out)
	} else {
		text, err = b.shortText(s, r.from(at))
	}
	var broken *rows.FileError
	if err != nil && !errors.As(err, &broken) {
		return err
	}
	b.formats[id] = grid.KindOfFormat(text) // one that cannot be read is none of a date
	return nil
}

func (b *book) addCellFormat(format int) error {
	if len(b.pending) == maxFormats {
		return malformed("the workbook has more than %d cell formats", maxFormats)
	}
	b.pending = append(b.pending, format)
	return nil
}

// settleFormats finds out which cell formats show dates.
func (b *book) settleFormats() error {
	b.cells = make([]grid.DateKind, len(b.pending))
	for i, id := range b.pending {
		b.cells[i] = b.numberFormat(id)
	}
	return nil
}

func (b *book) numberFormat(id int) grid.DateKind {
	kind, said := b.formats[id]
	if !said && b.Version >= 50 {
		return grid.KindOfBuiltin(id)
	}
	return kind
}

// sheet finds the sheet that is to be read: by name, by number among the visible
// ones from 1, or the first visible one.
func (b *book) sheet(want string) (Sheet, error) {
	var names []string
	var visible []Sheet
	for _, s := range b.Sheets {
		if want != "" && s.Name == want {
			return s, nil
		}
		names = append(names, strconv.Quote(s.Name))
		if !s.Hidden {
			visible = append(visible, s)
		}
	}
	for _, s := range b.Sheets {
		if want != "" && strings.EqualFold(strings.TrimSpace(s.Name), strings.TrimSpace(want)) {
			return s, nil
		}
	}
	number := 1
	if want != "" {
		number, _ = strconv.Atoi(want)
	}
	if number >= 1 && number <= len(visible) {
		return visible[number-1], nil
	}
	what := "a sheet"
	if want != "" {
		what = "the sheet " + strconv.Quote(want)
	}
	return Sheet{}, &rows.FileError{Code: rows.NotFound, Message: fmt.Sprintf("%s is not in the workbook, which has %s; set sheet to one of these or its number", what, listed(names))}
}

// listed names at most ten.
func listed(names []string) string {
	if len(names) == 0 {
		return "no worksheets"
	}
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + fmt.Sprintf(" and %d more", len(names)-10)
	}
	return strings.Join(names, ", ")
}
