package lines

import (
	"bytes"
	"fmt"
	"io"

	"waybill.internal/services/ingest/internal/rows"
)

// Line is one physical line without its end, valid until the next.
type Line struct {
	Raw     []byte
	Number  int  // from 1
	TooLong bool // Raw is only its beginning
}

// Cutter gives a file line by line: up to LF or CR LF, or up to CR in a file of an
// old Mac, whose first 64 KiB hold a CR and no LF.
type Cutter struct {
	*Buffer
	placed bool
}

// Cutter cuts the text into lines of at most max bytes.
func (s *Start) Cutter(max int) *Cutter {
	sep := byte('\n')
	if s.OldMac() {
		sep = '\r'
	}
	return &Cutter{Buffer: s.Buffer(max, sep), placed: s.Text.Placed()}
}

// OldMac says that lines end with CR alone.
func (s *Start) OldMac() bool {
	return bytes.IndexByte(bytes.TrimSuffix(s.Prefix, []byte{'\r'}), '\r') >= 0 && bytes.IndexByte(s.Prefix, '\n') < 0
}

// Next gives the next line, empty ones too; io.EOF after the last.
func (c *Cutter) Next() (Line, error) {
	line := Line{Number: c.Line}
	from := 0
	for {
		w := c.Window()
		if n := bytes.IndexByte(w[from:], c.sep); n >= 0 {
			line.Raw = c.ended(w[:from+n])
			line.TooLong = len(line.Raw) > c.max
			c.DropLine(from + n + 1)
			return line, nil
		}
		if from = len(w); from > c.max+1 {
			var err error
			line.Raw, err = c.Pass([]byte{c.sep})
			line.TooLong = true
			return line, err
		}
		if !c.Fill() {
			break
		}
	}
	if err := c.Failed(); err != nil {
		return Line{}, err // a line cut off by an I/O error is no line
	}
	w := c.Window()
	if len(w) == 0 {
		return Line{}, io.EOF
	}
	line.Raw = c.ended(w)
	line.TooLong = len(line.Raw) > c.max
	c.Drop(len(w))
	return line, nil
}

func (c *Cutter) ended(line []byte) []byte {
	if c.sep == '\n' {
		return bytes.TrimSuffix(line, []byte{'\r'})
	}
	return line
}

// Mark is the place behind the last line, after so many rows.
func (c *Cutter) Mark(done int) rows.Mark {
	m := rows.Mark{Rows: done, Line: c.Line, Offset: c.Offset}
	if !c.placed {
		m.Offset = -1
	}
	return m
}

// Jump goes to a mark by its byte, or says that rows have to be counted.
func (c *Cutter) Jump(m rows.Mark) (bool, error) {
	if m.Rows < 0 || m.Offset < -1 || m.Line < 0 {
		return false, &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf("this is no mark of a file of lines: %+v", m)}
	}
	if m.Offset <= 0 || m.Line == 0 || !c.placed {
		return false, nil
	}
	mismatch := &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf("the mark at byte %d does not fit this file", m.Offset)}
	if m.Offset < c.Offset {
		return false, mismatch
	}
	there, err := c.Buffer.Jump(m.Offset, m.Line)
	if err == nil && !there {
		err = mismatch
	}
	return err == nil, err
}
