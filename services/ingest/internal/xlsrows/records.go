package xlsrows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"waybill.internal/services/ingest/internal/rows"
)

// Record types. The same kind of cell has had other numbers in other versions:
// those of version 2 end in 2, those of 3 and 4 in 3 and 4.
const (
	opEOF        = 0x000A
	opFilePass   = 0x002F
	opDateMode   = 0x0022
	opCodePage   = 0x0042
	opContinue   = 0x003C
	opBoundSheet = 0x0085
	opSheetHdr   = 0x008F // version 4 workbooks: the next sheet follows
	opFormat2    = 0x001E
	opFormat4    = 0x041E
	opXF3        = 0x0243
	opXF4        = 0x0443
	opXF         = 0x00E0
	opSST        = 0x00FC
	opMerged     = 0x00E5

	opInteger2 = 0x0002
	opNumber2  = 0x0003
	opLabel2   = 0x0004
	opBoolErr2 = 0x0005
	opFormula2 = 0x0006 // also versions 5 and 8
	opString2  = 0x0007
	opNumber   = 0x0203
	opLabel    = 0x0204
	opBoolErr  = 0x0205
	opFormula3 = 0x0206
	opString   = 0x0207
	opFormula4 = 0x0406
	opRK       = 0x027E
	opMulRK    = 0x00BD
	opRString  = 0x00D6
	opLabelSST = 0x00FD
)

func isBOF(op uint16) bool { return op == 0x0009 || op == 0x0209 || op == 0x0409 || op == 0x0809 }

// What a scanner holds of the file, at least the record at hand: much when records
// are read in their order, little when it jumps.
const (
	windowBytes = 128 << 10
	jumpBytes   = 2 << 10
)

// rec is one record. Its data is valid until the next call of the scanner.
type rec struct {
	op   uint16
	at   int64 // where it begins
	data []byte
}

// u16, u32 give a number of the data; what lies outside is 0, which is checked
// before where it matters.
func (r rec) u16(at int) uint16 {
	if at < 0 || at+2 > len(r.data) {
		return 0
	}
	return binary.LittleEndian.Uint16(r.data[at:])
}

func (r rec) u32(at int) uint32 {
	if at < 0 || at+4 > len(r.data) {
		return 0
	}
	return binary.LittleEndian.Uint32(r.data[at:])
}

func (r rec) u8(at int) byte {
	if at < 0 || at >= len(r.data) {
		return 0
	}
	return r.data[at]
}

// from gives the data from a place on, nothing where there is none.
func (r rec) from(at int) []byte { return r.data[min(at, len(r.data)):] }

// need refuses a record that is shorter than its kind.
func (r rec) need(n int) error {
	if len(r.data) < n {
		return malformed("the record of type %#04x at byte %d has %d bytes, %d are needed%s", r.op, r.at, len(r.data), n, badCompoundEnd)
	}
	return nil
}

// scanner reads the records of a workbook in order, in constant memory.
type scanner struct {
	src  io.ReaderAt
	size int64
	at   int64 // of the next record
	hold int   // windowBytes or jumpBytes
	buf  []byte
	base int64 // where buf begins
}

func newScanner(src io.ReaderAt, size, at int64) *scanner {
	return &scanner{src: src, size: size, at: at, hold: windowBytes}
}

// view gives n bytes at a place, fewer at the end of the file.
func (s *scanner) view(at int64, n int) ([]byte, error) {
	if at >= s.size {
		return nil, nil
	}
	n = int(min(int64(n), s.size-at))
	if at < s.base || at+int64(n) > s.base+int64(len(s.buf)) {
		want := int(min(int64(max(n, s.hold)), s.size-at))
		if cap(s.buf) < want {
			s.buf = make([]byte, want)
		}
		s.buf, s.base = s.buf[:want], at
		got, err := s.src.ReadAt(s.buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("xlsrows: read %d bytes of the workbook at %d: %w", len(s.buf), at, err)
		}
		s.buf = s.buf[:got]
	}
	start := at - s.base
	return s.buf[start:min(start+int64(n), int64(len(s.buf)))], nil
}

// next gives the next record; rows.Truncated where the file ends.
func (s *scanner) next() (rec, error) {
	head, err := s.view(s.at, 4)
	if err != nil {
		return rec{}, err
	}
	if len(head) < 4 {
		return rec{}, s.truncated()
	}
	r := rec{op: binary.LittleEndian.Uint16(head), at: s.at}
	n := int(binary.LittleEndian.Uint16(head[2:]))
	body, err := s.view(s.at, 4+n)
	if err != nil {
		return rec{}, err
	}
	if len(body) < 4+n {
		return rec{}, s.truncated()
	}
	r.data = body[4:]
	s.at += int64(4 + n)
	return r, nil
}

// peek gives the type of the next record, and false where none follows.
func (s *scanner) peek() (uint16, bool) {
	head, err := s.view(s.at, 4)
	if err != nil || len(head) < 4 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(head), true
}

func (s *scanner) truncated() error {
	return &rows.FileError{Code: rows.Truncated, Message: fmt.Sprintf("the workbook ends at byte %d, in the middle of a sheet; send the file again", s.size)}
}

// version is the format's: 2, 3, 4, 5 (Excel 5 and 95) or 8 (97 to 2003), with
// what the header of the stream says it begins.
type version struct {
	biff  int // 20, 30, 40, 45, 50, 70 or 80, as the tools of the trade number them
	begin uint16
}

// Kinds of streams that a header begins.
const (
	beginGlobals  = 0x0005
	beginSheet    = 0x0010
	beginGlobals4 = 0x0100
)

// readBOF reads the header of a stream.
func readBOF(r rec) (version, error) {
	if !isBOF(r.op) || len(r.data) < 4 {
		return version{}, &rows.FileError{Code: rows.WrongFormat, Message: "this is no .xls workbook: it does not begin with a workbook's header; save it as Excel 97-2003 Workbook, or set the format that it has"}
	}
	v := version{begin: r.u16(2)}
	switch r.op >> 8 {
	case 0x00:
		v.biff = 21
	case 0x02:
		v.biff = 30
	case 0x04:
		v.biff = 40
		if v.begin == beginGlobals4 {
			v.biff = 45
		}
	default:
		v.biff = laterVersion(r)
	}
	if v.biff == 0 {
		return version{}, &rows.FileError{Code: rows.Unsupported, Message: fmt.Sprintf("the workbook is of version %#04x, which is not known; save it as Excel 97-2003 Workbook", r.u16(0))}
	}
	return v, nil
}

// laterVersion reads the version out of the header's body, where tools that are not
// Excel write numbers of their own.
func laterVersion(r rec) int {
	build, year := r.u16(4), r.u16(6)
	switch r.u16(0) {
	case 0x0600:
		return 80
	case 0x0500:
		if year < 1994 || build == 2412 || build == 3218 || build == 3321 {
			return 50
		}
		return 70
	case 0x0000, 0x0007, 0x0200:
		return 21
	case 0x0300:
		return 30
	case 0x0400:
		return 40
	default:
		return 0
	}
}
