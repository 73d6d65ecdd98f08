package xlsrows

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"

	"waybill.internal/services/ingest/internal/rows"
)

// decoder gives the charset of a code page; nil when it is not known.
func decoder(page int) encoding.Encoding {
	switch page {
	case 437:
		return charmap.CodePage437
	case 850:
		return charmap.CodePage850
	case 852:
		return charmap.CodePage852
	case 855:
		return charmap.CodePage855
	case 858:
		return charmap.CodePage858
	case 860:
		return charmap.CodePage860
	case 862:
		return charmap.CodePage862
	case 863:
		return charmap.CodePage863
	case 865:
		return charmap.CodePage865
	case 866:
		return charmap.CodePage866
	case 874:
		return charmap.Windows874
	case 932:
		return japanese.ShiftJIS
	case 936:
		return simplifiedchinese.GBK
	case 949:
		return korean.EUCKR
	case 950:
		return traditionalchinese.Big5
	case 0, 367, 1252, 32769:
		return charmap.Windows1252
	case 10000, 32768:
		return charmap.Macintosh
	case 10007:
		return charmap.MacintoshCyrillic
	}
	windows := []encoding.Encoding{charmap.Windows1250, charmap.Windows1251, charmap.Windows1252, charmap.Windows1253, charmap.Windows1254,
		charmap.Windows1255, charmap.Windows1256, charmap.Windows1257, charmap.Windows1258}
	if page >= 1250 && page <= 1258 {
		return windows[page-1250]
	}
	return nil
}

// appendBytes adds text of the workbook's code page, as versions before 8 have it.
func (b *book) appendBytes(to, text []byte) ([]byte, error) {
	ascii := true
	for _, c := range text {
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return append(to, text...), nil
	}
	if letters := macLetters(b.Codepage); letters != "" {
		return appendMac(to, text, letters), nil
	}
	charset := decoder(b.Codepage)
	if charset == nil {
		return nil, &rows.FileError{Code: rows.UnknownCharset, Message: fmt.Sprintf("the texts are in code page %d, which is not read; save the file as Excel 97-2003 Workbook", b.Codepage)}
	}
	out, err := charset.NewDecoder().Bytes(text)
	if err != nil {
		return nil, fmt.Errorf("xlsrows: decode text of code page %d: %w", b.Codepage, err)
	}
	return append(to, out...), nil
}

// parts reads the data of a record and of those that continue it as one. Characters
// that go on in the next record begin there with a new byte of flags, which may
// change their width; nothing else does.
type parts struct {
	s     *scanner
	data  []byte   // what is left of the record at hand
	units []uint16 // the characters of a text, before they are put together
}

// more takes up the next record, which must continue this one.
func (p *parts) more() error {
	if op, ok := p.s.peek(); !ok || op != opContinue {
		return malformed("the texts of the workbook end in the middle of one%s", badCompoundEnd)
	}
	r, err := p.s.next()
	p.data = r.data
	return err
}

// take gives n bytes, fewer than 16, which may lie in two records.
func (p *parts) take(n int) ([]byte, error) {
	if len(p.data) >= n {
		out := p.data[:n]
		p.data = p.data[n:]
		return out, nil
	}
	var out [16]byte
	for have := 0; have < n; {
		if len(p.data) == 0 {
			if err := p.more(); err != nil {
				return nil, err
			}
		}
		got := copy(out[have:n], p.data)
		have, p.data = have+got, p.data[got:]
	}
	return out[:n], nil
}

// skip passes over n bytes.
func (p *parts) skip(n int64) error {
	for n > int64(len(p.data)) {
		n -= int64(len(p.data))
		if err := p.more(); err != nil {
			return err
		}
	}
	p.data = p.data[n:]
	return nil
}

// appendText adds the next text: its length in 1 or 2 bytes, its flags, characters,
// and what belongs to its looks, which is passed over.
func (p *parts) appendText(to []byte, lengthBytes int) ([]byte, error) {
	head, err := p.take(lengthBytes + 1)
	if err != nil {
		return nil, err
	}
	count, flags := int(head[0]), head[lengthBytes]
	if lengthBytes == 2 {
		count |= int(head[1]) << 8
	}
	var behind int64
	if flags&8 != 0 { // runs of fonts, 4 bytes each
		if head, err = p.take(2); err != nil {
			return nil, err
		}
		behind += 4 * int64(binary.LittleEndian.Uint16(head))
	}
	if flags&4 != 0 { // phonetic and other extras
		if head, err = p.take(4); err != nil {
			return nil, err
		}
		behind += int64(binary.LittleEndian.Uint32(head))
	}
	if to, err = p.appendChars(to, count, flags&1 != 0); err != nil {
		return nil, err
	}
	return to, p.skip(behind)
}

// appendChars adds so many characters, over as many records as they take. Half of a
// surrogate pair becomes U+FFFD.
func (p *parts) appendChars(to []byte, count int, wide bool) ([]byte, error) {
	p.units = p.units[:0]
	for {
		p.takeUnits(count-len(p.units), wide)
		if len(p.units) == count {
			break
		}
		if err := p.more(); err != nil {
			return nil, err
		}
		flags, err := p.take(1)
		if err != nil {
			return nil, err
		}
		wide = flags[0]&1 != 0
	}
	for i := 0; i < len(p.units); i++ {
		c := rune(p.units[i])
		if utf16.IsSurrogate(c) {
			low := rune(0)
			if i+1 < len(p.units) {
				low = rune(p.units[i+1])
			}
			if c = utf16.DecodeRune(c, low); c != utf8.RuneError {
				i++
			}
		}
		to = utf8.AppendRune(to, c)
	}
	return to, nil
}

// takeUnits takes at most so many characters out of the record at hand.
func (p *parts) takeUnits(most int, wide bool) {
	if !wide {
		n := min(most, len(p.data))
		for _, c := range p.data[:n] {
			p.units = append(p.units, uint16(c))
		}
		p.data = p.data[n:]
		return
	}
	n := min(most, len(p.data)/2)
	for i := range n {
		p.units = append(p.units, binary.LittleEndian.Uint16(p.data[2*i:]))
	}
	p.data = p.data[2*n:]
}

// appendShort adds the characters of a record of an older version: a length in 1 or
// 2 bytes and bytes of the code page.
func (b *book) appendShort(to, data []byte, lengthBytes int) ([]byte, error) {
	if len(data) < lengthBytes {
		return to, nil
	}
	count := int(data[0])
	if lengthBytes == 2 {
		count |= int(data[1]) << 8
	}
	data = data[lengthBytes:]
	return b.appendBytes(to, data[:min(count, len(data))])
}
