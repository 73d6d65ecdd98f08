package charset

import (
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/transform"

	"waybill.internal/pkg/integration"
)

// Single is a charset of one byte a character: the character of each byte, U+FFFD
// where it has none.
type Single [256]rune

// SingleOf gives the table of a charset by the name that was set or declared; false
// where its characters take several bytes, or it is not known.
//
// The tables of x/text leave out the control characters from 0x80 to 0x9f, which all
// parts of ISO 8859 have. Where a file is said to be one of those, each of these
// bytes is a character, if a control; windows-1252 by its own name has no text for
// five of them, and a file with one is mostly something else.
func SingleOf(set string) (*Single, bool) {
	enc, name, err := integration.Charset(set)
	m, ok := enc.(*charmap.Charmap)
	if err != nil || !ok {
		return nil, false
	}
	return tableOf(m, strings.HasPrefix(name, "iso-8859-") || isLatin1(set)), true
}

// isLatin1 tells the names of ISO-8859-1, which is read as windows-1252 is.
func isLatin1(set string) bool {
	return slices.Contains([]string{"iso-8859-1", "iso8859-1", "iso88591", "iso_8859-1", "iso_8859-1:1987", "iso-ir-100",
		"latin1", "l1", "cp819", "ibm819", "csisolatin1"}, strings.ToLower(strings.TrimSpace(set)))
}

func tableOf(m *charmap.Charmap, controls bool) *Single {
	table := new(Single)
	for i := range table {
		table[i] = m.DecodeByte(byte(i))
		if controls && table[i] == utf8.RuneError && i >= 0x80 && i <= 0x9f {
			table[i] = rune(i)
		}
	}
	return table
}

// ascii says that the first half is ASCII.
func (t *Single) ascii() bool {
	for i, r := range t[:utf8.RuneSelf] {
		if rune(i) != r {
			return false
		}
	}
	return true
}

// decoder makes a stream of a charset UTF-8.
type decoder struct {
	transform.NopResetter
	table *Single
}

// Transform is part of transform.Transformer.
func (d decoder) Transform(dst, src []byte, _ bool) (wrote, read int, err error) {
	for ; read < len(src); read++ {
		r := d.table[src[read]]
		if wrote+utf8.RuneLen(r) > len(dst) {
			return wrote, read, transform.ErrShortDst
		}
		wrote += utf8.EncodeRune(dst[wrote:], r)
	}
	return wrote, read, nil
}
