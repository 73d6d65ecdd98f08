package xlsxrows

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xmlrows/xmlscan"
)

const (
	maxDirectory = 4 << 20  // bytes of the archive's directory
	freeUnpacked = 64 << 20 // bytes that a part may always unpack to,
	maxUnpacked  = 200      // and so many times its size
	maxPartDepth = 64       // elements inside each other in a part
	maxSmallPart = 64 << 20 // bytes of a part other than sheets and shared texts
	sniffBytes   = 1 << 20  // in which an encrypted workbook names itself
)

// archive is the file's parts by their names in small letters: some writers
// disagree with themselves about capitals.
type archive struct {
	src   *guardedReaderAt
	parts map[string]*zip.File
}

func openArchive(src io.ReaderAt, size int64) (*archive, error) {
	head := make([]byte, 8)
	n, err := src.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("xlsxrows: read the start of the file: %w", err)
	}
	switch head = head[:n]; {
	case n == 0 || size == 0:
		return nil, wrong(rows.WrongFormat, "the file is empty; send the spreadsheet again")
	case bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		return nil, compound(src, size)
	case !bytes.HasPrefix(head, []byte("PK")):
		return nil, wrong(rows.WrongFormat, "the file is no .xlsx (it is no zip archive); send one, or configure the format that it has")
	}
	guarded := &guardedReaderAt{src: src, left: maxDirectory}
	z, err := zip.NewReader(guarded, size)
	switch {
	case guarded.spent:
		return nil, wrong(rows.TooLarge, "the archive's directory is longer than %d bytes", maxDirectory)
	case guarded.failed != nil:
		return nil, fmt.Errorf("xlsxrows: read the archive's directory: %w", guarded.failed)
	case errors.Is(err, zip.ErrFormat):
		return nil, wrong(rows.Truncated, "the end of the archive is missing or damaged; send the spreadsheet again")
	case err != nil:
		return nil, wrong(rows.Malformed, "the archive's directory cannot be read (%v); send the spreadsheet again", err)
	}
	guarded.open = true
	a := &archive{src: guarded, parts: make(map[string]*zip.File, len(z.File))}
	for _, f := range z.File {
		a.parts[partName("", f.Name)] = f // of two by one name the last, as other readers do
	}
	return a, nil
}

// compound tells an encrypted workbook from an old one.
func compound(src io.ReaderAt, size int64) error {
	head := make([]byte, min(size, sniffBytes))
	n, err := src.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("xlsxrows: read the start of the file: %w", err)
	}
	if bytes.Contains(head[:n], []byte("E\x00n\x00c\x00r\x00y\x00p\x00t\x00e\x00d\x00P\x00a\x00c\x00k\x00a\x00g\x00e")) {
		return wrong(rows.Encrypted, "the spreadsheet needs a password; save it without one")
	}
	return wrong(rows.WrongFormat, "the file is an old binary spreadsheet; configure the format xls, or save it as .xlsx (if it has a password, without)")
}

func wrong(code rows.Code, format string, args ...any) error {
	return &rows.FileError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// guardedReaderAt bounds what is read until it is open, and remembers an error of
// the source, which is no fault of the file.
type guardedReaderAt struct {
	src    io.ReaderAt
	left   int64
	open   bool
	spent  bool
	failed error
}

func (g *guardedReaderAt) ReadAt(p []byte, at int64) (int, error) {
	if !g.open {
		if g.left -= int64(len(p)); g.left < 0 {
			g.spent = true
			return 0, io.ErrShortBuffer
		}
	}
	if at < 0 { // the archive says that a part begins before the file does
		return 0, zip.ErrFormat
	}
	n, err := g.src.ReadAt(p, at)
	if err != nil && !errors.Is(err, io.EOF) && g.failed == nil {
		g.failed = err
	}
	return n, err
}

// partName resolves a target that stands in a part of a folder.
func partName(folder, target string) string {
	target = strings.ReplaceAll(target, `\`, "/")
	if !strings.HasPrefix(target, "/") {
		target = path.Join("/", folder, target)
	}
	return strings.ToLower(strings.TrimPrefix(path.Clean(target), "/"))
}

func (a *archive) has(name string) bool { return a.parts[name] != nil }

// part reads one part and refuses to unpack it out of proportion.
type part struct {
	name string
	size int64 // packed
	src  io.ReadCloser
	scan *xmlscan.Scanner
	read int64
	most int64
}

// open starts to read a part; most bounds it in bytes.
func (a *archive) open(name string, most int64) (*part, error) {
	f := a.parts[name]
	switch {
	case f == nil:
		return nil, wrong(rows.NotFound, "the part %s is not in the file; send the spreadsheet again", name)
	case f.Flags&1 != 0:
		return nil, wrong(rows.Encrypted, "the archive needs a password; save the spreadsheet without one")
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return nil, wrong(rows.Unsupported, "the part %s is packed in a way that is not read (%d); save the spreadsheet again", name, f.Method)
	}
	src, err := f.Open()
	if a.src.failed != nil {
		return nil, fmt.Errorf("xlsxrows: read the part %s: %w", name, a.src.failed)
	}
	if err != nil {
		return nil, wrong(rows.Malformed, "the part %s cannot be found in the archive (%v); send the spreadsheet again", name, err)
	}
	p := &part{name: name, size: int64(min(f.CompressedSize64, 1<<40)), src: src, most: most} //nolint:gosec // bounded
	if p.scan, err = xmlscan.Open(p, xmlscan.Options{MaxDepth: maxPartDepth}); err != nil {
		_ = src.Close()
		return nil, p.explain(err, 0)
	}
	return p, nil
}

func (p *part) Read(b []byte) (int, error) {
	n, err := p.src.Read(b)
	p.read += int64(n)
	corrupt := flate.CorruptInputError(0)
	switch {
	case p.read > freeUnpacked && p.read > maxUnpacked*p.size:
		return n, wrong(rows.Bomb, "it unpacks to more than %d times its size; it was not read on", maxUnpacked)
	case p.read > p.most:
		return n, wrong(rows.TooLarge, "it is longer than %d bytes", p.most)
	case errors.Is(err, zip.ErrChecksum) || errors.Is(err, zip.ErrFormat) || errors.As(err, &corrupt):
		return n, wrong(rows.Malformed, "it is damaged; send the spreadsheet again")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, wrong(rows.Truncated, "it is cut; send the spreadsheet again")
	}
	return n, err
}

// Close ends reading the part.
func (p *part) Close() { _ = p.src.Close() }

// explain names the part, and the row of the sheet, in an error.
func (p *part) explain(err error, line int) error {
	var fileErr *rows.FileError
	if !errors.As(err, &fileErr) {
		return err
	}
	return &rows.FileError{Code: fileErr.Code, Line: line, Message: "the part " + p.name + " of the file cannot be read: " + fileErr.Message}
}

// each calls start for every element of a small part, and end after it.
func (a *archive) each(name string, start func(t xmlscan.Token, depth int) error, end func(local string)) error {
	p, err := a.open(name, maxSmallPart)
	if err != nil {
		return err
	}
	defer p.Close()
	for {
		t, err := p.scan.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && t.Kind == xmlscan.Start {
			err = start(t, p.scan.Depth())
		}
		if err != nil {
			return p.explain(err, 0)
		}
		if t.Kind == xmlscan.End && end != nil {
			end(t.Name.Local)
		}
	}
}

// attribute gives the value of an attribute without a namespace.
func attribute(t xmlscan.Token, local string) string {
	for _, a := range t.Attrs {
		if a.Name.Local == local && a.Name.Space == "" {
			return string(a.Value)
		}
	}
	return ""
}
