package xmlscan

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/charset"
)

const (
	prefixBytes = 1 << 10 // in which the XML declaration ends
	chunkBytes  = 32 << 10
)

// decoded is a file's text as UTF-8.
type decoded struct {
	src      io.Reader
	encoding string // as declared, else as found
	strict   bool   // U+FFFD stands for bytes that are no text
}

// decode decides the encoding on the first bytes.
func decode(src io.Reader) (decoded, error) {
	b := bufio.NewReaderSize(src, chunkBytes)
	prefix, err := b.Peek(prefixBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return decoded{}, err
	}
	starts := func(s string) bool { return bytes.HasPrefix(prefix, []byte(s)) }
	name := declaredEncoding(prefix)
	switch {
	case starts("\x00\x00\xfe\xff"), starts("\xff\xfe\x00\x00"), starts("\x00\x00\x00<"), starts("<\x00\x00\x00"):
		return decoded{}, &rows.FileError{Code: rows.Unsupported, Line: 1, Message: "the file is UTF-32, which is not read; send UTF-8"}
	case starts("\x4c\x6f\xa7\x94"):
		return decoded{}, &rows.FileError{Code: rows.Unsupported, Line: 1, Message: "the file is EBCDIC, which is not read; send UTF-8"}
	case starts("\xef\xbb\xbf"):
		_, _ = b.Discard(3)
		return decoded{src: b, encoding: or(name, "UTF-8")}, nil
	case starts("\xfe\xff"), starts("\xff\xfe"):
		_, _ = b.Discard(2)
		return decoded{src: &utf16Reader{src: b, big: prefix[0] == 0xfe}, encoding: or(name, "UTF-16")}, nil
	case len(prefix) > 1 && prefix[0] == 0 && prefix[1] != 0, len(prefix) > 1 && prefix[1] == 0 && prefix[0] != 0:
		return decoded{src: &utf16Reader{src: b, big: prefix[0] == 0}, encoding: or(name, "UTF-16")}, nil
	}
	if lower := strings.ToLower(name); name == "" || lower == "utf-8" || lower == "utf8" || strings.HasPrefix(lower, "utf-16") {
		return decoded{src: b, encoding: or(name, "UTF-8")}, nil
	}
	enc, canonical, err := integration.Charset(name)
	if err != nil {
		return decoded{}, &rows.FileError{Code: rows.UnknownCharset, Line: 1, Message: "the file declares an encoding that is not read: " + err.Error()}
	}
	if canonical == "utf-8" {
		return decoded{src: b, encoding: name}, nil
	}
	if table, ok := charset.SingleOf(name); ok {
		return decoded{src: &byteReader{src: b, table: table}, encoding: name, strict: true}, nil
	}
	return decoded{src: enc.NewDecoder().Reader(b), encoding: name, strict: canonical != "gb18030"}, nil
}

func or(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// declaredEncoding finds the declaration's encoding in text of one or two bytes a
// character. Whether the declaration is one, the scanner checks.
func declaredEncoding(prefix []byte) string {
	text := bytes.ReplaceAll(prefix, []byte{0}, nil)
	if i := bytes.Index(text, []byte("<?xml")); i < 0 || i > 3 || i+5 >= len(text) || !isSpace(text[i+5]) {
		return ""
	}
	end := bytes.Index(text, []byte("?>"))
	if end < 0 {
		return ""
	}
	m := regexp.MustCompile(`\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']`).FindSubmatch(text[:end])
	if m == nil {
		return ""
	}
	return string(m[1])
}

// byteReader decodes one byte a character.
type byteReader struct {
	src   io.Reader
	table *charset.Single
	in    [chunkBytes / utf8.UTFMax]byte
	buf   [chunkBytes]byte
	out   []byte
	err   error
}

func (d *byteReader) Read(p []byte) (int, error) {
	if len(d.out) == 0 && d.err == nil {
		var n int
		n, d.err = d.src.Read(d.in[:])
		d.out = d.buf[:0]
		for _, b := range d.in[:n] {
			d.out = utf8.AppendRune(d.out, d.table[b])
		}
	}
	n := copy(p, d.out)
	if d.out = d.out[n:]; n > 0 {
		return n, nil
	}
	return 0, d.err
}

// utf16Reader gives UTF-16 as UTF-8 and refuses halves of characters.
type utf16Reader struct {
	src *bufio.Reader
	big bool
	out []byte // decoded, not yet given
	buf [chunkBytes]byte
	err error
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.out) == 0 && u.err == nil {
		u.fill()
	}
	if len(u.out) == 0 {
		return 0, u.err
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// fill decodes what a quarter of the buffer can hold.
func (u *utf16Reader) fill() {
	out := u.buf[:0]
	for len(out) < len(u.buf)-utf8.UTFMax && u.err == nil {
		r, ok := u.unit()
		if !ok {
			break
		}
		if utf16.IsSurrogate(r) {
			low, ok := u.unit()
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				if u.err == nil || errors.Is(u.err, io.EOF) {
					u.err = invalidUTF16()
				}
				break
			}
		}
		out = utf8.AppendRune(out, r)
	}
	u.out = out
}

func (u *utf16Reader) unit() (rune, bool) {
	first, err := u.src.ReadByte()
	if err != nil {
		u.err = err
		return 0, false
	}
	second, err := u.src.ReadByte()
	if err != nil {
		if u.err = err; errors.Is(err, io.EOF) {
			u.err = invalidUTF16()
		}
		return 0, false
	}
	if u.big {
		return rune(first)<<8 | rune(second), true
	}
	return rune(second)<<8 | rune(first), true
}

func invalidUTF16() error {
	return &rows.FileError{Code: rows.InvalidBytes, Message: "there is half a character of UTF-16; send the file whole, or as UTF-8"}
}
