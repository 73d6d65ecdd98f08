package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"waybill.internal/services/ingest/internal/rows"
)

// Bounds; the package comment gives the reasons.
const (
	maxRatio   = 500
	graceBytes = 8 << 20
	maxWindow  = 64 << 20
	maxTemp    = 1 << 30
	// DefaultMaxSize bounds the output of one file when the integration says nothing.
	DefaultMaxSize = 64 << 30

	magicBytes = 512
)

// Kind is what is around a file.
type Kind string

// The kinds that are read.
const (
	Plain Kind = "" // nothing
	Gzip  Kind = "gzip"
	Bzip2 Kind = "bzip2"
	Zstd  Kind = "zstd"
	Xz    Kind = "xz"
	Zip   Kind = "zip"
)

// detect looks at the first bytes of a file.
func detect(p []byte) (Kind, error) {
	has := func(magic string) bool { return bytes.HasPrefix(p, []byte(magic)) }
	switch {
	case has("\x1f\x8b\x08"):
		return Gzip, nil
	case has("\xfd7zXZ\x00"):
		return Xz, nil
	case has("BZh") && len(p) >= 10 && (string(p[4:10]) == "1AY&SY" || string(p[4:10]) == "\x17rE8P\x90"):
		return Bzip2, nil
	case has("\x28\xb5\x2f\xfd") || len(p) >= 4 && p[0]&0xf0 == 0x50 && string(p[1:4]) == "\x2a\x4d\x18":
		return Zstd, nil
	case has("PK\x03\x04") || has("PK\x05\x06") || has("PK\x07\x08PK\x03\x04"):
		return Zip, nil
	}
	for name, is := range map[string]bool{
		"7z": has("7z\xbc\xaf\x27\x1c"), "rar": has("Rar!\x1a\x07"), "compress (.Z)": has("\x1f\x9d"),
		"lz4": has("\x04\x22\x4d\x18"), "tar": len(p) >= 262 && string(p[257:262]) == "ustar",
	} {
		if is {
			return Plain, &rows.FileError{Code: rows.Unsupported, Message: "this is a " + name + " file, which is not unpacked; send it plain, or packed with gzip, bzip2, xz, zstd or zip"}
		}
	}
	return Plain, nil
}

// Peek says what is around a file, and gives the stream from its first byte again.
// The error is a *rows.FileError for a kind that is not read, or the source's.
func Peek(src io.Reader) (Kind, io.Reader, error) {
	b := bufio.NewReaderSize(src, 64<<10)
	head, err := b.Peek(magicBytes)
	if err != nil && err != io.EOF {
		return Plain, nil, fmt.Errorf("read the start of the file: %w", err)
	}
	kind, err := detect(head)
	return kind, b, err
}

// Meter bounds what comes out of one file, by what went in. It is shared by all
// layers and members, and not safe for concurrent use.
type Meter struct {
	max int64
	in  int64
	out int64
}

// NewMeter makes a Meter for at most max bytes; 0 stands for DefaultMaxSize.
func NewMeter(max int64) *Meter {
	if max <= 0 {
		max = DefaultMaxSize
	}
	return &Meter{max: max}
}

func (m *Meter) took(n int64) error {
	m.out += n
	switch {
	case m.out > m.max:
		return &rows.FileError{Code: rows.Bomb, Message: fmt.Sprintf("unpacked, the file is larger than %d bytes; raise max_size in the integration if that is right", m.max)}
	case m.out > graceBytes && m.out/maxRatio > m.in:
		return &rows.FileError{Code: rows.Bomb, Message: fmt.Sprintf("unpacked, the file is more than %d times as large as it was sent (%d bytes of %d so far); send it plain if that is right", maxRatio, m.out, m.in)}
	}
	return nil
}

// source counts what goes in and remembers why it ended, so that an error of the
// network is not taken for one of the file.
type source struct {
	src   io.Reader
	meter *Meter // nil: what goes in has been counted
	err   error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.src.Read(p)
	if s.meter != nil {
		s.meter.in += int64(n)
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// output is an unpacked stream.
type output struct {
	what   string // for messages
	from   io.Reader
	meter  *Meter       // nil: an inner layer counts
	failed func() error // of what is unpacked, apart from its content
	close  func() error
}

func (o *output) Read(p []byte) (int, error) {
	n, err := o.from.Read(p)
	if o.meter != nil && n > 0 {
		if bomb := o.meter.took(int64(n)); bomb != nil {
			return 0, bomb
		}
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, o.explain(err)
}

func (o *output) explain(err error) error {
	if failed := o.failed(); failed != nil {
		return failed
	}
	if inner, ok := errors.AsType[*rows.FileError](err); ok {
		return inner
	}
	code, message := rows.Malformed, "the "+o.what+" is damaged ("+err.Error()+"); send it again"
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, xz.ErrBuf):
		code, message = rows.Truncated, "the "+o.what+" ends in the middle; send it again, under a temporary name that is changed at the end"
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		code, message = rows.TooLarge, fmt.Sprintf("the %s needs a window of more than %d MiB; pack it without --long or --ultra", o.what, maxWindow>>20)
	case errors.Is(err, xz.ErrMemlimit):
		code, message = rows.TooLarge, fmt.Sprintf("the %s needs a dictionary of more than %d MiB; pack it with -9 at most", o.what, maxWindow>>20)
	}
	return &rows.FileError{Code: code, Message: message}
}

func (o *output) Close() error {
	if o.close == nil {
		return nil
	}
	return o.close()
}

// Stream unpacks a stream of a kind other than Plain and Zip. counted says that
// what goes in has been counted, by an outer layer; last that what comes out is
// what is read, and counts.
func Stream(kind Kind, src io.Reader, m *Meter, counted, last bool) (io.ReadCloser, error) {
	in := &source{src: src}
	if !counted {
		in.meter = m
	}
	o := &output{what: string(kind) + " file", failed: func() error { return in.err }}
	if last {
		o.meter = m
	}
	switch kind {
	case Gzip:
		z, err := newMembers(in)
		if err != nil {
			return nil, o.explain(unexpected(err))
		}
		o.from, o.close = z, z.z.Close
	case Bzip2:
		o.from = bzip2.NewReader(in)
	case Xz:
		z, err := xz.NewReader(in, maxWindow)
		if err != nil {
			return nil, o.explain(unexpected(err))
		}
		o.from = z
	case Zstd:
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, o.explain(err)
		}
		o.from, o.close = z, func() error { z.Close(); return nil }
	default:
		return nil, fmt.Errorf("unpack: %q is no stream", kind)
	}
	return o, nil
}

// unexpected: a header cut off is told by gzip as the end of the file.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// File is unpacked content on disk, which has no name any more where the system
// allows that, and goes with Close.
type File struct {
	*os.File
	Size int64
}

// ToFile writes a stream to a nameless file in a folder; the empty one is the
// system's. More than 1 GiB is a *rows.FileError.
func ToFile(src io.Reader, folder string) (*File, error) {
	f, err := os.CreateTemp(folder, "unpacked-*")
	if err != nil {
		return nil, fmt.Errorf("make a file to unpack to: %w", err)
	}
	_ = os.Remove(f.Name()) // what holds it open is removed by Close
	n, err := io.Copy(f, io.LimitReader(src, maxTemp+1))
	if err == nil && n > maxTemp {
		err = &rows.FileError{Code: rows.TooLarge, Message: fmt.Sprintf("unpacked, the file has more than %d MiB, which is the most for a format that is not read as a stream", maxTemp>>20)}
	}
	out := &File{File: f, Size: n}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// Close frees the file.
func (f *File) Close() error {
	err := f.File.Close()
	if gone := os.Remove(f.Name()); gone != nil && !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
