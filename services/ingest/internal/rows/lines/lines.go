// Package lines is the buffer under the readers of text: the part of a file that is
// being looked at, with its place in the file.
package lines

import (
	"bytes"
	"fmt"
	"io"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/charset"
)

const (
	prefixBytes   = 64 << 10 // what charsets and delimiters are decided on
	firstBuffer   = 64 << 10
	maxEmptyReads = 100 // reads in a row that give neither bytes nor an error

	// MaxRaw bounds what is kept of a broken row, in bytes.
	MaxRaw = 4 << 10
	// MaxEndless bounds a line that is passed over because it is too long for a row,
	// in bytes. What goes on for longer is no text in lines.
	MaxEndless = 64 << 20
)

// Buffer holds the window of a stream: at most the bytes of one row and one
// buffer's slack.
type Buffer struct {
	Offset int64 // of the window in the stream
	Line   int   // of the window, from 1

	src   io.Reader
	max   int
	sep   byte // counts lines
	buf   []byte
	start int
	end   int
	err   error // why src gives no more; io.EOF when it is done
}

// Start is the beginning of a text file.
type Start struct {
	Text   charset.Text
	Prefix []byte // at most 64 KiB, as UTF-8
	src    io.Reader
}

// Open reads the start of a file, whose charset is set, or decided for auto.
func Open(src io.Reader, set string) (*Start, error) {
	prefix, whole, err := readPrefix(src)
	if err != nil {
		return nil, err
	}
	text, err := charset.Decide(prefix, whole, set)
	if err != nil {
		return nil, err
	}
	s := &Start{Text: text, src: io.MultiReader(bytes.NewReader(prefix[text.BOM:]), src)}
	sample, err := io.ReadAll(text.Whole().Reader(bytes.NewReader(prefix[text.BOM:])))
	if err != nil {
		return nil, fmt.Errorf("decode the start of the file as %s: %w", text.Name, err)
	}
	s.Prefix = sample
	return s, nil
}

// readPrefix reads up to prefixBytes and says whether that is the whole file.
// io.ReadFull would not do: it cannot tell a short file from a source that itself
// reports io.ErrUnexpectedEOF, as a cut-off gzip file does.
func readPrefix(src io.Reader) (prefix []byte, whole bool, err error) {
	prefix = make([]byte, prefixBytes)
	n, empty := 0, 0
	for n < len(prefix) {
		m, err := src.Read(prefix[n:])
		n += m
		if err == io.EOF {
			return prefix[:n], true, nil
		}
		if err == nil && m == 0 {
			if empty++; empty >= maxEmptyReads {
				err = io.ErrNoProgress
			}
		}
		if err != nil {
			return nil, false, fmt.Errorf("read the start of the file: %w", err)
		}
	}
	return prefix, false, nil
}

// Buffer gives the text to cut, decoded as s.Text says. A row has at most max bytes;
// sep is the byte that ends a line.
func (s *Start) Buffer(max int, sep byte) *Buffer {
	return &Buffer{src: s.Text.Reader(s.src), max: max, sep: sep, Line: 1, Offset: int64(s.Text.BOM)}
}

// Of gives a buffer over a text that is at hand.
func Of(text []byte, sep byte) *Buffer {
	return &Buffer{src: bytes.NewReader(text), max: len(text) + 1, sep: sep, Line: 1}
}

// Window gives what is at hand; it is valid until Fill.
func (b *Buffer) Window() []byte { return b.buf[b.start:b.end] }

// Fill reads more behind the window. It gives false when there is no more.
func (b *Buffer) Fill() bool {
	if b.err != nil {
		return false
	}
	if b.start > 0 && b.end == len(b.buf) {
		copy(b.buf, b.buf[b.start:b.end])
		b.end -= b.start
		b.start = 0
	}
	if b.end == len(b.buf) {
		size := max(2*len(b.buf), firstBuffer)
		size = min(size, max(b.max+firstBuffer, b.end+firstBuffer))
		b.buf = append(make([]byte, 0, size), b.buf[:b.end]...)[:size]
	}
	for range maxEmptyReads {
		n, err := b.src.Read(b.buf[b.end:])
		b.end += n
		b.err = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	b.err = io.ErrNoProgress
	return false
}

// Has makes the window at least n bytes, as far as there are so many.
func (b *Buffer) Has(n int) bool {
	for b.end-b.start < n {
		if !b.Fill() {
			return false
		}
	}
	return true
}

// Drop takes n bytes from the front of the window.
func (b *Buffer) Drop(n int) {
	b.Line += bytes.Count(b.buf[b.start:b.start+n], []byte{b.sep})
	b.start += n
	b.Offset += int64(n)
}

// DropLine takes n bytes, of which only the last ends a line.
func (b *Buffer) DropLine(n int) {
	b.Line++
	b.start += n
	b.Offset += int64(n)
}

// Failed gives the I/O error that ended the stream, nil at its proper end.
func (b *Buffer) Failed() error {
	if b.err == nil || b.err == io.EOF {
		return nil
	}
	return fmt.Errorf("read after byte %d: %w", b.Offset+int64(b.end-b.start), b.err)
}

// Pass passes over the text up to and with end and gives its first bytes, at most
// MaxRaw, without the end. More than MaxEndless bytes are a *rows.FileError.
func (b *Buffer) Pass(end []byte) ([]byte, error) {
	line := b.Line
	var head []byte
	passed := 0
	for {
		w := b.Window()
		n := bytes.Index(w, end)
		done := n >= 0
		keep := n
		if !done {
			keep = max(0, len(w)-len(end)+1) // the end may be cut in two
			n = keep
		}
		head = append(head, w[:min(keep, MaxRaw-len(head))]...)
		if done {
			b.Drop(n + len(end))
			return head, nil
		}
		b.Drop(n)
		if passed += n; passed > MaxEndless {
			return nil, &rows.FileError{Code: rows.TooLarge, Line: line, Message: fmt.Sprintf("the line goes on for more than %d MiB: this is no text in lines", MaxEndless>>20)}
		}
		if !b.Fill() {
			w = b.Window()
			head = append(head, w[:min(len(w), MaxRaw-len(head))]...)
			b.Drop(len(w))
			return head, b.Failed()
		}
	}
}

// Jump goes to a byte of the stream behind the window's start, whose line is known;
// false if the stream ends before it.
func (b *Buffer) Jump(offset int64, line int) (bool, error) {
	for b.Offset < offset {
		if b.start == b.end && !b.Fill() {
			return false, b.Failed()
		}
		n := int(min(offset-b.Offset, int64(b.end-b.start)))
		b.start += n
		b.Offset += int64(n)
	}
	b.Line = line
	return b.Offset == offset, nil
}
