package xlsrows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf16"

	"waybill.internal/services/ingest/internal/rows"
)

// Special sector numbers of a compound file; all above maxSector mean no sector.
const (
	maxSector  = 0xFFFFFFFA
	endOfChain = 0xFFFFFFFE
)

const (
	headerBytes    = 512
	entryBytes     = 128
	maxEntries     = 1 << 16 // entries of a directory that are looked at
	headerDIFAT    = 109     // places of the allocation table that the header holds
	maxMiniCutoff  = 1 << 16 // bytes below which a stream lies in the small sectors; 4096 in practice
	noEntry        = 0xFFFFFFFF
	entryStorage   = 1
	entryStream    = 2
	entryRoot      = 5
	compoundMagic  = "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"
	badCompoundEnd = "; open it in a spreadsheet program and save it again"
)

// compound is a compound file (OLE2): a small file system whose streams are chains
// of sectors. Only what finds one stream is kept, 4 bytes a sector. Chains are as
// long as the file has sectors at most, so that a loop ends. A last sector that is
// cut off is fine, as some writers leave it so.
type compound struct {
	src     io.ReaderAt
	size    int64
	shift   uint // sectors have 1<<shift bytes
	mini    uint // small sectors have 1<<mini bytes
	cutoff  int64
	table   []uint32 // per sector the next one of its chain
	entries []entry

	miniStart uint32 // where the table of the small sectors begins
}

type entry struct {
	name               string
	kind               byte
	left, right, child uint32
	start              uint32
	size               int64
}

func malformed(format string, args ...any) error {
	return &rows.FileError{Code: rows.Malformed, Message: fmt.Sprintf(format, args...)}
}

// openCompound reads the tables of a compound file.
func openCompound(src io.ReaderAt, size int64) (*compound, error) {
	head := make([]byte, headerBytes)
	if err := readFull(src, head, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	c := &compound{src: src, size: size, shift: uint(le.Uint16(head[30:])), mini: uint(le.Uint16(head[32:])), cutoff: int64(le.Uint32(head[56:]))}
	if c.shift < 7 || c.shift > 16 || c.mini < 4 || c.mini > c.shift || c.cutoff > maxMiniCutoff {
		return nil, malformed("the container has sectors of 2^%d and 2^%d bytes, which no writer makes%s", c.shift, c.mini, badCompoundEnd)
	}
	if err := c.readTable(head); err != nil {
		return nil, err
	}
	if err := c.readDirectory(le.Uint32(head[48:])); err != nil {
		return nil, err
	}
	c.miniStart = le.Uint32(head[60:])
	return c, nil
}

// sectors counts the sectors of the file, one that is cut off included.
func (c *compound) sectors() int64 {
	return c.size>>c.shift + 1
}

// sector reads a whole sector; what lies behind the end of the file is zero.
func (c *compound) sector(n uint32, into []byte) error {
	at := (int64(n) + 1) << c.shift
	if n > maxSector || at >= c.size {
		return malformed("the container names sector %d, which lies outside the file%s", n, badCompoundEnd)
	}
	got := min(int64(len(into)), c.size-at)
	clear(into[got:])
	return readFull(c.src, into[:got], at)
}

// readTable reads the allocation table, whose own sectors the header and a chain
// of further sectors list.
func (c *compound) readTable(head []byte) error {
	le := binary.LittleEndian
	count := int64(le.Uint32(head[44:]))
	per := int64(1) << (c.shift - 2)
	if count > c.sectors() {
		return malformed("the container claims %d allocation sectors and has %d sectors in all%s", count, c.sectors(), badCompoundEnd)
	}
	places := make([]uint32, 0, count)
	for i := range min(count, headerDIFAT) {
		places = append(places, le.Uint32(head[76+4*i:]))
	}
	for i := count; i < headerDIFAT; i++ {
		if n := le.Uint32(head[76+4*i:]); int64(n) > c.sectors() && n < endOfChain {
			return malformed("place %d of the container's list of allocation sectors holds %#x, which is no sector%s", i+1, n, badCompoundEnd)
		}
	}
	buf := make([]byte, 1<<c.shift)
	for next := le.Uint32(head[68:]); int64(len(places)) < count; next = le.Uint32(buf[len(buf)-4:]) {
		if err := c.sector(next, buf); err != nil {
			return err
		}
		for i := int64(0); i < per-1 && int64(len(places)) < count; i++ {
			places = append(places, le.Uint32(buf[4*i:]))
		}
	}
	for _, n := range places {
		if int64(len(c.table)) >= c.sectors() {
			break // the rest would describe sectors that the file does not have
		}
		if err := c.sector(n, buf); err != nil {
			return err
		}
		for i := range per {
			c.table = append(c.table, le.Uint32(buf[4*i:]))
		}
	}
	return nil
}

// chain lists the sectors from start on, at most limit of them.
func (c *compound) chain(table []uint32, start uint32, limit int64) ([]uint32, error) {
	var out []uint32
	seen := make([]bool, len(table))
	for n := start; n != endOfChain && int64(len(out)) < limit; n = table[n] {
		if int64(n) >= int64(len(table)) {
			return nil, malformed("a chain of the container leads to sector %d, which does not exist%s", n, badCompoundEnd)
		}
		if seen[n] {
			return nil, malformed("a chain of the container runs in a circle%s", badCompoundEnd)
		}
		seen[n] = true
		out = append(out, n)
	}
	return out, nil
}

func (c *compound) readDirectory(start uint32) error {
	chain, err := c.chain(c.table, start, maxEntries*entryBytes>>c.shift)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<c.shift)
	for _, n := range chain {
		if err := c.sector(n, buf); err != nil {
			return err
		}
		for at := 0; at+entryBytes <= len(buf); at += entryBytes {
			c.entries = append(c.entries, readEntry(buf[at:at+entryBytes], c.shift))
		}
	}
	if len(c.entries) == 0 || c.entries[0].kind != entryRoot {
		return malformed("the container has no root directory%s", badCompoundEnd)
	}
	return nil
}

func readEntry(b []byte, shift uint) entry {
	le := binary.LittleEndian
	units := make([]uint16, 0, 32)
	for i := 0; i < min(int(le.Uint16(b[64:]))/2-1, 31); i++ {
		units = append(units, le.Uint16(b[2*i:]))
	}
	size := int64(le.Uint32(b[120:]))
	if high := int64(le.Uint32(b[124:])); shift > 9 && high < 1<<20 { // in files with small sectors the upper half is often rubbish
		size |= high << 32
	}
	return entry{name: string(utf16.Decode(units)), kind: b[66], left: le.Uint32(b[68:]), right: le.Uint32(b[72:]), child: le.Uint32(b[76:]),
		start: le.Uint32(b[116:]), size: size}
}

// top lists what lies in the root directory; not deeper, for there embedded
// workbooks have streams of the same names.
func (c *compound) top() []entry {
	var out []entry
	seen := make([]bool, len(c.entries))
	todo := []uint32{c.entries[0].child}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n == noEntry || int64(n) >= int64(len(c.entries)) || seen[n] {
			continue
		}
		seen[n] = true
		out = append(out, c.entries[n])
		todo = append(todo, c.entries[n].left, c.entries[n].right)
	}
	return out
}

// find gives the entry of the root directory with that name and kind.
func (c *compound) find(name string, kind byte) (entry, bool) {
	for _, e := range c.top() {
		if e.kind == kind && strings.EqualFold(e.name, name) {
			return e, true
		}
	}
	return entry{}, false
}

// open gives the bytes of a stream. One whose chain is shorter than the directory
// says is as long as its chain.
func (c *compound) open(e entry) (io.ReaderAt, int64, error) {
	if e.size < c.cutoff {
		return c.openMini(e)
	}
	chain, err := c.chain(c.table, e.start, (e.size-1)>>c.shift+1)
	if err != nil {
		return nil, 0, err
	}
	return &stream{c: c, chain: chain}, min(e.size, int64(len(chain))<<c.shift), nil
}

// miniTables gives the allocation table of the small sectors, and the stream that
// holds them.
func (c *compound) miniTables() ([]uint32, *stream, error) {
	places, err := c.chain(c.table, c.miniStart, math.MaxInt64)
	if err != nil {
		return nil, nil, err
	}
	var table []uint32
	buf := make([]byte, 1<<c.shift)
	for _, n := range places {
		if err := c.sector(n, buf); err != nil {
			return nil, nil, err
		}
		for at := 0; at < len(buf); at += 4 {
			table = append(table, binary.LittleEndian.Uint32(buf[at:]))
		}
	}
	chain, err := c.chain(c.table, c.entries[0].start, math.MaxInt64)
	if err != nil {
		return nil, nil, err
	}
	return table, &stream{c: c, chain: chain}, nil
}

func (c *compound) openMini(e entry) (io.ReaderAt, int64, error) {
	table, data, err := c.miniTables()
	if err != nil {
		return nil, 0, err
	}
	chain, err := c.chain(table, e.start, e.size>>c.mini+1)
	if err != nil {
		return nil, 0, err
	}
	out := make([]byte, 0, e.size)
	for _, n := range chain {
		b := make([]byte, 1<<c.mini)
		if _, err := data.ReadAt(b, int64(n)<<c.mini); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		out = append(out, b...)
	}
	out = out[:min(int64(len(out)), e.size)]
	return bytes.NewReader(out), int64(len(out)), nil
}

// stream reads the sectors of a chain as one file. Neighbouring sectors are read
// at once.
type stream struct {
	c     *compound
	chain []uint32
}

func (s *stream) ReadAt(p []byte, at int64) (int, error) {
	sector := int64(1) << s.c.shift
	done := 0
	for done < len(p) {
		i := at >> s.c.shift
		if i >= int64(len(s.chain)) {
			return done, io.EOF
		}
		first := i
		for i+1 < int64(len(s.chain)) && s.chain[i+1] == s.chain[i]+1 && (i+1-first)*sector < int64(len(p)-done)+sector {
			i++
		}
		want := min(int64(len(p)-done), (i-first+1)*sector-at%sector)
		n, err := s.c.src.ReadAt(p[done:done+int(want)], (int64(s.chain[first])+1)*sector+at%sector)
		done += n
		at += int64(n)
		if int64(n) < want {
			return done, err
		}
	}
	return done, nil
}

// readFull reads all of p, or says that the file is cut off.
func readFull(src io.ReaderAt, p []byte, at int64) error {
	n, err := src.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return &rows.FileError{Code: rows.Truncated, Message: fmt.Sprintf("the file ends at byte %d, in the middle of its tables; send it again", at+int64(n))}
	}
	return fmt.Errorf("xlsrows: read %d bytes at %d: %w", len(p), at, err)
}
