// Package charset decides how the bytes of a text file become UTF-8.
//
// A byte order mark wins. Without one the charset is the one that is set; when that
// is auto (or nothing), text that is valid UTF-8 is UTF-8 and all other is
// windows-1252. This is decided on the first 64 KiB of a file; bytes later on that
// do not fit make their row a broken row, never another text. ISO-8859-1 is read as
// windows-1252, as browsers do, and five bytes that windows-1252 has no letter for as
// the control characters that they are there.
package charset

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/dimchansky/utfbom"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
)

// Text says how the bytes of one file become UTF-8.
type Text struct {
	Name    string                       // of the charset, in lower case
	BOM     int                          // bytes of the byte order mark
	rows    *Single                      // decode each row; nil: rows are UTF-8 once the stream is
	stream  func() transform.Transformer // decode the stream before it is cut; nil: cut the raw bytes
	checked bool                         // U+FFFD in a row stands for bytes that did not decode
}

// Decide looks at the first bytes of a file, which are all of it if whole.
func Decide(prefix []byte, whole bool, set string) (Text, error) {
	_, bom := utfbom.Skip(bytes.NewReader(prefix))
	switch bom {
	case utfbom.UTF8:
		return Text{Name: "utf-8", BOM: 3}, nil
	case utfbom.UTF16BigEndian:
		return streamed("utf-16be", 2, unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)), nil
	case utfbom.UTF16LittleEndian:
		return streamed("utf-16le", 2, unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)), nil
	case utfbom.UTF32BigEndian:
		return streamed("utf-32be", 4, utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)), nil
	case utfbom.UTF32LittleEndian:
		return streamed("utf-32le", 4, utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)), nil
	}
	switch {
	case set != "" && set != integration.CharsetAuto:
		return named(set)
	case validUTF8(prefix, whole):
		return Text{Name: "utf-8"}, nil
	default:
		return Text{Name: "windows-1252", rows: tableOf(charmap.Windows1252, false), checked: true}, nil
	}
}

func streamed(name string, bom int, enc encoding.Encoding) Text {
	return Text{Name: name, BOM: bom, stream: func() transform.Transformer { return enc.NewDecoder() }, checked: true}
}

func named(set string) (Text, error) {
	enc, name, err := integration.Charset(set)
	if err != nil {
		return Text{}, &rows.FileError{Code: rows.UnknownCharset, Message: err.Error()}
	}
	if name == "utf-8" {
		return Text{Name: name}, nil
	}
	if table, ok := SingleOf(set); ok {
		text := Text{Name: name, rows: table, checked: true}
		if !table.ascii() { // EBCDIC has its own line ends and delimiters
			text = text.Whole()
		}
		return text, nil
	}
	// Other charsets use the bytes of delimiters inside characters, so the stream is
	// decoded before it is cut.
	return streamed(name, 0, enc), nil
}

// validUTF8 forgives a character cut in two at the end of the prefix, but not at
// the end of the file.
func validUTF8(p []byte, whole bool) bool {
	if utf8.Valid(p) {
		return true
	}
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			return !whole && !utf8.FullRune(p)
		}
		p = p[n:]
	}
	return true
}

// Fits says whether rows can be cut by these marks before they are decoded; if not,
// the text must be [Text.Whole].
func (t Text) Fits(marks ...string) bool {
	return t.rows == nil || strings.IndexFunc(strings.Join(marks, ""), func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// Whole gives the text decoded before it is cut, so that places in it are no bytes
// of the file.
func (t Text) Whole() Text {
	if t.rows == nil {
		return t
	}
	table := t.rows
	return Text{Name: t.Name, BOM: t.BOM, stream: func() transform.Transformer { return decoder{table: table} }, checked: true}
}

// Placed says whether a byte of the cut stream is a byte of the file.
func (t Text) Placed() bool { return t.stream == nil }

// Reader gives the stream that is cut; src stands behind the byte order mark.
func (t Text) Reader(src io.Reader) io.Reader {
	if t.stream == nil {
		return src
	}
	return transform.NewReader(src, t.stream())
}

// Decode gives a row as UTF-8, or false when its bytes do not fit. The result is
// raw itself or built in scratch: it is valid until either changes.
func (t Text) Decode(raw, scratch []byte) ([]byte, bool) {
	if t.rows == nil {
		return raw, utf8.Valid(raw) && (!t.checked || !bytes.ContainsRune(raw, utf8.RuneError))
	}
	ascii := true
	for _, b := range raw {
		if b >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return raw, true
	}
	scratch = scratch[:0]
	for _, b := range raw {
		r := rune(b)
		if b >= utf8.RuneSelf {
			r = t.rows[b]
		}
		if r == utf8.RuneError {
			return scratch, false
		}
		scratch = utf8.AppendRune(scratch, r)
	}
	return scratch, true
}
