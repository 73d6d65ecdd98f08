package xmlscan

import (
	"bytes"

	"waybill.internal/services/ingest/internal/rows"
)

// maxModel bounds the groups inside each other in a declaration of an element.
const maxModel = 100

// declaration reads the XML declaration, if the file begins with one.
func (s *Scanner) declaration() error {
	for s.in.w < 6 {
		if ok, err := s.more(); err != nil {
			return err
		} else if !ok {
			return nil
		}
	}
	if p := s.in.buf; string(p[:5]) != "<?xml" || !isSpace(p[5]) {
		return nil
	}
	s.in.r = 5
	step := 0
	for {
		some, err := s.space()
		if err != nil {
			return err
		}
		if is, err := s.has("?>"); is || err != nil {
			if err == nil && step == 0 {
				err = s.malformed("the XML declaration has no version")
			}
			return err
		}
		q, err := s.name("a part of the XML declaration")
		if err != nil {
			return err
		}
		if err := s.equals(q.raw); err != nil {
			return err
		}
		value, err := s.literal("a value")
		if err != nil {
			return err
		}
		next, ok := declares(step, q.raw, value)
		if !some || !ok {
			return s.malformed("the XML declaration cannot hold %s here; write <?xml version=\"1.0\" encoding=\"UTF-8\"?>", show(q.raw+"="+string(value)))
		}
		step = next
	}
}

// declares gives the step after a part of the XML declaration: 1 version, 2
// encoding, 3 standalone.
func declares(step int, name string, value []byte) (int, bool) {
	switch {
	case step == 0 && name == "version":
		digits := bytes.TrimPrefix(value, []byte("1."))
		return 1, len(digits) < len(value) && len(digits) > 0 && len(bytes.Trim(digits, "0123456789")) == 0
	case step == 1 && name == "encoding":
		if len(value) == 0 || value[0]|0x20 < 'a' || value[0]|0x20 > 'z' {
			return 2, false
		}
		for _, b := range value {
			if !isNameByte(b) || b == ':' || b >= 0x80 {
				return 2, false
			}
		}
		return 2, true
	case (step == 1 || step == 2) && name == "standalone":
		return 3, string(value) == "yes" || string(value) == "no"
	}
	return 0, false
}

// elementType reads behind <!ELEMENT. What it says is not held against the file.
func (s *Scanner) elementType() error {
	if err := s.blank("<!ELEMENT"); err != nil {
		return err
	}
	if _, err := s.name("an element"); err != nil {
		return err
	}
	if err := s.blank("the name of an element"); err != nil {
		return err
	}
	for _, word := range []string{"EMPTY", "ANY"} {
		if is, err := s.has(word); err != nil {
			return err
		} else if is {
			return s.close("<!ELEMENT")
		}
	}
	if err := s.expect("(", "<!ELEMENT"); err != nil {
		return err
	}
	if _, err := s.space(); err != nil {
		return err
	}
	mixed, err := s.has("#PCDATA")
	if err != nil {
		return err
	}
	if mixed {
		err = s.mixed()
	} else {
		err = s.group(1)
	}
	if err != nil {
		return err
	}
	return s.close("<!ELEMENT")
}

// mixed reads behind (#PCDATA.
func (s *Scanner) mixed() error {
	names := 0
	for ; ; names++ {
		if _, err := s.space(); err != nil {
			return err
		}
		is, err := s.has("|")
		if err != nil {
			return err
		}
		if !is {
			break
		}
		if _, err := s.space(); err != nil {
			return err
		}
		if _, err := s.name("an element"); err != nil {
			return err
		}
	}
	if err := s.expect(")", "<!ELEMENT"); err != nil {
		return err
	}
	if names > 0 {
		return s.expect("*", "<!ELEMENT, after )")
	}
	_, err := s.has("*")
	return err
}

// group reads the members of a group behind its (, and how often it comes.
func (s *Scanner) group(depth int) error {
	if depth > maxModel {
		return s.failed(rows.TooDeep, "a declaration of the DTD has more than %d groups inside each other", maxModel)
	}
	var separator byte
	for {
		if _, err := s.space(); err != nil {
			return err
		}
		is, err := s.has("(")
		if err != nil {
			return err
		}
		if is {
			err = s.group(depth + 1)
		} else if _, err = s.name("an element"); err == nil {
			err = s.often()
		}
		if err != nil {
			return err
		}
		if _, err := s.space(); err != nil {
			return err
		}
		b, ok, err := s.peek()
		switch {
		case err != nil:
			return err
		case !ok:
			return s.truncated("the DTD")
		case b == ')':
			s.in.r++
			return s.often()
		case b != ',' && b != '|' || separator != 0 && b != separator:
			return s.malformed("the character %s stands in a group of <!ELEMENT where , or | or ) should", s.unexpected())
		}
		separator = b
		s.in.r++
	}
}

func (s *Scanner) often() error {
	b, ok, err := s.peek()
	if ok && (b == '?' || b == '*' || b == '+') {
		s.in.r++
	}
	return err
}

// attributeList reads behind <!ATTLIST.
func (s *Scanner) attributeList() error {
	if err := s.blank("<!ATTLIST"); err != nil {
		return err
	}
	element, err := s.name("an element")
	if err != nil {
		return err
	}
	for {
		some, err := s.space()
		if err != nil {
			return err
		}
		if is, err := s.has(">"); is || err != nil {
			return err
		}
		if !some {
			return s.blank("a part of <!ATTLIST")
		}
		if err := s.attributeType(element.raw); err != nil {
			return err
		}
	}
}

func (s *Scanner) attributeType(element string) error {
	q, err := s.name("an attribute")
	if err != nil {
		return err
	}
	if err := s.blank("the name of an attribute"); err != nil {
		return err
	}
	d := declared{name: q, tokenized: true}
	if d.tokenized, err = s.typeOf(); err != nil {
		return err
	}
	if err := s.blank("the type of an attribute"); err != nil {
		return err
	}
	for _, word := range []string{"#REQUIRED", "#IMPLIED"} {
		if is, err := s.has(word); err != nil {
			return err
		} else if is {
			return s.declare(element, d)
		}
	}
	if is, err := s.has("#FIXED"); err != nil {
		return err
	} else if is {
		if err := s.blank("#FIXED"); err != nil {
			return err
		}
	}
	s.values = s.values[:0]
	if err := s.value(q.raw); err != nil {
		return err
	}
	d.value, d.hasValue = append([]byte(nil), s.values...), true
	if d.tokenized {
		d.value = words(d.value)
	}
	return s.declare(element, d)
}

func (s *Scanner) declare(element string, d declared) error {
	for _, other := range s.dtd.attributes[element] {
		if other.name.raw == d.name.raw { // the first declaration binds
			return s.count()
		}
	}
	s.dtd.attributes[element] = append(s.dtd.attributes[element], d)
	return s.count()
}

// typeOf reads an attribute's type and tells whether it is other than CDATA.
func (s *Scanner) typeOf() (tokenized bool, err error) {
	if is, err := s.has("("); err != nil || is {
		if err == nil {
			err = s.enumeration(false)
		}
		return true, err
	}
	q, err := s.name("a type")
	if err != nil {
		return false, err
	}
	switch q.raw {
	case "CDATA":
		return false, nil
	case "ID", "IDREF", "IDREFS", "ENTITY", "ENTITIES", "NMTOKEN", "NMTOKENS":
		return true, nil
	case "NOTATION":
		if err := s.blank("NOTATION"); err != nil {
			return false, err
		}
		if err := s.expect("(", "<!ATTLIST"); err != nil {
			return false, err
		}
		return true, s.enumeration(true)
	}
	return false, s.malformed("%s is no type of an attribute", show(q.raw))
}

// enumeration reads words behind ( up to ).
func (s *Scanner) enumeration(names bool) error {
	for {
		if _, err := s.space(); err != nil {
			return err
		}
		if err := s.word(names); err != nil {
			return err
		}
		if _, err := s.space(); err != nil {
			return err
		}
		if is, err := s.has(")"); is || err != nil {
			return err
		}
		if err := s.expect("|", "<!ATTLIST"); err != nil {
			return err
		}
	}
}

// word reads a name, or a word that may also begin with a digit, - or a dot.
func (s *Scanner) word(isName bool) error {
	if isName {
		_, err := s.name("a notation")
		return err
	}
	var word []byte
	for {
		b, ok, err := s.peek()
		if err != nil {
			return err
		}
		if !ok || !isNameByte(b) {
			break
		}
		if word = append(word, b); len(word) > maxName {
			return s.failed(rows.TooLarge, "a word of the DTD is longer than %d bytes", maxName)
		}
		s.in.r++
	}
	if len(word) > 0 && !validName(append([]byte{'_'}, word...)) {
		return s.malformed("%s is no word of <!ATTLIST", show(string(word)))
	}
	if len(word) == 0 {
		return s.malformed("the character %s stands where a word should, in <!ATTLIST", s.unexpected())
	}
	return nil
}
