package xmlscan

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"

	"waybill.internal/services/ingest/internal/rows"
)

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }

// isNameByte is true for every byte that a name can have at any place.
func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == ':' || b == '-' || b == '.' || b >= utf8.RuneSelf
}

func validName(raw []byte) bool {
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && size == 1 || !isNameRune(r, i == 0) {
			return false
		}
		i += size
	}
	return len(raw) > 0
}

// isNameRune follows NameStartChar and NameChar of XML 1.0, fifth edition.
func isNameRune(r rune, first bool) bool {
	switch {
	case r < utf8.RuneSelf:
		return isNameByte(byte(r)) && !(first && (r == '-' || r == '.' || r >= '0' && r <= '9'))
	case r == 0xB7, r >= 0x300 && r <= 0x36F, r >= 0x203F && r <= 0x2040:
		return !first
	case r < 0xC0, r == 0xD7, r == 0xF7, r == 0x37E:
		return false
	case r <= 0x1FFF, r >= 0x200C && r <= 0x200D, r >= 0x2070 && r <= 0x218F, r >= 0x2C00 && r <= 0x2FEF,
		r >= 0x3001 && r <= 0xD7FF, r >= 0xF900 && r <= 0xFDCF, r >= 0xFDF0 && r <= 0xFFFD, r >= 0x10000 && r <= 0xEFFFF:
		return true
	}
	return false
}

// isChar follows Char of XML 1.0.
func isChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= utf8.MaxRune
}

// check refuses bytes that are no text of XML.
func (s *Scanner) check(p []byte) error {
	for i := 0; i < len(p); {
		b := p[i]
		if b >= 0x20 && b < utf8.RuneSelf {
			i++
			continue
		}
		if b < 0x20 {
			if !isSpace(b) {
				return s.failed(rows.Malformed, "the control character 0x%02x cannot stand in XML; leave it out", b)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(p[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return s.failed(rows.InvalidBytes, "the byte 0x%02x is not UTF-8; declare the encoding in the first line, or send UTF-8", b)
		case r == utf8.RuneError && s.strict:
			return s.failed(rows.InvalidBytes, "there are bytes that are no text of the declared encoding; declare the right one, or send UTF-8")
		case !isChar(r):
			return s.failed(rows.Malformed, "the character U+%04X cannot stand in XML; leave it out", r)
		}
		i += size
	}
	return nil
}

// whole gives the length of p without a character that is cut at its end.
func whole(p []byte) int {
	for i := 1; i <= min(utf8.UTFMax-1, len(p)); i++ {
		if b := p[len(p)-i]; utf8.RuneStart(b) {
			if b >= utf8.RuneSelf && !utf8.FullRune(p[len(p)-i:]) {
				return len(p) - i
			}
			break
		}
	}
	return len(p)
}

// piece gives text up to the next markup, reference or end of the buffer.
func (s *Scanner) piece() ([]byte, error) {
	in := s.in
	p := in.buf[in.r:in.w]
	if i := bytes.IndexByte(p, '<'); i >= 0 {
		p = p[:i]
	}
	if i := bytes.IndexByte(p, '&'); i >= 0 {
		p = p[:i]
	}
	if in.r+len(p) == in.w {
		n := whole(p)
		if n == 0 {
			if ok, err := s.more(); ok || err != nil {
				return nil, err
			}
			n = len(p)
		}
		p = p[:n]
	}
	if s.closesCDATA(p) {
		return nil, s.malformed("]]> stands in text outside of CDATA; write ]]&gt;")
	}
	out, err := s.take(p)
	if err != nil {
		return nil, err
	}
	if len(s.open) == 0 && len(bytes.TrimLeft(out, " \t\r\n")) > 0 {
		if s.root {
			return nil, s.malformed("there is text after the end of the root element")
		}
		return nil, s.beforeRoot()
	}
	return out, nil
}

func (s *Scanner) beforeRoot() error {
	if s.Offset() < 1024 && !s.doctype {
		return s.failed(rows.WrongFormat, "the file does not begin as XML does; the first thing must be < (is it another format?)")
	}
	return s.malformed("there is text before the root element")
}

// closesCDATA looks for ]]> in the text that ends with p.
func (s *Scanner) closesCDATA(p []byte) bool {
	head := append(s.tail[:2:2], p[:min(2, len(p))]...)
	found := bytes.Contains(head, []byte("]]>")) || bytes.Contains(p, []byte("]]>"))
	if n := len(p); n >= 2 {
		s.tail = [2]byte{p[n-2], p[n-1]}
	} else if n == 1 {
		s.tail = [2]byte{s.tail[1], p[0]}
	}
	return found
}

// take consumes p, the next bytes of the input, and gives them with their line
// ends as LF.
func (s *Scanner) take(p []byte) ([]byte, error) {
	if err := s.check(p); err != nil {
		return nil, err
	}
	s.in.r += len(p)
	after := s.cr
	s.cr = false
	if after && len(p) > 0 && p[0] == '\n' {
		p = p[1:]
	}
	if s.in.entity != nil || bytes.IndexByte(p, '\r') < 0 {
		return p, nil
	}
	s.text = s.text[:0]
	for i, b := range p {
		switch {
		case b == '\r':
			s.text = append(s.text, '\n')
		case b == '\n' && i > 0 && p[i-1] == '\r':
		default:
			s.text = append(s.text, b)
		}
	}
	s.cr = p[len(p)-1] == '\r'
	return s.text, nil
}

// apart says that what follows does not continue the text before.
func (s *Scanner) apart() { s.tail, s.cr = [2]byte{}, false }

// until gives the text before end, in pieces; done with the last one, when end
// is consumed as well.
func (s *Scanner) until(end, where string) (piece []byte, done bool, err error) {
	in := s.in
	p := in.buf[in.r:in.w]
	if i := bytes.Index(p, []byte(end)); i >= 0 {
		if piece, err = s.take(p[:i]); err != nil {
			return nil, false, err
		}
		in.r += len(end)
		s.apart()
		return piece, true, nil
	}
	keep := p[:max(0, len(p)-len(end)+1)]
	keep = keep[:whole(keep)]
	if len(keep) > 0 {
		piece, err = s.take(keep)
		return piece, false, err
	}
	ok, err := s.more()
	if !ok && err == nil {
		if err = s.check(p); err == nil {
			err = s.truncated(where)
		}
	}
	return nil, false, err
}

func (s *Scanner) cdataPiece() ([]byte, error) {
	piece, done, err := s.until("]]>", "a CDATA section")
	if done {
		s.cdata = false
	}
	return piece, err
}

// pass consumes everything before end, and end.
func (s *Scanner) pass(end, where string) error {
	began := s.Offset()
	for {
		_, done, err := s.until(end, where)
		if done || err != nil {
			return err
		}
		if s.Offset()-began > maxPassed {
			return s.failed(rows.TooLarge, "%s is longer than %d bytes", where, maxPassed)
		}
	}
}

// unexpected shows the character at hand.
func (s *Scanner) unexpected() string {
	p := s.in.buf[s.in.r:s.in.w]
	if len(p) == 0 {
		return "at the end"
	}
	r, size := utf8.DecodeRune(p)
	if r == utf8.RuneError && size == 1 {
		return fmt.Sprintf("0x%02x", p[0])
	}
	return strconv.QuoteRune(r)
}

// show quotes a name of the document for a message.
func show(name string) string {
	if r := []rune(name); len(r) > 60 {
		name = string(r[:60]) + "…"
	}
	return strconv.Quote(name)
}
