package xlsrows_test

import (
	"encoding/binary"
	"math"
	"unicode/utf16"
)

// The tests' own writer: records, and a container around them.

var le = binary.LittleEndian

type biff struct {
	b []byte
}

// put adds a record.
func (w *biff) put(op uint16, parts ...any) *biff {
	var data []byte
	for _, p := range parts {
		switch v := p.(type) {
		case int:
			data = le.AppendUint16(data, uint16(v))
		case byte:
			data = append(data, v)
		case uint32:
			data = le.AppendUint32(data, v)
		case float64:
			data = le.AppendUint64(data, math.Float64bits(v))
		case string:
			data = append(data, v...)
		case []byte:
			data = append(data, v...)
		default:
			panic("a part of another type")
		}
	}
	w.b = le.AppendUint16(w.b, op)
	w.b = le.AppendUint16(w.b, uint16(len(data)))
	w.b = append(w.b, data...)
	return w
}

// wide gives characters of two bytes.
func wide(s string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = le.AppendUint16(out, u)
	}
	return out
}

type testSheet struct {
	name   string
	hidden byte
	kind   byte
	cells  *biff
}

// book8 is a workbook of version 8: globals as given, and sheets.
func book8(globals *biff, sheets ...testSheet) []byte {
	return workbook(0x0600, globals, sheets...)
}

func workbook(version int, globals *biff, sheets ...testSheet) []byte {
	w := (&biff{}).put(0x0809, version, 0x0005, 0x0DBB, 0x07CC)
	var places []int
	if globals != nil {
		w.b = append(w.b, globals.b...)
	}
	for _, s := range sheets {
		places = append(places, len(w.b)+4)
		if version == 0x0600 {
			w.put(0x0085, uint32(0), s.hidden, s.kind, byte(len(s.name)), byte(0), s.name)
		} else {
			w.put(0x0085, uint32(0), s.hidden, s.kind, byte(len(s.name)), s.name)
		}
	}
	w.put(0x000A)
	for i, s := range sheets {
		le.PutUint32(w.b[places[i]:], uint32(len(w.b)))
		w.put(0x0809, version, 0x0010, 0x0DBB, 0x07CC)
		w.b = append(w.b, s.cells.b...)
		w.put(0x000A)
	}
	return w.b
}

func sheetOf(name string, cells *biff) testSheet { return testSheet{name: name, cells: cells} }

// contain puts a stream into a compound file with sectors of 512 bytes; it is
// padded, so that it does not lie in small sectors.
func contain(name string, stream []byte) []byte {
	size := max(len(stream), 4096)
	data := (size + 511) / 512
	fats := 1
	lists := 0 // further sectors that list those of the table
	for (data+1+fats+lists)*4 > fats*512 {
		fats++
		lists = max(0, fats-109+126) / 127
	}
	out := make([]byte, 512*(1+fats+1+data+lists))
	copy(out, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")
	le.PutUint16(out[24:], 0x3E)
	le.PutUint16(out[26:], 3)
	le.PutUint16(out[28:], 0xFFFE)
	le.PutUint16(out[30:], 9)
	le.PutUint16(out[32:], 6)
	le.PutUint32(out[44:], uint32(fats))
	le.PutUint32(out[48:], uint32(fats)) // the directory
	le.PutUint32(out[56:], 4096)
	le.PutUint32(out[60:], 0xFFFFFFFE)
	le.PutUint32(out[68:], 0xFFFFFFFE)
	if lists > 0 {
		le.PutUint32(out[68:], uint32(fats+1+data))
		le.PutUint32(out[72:], uint32(lists))
	}
	for i := range lists * 127 {
		n, next := uint32(0xFFFFFFFF), uint32(fats+1+data+i/127+1)
		if 109+i < fats {
			n = uint32(109 + i)
		}
		if i/127 == lists-1 {
			next = 0xFFFFFFFE
		}
		list := out[512*(1+fats+1+data+i/127):]
		le.PutUint32(list[4*(i%127):], n)
		le.PutUint32(list[508:], next)
	}
	for i := range 109 {
		n := uint32(0xFFFFFFFF)
		if i < fats {
			n = uint32(i)
		}
		le.PutUint32(out[76+4*i:], n)
	}
	fat := out[512:]
	for i := range fats * 128 {
		n := uint32(0xFFFFFFFF)
		switch {
		case i < fats:
			n = 0xFFFFFFFD
		case i == fats || i == fats+data:
			n = 0xFFFFFFFE
		case i < fats+data:
			n = uint32(i + 1)
		case i <= fats+data+lists:
			n = 0xFFFFFFFC
		}
		le.PutUint32(fat[4*i:], n)
	}
	dir := out[512*(1+fats):]
	entry := func(i int, name string, kind byte, child, start uint32, size int) {
		e := dir[128*i:]
		copy(e, wide(name))
		le.PutUint16(e[64:], uint16(2*len(name)+2))
		e[66] = kind
		le.PutUint32(e[68:], 0xFFFFFFFF)
		le.PutUint32(e[72:], 0xFFFFFFFF)
		le.PutUint32(e[76:], child)
		le.PutUint32(e[116:], start)
		le.PutUint32(e[120:], uint32(size))
	}
	entry(0, "Root Entry", 5, 1, 0xFFFFFFFE, 0)
	entry(1, name, 2, 0xFFFFFFFF, uint32(fats+1), size)
	copy(out[512*(2+fats):], stream)
	return out
}

func file8(globals *biff, sheets ...testSheet) []byte {
	return contain("Workbook", book8(globals, sheets...))
}

// text8 is a cell with its text inside.
func (w *biff) text8(row, column int, s string) *biff {
	return w.put(0x0204, row, column, 0, len(utf16.Encode([]rune(s))), byte(1), wide(s))
}

func (w *biff) number(row, column, format int, v float64) *biff {
	return w.put(0x0203, row, column, format, v)
}

// formats makes globals with one cell format per number format, in that order. An
// int is a built-in one.
func formats(all ...any) *biff {
	w := &biff{}
	for i, f := range all {
		if s, ok := f.(string); ok {
			w.put(0x041E, 164+i, len(s), byte(0), s)
		}
	}
	for i, f := range all {
		id, builtin := f.(int)
		if !builtin {
			id = 164 + i
		}
		w.put(0x00E0, 0, id, make([]byte, 16))
	}
	return w
}
