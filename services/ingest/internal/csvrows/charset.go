package csvrows

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/dimchansky/utfbom"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"
)

// text says how the bytes of a file become UTF-8.
type text struct {
	name    string
	bom     int               // bytes of the byte order mark
	rows    *charmap.Charmap  // decode each row; nil: rows are UTF-8
	stream  encoding.Encoding // decode the stream before it is cut; nil: cut the raw bytes
	checked bool              // U+FFFD in a row stands for bytes that did not decode
}

// decideCharset looks at the first bytes of a file only.
func decideCharset(prefix []byte, whole bool, declared string) (text, error) {
	_, bom := utfbom.Skip(bytes.NewReader(prefix))
	switch bom {
	case utfbom.UTF8:
		return text{name: "utf-8", bom: 3}, nil
	case utfbom.UTF16BigEndian:
		return text{name: "utf-16be", bom: 2, stream: unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), checked: true}, nil
	case utfbom.UTF16LittleEndian:
		return text{name: "utf-16le", bom: 2, stream: unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), checked: true}, nil
	case utfbom.UTF32BigEndian:
		return text{name: "utf-32be", bom: 4, stream: utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM), checked: true}, nil
	case utfbom.UTF32LittleEndian:
		return text{name: "utf-32le", bom: 4, stream: utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM), checked: true}, nil
	}
	var named text
	if declared != "" {
		var err error
		if named, err = lookup(declared); err != nil {
			return text{}, err // even where it is not needed: a wrong name is a mistake to tell
		}
	}
	valid, ascii := validUTF8(prefix, whole)
	switch {
	case declared != "" && named.stream != nil && strings.HasPrefix(named.name, "utf-16"):
		return named, nil // UTF-16 of plain ASCII is valid UTF-8 full of NULs
	case valid && !ascii:
		return text{name: "utf-8"}, nil
	case declared != "":
		return named, nil
	case valid:
		return text{name: "utf-8"}, nil
	default:
		return text{name: "windows-1252", rows: charmap.Windows1252, checked: true}, nil
	}
}

// validUTF8 forgives a character cut in two at the end of the prefix, but not at
// the end of the file.
func validUTF8(p []byte, whole bool) (valid, ascii bool) {
	ascii = true
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			return !whole && !utf8.FullRune(p), false
		}
		if n > 1 {
			ascii = false
		}
		p = p[n:]
	}
	return true, ascii
}

func lookup(declared string) (text, error) {
	enc, err := htmlindex.Get(declared)
	if err != nil {
		return text{}, &FileError{Code: UnknownCharset, Message: fmt.Sprintf("the declared charset %q is not known; names are those of HTML, such as utf-8, windows-1252 or iso-8859-7", declared)}
	}
	name, err := htmlindex.Name(enc)
	if err != nil {
		return text{}, &FileError{Code: UnknownCharset, Message: fmt.Sprintf("the declared charset %q cannot be decoded", declared)}
	}
	if name == "utf-8" {
		return text{name: name}, nil
	}
	if m, ok := enc.(*charmap.Charmap); ok {
		return text{name: name, rows: m, checked: true}, nil
	}
	if name == "replacement" || name == "x-user-defined" {
		return text{}, &FileError{Code: UnknownCharset, Message: fmt.Sprintf("the declared charset %q cannot be decoded safely", declared)}
	}
	// Other charsets use delimiter bytes inside characters, so the stream is
	// decoded before it is cut.
	return text{name: name, stream: enc, checked: true}, nil
}

// reader gives the stream the framer cuts.
func (t text) reader(src io.Reader) io.Reader {
	if t.stream == nil {
		return src
	}
	return transform.NewReader(src, t.stream.NewDecoder())
}

// decode gives a row as UTF-8, or false when its bytes do not fit. The result is
// valid until the next call with the same scratch.
func (t text) decode(raw, scratch []byte) ([]byte, bool) {
	if t.rows == nil {
		return raw, utf8.Valid(raw) && (!t.checked || !bytes.ContainsRune(raw, utf8.RuneError))
	}
	scratch = scratch[:0]
	for _, b := range raw {
		r := rune(b)
		if b >= utf8.RuneSelf {
			r = t.rows.DecodeByte(b)
		}
		if r == utf8.RuneError {
			return scratch, false
		}
		scratch = utf8.AppendRune(scratch, r)
	}
	return scratch, true
}
