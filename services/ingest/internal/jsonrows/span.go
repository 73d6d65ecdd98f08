package jsonrows

import (
	"bytes"
	"fmt"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/lines"
)

// maxPassed bounds the nesting of what is passed over.
const maxPassed = 1000

// span follows one JSON value to its end by quotes and brackets only.
type span struct {
	open    []byte // the brackets that are to be closed
	begun   bool
	text    bool // inside a text
	escaped bool
	scalar  bool
	fault   string
}

// scan looks at w and gives how many of its bytes belong to the value, and whether
// it ends there.
func (s *span) scan(w []byte) (int, bool) {
	for i, c := range w {
		switch {
		case s.text:
			if s.inText(c) && len(s.open) == 0 {
				return i + 1, true
			}
		case s.scalar:
			if bytes.IndexByte([]byte(" \t\r\n,]}:[{\""), c) >= 0 {
				return i, true
			}
		default:
			if s.outside(c) {
				return i + 1, true
			}
		}
		s.begun = true
	}
	return len(w), false
}

// inText says whether the text ends.
func (s *span) inText(c byte) bool {
	switch {
	case s.escaped:
		s.escaped = false
	case c == '\\':
		s.escaped = true
	case c == '"':
		s.text = false
		return true
	}
	return false
}

// outside says whether the value ends.
func (s *span) outside(c byte) bool {
	switch c {
	case '"':
		s.text = true
	case '{':
		s.nest('}')
	case '[':
		s.nest(']')
	case '}', ']':
		if n := len(s.open); n > 0 {
			if s.open[n-1] != c && s.fault == "" {
				s.fault = fmt.Sprintf("%q where %q should follow", c, s.open[n-1])
			}
			s.open = s.open[:n-1]
		}
		return len(s.open) == 0
	default:
		s.scalar = !s.begun
	}
	return false
}

func (s *span) nest(closing byte) {
	s.open = append(s.open, closing)
}

// peek gives the first byte behind white space, which it drops.
func (r *Reader) peek() (byte, error) {
	for {
		w := r.Window()
		rest := bytes.TrimLeft(w, " \t\r\n")
		r.Drop(len(w) - len(rest))
		if len(rest) > 0 {
			return rest[0], nil
		}
		if !r.Fill() {
			return 0, r.cutOff()
		}
	}
}

func (r *Reader) cutOff() error {
	if err := r.Failed(); err != nil {
		return err
	}
	if r.Offset == 0 {
		return &rows.FileError{Code: rows.Truncated, Message: "the file is empty: it holds no JSON document"}
	}
	return &rows.FileError{Code: rows.Truncated, Line: r.Line, Message: "the file ends in the middle of the document; send it again, under a temporary name that is changed at the end"}
}

// capture takes the value at hand off the stream. whole is false if it is longer
// than a row may be: then its beginning is given. The bytes are valid until the
// stream is read again.
func (r *Reader) capture() (raw []byte, whole bool, err error) {
	var s span
	at := 0
	for {
		w := r.Window()
		n, ended := s.scan(w[at:])
		at += n
		if ended {
			r.Drop(at)
			return w[:at], at <= r.maxRow, nil
		}
		if at > r.maxRow {
			head := bytes.Clone(w[:min(at, lines.MaxRaw)])
			r.Drop(at)
			return head, false, r.leave(&s, lines.MaxEndless)
		}
		if !r.Fill() {
			if s.scalar && r.Failed() == nil {
				w = r.Window()
				r.Drop(at)
				return w[:at], true, nil
			}
			return nil, false, r.cutOff()
		}
	}
}

// value drops white space and says whether a value may begin behind it.
func (r *Reader) value() error {
	c, err := r.peek()
	if err == nil && bytes.IndexByte([]byte(",:]}"), c) >= 0 {
		err = r.wrong("%q where a value should follow", c)
	}
	return err
}

// pass takes a value that is not wanted off the stream. Lists and objects may have
// any length.
func (r *Reader) pass() error {
	if err := r.value(); err != nil {
		return err
	}
	if c := r.Window()[0]; c != '{' && c != '[' {
		raw, whole, err := r.capture()
		if err != nil || !whole {
			return err
		}
		if _, err := integration.DecodeJSON(raw); err != nil {
			return r.wrong("a value is no JSON: %v", err)
		}
		return nil
	}
	var s span
	if err := r.leave(&s, -1); err != nil {
		return err
	}
	if s.fault != "" {
		return r.wrong("%s", s.fault)
	}
	return nil
}

// leave reads on to the end of a span; most bounds its further bytes, -1 does not.
func (r *Reader) leave(s *span, most int) error {
	passed := 0
	for {
		w := r.Window()
		n, ended := s.scan(w)
		r.Drop(n)
		passed += n
		switch {
		case ended:
			return nil
		case most < 0 && len(s.open) > maxPassed:
			return &rows.FileError{Code: rows.TooDeep, Line: r.Line, Message: fmt.Sprintf("what lies beside the list is nested more than %d deep", maxPassed)}
		case most >= 0 && passed > most:
			return &rows.FileError{Code: rows.TooLarge, Line: r.Line, Message: fmt.Sprintf("an element of the list goes on for more than %d MiB", most>>20)}
		case !r.Fill():
			if s.scalar && len(s.open) == 0 && r.Failed() == nil {
				return nil
			}
			return r.cutOff()
		}
	}
}
