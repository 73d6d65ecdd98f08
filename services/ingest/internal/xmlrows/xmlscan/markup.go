package xmlscan

import (
	"bytes"

	"waybill.internal/services/ingest/internal/rows"
)

// markup reads what begins with <; the token is empty if there is nothing to give.
func (s *Scanner) markup() (Token, error) {
	s.apart()
	if s.in == s.file {
		s.tagLine = s.Line()
		if !s.held {
			s.file.rawBytes, s.file.rawFrom = s.file.rawBytes[:0], s.file.r
		}
	}
	s.in.r++
	b, ok, err := s.peek()
	if err != nil {
		return Token{}, err
	}
	if !ok {
		return Token{}, s.truncated("a tag")
	}
	switch b {
	case '/':
		s.in.r++
		return s.endTag()
	case '?':
		s.in.r++
		return Token{}, s.instruction()
	case '!':
		s.in.r++
		return Token{}, s.bang()
	}
	return s.startTag()
}

// bang reads a comment or DTD, or begins a CDATA section.
func (s *Scanner) bang() error {
	if is, err := s.has("--"); is || err != nil {
		if err == nil {
			err = s.comment()
		}
		return err
	}
	if is, err := s.has("[CDATA["); is || err != nil {
		if err == nil && len(s.open) == 0 {
			err = s.malformed("a CDATA section stands outside of the root element")
		}
		s.cdata = true
		return err
	}
	if is, err := s.has("DOCTYPE"); is || err != nil {
		if err != nil {
			return err
		}
		if s.doctype || s.root || s.in != s.file {
			return s.malformed("a DOCTYPE stands where none can be; it comes once, before the root element")
		}
		s.doctype, s.inDTD, s.dtd.began = true, true, s.Offset()
		err = s.readDTD()
		s.inDTD = false
		return err
	}
	if s.in.eof && s.in.w-s.in.r < len("[CDATA[") {
		return s.truncated("a tag")
	}
	return s.malformed("<! begins neither a comment nor CDATA nor a DOCTYPE; write < as &lt;")
}

func (s *Scanner) comment() error {
	if err := s.pass("--", "a comment"); err != nil {
		return err
	}
	return s.expect(">", "a comment, which cannot hold --")
}

// expect consumes text or fails.
func (s *Scanner) expect(text, where string) error {
	is, err := s.has(text)
	if is || err != nil {
		return err
	}
	if _, ok, err := s.peek(); !ok {
		if err == nil {
			err = s.truncated(where)
		}
		return err
	}
	return s.malformed("the character %s stands where %q should, in %s", s.unexpected(), text, where)
}

func (s *Scanner) instruction() error {
	q, err := s.name("a processing instruction")
	if err != nil {
		return err
	}
	if len(q.raw) == 3 && bytes.EqualFold([]byte(q.raw), []byte("xml")) {
		return s.malformed("the XML declaration is not the first thing in the file; remove what stands before it")
	}
	if bytes.IndexByte([]byte(q.raw), ':') >= 0 {
		return s.malformed("%s is no name of a processing instruction", show(q.raw))
	}
	if is, err := s.has("?>"); is || err != nil {
		return err
	}
	if some, err := s.space(); !some || err != nil {
		if err == nil {
			err = s.malformed("a blank is missing after the name of the processing instruction %s", show(q.raw))
		}
		return err
	}
	return s.pass("?>", "a processing instruction")
}

func (s *Scanner) endTag() (Token, error) {
	if s.endsPlainly() {
		return s.end(), nil
	}
	q, err := s.name("an element's end")
	if err != nil {
		return Token{}, err
	}
	if _, err := s.space(); err != nil {
		return Token{}, err
	}
	if err := s.expect(">", "an end tag"); err != nil {
		return Token{}, err
	}
	if len(s.open) == 0 {
		return Token{}, s.malformed("the element %s ends but did not begin", show(q.raw))
	}
	if top := s.open[len(s.open)-1]; top.name.raw != q.raw {
		return Token{}, s.malformed("the element %s ends where %s should", show(q.raw), show(top.name.raw))
	}
	if s.in.entity != nil && len(s.open) <= s.in.depth {
		return Token{}, s.malformed("the entity %s ends an element that it did not begin", show(s.in.entity.name))
	}
	return s.end(), nil
}

// endsPlainly is the short way for what nearly every end tag is: the name of the
// open element and >, in the file itself.
func (s *Scanner) endsPlainly() bool {
	if len(s.open) == 0 || s.in.entity != nil {
		return false
	}
	raw, rest := s.open[len(s.open)-1].name.raw, s.in.buf[s.in.r:s.in.w]
	if len(rest) <= len(raw) || rest[len(raw)] != '>' || string(rest[:len(raw)]) != raw {
		return false
	}
	s.in.r += len(raw) + 1
	return true
}

func (s *Scanner) end() Token {
	top := s.open[len(s.open)-1]
	s.open = s.open[:len(s.open)-1]
	s.bindings = s.bindings[:top.bindings]
	return Token{Kind: End, Name: Name{Space: top.space, Prefix: top.name.prefix, Local: top.name.local}}
}

func (s *Scanner) startTag() (Token, error) {
	q, err := s.name("an element")
	if err != nil {
		return Token{}, err
	}
	if len(s.open) == 0 && s.root {
		return Token{}, s.malformed("a second root element %s begins; XML has one", show(q.raw))
	}
	if len(s.open) >= s.opts.MaxDepth {
		return Token{}, s.failed(rows.TooDeep, "elements stand more than %d deep inside each other", s.opts.MaxDepth)
	}
	s.attrs, s.values, s.attrNames = s.attrs[:0], s.values[:0], 0
	empty, err := s.attributes(q)
	if err != nil {
		return Token{}, err
	}
	if err := s.addDefaults(q); err != nil {
		return Token{}, err
	}
	bindings := len(s.bindings)
	if err := s.bind(); err != nil {
		return Token{}, err
	}
	space, err := s.resolve(q, true)
	if err != nil {
		return Token{}, err
	}
	if err := s.resolveAttrs(); err != nil {
		return Token{}, err
	}
	s.open = append(s.open, element{name: q, space: space, bindings: bindings})
	s.root, s.pending = true, empty
	s.elements++
	return Token{Kind: Start, Name: Name{Space: space, Prefix: q.prefix, Local: q.local}, Attrs: s.out}, nil
}

// attributes reads to the end of a start tag.
func (s *Scanner) attributes(of *qname) (empty bool, err error) {
	for {
		blank, err := s.space()
		if err != nil {
			return false, err
		}
		b, ok, err := s.peek()
		switch {
		case err != nil:
			return false, err
		case !ok:
			return false, s.truncated("a start tag")
		case b == '>':
			s.in.r++
			return false, nil
		case b == '/':
			s.in.r++
			return true, s.expect(">", "an empty element's tag")
		case !blank:
			return false, s.malformed("the character %s stands in the tag of %s where a blank or > should", s.unexpected(), show(of.raw))
		}
		if err := s.attribute(of); err != nil {
			return false, err
		}
	}
}

func (s *Scanner) attribute(of *qname) error {
	q, err := s.name("an attribute")
	if err != nil {
		return err
	}
	if len(s.attrs) >= maxAttrs {
		return s.failed(rows.TooLarge, "the element %s has more than %d attributes", show(of.raw), maxAttrs)
	}
	if s.attrNames += len(q.raw); s.attrNames > maxAttrBytes {
		return s.failed(rows.TooLarge, "the names of the attributes of %s are longer than %d bytes", show(of.raw), maxAttrBytes)
	}
	if err := s.equals(q.raw); err != nil {
		return err
	}
	from := len(s.values)
	if err := s.value(q.raw); err != nil {
		return err
	}
	if s.dtd.tokenized(of.raw, q.raw) {
		s.values = s.values[:from+len(words(s.values[from:]))]
	}
	s.attrs = append(s.attrs, rawAttr{name: q, from: from, to: len(s.values)})
	return nil
}

func (s *Scanner) equals(name string) error {
	if _, err := s.space(); err != nil {
		return err
	}
	if err := s.expect("=", "the attribute "+show(name)); err != nil {
		return err
	}
	_, err := s.space()
	return err
}

// value appends an attribute's value to values.
func (s *Scanner) value(name string) error {
	quote, ok, err := s.peek()
	if err != nil {
		return err
	}
	if !ok {
		return s.truncated("a tag")
	}
	if quote != '"' && quote != '\'' {
		return s.malformed("the value of the attribute %s is not in quotes", show(name))
	}
	s.in.r++
	level := len(s.stack)
	s.apart()
	for {
		if len(s.values) > maxAttrBytes {
			return s.failed(rows.TooLarge, "the attributes of an element are longer than %d bytes", maxAttrBytes)
		}
		b, ok, err := s.peek()
		switch {
		case err != nil:
			return err
		case !ok && len(s.stack) > level:
			s.leave()
		case !ok:
			return s.truncated("the value of an attribute")
		case b == quote && len(s.stack) == level:
			s.in.r++
			s.apart()
			return nil
		case b == '<':
			return s.malformed("< stands in the value of the attribute %s; write &lt;", show(name))
		case b == '&':
			if err := s.valueReference(name); err != nil {
				return err
			}
		default:
			if err := s.valuePiece(quote, len(s.stack) == level); err != nil {
				return err
			}
		}
	}
}

// valuePiece appends text of a value up to its end or something special.
func (s *Scanner) valuePiece(quote byte, closes bool) error {
	in := s.in
	p := in.buf[in.r:in.w]
	n := 0
	for n < len(p) && p[n] != '<' && p[n] != '&' && !(closes && p[n] == quote) {
		n++
	}
	if n == len(p) {
		if n = whole(p); n == 0 {
			if ok, err := s.more(); ok || err != nil {
				return err
			}
			n = len(p)
		}
	}
	piece, err := s.take(p[:n])
	if err != nil {
		return err
	}
	from := len(s.values)
	s.values = append(s.values, piece...)
	for i := from; i < len(s.values); i++ {
		if s.values[i] < ' ' {
			s.values[i] = ' '
		}
	}
	return nil
}

const (
	xmlSpace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsSpace = "http://www.w3.org/2000/xmlns/"
)

// bind declares the namespaces of the element at hand.
func (s *Scanner) bind() error {
	for _, a := range s.attrs {
		isDefault := a.name.raw == "xmlns"
		if !isDefault && a.name.prefix != "xmlns" {
			continue
		}
		uri, prefix := string(s.values[a.from:a.to]), ""
		if !isDefault {
			if err := s.split(a.name); err != nil {
				return err
			}
			prefix = a.name.local
		}
		switch {
		case prefix == "xmlns" || uri == xmlnsSpace || (prefix == "xml") != (uri == xmlSpace):
			return s.malformed("%s declares a namespace that is reserved", show(a.name.raw))
		case uri == "" && !isDefault:
			return s.malformed("the prefix %s is declared without a namespace", show(prefix))
		case len(s.bindings) >= maxBindings:
			return s.failed(rows.TooLarge, "more than %d namespaces are declared around a place", maxBindings)
		}
		s.bindings = append(s.bindings, binding{prefix: prefix, uri: uri})
	}
	return nil
}

func (s *Scanner) resolve(q *qname, isElement bool) (string, error) {
	if err := s.split(q); err != nil {
		return "", err
	}
	if q.prefix == "" && !isElement {
		return "", nil
	}
	if q.prefix == "xml" {
		return xmlSpace, nil
	}
	for i := len(s.bindings) - 1; i >= 0; i-- {
		if s.bindings[i].prefix == q.prefix {
			return s.bindings[i].uri, nil
		}
	}
	if q.prefix != "" {
		return "", s.malformed("the prefix %s of %s is not declared; declare it with xmlns:%s", show(q.prefix), show(q.raw), q.prefix)
	}
	return "", nil
}

// resolveAttrs gives the attributes that are no declarations, each once.
func (s *Scanner) resolveAttrs() error {
	s.out = s.out[:0]
	var seen map[Name]bool
	if len(s.attrs) > 16 {
		seen = make(map[Name]bool, len(s.attrs))
	}
	for i, a := range s.attrs {
		name := Name{Prefix: a.name.prefix, Local: a.name.local}
		declares := a.name.raw == "xmlns" || a.name.prefix == "xmlns"
		if declares {
			name.Space = xmlnsSpace
		} else {
			var err error
			if name.Space, err = s.resolve(a.name, false); err != nil {
				return err
			}
		}
		if s.repeated(seen, i, name) {
			return s.malformed("the attribute %s is there twice", show(a.name.raw))
		}
		if !declares {
			s.out = append(s.out, Attr{Name: name, Value: s.values[a.from:a.to]})
		}
	}
	return nil
}

func (s *Scanner) repeated(seen map[Name]bool, i int, name Name) bool {
	if seen != nil {
		key := Name{Space: name.Space, Local: name.Local}
		if name.Space == xmlnsSpace {
			key.Prefix = name.Prefix
		}
		was := seen[key]
		seen[key] = true
		return was
	}
	for _, other := range s.attrs[:i] {
		if other.name.raw == s.attrs[i].name.raw {
			return true
		}
	}
	if name.Space == "" || name.Space == xmlnsSpace {
		return false
	}
	for _, other := range s.out {
		if other.Name.Space == name.Space && other.Name.Local == name.Local {
			return true
		}
	}
	return false
}
