package xmlscan

import (
	"bytes"

	"waybill.internal/services/ingest/internal/rows"
)

// dtd is what the internal part of a DTD says that changes what is read.
type dtd struct {
	began      int64 // offset
	entities   map[string]*entity
	parameters map[string]*entity
	attributes map[string][]declared // by element
	declared   int
}

type declared struct {
	name      *qname
	tokenized bool   // blanks around and between its words do not matter
	value     []byte // its default
	hasValue  bool
}

func (d *dtd) tokenized(element, attribute string) bool {
	for _, a := range d.attributes[element] {
		if a.name.raw == attribute {
			return a.tokenized
		}
	}
	return false
}

// addDefaults appends the attributes that the element lacks.
func (s *Scanner) addDefaults(element *qname) error {
	for _, d := range s.dtd.attributes[element.raw] {
		cost := 0
		missing := d.hasValue && !s.hasAttr(d.name.raw) && len(s.attrs) < maxAttrs
		if missing {
			cost = len(d.name.raw) + len(d.value) + attrCost
		}
		if err := s.expand(cost, "a default attribute of the DTD"); err != nil {
			return err
		}
		if !missing {
			continue
		}
		from := len(s.values)
		s.values = append(s.values, d.value...)
		s.attrs = append(s.attrs, rawAttr{name: d.name, from: from, to: len(s.values)})
	}
	return nil
}

// words leaves one space between the words of a value, which it changes. Tabs and
// line ends are only there by number and are no blanks.
func words(value []byte) []byte {
	out := value[:0]
	for _, b := range value {
		if b != ' ' || len(out) > 0 && out[len(out)-1] != ' ' {
			out = append(out, b)
		}
	}
	return bytes.TrimSuffix(out, []byte{' '})
}

func (s *Scanner) hasAttr(raw string) bool {
	for _, a := range s.attrs {
		if a.name.raw == raw {
			return true
		}
	}
	return false
}

// readDTD reads behind <!DOCTYPE.
func (s *Scanner) readDTD() error {
	s.dtd.entities, s.dtd.parameters = map[string]*entity{}, map[string]*entity{}
	s.dtd.attributes = map[string][]declared{}
	if err := s.blank("<!DOCTYPE"); err != nil {
		return err
	}
	if _, err := s.name("the DOCTYPE"); err != nil {
		return err
	}
	some, err := s.space()
	if err != nil {
		return err
	}
	if some {
		if _, err := s.externalID(true); err != nil {
			return err
		}
	}
	if _, err := s.space(); err != nil {
		return err
	}
	if is, err := s.has("["); err != nil {
		return err
	} else if is {
		if err := s.subset(); err != nil {
			return err
		}
	}
	if _, err := s.space(); err != nil {
		return err
	}
	return s.expect(">", "the DOCTYPE")
}

// blank demands white space.
func (s *Scanner) blank(after string) error {
	some, err := s.space()
	if err != nil || some {
		return err
	}
	if _, ok, err := s.peek(); !ok {
		if err == nil {
			err = s.truncated("the DTD")
		}
		return err
	}
	return s.malformed("the character %s stands where a blank should, after %s", s.unexpected(), after)
}

// subset reads the declarations up to the closing bracket.
func (s *Scanner) subset() error {
	for {
		if _, err := s.space(); err != nil {
			return err
		}
		b, ok, err := s.peek()
		switch {
		case err != nil:
			return err
		case !ok && s.in.entity != nil:
			s.leave()
		case !ok:
			return s.truncated("the DTD")
		case b == ']' && s.in.entity == nil:
			s.in.r++
			return nil
		case b == '%':
			err = s.parameter()
		case b == '<':
			err = s.declared()
		default:
			return s.malformed("the character %s stands between two declarations of the DTD", s.unexpected())
		}
		if err != nil {
			return err
		}
	}
}

// parameter reads the text of a parameter entity as declarations; one of another
// file is passed over.
func (s *Scanner) parameter() error {
	s.in.r++
	q, err := s.name("a parameter entity")
	if err != nil {
		return err
	}
	if err := s.expect(";", "a reference to a parameter entity"); err != nil {
		return err
	}
	e := s.dtd.parameters[q.raw]
	switch {
	case e == nil:
		return s.malformed("the parameter entity %s is not declared", show(q.raw))
	case e.external:
		return nil
	}
	return s.push(e)
}

func (s *Scanner) declared() error {
	s.in.r++
	for _, kind := range []struct {
		text string
		read func() error
	}{
		{"!--", s.comment}, {"?", s.instruction}, {"!ELEMENT", s.elementType},
		{"!ATTLIST", s.attributeList}, {"!ENTITY", s.entityDeclaration}, {"!NOTATION", s.notation},
	} {
		if is, err := s.has(kind.text); err != nil {
			return err
		} else if is {
			return kind.read()
		}
	}
	if s.in.eof && s.in.w-s.in.r < len("!NOTATION") {
		return s.truncated("the DTD")
	}
	return s.malformed("a declaration of the DTD is none of ELEMENT, ATTLIST, ENTITY, NOTATION")
}

// externalID reads SYSTEM or PUBLIC with their literals, if they are there. In a
// NOTATION the second literal of PUBLIC may be missing.
func (s *Scanner) externalID(system bool) (bool, error) {
	public, err := s.has("PUBLIC")
	if err != nil {
		return false, err
	}
	if !public {
		if is, err := s.has("SYSTEM"); !is || err != nil {
			return false, err
		}
		if err := s.blank("SYSTEM"); err != nil {
			return false, err
		}
		_, err := s.literal("the system identifier")
		return true, err
	}
	if err := s.blank("PUBLIC"); err != nil {
		return false, err
	}
	id, err := s.literal("the public identifier")
	if err != nil {
		return false, err
	}
	for _, b := range id {
		if !isPublic(b) {
			return false, s.malformed("the byte 0x%02x cannot stand in a public identifier", b)
		}
	}
	some, err := s.space()
	if err != nil {
		return false, err
	}
	if b, ok, err := s.peek(); err != nil {
		return false, err
	} else if !system && ok && b != '"' && b != '\'' {
		return true, nil
	}
	if !some {
		return false, s.malformed("a blank is missing after a public identifier")
	}
	_, err = s.literal("the system identifier")
	return true, err
}

func isPublic(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || bytes.IndexByte([]byte(" \r\n-'()+,./:=?;!*#@$_%"), b) >= 0
}

// literal reads a text in quotes as it stands.
func (s *Scanner) literal(what string) ([]byte, error) {
	quote, ok, err := s.peek()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, s.truncated("the DTD")
	}
	if quote != '"' && quote != '\'' {
		return nil, s.malformed("the character %s stands where %s in quotes should", s.unexpected(), what)
	}
	s.in.r++
	s.apart()
	var out []byte
	for {
		piece, done, err := s.until(string(quote), "the DTD")
		if err != nil {
			return nil, err
		}
		if out = append(out, piece...); len(out) > maxLiteral {
			return nil, s.failed(rows.TooLarge, "%s is longer than %d bytes", what, maxLiteral)
		}
		if done {
			return out, nil
		}
	}
}

func (s *Scanner) notation() error {
	if err := s.blank("<!NOTATION"); err != nil {
		return err
	}
	q, err := s.name("a notation")
	if err != nil {
		return err
	}
	if err := s.blank("the name of a notation"); err != nil {
		return err
	}
	is, err := s.externalID(false)
	if err != nil {
		return err
	}
	if !is {
		return s.malformed("the notation %s has neither SYSTEM nor PUBLIC", show(q.raw))
	}
	return s.close("<!NOTATION")
}

// close ends a declaration.
func (s *Scanner) close(what string) error {
	if _, err := s.space(); err != nil {
		return err
	}
	return s.expect(">", what)
}

func (s *Scanner) count() error {
	if s.dtd.declared++; s.dtd.declared > maxDeclared {
		return s.failed(rows.TooLarge, "the DTD declares more than %d entities and attributes", maxDeclared)
	}
	return nil
}

func (s *Scanner) entityDeclaration() error {
	if err := s.blank("<!ENTITY"); err != nil {
		return err
	}
	known := s.dtd.entities
	isParameter, err := s.has("%")
	if err != nil {
		return err
	}
	if isParameter {
		known = s.dtd.parameters
		if err := s.blank("%"); err != nil {
			return err
		}
	}
	q, err := s.name("an entity")
	if err != nil {
		return err
	}
	if bytes.IndexByte([]byte(q.raw), ':') >= 0 {
		return s.malformed("%s is no name of an entity", show(q.raw))
	}
	if err := s.blank("the name of an entity"); err != nil {
		return err
	}
	e := &entity{name: q.raw}
	if e.external, err = s.externalID(true); err != nil {
		return err
	}
	if e.external {
		err = s.unparsed(e, isParameter)
	} else {
		err = s.entityValue(e)
	}
	if err != nil {
		return err
	}
	if err := s.close("<!ENTITY"); err != nil {
		return err
	}
	if known[q.raw] == nil { // the first declaration binds
		known[q.raw] = e
	}
	return s.count()
}

// unparsed reads NDATA, if it is there.
func (s *Scanner) unparsed(e *entity, isParameter bool) error {
	some, err := s.space()
	if err != nil {
		return err
	}
	is, err := s.has("NDATA")
	if !is || err != nil {
		return err
	}
	if !some || isParameter {
		return s.malformed("NDATA stands where none can be, in the entity %s", show(e.name))
	}
	if err := s.blank("NDATA"); err != nil {
		return err
	}
	e.unparsed = true
	_, err = s.name("a notation")
	return err
}

// entityValue puts in the characters by number and leaves references to entities.
func (s *Scanner) entityValue(e *entity) error {
	raw, err := s.literal("the text of an entity")
	if err != nil {
		return err
	}
	inner := &Scanner{opts: s.opts, strict: s.strict, in: &input{buf: raw, w: len(raw), eof: true, rawFrom: -1, entity: e}, file: s.file, names: s.names}
	for {
		b, ok, _ := inner.peek()
		switch {
		case !ok:
			e.text = inner.values
			return nil
		case b == '%':
			return s.malformed("the text of the entity %s holds %%; write &#37;", show(e.name))
		case b != '&':
			inner.in.r++
			inner.values = append(inner.values, b)
		default:
			if err := inner.keepReference(); err != nil {
				return err
			}
		}
	}
}

func (s *Scanner) keepReference() error {
	s.in.r++
	if is, _ := s.has("#"); is {
		r, err := s.character()
		s.values = append(s.values, string(r)...)
		return err
	}
	q, err := s.name("an entity (write & as &amp;)")
	if err != nil {
		return err
	}
	if err := s.expect(";", "a reference to an entity"); err != nil {
		return err
	}
	s.values = append(append(append(s.values, '&'), q.raw...), ';')
	return nil
}
