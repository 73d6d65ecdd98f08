package xmlscan

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"waybill.internal/services/ingest/internal/rows"
)

// Bounds on what must be held, or passed over, at once.
const (
	bufferBytes   = 64 << 10
	maxEmptyReads = 100
	maxName       = 50_000    // bytes of a name, as in libxml2; must fit the buffer
	maxAttrs      = 1000      // attributes of an element
	maxAttrBytes  = 1 << 20   // of all names and values of an element
	maxBindings   = 1000      // namespaces declared around a place
	maxPassed     = 16 << 20  // bytes of one comment or processing instruction
	maxDTD        = 1 << 20   // bytes of a DTD
	maxDeclared   = 10_000    // entities and default attributes of a DTD
	maxNested     = 32        // entities inside each other
	freeExpansion = 1 << 20   // bytes that entities may always expand to,
	maxExpansion  = 16        // and so many times the bytes read
	maxInterned   = 4096      // names kept,
	internedBytes = 1 << 20   // and so many bytes of them
	attrCost      = 20        // bytes that a default attribute takes beside its name and value
	maxRaw        = 4 << 10   // bytes of an element kept to show
	maxLiteral    = 256 << 10 // bytes of a literal in a DTD
)

// Kind tells what a token is.
type Kind uint8

// The kinds of tokens. An element without content gives Start and End.
const (
	Start Kind = iota + 1
	End
	Text
)

// Name is the name of an element or attribute.
type Name struct {
	Space  string // the namespace's URI
	Prefix string // as it stands in the document
	Local  string
}

// Attr is an attribute; declarations of namespaces are none.
type Attr struct {
	Name  Name
	Value []byte // until the next call of Next
}

// Token is one piece of the document.
type Token struct {
	Kind  Kind
	Name  Name   // of Start and End
	Attrs []Attr // of Start; until the next call of Next
	Text  []byte // a piece of text; pieces of one text follow each other; until the next call of Next
}

// Options bound a document.
type Options struct {
	MaxDepth int // elements inside each other, from 1
}

// Scanner gives the tokens of one document. It is not safe for concurrent use.
type Scanner struct {
	opts     Options
	strict   bool // U+FFFD stands for bytes that are no text
	encoding string
	file     *input
	in       *input   // what is being read: the file or an entity
	stack    []*input // what it interrupts, the file first

	names     map[string]*qname
	named     int // bytes of names
	open      []element
	bindings  []binding
	attrs     []rawAttr
	attrNames int // bytes of their names
	out       []Attr
	values    []byte
	text      []byte // a normalised piece of text
	held      bool   // Raw goes on
	pending   bool   // the End of an element without content is due
	cdata     bool
	began     bool // the prolog's first bytes are done
	root      bool // the root has begun
	doctype   bool
	inDTD     bool
	tail      [2]byte // the last raw bytes of the text at hand
	cr        bool    // a carriage return ended the piece before

	dtd      dtd
	expanded int64
	elements int64
	tagLine  int
	err      error // sticky
}

type input struct {
	src    io.Reader // nil: an entity
	buf    []byte
	r, w   int
	offset int64 // in the file, of buf[0]
	eof    bool
	entity *entity
	depth  int // elements open where the entity begins

	line     int // at buf[counted]
	counted  int
	rawFrom  int // where in buf the element to show goes on; -1: none
	rawBytes []byte
}

type element struct {
	name     *qname
	space    string
	bindings int // of the elements around it
}

type binding struct{ prefix, uri string }

// qname is a name as it stands in the document.
type qname struct{ raw, prefix, local string }

type rawAttr struct {
	name     *qname
	from, to int // in values
}

// Open reads the start of a document, decides its encoding and stands before it.
// The error is a *rows.FileError or one of the source.
func Open(src io.Reader, o Options) (*Scanner, error) {
	text, err := decode(src)
	if err != nil {
		return nil, err
	}
	file := &input{src: text.src, buf: make([]byte, bufferBytes), line: 1, rawFrom: -1}
	return &Scanner{opts: o, strict: text.strict, encoding: text.encoding, file: file, in: file, names: map[string]*qname{}}, nil
}

// Encoding is the declared encoding, else the one that was found.
func (s *Scanner) Encoding() string { return s.encoding }

// Line is where the scanner is, from 1.
func (s *Scanner) Line() int {
	f := s.file
	f.line += bytes.Count(f.buf[f.counted:f.r], []byte{'\n'})
	f.counted = f.r
	return f.line
}

// TagLine is the line where the tag that was given last begins.
func (s *Scanner) TagLine() int { return max(s.tagLine, 1) }

// Offset counts the bytes of the file that were read.
func (s *Scanner) Offset() int64 { return s.file.offset + int64(s.file.r) }

// Elements counts the elements that began.
func (s *Scanner) Elements() int64 { return s.elements }

// Depth counts the elements that are open, a token's own included at its Start
// and no more at its End.
func (s *Scanner) Depth() int { return len(s.open) }

// Raw gives the document's bytes from the last tag to here, or from the one at
// which Hold was called; at most the first 4 KiB.
func (s *Scanner) Raw() []byte {
	f := s.file
	raw := f.rawBytes
	if f.rawFrom >= 0 {
		raw = append(raw[:len(raw):len(raw)], f.buf[f.rawFrom:f.r]...)
	}
	return raw[:min(len(raw), maxRaw)]
}

// Next gives the next token, io.EOF after the root and what follows it, a
// *rows.FileError or an error of the source. Errors stay.
func (s *Scanner) Next() (Token, error) {
	if s.err != nil {
		return Token{}, s.err
	}
	if s.pending {
		s.pending = false
		return s.end(), nil
	}
	t, err := s.next()
	if err != nil {
		s.err = err
	}
	return t, err
}

func (s *Scanner) next() (Token, error) {
	if !s.began {
		if err := s.declaration(); err != nil {
			return Token{}, err
		}
		s.began = true
	}
	for {
		if s.cdata {
			piece, err := s.cdataPiece()
			if err != nil {
				return Token{}, err
			}
			if len(piece) > 0 {
				return Token{Kind: Text, Text: piece}, nil
			}
			continue
		}
		b, ok, err := s.peek()
		switch {
		case err != nil:
			return Token{}, err
		case !ok:
			if s.in.entity == nil {
				return Token{}, s.finish()
			}
			if err := s.pop(); err != nil {
				return Token{}, err
			}
		case b == '<':
			t, err := s.markup()
			if err != nil || t.Kind != 0 {
				return t, err
			}
		case b == '&':
			piece, err := s.reference()
			if err != nil {
				return Token{}, err
			}
			if len(piece) > 0 {
				return Token{Kind: Text, Text: piece}, nil
			}
		default:
			piece, err := s.piece()
			if err != nil {
				return Token{}, err
			}
			if len(piece) > 0 && len(s.open) > 0 {
				return Token{Kind: Text, Text: piece}, nil
			}
		}
	}
}

// finish says whether the document may end here.
func (s *Scanner) finish() error {
	switch {
	case len(s.open) > 0:
		return s.failed(rows.Truncated, "the file ends inside the element %s; send it whole", show(s.open[len(s.open)-1].name.raw))
	case !s.root && s.Offset() == 0:
		return s.failed(rows.WrongFormat, "the file is empty; XML has at least one element")
	case !s.root:
		return s.failed(rows.Truncated, "the file ends before its first element; send it whole")
	}
	return io.EOF
}

func (s *Scanner) failed(code rows.Code, format string, args ...any) error {
	return &rows.FileError{Code: code, Line: s.Line(), Message: fmt.Sprintf(format, args...)}
}

func (s *Scanner) malformed(format string, args ...any) error {
	return s.failed(rows.Malformed, format, args...)
}

// truncated is for an input that ends where it must not.
func (s *Scanner) truncated(where string) error {
	if e := s.in.entity; e != nil {
		return s.malformed("the entity %s ends inside %s", show(e.name), where)
	}
	return s.failed(rows.Truncated, "the file ends inside %s; send it whole", where)
}

// peek gives the next byte of the input at hand; false at its end.
func (s *Scanner) peek() (byte, bool, error) {
	if s.in.r == s.in.w {
		if ok, err := s.more(); !ok {
			return 0, false, err
		}
	}
	return s.in.buf[s.in.r], true, nil
}

// more reads on behind what is unread; false at the end. The buffer always has
// room: whoever looks ahead is bounded by far less than bufferBytes.
func (s *Scanner) more() (bool, error) {
	in := s.in
	if in.src == nil || in.eof {
		return false, nil
	}
	if s.inDTD && s.Offset()-s.dtd.began > maxDTD {
		return false, s.failed(rows.TooLarge, "the DTD is longer than %d bytes; leave it out", maxDTD)
	}
	in.compact()
	if in.w == len(in.buf) {
		return false, fmt.Errorf("xmlscan: looked ahead over %d bytes", in.w)
	}
	for range maxEmptyReads {
		n, err := in.src.Read(in.buf[in.w:])
		in.w += n
		if errors.Is(err, io.EOF) {
			in.eof = true
			return n > 0, nil
		}
		if err != nil {
			if fileErr := (*rows.FileError)(nil); errors.As(err, &fileErr) && fileErr.Line == 0 {
				return false, &rows.FileError{Code: fileErr.Code, Line: s.Line(), Message: fileErr.Message}
			}
			return false, err
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, io.ErrNoProgress
}

// compact moves what is unread to the front.
func (in *input) compact() {
	in.line += bytes.Count(in.buf[in.counted:in.r], []byte{'\n'})
	in.counted = 0
	if in.rawFrom >= 0 {
		room := maxRaw - len(in.rawBytes)
		in.rawBytes = append(in.rawBytes, in.buf[in.rawFrom:min(in.r, in.rawFrom+room)]...)
		in.rawFrom = 0
		if len(in.rawBytes) == maxRaw {
			in.rawFrom = -1
		}
	}
	in.offset += int64(in.r)
	in.w = copy(in.buf, in.buf[in.r:in.w])
	in.r = 0
}

// Hold lets Raw go on from the tag that was given last, until it is let go.
func (s *Scanner) Hold(held bool) { s.held = held }

// has tells whether the input goes on with text, and consumes it if so.
func (s *Scanner) has(text string) (bool, error) {
	for s.in.w-s.in.r < len(text) {
		if !bytes.HasPrefix([]byte(text), s.in.buf[s.in.r:s.in.w]) {
			return false, nil
		}
		if ok, err := s.more(); !ok {
			return false, err
		}
	}
	if string(s.in.buf[s.in.r:s.in.r+len(text)]) != text {
		return false, nil
	}
	s.in.r += len(text)
	return true, nil
}

// space passes over white space and tells whether there was any.
func (s *Scanner) space() (bool, error) {
	some := false
	for {
		in := s.in
		for in.r < in.w && isSpace(in.buf[in.r]) {
			in.r++
			some = true
		}
		if in.r < in.w {
			return some, nil
		}
		if ok, err := s.more(); !ok {
			return some, err
		}
	}
}

// name reads a name; what names it in the error.
func (s *Scanner) name(what string) (*qname, error) {
	n := 0
	for {
		in := s.in
		for in.r+n < in.w && isNameByte(in.buf[in.r+n]) {
			n++
		}
		if n > maxName {
			return nil, s.failed(rows.TooLarge, "a name is longer than %d bytes", maxName)
		}
		if in.r+n < in.w {
			break
		}
		ok, err := s.more()
		if err != nil {
			return nil, err
		}
		if !ok {
			if n == 0 {
				return nil, s.truncated(what)
			}
			break
		}
	}
	raw := s.in.buf[s.in.r : s.in.r+n]
	q, known := s.names[string(raw)]
	if !known {
		var err error
		if q, err = s.intern(raw, what); err != nil {
			return nil, err
		}
	}
	s.in.r += n
	return q, nil
}

func (s *Scanner) intern(raw []byte, what string) (*qname, error) {
	if len(raw) == 0 {
		return nil, s.malformed("the character %s stands where the name of %s should begin", s.unexpected(), what)
	}
	if !validName(raw) {
		return nil, s.malformed("%s is no name of %s", show(string(raw)), what)
	}
	if s.named += len(raw); len(s.names) >= maxInterned || s.named > internedBytes {
		clear(s.names)
		s.named = len(raw)
	}
	q := &qname{raw: string(raw)}
	q.local = q.raw
	if i := bytes.IndexByte(raw, ':'); i >= 0 {
		q.prefix, q.local = q.raw[:i], q.raw[i+1:]
	}
	s.names[q.raw] = q
	return q, nil
}

// split refuses names that namespaces do not allow.
func (s *Scanner) split(q *qname) error {
	if len(q.local) == len(q.raw) {
		return nil
	}
	if q.prefix == "" || q.local == "" || bytes.IndexByte([]byte(q.local), ':') >= 0 || !validName([]byte(q.local)) {
		return s.malformed("%s is no name with a prefix; write prefix:name", show(q.raw))
	}
	return nil
}
