package unpack

import (
	"archive/zip"
	"cmp"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"waybill.internal/services/ingest/internal/rows"
)

const (
	maxDirectory = 8 << 20
	maxMembers   = 10_000
	// maxNamed bounds the members that a message names.
	maxNamed = 5

	flagEncrypted = 0x1
	methodBzip2   = 12
	methodZstd    = 93
	workbookPart  = "[Content_Types].xml"
)

// Archive is a zip archive.
type Archive struct {
	zip       *zip.Reader
	size      int64
	directory *directory
}

// directory bounds what is read while an archive is opened.
type directory struct {
	src  io.ReaderAt
	left int
	free bool  // the archive is open: its members are bounded by a Meter
	err  error // of the source, so that it is not taken for one of the archive
}

var errDirectory = errors.New("the directory of the archive is too large")

func (d *directory) ReadAt(p []byte, at int64) (int, error) {
	if d.left -= len(p); !d.free && d.left < 0 {
		return 0, errDirectory
	}
	n, err := d.src.ReadAt(p, at)
	if err != nil && err != io.EOF {
		d.err = err
	}
	return n, err
}

// OpenZip reads the directory of an archive.
func OpenZip(src io.ReaderAt, size int64) (*Archive, error) {
	d := &directory{src: src, left: maxDirectory}
	z, err := zip.NewReader(d, size)
	switch {
	case d.err != nil:
		return nil, fmt.Errorf("read the directory of the zip archive: %w", d.err)
	case errors.Is(err, errDirectory):
		return nil, &rows.FileError{Code: rows.TooLarge, Message: fmt.Sprintf("the directory of the zip archive has more than %d MiB", maxDirectory>>20)}
	case err != nil && !errors.Is(err, zip.ErrInsecurePath): // no path of it is ever used
		return nil, &rows.FileError{Code: rows.Malformed, Message: "the zip archive is damaged or cut off: it has no directory at its end that can be read (" + err.Error() + "); send it again"}
	}
	d.free = true
	z.RegisterDecompressor(methodBzip2, func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) })
	z.RegisterDecompressor(methodZstd, func(r io.Reader) io.ReadCloser {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return io.NopCloser(failing{err})
		}
		return d.IOReadCloser()
	})
	return &Archive{zip: z, size: size, directory: d}, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Workbook says that the archive is not one of files but a spreadsheet.
func (a *Archive) Workbook() bool {
	return slices.ContainsFunc(a.zip.File, func(f *zip.File) bool { return f.Name == workbookPart })
}

// Member is one file of an archive.
type Member struct {
	Name    string
	file    *zip.File
	archive *Archive
}

// Members gives the files that fit the pattern, in order of their names. A pattern
// without a slash is one for the last part of the name; the empty one fits all but
// hidden files (a part begins with a dot, or is __MACOSX). Links are no files.
func (a *Archive) Members(pattern string) ([]Member, error) {
	var found []Member
	for _, f := range a.zip.File {
		if strings.HasSuffix(f.Name, "/") || f.Mode()&fs.ModeSymlink != 0 || !fits(pattern, f.Name) {
			continue
		}
		if len(found) == maxMembers {
			return nil, &rows.FileError{Code: rows.TooLarge, Message: fmt.Sprintf("the zip archive has more than %d files to read", maxMembers)}
		}
		if f.Flags&flagEncrypted != 0 {
			return nil, &rows.FileError{Code: rows.Encrypted, Message: fmt.Sprintf("%q in the zip archive is encrypted; send it without a password", short(f.Name))}
		}
		found = append(found, Member{Name: f.Name, file: f, archive: a})
	}
	if len(found) == 0 {
		return nil, a.nothing(pattern)
	}
	slices.SortStableFunc(found, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return found, a.apart(found)
}

func fits(pattern, name string) bool {
	if pattern == "" {
		for part := range strings.SplitSeq(name, "/") {
			if strings.HasPrefix(part, ".") || part == "__MACOSX" {
				return false
			}
		}
		return true
	}
	if !strings.Contains(pattern, "/") {
		name = path.Base(name)
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

func (a *Archive) nothing(pattern string) error {
	var names []string
	for _, f := range a.zip.File[:min(len(a.zip.File), maxNamed)] {
		names = append(names, fmt.Sprintf("%q", short(f.Name)))
	}
	has := "it is empty"
	if len(names) > 0 {
		has = fmt.Sprintf("its %d entries begin with %s", len(a.zip.File), strings.Join(names, ", "))
	}
	if pattern == "" {
		return &rows.FileError{Code: rows.NotFound, Message: "the zip archive has no file to read: " + has}
	}
	return &rows.FileError{Code: rows.NotFound, Message: fmt.Sprintf("the zip archive has no file like %q: %s", pattern, has)}
}

func short(name string) string { return strings.ToValidUTF8(name[:min(len(name), 100)], "\uFFFD") }

// apart refuses members that share bytes or lie outside, and names that are there
// twice: a mark could not tell them.
func (a *Archive) apart(members []Member) error {
	type part struct{ from, to int64 }
	parts := make([]part, 0, len(members))
	for i, m := range members {
		if i > 0 && members[i-1].Name == m.Name {
			return &rows.FileError{Code: rows.Malformed, Message: fmt.Sprintf("the zip archive has two files named %q", short(m.Name))}
		}
		from, err := m.file.DataOffset()
		size := int64(m.file.CompressedSize64) //nolint:gosec // checked below
		if err != nil || size < 0 || size > a.size-from {
			return &rows.FileError{Code: rows.Malformed, Message: fmt.Sprintf("the zip archive is damaged: %q lies outside of it; send it again", short(m.Name))}
		}
		parts = append(parts, part{from, from + size})
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	for i := 1; i < len(parts); i++ {
		if parts[i].from < parts[i-1].to {
			return &rows.FileError{Code: rows.Bomb, Message: "files of the zip archive share bytes, as only bombs do"}
		}
	}
	return nil
}

// Open gives a member's content. last says that it is what is read, and counts;
// otherwise a layer inside it does.
func (m Member) Open(meter *Meter, last bool) (io.ReadCloser, error) {
	meter.in += int64(m.file.CompressedSize64) //nolint:gosec // not beyond the archive's size, see apart
	o := &output{what: fmt.Sprintf("file %q of the zip archive", short(m.Name)), failed: func() error { return m.archive.directory.err }}
	if last {
		o.meter = meter
	}
	r, err := m.file.Open()
	switch {
	case errors.Is(err, zip.ErrAlgorithm):
		return nil, &rows.FileError{Code: rows.Unsupported, Message: fmt.Sprintf("%q in the zip archive is packed by method %d, which is not known; use deflate, bzip2 or zstd", short(m.Name), m.file.Method)}
	case err != nil:
		return nil, o.explain(err)
	}
	o.from, o.close = r, r.Close
	return o, nil
}
