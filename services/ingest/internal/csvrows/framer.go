package csvrows

import (
	"bytes"
	"io"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/lines"
)

// framer cuts a stream into rows by the marks of a dialect, without looking at
// anything else. It holds at most max bytes and one buffer's slack.
type framer struct {
	*lines.Buffer
	*dialect
	max   int // bytes of a row
	empty int // empty lines passed over
	// single is the byte up to which a row is one line: what stands before it has
	// been looked at for a closing quote once, in vain.
	single int64
}

// frame is one row as cut: its bytes without the row end, valid until the next
// call, or the fault that broke it.
type frame struct {
	raw    []byte
	line   int
	fields int
	plain  bool // neither quotes nor escapes are in it
	fault  rows.Code
}

// preamble passes over n lines that are no comments.
func (f *framer) preamble(n int) error {
	for n > 0 {
		if !f.Has(1) {
			return f.Failed()
		}
		comment := f.comments()
		if err := f.passLine(); err != nil {
			return err
		}
		if !comment {
			n--
		}
	}
	return nil
}

func (f *framer) passLine() error {
	_, err := f.Pass([]byte{f.separator()})
	return err
}

func (f *framer) comments() bool {
	f.Has(len(f.comment))
	return at(f.Window(), f.comment)
}

// next gives the next row that is not an empty line and not a comment, or io.EOF.
func (f *framer) next() (frame, error) {
	for {
		if f.ownEnd() {
			f.passLineEnds()
		}
		if !f.Has(1) {
			if err := f.Failed(); err != nil {
				return frame{}, err
			}
			return frame{}, io.EOF
		}
		if len(f.comment) > 0 && f.comments() {
			if err := f.passLine(); err != nil {
				return frame{}, err
			}
			continue
		}
		fr, ok := f.quick()
		if !ok {
			var err error
			if fr, err = f.cut(); err != nil {
				return frame{}, err
			}
		}
		if len(fr.raw) > 0 || fr.fault != "" {
			return fr, nil
		}
		f.empty++
	}
}

// passLineEnds takes the line ends between a row end of one's own and the next row.
func (f *framer) passLineEnds() {
	for f.Has(1) {
		w := f.Window()
		n := len(w) - len(bytes.TrimLeft(w, "\r\n"))
		f.Drop(n)
		if n < len(w) {
			return
		}
	}
}

// quick takes a row that is one line without quotes, if that is what stands there.
func (f *framer) quick() (frame, bool) {
	if !f.simple() {
		return frame{}, false
	}
	w := f.Window()
	n := bytes.IndexByte(w, f.separator())
	if n < 0 || n > f.max || len(f.quote) > 0 && bytes.Contains(w[:n], f.quote) {
		return frame{}, false
	}
	fr := frame{line: f.Line, plain: true, raw: w[:n]}
	if !f.oldMac() {
		fr.raw = bytes.TrimSuffix(fr.raw, []byte{'\r'})
		if bytes.IndexByte(fr.raw, '\r') >= 0 {
			fr.fault = rows.BareCR
		}
	}
	fr.fields = bytes.Count(fr.raw, f.delim) + 1
	f.DropLine(n + 1)
	return fr, true
}

// cut takes one row off the stream, byte by byte.
func (f *framer) cut() (frame, error) {
	fr := frame{line: f.Line}
	s := scanner{dialect: f.dialect, fields: 1}
	i := 0
	for {
		w := f.Window()
		// A mark may be cut in two by the window's end, so its last bytes wait.
		for i < len(w)-f.look {
			n, ended := s.step(w[i:])
			i += n
			if ended {
				return f.take(fr, &s, i), nil
			}
			if s.inner > 0 && s.firstEnd == 0 {
				s.firstEnd = i
			}
			if s.firstEnd > 0 && f.gaveUp(&s) {
				return f.take(fr, &s, s.firstEnd), nil
			}
		}
		if i > f.max {
			f.lookedTo(i)
			return f.tooLong(fr, &s)
		}
		if !f.Fill() {
			break
		}
	}
	if err := f.Failed(); err != nil {
		return frame{}, err // a row cut off by an I/O error is no row
	}
	return f.last(fr, &s, i), nil
}

// last reads what stands after i, up to the end of the file.
func (f *framer) last(fr frame, s *scanner, i int) frame {
	w := f.Window()
	for i < len(w) {
		n, ended := s.step(w[i:])
		i += n
		if ended {
			return f.take(fr, s, i)
		}
		if s.inner > 0 && s.firstEnd == 0 {
			s.firstEnd = i
		}
		if s.firstEnd > 0 && f.gaveUp(s) {
			return f.take(fr, s, s.firstEnd)
		}
	}
	i = len(w) // an escape at the very end stands for nothing
	if s.state == inQuoted {
		s.fault = rows.UnterminatedQuote
		if s.firstEnd > 0 {
			f.lookedTo(i)
			i = s.firstEnd
		}
	}
	return f.take(fr, s, i)
}

// gaveUp says of a row of several lines that only its first one is to be given.
func (f *framer) gaveUp(s *scanner) bool {
	if s.state == inQuoted && f.Offset < f.single {
		s.fault = rows.UnterminatedQuote
	}
	return s.state == broken || s.fault != ""
}

// lookedTo keeps that no closing quote was found in so many bytes. Where a line can
// leave a quoted cell open whether it begins in one or not, every line could be
// looked at that far again; else at most two can, and rows are read as they come.
func (f *framer) lookedTo(n int) {
	if f.lenient || bytes.Contains(f.delim, f.quote) || bytes.Contains(f.end, f.quote) {
		f.single = f.Offset + int64(n)
	}
}

// take gives the first n bytes of the window as the row.
func (f *framer) take(fr frame, s *scanner, n int) frame {
	raw := f.Window()[:n]
	if len(f.end) > 0 {
		raw = bytes.TrimSuffix(raw, f.end)
	} else {
		raw = bytes.TrimSuffix(raw, []byte{'\n'})
		raw = bytes.TrimSuffix(raw, []byte{'\r'})
	}
	fr.raw, fr.fields, fr.plain, fr.fault = raw, s.fields, !s.marked, s.fault
	if fr.fault == "" && len(raw) > f.max {
		fr.fault = rows.RowTooLong
	}
	f.Drop(n)
	return fr
}

// tooLong breaks a row that reached the bound.
func (f *framer) tooLong(fr frame, s *scanner) (frame, error) {
	s.fault = rows.RowTooLong
	if s.firstEnd > 0 {
		return f.take(fr, s, s.firstEnd), nil
	}
	end := f.end
	if len(end) == 0 {
		end = []byte{'\n'}
	}
	head, err := f.Pass(end)
	fr.raw, fr.fault = bytes.TrimSuffix(head, []byte{'\r'}), rows.RowTooLong
	return fr, err
}

type scanState uint8

const (
	atStart    scanState = iota // of a cell
	inPlain                     // in an unquoted cell
	inQuoted                    // in a quoted cell
	afterQuote                  // after a quote in a quoted cell: its end, or half of a doubled quote
	afterBlank                  // after blanks behind a closing quote
	broken                      // the row is broken; look for the row end only
)

// scanner follows the grammar byte by byte, only to find where a row ends and what
// breaks it.
type scanner struct {
	*dialect
	state    scanState
	cr       bool // the byte before was a CR outside quotes
	marked   bool // a quote or an escape was seen
	fields   int
	inner    int // row ends inside the row
	firstEnd int // where what follows the first of them starts; 0: there is none
	fault    rows.Code
}

func (s *scanner) breaks(c rows.Code) { s.fault, s.state = c, broken }

// rowEnd gives the bytes of the row end at the start of w, 0 if there is none.
func (s *scanner) rowEnd(w []byte) int {
	if len(s.end) == 0 {
		if w[0] == '\n' {
			return 1
		}
		return 0
	}
	if at(w, s.end) {
		return len(s.end)
	}
	return 0
}

// step takes what stands at the start of w, and says whether it ends the row. An
// escape at the very end of w takes one byte more than there is.
func (s *scanner) step(w []byte) (n int, ended bool) {
	end := s.rowEnd(w)
	if s.state != broken && at(w, s.escape) {
		return s.escaped(w), false
	}
	if s.state == inQuoted {
		switch {
		case at(w, s.quote):
			s.state = afterQuote
			return len(s.quote), false
		case end > 0:
			s.inner++
			return end, false
		}
		return 1, false
	}
	if end > 0 {
		return end, true
	}
	if s.state == broken {
		return 1, false
	}
	if s.cr {
		s.breaks(rows.BareCR)
		return 1, false
	}
	return s.outside(w), false
}

func (s *scanner) escaped(w []byte) int {
	s.marked = true
	if (s.state == afterQuote || s.state == afterBlank) && !s.lenient {
		s.breaks(rows.StrayQuote)
		return len(s.escape)
	}
	if s.state != inQuoted {
		s.state = inPlain
	}
	n := len(s.escape)
	if n < len(w) {
		if end := s.rowEnd(w[n:]); end > 0 {
			s.inner++
			return n + end
		}
	}
	return n + 1
}

func (s *scanner) outside(w []byte) int {
	switch {
	case at(w, s.delim):
		s.fields++
		s.state = atStart
		return len(s.delim)
	case at(w, s.quote):
		s.atQuote()
		return len(s.quote)
	case w[0] == '\r' && len(s.end) == 0:
		s.cr = true
	case s.state == atStart && s.start && s.isBlank(w[0]):
	case (s.state == afterQuote || s.state == afterBlank) && s.both && s.isBlank(w[0]):
		s.state = afterBlank
	case (s.state == afterQuote || s.state == afterBlank) && !s.lenient:
		s.breaks(rows.StrayQuote)
	default:
		s.state = inPlain
	}
	return 1
}

func (s *scanner) atQuote() {
	s.marked = true
	switch {
	case s.state == atStart, s.state == afterQuote && len(s.escape) == 0:
		s.state = inQuoted
	case s.lenient:
		s.state = inPlain
	case s.state == inPlain:
		s.breaks(rows.BareQuote)
	default:
		s.breaks(rows.StrayQuote)
	}
}
