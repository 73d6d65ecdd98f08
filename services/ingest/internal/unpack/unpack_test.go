package unpack_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/unpack"
)

func gzipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, text []byte, options ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(text, nil)
}

// bzip2 of "a,b\n1,2\n", as bzip2 writes it.
const bzipped = "425a6839314159265359bf87407f00000359000010000430003000200030c00869b28823278bb9229c28485fc3a03f80"

// xz of the same, as xz writes it.
const xzipped = "fd377a585a000004e6d6b4460200210116000000742fe5a3010007612c620a312c320a00be9cbd49b5122afe00012008bb19d9bb1fb6f37d010000000004595a"

// open unpacks one layer.
func open(src io.Reader, m *unpack.Meter) (io.ReadCloser, unpack.Kind, error) {
	kind, src, err := unpack.Peek(src)
	if err != nil {
		return nil, kind, err
	}
	if kind == unpack.Plain {
		return io.NopCloser(src), kind, nil
	}
	r, err := unpack.Stream(kind, src, m, false, true)
	return r, kind, err
}

func code(t testing.TB, err error) rows.Code {
	t.Helper()
	e, ok := errors.AsType[*rows.FileError](err)
	if !ok {
		t.Errorf("%v is no *rows.FileError", err)
		return ""
	}
	if e.Message == "" {
		t.Errorf("%s has no message", e.Code)
	}
	return e.Code
}

func TestStreams(t *testing.T) {
	t.Parallel()
	text := []byte("a,b\n1,2\n")
	bz, err := hex.DecodeString(bzipped)
	if err != nil {
		t.Fatal(err)
	}
	xz, err := hex.DecodeString(xzipped)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind unpack.Kind
		data []byte
	}{
		{unpack.Plain, text},
		{unpack.Xz, xz},
		{unpack.Gzip, gzipped(t, text)},
		{unpack.Gzip, append(gzipped(t, text[:3]), gzipped(t, text[3:])...)},
		{unpack.Zstd, zstandard(t, text)},
		{unpack.Zstd, append([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc"), zstandard(t, text)...)},
		{unpack.Bzip2, bz},
	} {
		for name, src := range map[string]io.Reader{"whole": bytes.NewReader(c.data), "byte by byte": iotest.OneByteReader(bytes.NewReader(c.data))} {
			r, kind, err := open(src, unpack.NewMeter(0))
			if err != nil || kind != c.kind {
				t.Errorf("%s, %s: %q, %v", c.kind, name, kind, err)
				continue
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s, %s: %q, %v", c.kind, name, got, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if c.kind == unpack.Plain {
			continue
		}
		// Cut off anywhere behind the magic bytes, or damaged.
		for n := 12; n < len(c.data); n++ {
			if c.kind == unpack.Gzip && n == len(gzipped(t, text[:3])) {
				continue // the first of two members is a file
			}
			r, _, err := open(bytes.NewReader(c.data[:n]), unpack.NewMeter(0))
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if got := code(t, err); got != rows.Truncated && got != rows.Malformed {
				t.Errorf("%s cut off at %d: %v", c.kind, n, err)
			}
			// The same, but by the network: to be tried again.
			cut := errors.New("cable cut")
			r, _, err = open(io.MultiReader(bytes.NewReader(c.data[:n]), iotest.ErrReader(cut)), unpack.NewMeter(0))
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if !errors.Is(err, cut) {
				t.Errorf("%s, network cut at %d: %v", c.kind, n, err)
			}
		}
	}
}

func TestOtherArchivesAreNamed(t *testing.T) {
	t.Parallel()
	tar := make([]byte, 512)
	copy(tar[257:], "ustar")
	for name, data := range map[string]string{"7z": "7z\xbc\xaf\x27\x1c", "rar": "Rar!\x1a\x07\x00", "tar": string(tar), "lz4": "\x04\x22\x4d\x18", ".Z": "\x1f\x9d\x90"} {
		_, _, err := unpack.Peek(strings.NewReader(data))
		if code(t, err) != rows.Unsupported || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// repeated gives a block n times.
type repeated struct {
	block []byte
	n     int
	at    int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.at == len(r.block) {
		r.n--
		r.at = 0
	}
	if r.n <= 0 {
		return 0, io.EOF
	}
	n := copy(p, r.block[r.at:])
	r.at += n
	return n, nil
}

// 10 MB of gzip that are 10 GB of zeros, and what zstd and bzip2 make of less, are
// refused before they have given twice the grace.
func TestBombs(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 32<<20)
	for name, src := range map[string]io.Reader{
		"gzip": &repeated{block: gzipped(t, zeros), n: 320},
		"zstd": &repeated{block: zstandard(t, zeros), n: 320},
	} {
		r, _, err := open(src, unpack.NewMeter(0))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if code(t, err) != rows.Bomb || n > 130<<20 {
			t.Errorf("%s: %d bytes, then %v", name, n, err)
		}
		_ = r.Close()
	}
	r, _, err := open(bytes.NewReader(gzipped(t, zeros)), unpack.NewMeter(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); code(t, err) != rows.Bomb || n > 2<<20 {
		t.Errorf("over max_size: %d bytes, then %v", n, err)
	}
}

// 1 GiB that compresses as well as only a dull export does is no bomb.
func TestALargeDullFilePasses(t *testing.T) {
	t.Parallel()
	var block bytes.Buffer
	for i := 0; block.Len() < 16<<20; i++ {
		fmt.Fprintf(&block, "%08d,DE,warehouse-berlin-01,in stock,1,0,0,0.00,EUR,0,0,0,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\n", i)
	}
	packed := gzipped(t, block.Bytes())
	if ratio := block.Len() / len(packed); ratio < 25 {
		t.Fatalf("it compresses only %d times", ratio)
	}
	r, _, err := open(&repeated{block: packed, n: 64}, unpack.NewMeter(0))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n < 1<<30 {
		t.Errorf("%d bytes, then %v", n, err)
	}
}

func TestZstdWindow(t *testing.T) {
	t.Parallel()
	w, err := zstd.NewWriter(nil, zstd.WithWindowSize(128<<20))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, _, err := open(bytes.NewReader(out.Bytes()), unpack.NewMeter(0))
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if code(t, err) != rows.TooLarge {
		t.Error(err)
	}
}

func deflate(t testing.TB, to io.Writer, text string) {
	t.Helper()
	d, err := flate.NewWriter(to, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, text); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

type entry struct {
	name   string
	data   string
	change func(h *zip.FileHeader)
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		var packed bytes.Buffer
		if e.data == "" {
			h.Method = zip.Store
		} else {
			deflate(t, &packed, e.data)
		}
		h.CRC32, h.CompressedSize64, h.UncompressedSize64 = crc32.ChecksumIEEE([]byte(e.data)), uint64(packed.Len()), uint64(len(e.data))
		if e.change != nil {
			e.change(h)
		}
		raw, err := w.CreateRaw(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Write(packed.Bytes()); packed.Len() > 0 && err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// members reads all members that fit the pattern as "name=content".
func members(data []byte, pattern string, meter *unpack.Meter) ([]string, error) {
	a, err := unpack.OpenZip(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	all, err := a.Members(pattern)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range all {
		r, err := m.Open(meter, true)
		if err != nil {
			return out, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return out, errors.Join(err, r.Close())
		}
		out = append(out, m.Name+"="+string(content))
	}
	return out, nil
}

func TestZip(t *testing.T) {
	t.Parallel()
	data := archive(t, entry{name: "b.csv", data: "2"}, entry{name: "x/"}, entry{name: "x/a.csv", data: "3"}, entry{name: "a.txt", data: "1"},
		entry{name: "__MACOSX/b.csv", data: "9"}, entry{name: "x/.DS_Store", data: "9"}, entry{name: "../../etc/passwd.csv", data: "4"})
	for pattern, want := range map[string]string{
		"":        "[a.txt=1 b.csv=2 x/a.csv=3]",
		"*.csv":   "[../../etc/passwd.csv=4 __MACOSX/b.csv=9 b.csv=2 x/a.csv=3]",
		"x/*.csv": "[x/a.csv=3]",
	} {
		got, err := members(data, pattern, unpack.NewMeter(0))
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v", pattern, got, err)
		}
	}
	a, err := unpack.OpenZip(bytes.NewReader(data), int64(len(data)))
	if err != nil || a.Workbook() {
		t.Errorf("%v", err)
	}
}

func TestZipsThatAreRefused(t *testing.T) {
	t.Parallel()
	plain := archive(t, entry{name: "a.csv", data: "a,b\n1,2\n"})
	damaged := bytes.Clone(plain)
	damaged[36] ^= 0xff
	many := make([]entry, 10_001)
	for i := range many {
		many[i] = entry{name: fmt.Sprintf("%d.csv", i)}
	}
	for name, c := range map[string]struct {
		data    []byte
		pattern string
		code    rows.Code
	}{
		"encrypted":       {archive(t, entry{name: "a.csv", data: "1", change: func(h *zip.FileHeader) { h.Flags |= 1 }}), "", rows.Encrypted},
		"unknown method":  {archive(t, entry{name: "a.csv", data: "1", change: func(h *zip.FileHeader) { h.Method = 99 }}), "", rows.Unsupported},
		"cut off":         {plain[:len(plain)-30], "", rows.Malformed},
		"damaged":         {damaged, "", rows.Malformed},
		"no such file":    {plain, "*.txt", rows.NotFound},
		"empty":           {archive(t), "", rows.NotFound},
		"twice":           {archive(t, entry{name: "a", data: "1"}, entry{name: "a", data: "2"}), "", rows.Malformed},
		"claims too much": {archive(t, entry{name: "a", data: "1", change: func(h *zip.FileHeader) { h.UncompressedSize64 = 1 << 50 }}), "", rows.Truncated},
		"lies outside":    {archive(t, entry{name: "a", data: "1", change: func(h *zip.FileHeader) { h.CompressedSize64 = 1 << 50 }}), "", rows.Malformed},
		"too many":        {archive(t, many...), "", rows.TooLarge},
		"bomb":            {archive(t, entry{name: "a", data: strings.Repeat("\x00", 100<<20)}), "", rows.Bomb},
		"overlap":         {overlapping(t, 50), "", rows.Bomb},
		"huge directory":  {append(directoryOnly(9<<20), end(140, 9<<20, 0)...), "", rows.TooLarge},
	} {
		_, err := members(c.data, c.pattern, unpack.NewMeter(0))
		if code(t, err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// overlapping makes an archive of n members that are all the same bytes.
func overlapping(t testing.TB, n int) []byte {
	t.Helper()
	one := archive(t, entry{name: "kernel", data: strings.Repeat("\x00", 1<<20)})
	a, err := zip.NewReader(bytes.NewReader(one), int64(len(one)))
	if err != nil {
		t.Fatal(err)
	}
	from, err := a.File[0].DataOffset()
	if err != nil {
		t.Fatal(err)
	}
	packed := int(a.File[0].CompressedSize64)
	local := one[:int(from)+packed]
	start := bytes.LastIndex(one, []byte("PK\x01\x02"))
	header := one[start:bytes.LastIndex(one, []byte("PK\x05\x06"))]
	out := bytes.Clone(local)
	at := len(out)
	for i := range n {
		h := bytes.Clone(header)
		copy(h[46:], fmt.Sprintf("%06d", i))
		out = append(out, h...)
	}
	return append(out, end(n, len(out)-at, at)...)
}

// end is the end of a directory of n entries and so many bytes that begins there.
func end(n, size, at int) []byte {
	e := make([]byte, 22)
	copy(e, "PK\x05\x06")
	binary.LittleEndian.PutUint16(e[8:], uint16(n))
	binary.LittleEndian.PutUint16(e[10:], uint16(n))
	binary.LittleEndian.PutUint32(e[12:], uint32(size))
	binary.LittleEndian.PutUint32(e[16:], uint32(at))
	return e
}

// directoryOnly makes a directory of members without content.
func directoryOnly(size int) []byte {
	h := make([]byte, 46+65000)
	copy(h, "PK\x01\x02")
	binary.LittleEndian.PutUint16(h[28:], 65000)
	return bytes.Repeat(h, size/len(h)+1)[:size]
}

func TestToFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := unpack.ToFile(strings.NewReader("content"), dir)
	if err != nil || f.Size != 7 {
		t.Fatal(f, err)
	}
	got := make([]byte, 7)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "content" {
		t.Fatal(string(got), err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cable cut")
	if _, err := unpack.ToFile(iotest.ErrReader(cut), dir); !errors.Is(err, cut) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(gzipped(f, []byte("a,b\n")))
	f.Add(zstandard(f, []byte("a,b\n")))
	f.Add(archive(f, entry{name: "a.csv", data: "a,b\n"}, entry{name: "b/c", data: "x"}))
	f.Add(overlapping(f, 3))
	if bz, err := hex.DecodeString(bzipped); err == nil {
		f.Add(bz)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, kind, err := open(bytes.NewReader(data), unpack.NewMeter(1<<20)); err == nil && kind != unpack.Zip {
			_, err = io.Copy(io.Discard, r)
			if err != nil {
				code(t, err)
			}
			_ = r.Close()
		}
		if _, err := members(data, "", unpack.NewMeter(1<<20)); err != nil {
			code(t, err)
		}
	})
}
