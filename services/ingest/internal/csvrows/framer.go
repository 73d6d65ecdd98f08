package csvrows

import (
	"bytes"
	"fmt"
	"io"
)

const (
	firstBuffer   = 64 << 10
	maxEmptyReads = 100 // reads in a row that give neither bytes nor an error
)

// framer cuts a stream into rows by delimiter, quote and line end, without
// looking at anything else. It holds at most max bytes and one buffer's slack.
type framer struct {
	src     io.Reader
	delim   byte
	comment byte // 0: none
	quotes  bool
	max     int // bytes of a row

	buf    []byte
	start  int   // first unread byte
	end    int   // end of what was read
	offset int64 // of buf[start] in the stream
	line   int   // physical line of buf[start], from 1
	err    error // why src gives no more; io.EOF when it is done
}

// frame is one row as cut: its bytes without the line end, valid until the next
// call, or the fault that broke it.
type frame struct {
	raw    []byte
	line   int
	fields int
	quoted bool
	fault  Code
}

func (f *framer) window() []byte { return f.buf[f.start:f.end] }

// fill reads more behind the window. It gives false when there is no more.
func (f *framer) fill() bool {
	if f.err != nil {
		return false
	}
	if f.start > 0 && f.end == len(f.buf) {
		copy(f.buf, f.buf[f.start:f.end])
		f.end -= f.start
		f.start = 0
	}
	if f.end == len(f.buf) {
		size := max(2*len(f.buf), firstBuffer)
		size = min(size, max(f.max+firstBuffer, f.end+firstBuffer))
		f.buf = append(make([]byte, 0, size), f.buf[:f.end]...)[:size]
	}
	for range maxEmptyReads {
		n, err := f.src.Read(f.buf[f.end:])
		f.end += n
		f.err = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	f.err = io.ErrNoProgress
	return false
}

// drop takes n bytes from the front of the window.
func (f *framer) drop(n int) {
	f.line += bytes.Count(f.buf[f.start:f.start+n], []byte{'\n'})
	f.start += n
	f.offset += int64(n)
}

// failed gives the I/O error that ended the stream, nil at its proper end.
func (f *framer) failed() error {
	if f.err == nil || f.err == io.EOF {
		return nil
	}
	return fmt.Errorf("csvrows: read after byte %d: %w", f.offset+int64(f.end-f.start), f.err)
}

// next gives the next row that is not an empty line and not a comment, or io.EOF.
func (f *framer) next() (frame, error) {
	for {
		if f.start == f.end && !f.fill() {
			if err := f.failed(); err != nil {
				return frame{}, err
			}
			return frame{}, io.EOF
		}
		if f.comment != 0 && f.buf[f.start] == f.comment {
			if _, err := f.passLine(); err != nil {
				return frame{}, err
			}
			continue
		}
		fr, err := f.cut()
		if err != nil {
			return frame{}, err
		}
		if len(fr.raw) > 0 || fr.fault != "" {
			return fr, nil
		}
	}
}

// passLine passes over one physical line of any length and gives its first
// bytes.
func (f *framer) passLine() ([]byte, error) {
	var head []byte
	for {
		w := f.window()
		n := bytes.IndexByte(w, '\n') + 1
		done := n > 0
		if !done {
			n = len(w)
		}
		head = append(head, w[:min(n, maxRawBytes-len(head))]...)
		f.drop(n)
		if done {
			return bytes.TrimRight(head, "\r\n"), nil
		}
		if !f.fill() {
			return head, f.failed()
		}
	}
}

// cut takes one row off the stream.
func (f *framer) cut() (frame, error) {
	fr := frame{line: f.line}
	s := scanner{delim: f.delim, quotes: f.quotes, fields: 1}
	i := 0
	for {
		w := f.window()
		for i < len(w) {
			if s.step(w[i]) {
				return f.take(fr, &s, i+1), nil
			}
			i++
			if s.lines == 1 && s.firstEnd == 0 {
				s.firstEnd = i
			}
			if s.multiFault() {
				return f.firstLine(fr, &s, s.fault), nil
			}
		}
		if i > f.max {
			return f.tooLong(fr, &s)
		}
		if !f.fill() {
			break
		}
	}
	if err := f.failed(); err != nil {
		return frame{}, err // a row cut off by an I/O error is no row
	}
	if s.state == inQuoted {
		if s.firstEnd > 0 {
			return f.firstLine(fr, &s, UnterminatedQuote), nil
		}
		s.fault = UnterminatedQuote
	}
	return f.take(fr, &s, i), nil
}

// take gives the first n bytes of the window as the row.
func (f *framer) take(fr frame, s *scanner, n int) frame {
	raw := f.buf[f.start : f.start+n]
	raw = bytes.TrimSuffix(raw, []byte{'\n'})
	raw = bytes.TrimSuffix(raw, []byte{'\r'})
	fr.raw, fr.fields, fr.quoted, fr.fault = raw, s.fields, s.sawQuote, s.fault
	if fr.fault == "" && len(raw) > f.max {
		fr.fault = RowTooLong
	}
	f.drop(n)
	return fr
}

// firstLine gives only the first physical line, broken, and leaves the others
// to be read as rows of their own.
func (f *framer) firstLine(fr frame, s *scanner, fault Code) frame {
	s.fault = fault
	return f.take(fr, s, s.firstEnd)
}

// tooLong breaks a row that reached the bound.
func (f *framer) tooLong(fr frame, s *scanner) (frame, error) {
	if s.firstEnd > 0 {
		return f.firstLine(fr, s, RowTooLong), nil
	}
	head, err := f.passLine()
	fr.raw, fr.fault = head, RowTooLong
	return fr, err
}

type scanState uint8

const (
	atStart    scanState = iota // of a cell
	inPlain                     // in an unquoted cell
	inQuoted                    // in a quoted cell
	afterQuote                  // after a quote in a quoted cell: its end, or half of a doubled quote
	broken                      // the row is broken; look for the line end only
)

// scanner follows the grammar that encoding/csv reads, byte by byte, only to
// find where a row ends and what breaks it.
type scanner struct {
	delim    byte
	quotes   bool
	state    scanState
	cr       bool // the byte before was a CR outside quotes
	sawQuote bool
	fields   int
	lines    int // line ends inside the row
	firstEnd int // where the second physical line starts; 0: there is none
	fault    Code
}

// multiFault says that a row of several physical lines turned out broken.
func (s *scanner) multiFault() bool { return s.state == broken && s.firstEnd > 0 }

func (s *scanner) breaks(c Code) {
	s.fault, s.state = c, broken
}

// step takes one byte and says whether it ends the row.
func (s *scanner) step(c byte) bool {
	if s.state == inQuoted {
		switch c {
		case '"':
			s.state = afterQuote
		case '\n':
			s.lines++
		}
		return false
	}
	if c == '\n' {
		return true
	}
	if s.state == broken {
		return false
	}
	if s.cr {
		s.breaks(BareCR)
		return false
	}
	switch {
	case c == s.delim:
		s.fields++
		s.state = atStart
	case c == '\r':
		s.cr = true
	case c == '"' && s.quotes:
		s.quote()
	case s.state == afterQuote:
		s.breaks(StrayQuote)
	default:
		s.state = inPlain
	}
	return false
}

func (s *scanner) quote() {
	s.sawQuote = true
	switch s.state {
	case atStart, afterQuote:
		s.state = inQuoted
	default:
		s.breaks(BareQuote)
	}
}
