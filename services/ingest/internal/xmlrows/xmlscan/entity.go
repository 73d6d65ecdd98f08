package xmlscan

import (
	"strconv"
	"unicode/utf8"

	"waybill.internal/services/ingest/internal/rows"
)

// entity is declared in the DTD.
type entity struct {
	name     string
	text     []byte // what stands for it, characters by number already put in
	external bool   // it is elsewhere, and never fetched
	unparsed bool
	open     bool // it is being read
}

// reference reads what begins with & in content: a character is given, an entity
// becomes the input.
func (s *Scanner) reference() ([]byte, error) {
	s.apart()
	if len(s.open) == 0 {
		return nil, s.malformed("a reference stands outside of the root element")
	}
	from := len(s.values)
	e, err := s.refer()
	if err != nil {
		return nil, err
	}
	if e == nil {
		s.text = append(s.text[:0], s.values[from:]...)
		s.values = s.values[:from]
		return s.text, nil
	}
	if e.external {
		return nil, s.failed(rows.Unsupported, "the entity %s is in another file, and other files are never fetched; put its text in", show(e.name))
	}
	return nil, s.push(e)
}

func (s *Scanner) valueReference(attribute string) error {
	s.apart()
	e, err := s.refer()
	if err != nil || e == nil {
		return err
	}
	if e.external {
		return s.malformed("the attribute %s refers to the entity %s of another file", show(attribute), show(e.name))
	}
	return s.push(e)
}

// refer reads a reference. The text of a character is appended to values.
func (s *Scanner) refer() (*entity, error) {
	s.in.r++
	if is, err := s.has("#"); is || err != nil {
		if err == nil {
			var r rune
			if r, err = s.character(); err == nil {
				s.values = utf8.AppendRune(s.values, r)
			}
		}
		return nil, err
	}
	q, err := s.name("an entity (write & as &amp;)")
	if err != nil {
		return nil, err
	}
	if err := s.expect(";", "a reference to the entity "+show(q.raw)+" (write & as &amp;)"); err != nil {
		return nil, err
	}
	if r := predefined(q.raw); r != 0 {
		s.values = append(s.values, r)
		return nil, nil
	}
	e := s.dtd.entities[q.raw]
	switch {
	case e == nil:
		return nil, s.malformed("the entity %s is not declared in the file; write the character itself (other files are never fetched)", show(q.raw))
	case e.unparsed:
		return nil, s.malformed("the entity %s is no text", show(q.raw))
	}
	return e, nil
}

func predefined(name string) byte {
	switch name {
	case "lt":
		return '<'
	case "gt":
		return '>'
	case "amp":
		return '&'
	case "quot":
		return '"'
	case "apos":
		return '\''
	}
	return 0
}

// character reads a character's number behind &#.
func (s *Scanner) character() (rune, error) {
	base := 10
	if is, err := s.has("x"); err != nil {
		return 0, err
	} else if is {
		base = 16
	}
	var digits []byte
	for {
		b, ok, err := s.peek()
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, s.truncated("a reference to a character")
		}
		if b == ';' {
			s.in.r++
			break
		}
		s.in.r++
		if len(digits) == 1 && digits[0] == '0' {
			digits = digits[:0]
		}
		if digits = append(digits, b); len(digits) > 10 {
			break
		}
	}
	n, err := strconv.ParseUint(string(digits), base, 32)
	if err != nil || n > utf8.MaxRune || !isChar(rune(n)) {
		return 0, s.malformed("the number %s behind &# is no character of XML", strconv.Quote(string(digits)))
	}
	return rune(n), nil
}

// push makes an entity's text the input.
func (s *Scanner) push(e *entity) error {
	if e.open {
		return s.malformed("the entity %s stands for itself", show(e.name))
	}
	if err := s.expand(len(e.text), "the entity "+e.name); err != nil {
		return err
	}
	if len(s.stack) >= maxNested {
		return s.failed(rows.Bomb, "entities stand for each other more than %d deep; the file is not read on", maxNested)
	}
	e.open = true
	s.stack = append(s.stack, s.in)
	s.in = &input{buf: e.text, w: len(e.text), entity: e, depth: len(s.open), rawFrom: -1, eof: true}
	return nil
}

// expand counts what the DTD adds to the file.
func (s *Scanner) expand(n int, what string) error {
	if s.expanded += int64(n) + 1; s.expanded > freeExpansion+maxExpansion*s.Offset() {
		return s.failed(rows.Bomb, "%s makes more than %d times the file out of it; the file is not read on", what, maxExpansion)
	}
	return nil
}

// leave goes back to the input that referred to the entity.
func (s *Scanner) leave() {
	s.in.entity.open = false
	s.in = s.stack[len(s.stack)-1]
	s.stack = s.stack[:len(s.stack)-1]
	s.apart()
}

// pop leaves an entity in content, which must have ended all that it began.
func (s *Scanner) pop() error {
	if len(s.open) != s.in.depth {
		return s.malformed("the entity %s begins an element that it does not end", show(s.in.entity.name))
	}
	s.leave()
	return nil
}
