// Package formats opens a file of any format an integration can name, and whatever
// is packed around it.
//
// gzip, bzip2, zstd and zip are recognised by the first bytes, at most two layers
// deep; see package unpack for their bounds. The files of a zip archive are read in
// order of their names as if they were one: rows are numbered on, each file has its
// own header, and lines count within it. Errors name the file of the archive.
package formats

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/csvrows"
	"waybill.internal/services/ingest/internal/fixedrows"
	"waybill.internal/services/ingest/internal/jsonrows"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/unpack"
	"waybill.internal/services/ingest/internal/xlsrows"
	"waybill.internal/services/ingest/internal/xlsxrows"
	"waybill.internal/services/ingest/internal/xmlrows"
)

// maxLayers bounds what is packed in what: a gzip file in a zip archive is two.
const maxLayers = 2

// Input is a file, in two ways of reading it.
type Input struct {
	Name   string      // for messages only
	Stream io.Reader   // from the first byte, read once and never sought; what a format leaves of it is the caller's to drain
	Random io.ReaderAt // the same bytes; read instead of Stream for zip archives and spreadsheets
	Size   int64       // of Random, in bytes
	Temp   string      // folder for what must be unpacked to a file; empty: the system's
}

// Open reads the start of the file and stands before the first row, or behind the
// mark. maxRow bounds a row, in the file and as JSON, in bytes. The error is a
// *rows.FileError, or one of the input.
func Open(f *integration.Format, in Input, maxRow int, from *rows.Mark) (rows.Reader, error) {
	o := &opener{format: f, in: in, maxRow: maxRow, meter: unpack.NewMeter(int64(f.MaxSize))}
	r, err := o.layer(in.Stream, 0, from)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Check says at start whether the format can be read, by opening an empty file:
// what is wrong with that file is no reason to refuse the format.
func Check(f *integration.Format) error {
	if kinds(f) != 1 {
		return errors.New("the format has not exactly one kind")
	}
	r, err := Open(f, Input{Name: "nothing", Stream: strings.NewReader(""), Random: strings.NewReader("")}, 1<<20, nil)
	if e, ok := errors.AsType[*rows.FileError](err); ok && e.Code != rows.UnknownCharset {
		return nil
	}
	if err != nil {
		return err
	}
	return r.Close()
}

func kinds(f *integration.Format) int {
	n := 0
	for _, set := range []bool{f.CSV != nil, f.Fixed != nil, f.XML != nil, f.XLSX != nil, f.XLS != nil, f.JSON != nil, f.NDJSON != nil} {
		if set {
			n++
		}
	}
	return n
}

// opener goes through the layers of one file.
type opener struct {
	format *integration.Format
	in     Input
	maxRow int
	meter  *unpack.Meter
}

// random is content that can be read anywhere.
type random struct {
	src  io.ReaderAt
	size int64
	done func() error // nil: nothing to free
}

// opened is a reader together with what was opened for it.
type opened struct {
	rows.Reader
	done func() error
}

func (o opened) Close() error { return errors.Join(o.Reader.Close(), o.done()) }

func (o opened) Unwrap() rows.Reader { return o.Reader }

// Inner gives the reader of the format itself, without what was unpacked around it:
// of an archive, that of the member opened last.
func Inner(r rows.Reader) rows.Reader {
	for {
		u, ok := r.(interface{ Unwrap() rows.Reader })
		if !ok {
			return r
		}
		r = u.Unwrap()
	}
}

// layer opens a stream that is packed depth times.
func (o *opener) layer(src io.Reader, depth int, from *rows.Mark) (rows.Reader, error) {
	kind, src, err := unpack.Peek(src)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == unpack.Plain && (o.format.XLSX != nil || o.format.XLS != nil):
		return o.sheet(src, depth, from)
	case kind == unpack.Plain:
		return o.text(src, from)
	case kind == unpack.Zip:
		return o.zip(src, depth, from)
	case depth >= maxLayers:
		return nil, tooDeep()
	}
	// The last layer cannot be told before it is opened, so each counts what comes
	// out of it: an outer one gives fewer bytes than an inner.
	unpacked, err := unpack.Stream(kind, src, o.meter, depth > 0, true)
	if err != nil {
		return nil, err
	}
	return with(unpacked.Close)(o.layer(unpacked, depth+1, from))
}

func tooDeep() error {
	return &rows.FileError{Code: rows.TooDeep, Message: fmt.Sprintf("the file is packed more than %d times; send it plain, or packed once", maxLayers)}
}

// with frees done when the reader is closed, or at once if there is none.
func with(done func() error) func(rows.Reader, error) (rows.Reader, error) {
	return func(r rows.Reader, err error) (rows.Reader, error) {
		if done == nil {
			return r, err
		}
		if err != nil {
			return nil, errors.Join(err, done())
		}
		return opened{r, done}, nil
	}
}

// anywhere gives the content of a stream for reading at any place: the input's own,
// or, of what was unpacked, a file.
func (o *opener) anywhere(src io.Reader, depth int) (random, error) {
	if depth == 0 {
		return random{src: o.in.Random, size: o.in.Size}, nil
	}
	f, err := unpack.ToFile(src, o.in.Temp)
	if err != nil {
		return random{}, err
	}
	return random{src: f, size: f.Size, done: f.Close}, nil
}

func (o *opener) sheet(src io.Reader, depth int, from *rows.Mark) (rows.Reader, error) {
	content, err := o.anywhere(src, depth)
	if err != nil {
		return nil, err
	}
	return with(content.done)(o.workbook(content, from))
}

// zip opens an archive, or the spreadsheet that is one.
func (o *opener) zip(src io.Reader, depth int, from *rows.Mark) (rows.Reader, error) {
	content, err := o.anywhere(src, depth)
	if err != nil {
		return nil, err
	}
	return with(content.done)(o.archive(content, depth, from))
}

func (o *opener) archive(content random, depth int, from *rows.Mark) (rows.Reader, error) {
	a, err := unpack.OpenZip(content.src, content.size)
	if err != nil {
		if o.format.XLSX != nil { // whose reader knows more about spreadsheets cut off
			return o.workbook(content, from)
		}
		return nil, err
	}
	switch {
	case a.Workbook() && o.format.XLSX != nil:
		return o.workbook(content, from)
	case a.Workbook():
		return nil, &rows.FileError{Code: rows.WrongFormat, Message: "this is an Office document (a spreadsheet in .xlsx?), not what the integration says; write format: {xlsx: {}}, or send the other format"}
	case depth >= maxLayers:
		return nil, tooDeep()
	}
	members, err := a.Members(o.format.Member)
	if err != nil {
		return nil, err
	}
	return newArchive(o, members, depth, from)
}

// text opens the formats that are read as a stream.
func (o *opener) text(src io.Reader, from *rows.Mark) (rows.Reader, error) {
	f := o.format
	switch {
	case f.CSV != nil:
		return reader(csvrows.New(src, f.CSV, o.maxRow, from))
	case f.Fixed != nil:
		return reader(fixedrows.New(src, f.Fixed, o.maxRow, from))
	case f.JSON != nil:
		return reader(jsonrows.New(src, f.JSON, o.maxRow, from))
	case f.XML != nil:
		return reader(xmlrows.New(src, f.XML, o.maxRow, from))
	case f.NDJSON != nil:
		return reader(jsonrows.NewLines(src, o.maxRow, from))
	default:
		return nil, errors.New("formats: no kind is set")
	}
}

// workbook opens the formats that are read at any place.
func (o *opener) workbook(content random, from *rows.Mark) (rows.Reader, error) {
	if o.format.XLS != nil {
		return reader(xlsrows.New(content.src, content.size, o.format.XLS, o.maxRow, from))
	}
	return reader(xlsxrows.New(content.src, content.size, o.format.XLSX, o.maxRow, from, o.in.Temp))
}

// reader makes no interface of a nil pointer.
func reader[R rows.Reader](r R, err error) (rows.Reader, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}
