package formats_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/csvrows"
	"waybill.internal/services/ingest/internal/formats"
	"waybill.internal/services/ingest/internal/rows"
)

const maxRow = 1 << 20

func csv() *integration.Format {
	return &integration.Format{CSV: &integration.CSV{Delimiter: ",", Quote: `"`, Stray: "refuse", Trim: "none", Charset: "utf-8", Header: true}}
}

func input(data []byte, temp string) formats.Input {
	return formats.Input{Name: "x", Stream: bytes.NewReader(data), Random: bytes.NewReader(data), Size: int64(len(data)), Temp: temp}
}

func readAll(r rows.Reader) ([]string, error) {
	var out []string
	for {
		row, err := r.Next()
		if e, broken := errors.AsType[*rows.RowError](err); broken {
			out = append(out, fmt.Sprintf("%d@%d !%s: %s", e.Number, e.Line, e.Code, e.Message))
			continue
		}
		if err != nil {
			return out, err
		}
		out = append(out, fmt.Sprintf("%d@%d %s", row.Number, row.Line, row.Body))
	}
}

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

func zipped(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, data := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestKinds(t *testing.T) {
	t.Parallel()
	fixed := &integration.Fixed{Charset: "utf-8", Columns: []integration.FixedColumn{{Name: "a", Start: 1, Width: 1}}}
	for name, c := range map[string]struct {
		format *integration.Format
		data   string
		want   string
	}{
		"csv":    {csv(), "a\n1\n", `{"a":"1"}`},
		"fixed":  {&integration.Format{Fixed: fixed}, "1\n", `{"a":"1"}`},
		"json":   {&integration.Format{JSON: &integration.JSON{Items: "/x"}}, `{"x":[{"a":"1"}]}`, `{"a":"1"}`},
		"ndjson": {&integration.Format{NDJSON: &integration.NDJSON{}}, `{"a":"1"}`, `{"a":"1"}`},
		"xml":    {&integration.Format{XML: &integration.XML{MaxDepth: 64}}, `<x><y><a>1</a></y></x>`, `{"a":"1"}`},
	} {
		plain := []byte(c.data)
		for layers, data := range map[string][]byte{
			"none": plain, "gzip": gzipped(t, plain), "zip": zipped(t, map[string][]byte{"x": plain}), "gzip in zip": zipped(t, map[string][]byte{"x": gzipped(t, plain)}),
			"gzip in gzip": gzipped(t, gzipped(t, plain)), "zip in gzip": gzipped(t, zipped(t, map[string][]byte{"x": plain})),
		} {
			temp := t.TempDir()
			r, err := formats.Open(c.format, input(data, temp), maxRow, nil)
			if err != nil {
				t.Errorf("%s, %s: %v", name, layers, err)
				continue
			}
			got, err := readAll(r)
			if err != io.EOF || len(got) != 1 || !strings.HasSuffix(got[0], " "+c.want) {
				t.Errorf("%s, %s: %q, %v", name, layers, got, err)
			}
			if err := r.Close(); err != nil {
				t.Errorf("%s, %s: %v", name, layers, err)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("%s, %s: left %v, %v", name, layers, left, err)
			}
		}
		if err := formats.Check(c.format); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]*integration.Format{
		"none": {}, "two": {CSV: csv().CSV, NDJSON: &integration.NDJSON{}},
		"unknown charset": {Fixed: &integration.Fixed{Charset: "no-such"}},
	} {
		if err := formats.Check(f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	plain := []byte("a\n1\n")
	office := zipped(t, map[string][]byte{"[Content_Types].xml": plain, "xl/workbook.xml": plain})
	for name, c := range map[string]struct {
		format *integration.Format
		data   []byte
		code   rows.Code
	}{
		"three layers":          {csv(), gzipped(t, gzipped(t, gzipped(t, plain))), rows.TooDeep},
		"zip in zip in zip":     {csv(), zipped(t, map[string][]byte{"x": zipped(t, map[string][]byte{"x": zipped(t, map[string][]byte{"x": plain})})}), rows.TooDeep},
		"a workbook as CSV":     {csv(), office, rows.WrongFormat},
		"CSV as a workbook":     {&integration.Format{XLSX: &integration.Sheet{Header: 1}}, plain, rows.WrongFormat},
		"CSV as an old one":     {&integration.Format{XLS: &integration.Sheet{Header: 1}}, plain, rows.WrongFormat},
		"rar":                   {csv(), []byte("Rar!\x1a\x07\x00"), rows.Unsupported},
		"cut-off gzip":          {csv(), gzipped(t, plain)[:20], rows.Truncated},
		"zip without the files": {&integration.Format{CSV: csv().CSV, Member: "*.csv"}, zipped(t, map[string][]byte{"x": plain}), rows.NotFound},
		"header in an archive":  {csv(), zipped(t, map[string][]byte{"y.csv": []byte("a,a\n")}), rows.BadHeader},
	} {
		r, err := formats.Open(c.format, input(c.data, t.TempDir()), maxRow, nil)
		if err == nil {
			_, err = readAll(r)
			_ = r.Close()
		}
		if e, ok := errors.AsType[*rows.FileError](err); !ok || e.Code != c.code || e.Message == "" {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// 10 MB of gzip that are 10 GB: one line without end, and lines without content.
func TestBombsEndSoon(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		block []byte
		code  rows.Code
	}{
		"zeros": {bytes.Repeat([]byte{0}, 32<<20), rows.TooLarge},
		"lines": {bytes.Repeat([]byte("\n"), 32<<20), rows.Bomb},
		"rows":  {bytes.Repeat([]byte("a\n"), 16<<20), rows.Bomb},
	} {
		in := formats.Input{Stream: io.MultiReader(bytes.NewReader(gzipped(t, []byte("a\n"))), &repeated{block: gzipped(t, c.block), n: 320})}
		r, err := formats.Open(csv(), in, maxRow, nil)
		if err == nil {
			for err == nil {
				if _, err = r.Next(); err == nil {
					continue
				}
				if _, broken := errors.AsType[*rows.RowError](err); broken {
					err = nil
				}
			}
			_ = r.Close()
		}
		e, ok := errors.AsType[*rows.FileError](err)
		if !ok || e.Code != c.code && e.Code != rows.Bomb {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

type repeated struct {
	block []byte
	n, at int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.at == len(r.block) {
		r.n, r.at = r.n-1, 0
	}
	if r.n <= 0 {
		return 0, io.EOF
	}
	n := copy(p, r.block[r.at:])
	r.at += n
	return n, nil
}

func TestArchiveIsOneFile(t *testing.T) {
	t.Parallel()
	data := zipped(t, map[string][]byte{
		"b.csv": []byte("a,b\n1,2\n\n3\n"), "a.csv": []byte("x\n1\n2\n"), "c.csv": []byte("x\n"), "d.csv.gz": gzipped(t, []byte("y\n9\n")),
	})
	want := []string{`1@2 {"x":"1"}`, `2@3 {"x":"2"}`, `3@2 {"a":"1","b":"2"}`, `4@4 !ragged: in "b.csv" of the archive: the row has 1 columns, 2 are expected`, `5@2 {"y":"9"}`}
	r, err := formats.Open(csv(), input(data, t.TempDir()), maxRow, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k := 0; k <= len(want); k++ {
		stored, err := json.Marshal(r.Mark())
		if err != nil {
			t.Fatal(err)
		}
		var m rows.Mark
		if err := json.Unmarshal(stored, &m); err != nil {
			t.Fatal(err)
		}
		for _, from := range []rows.Mark{m, {Rows: k}} {
			again, err := formats.Open(csv(), input(data, t.TempDir()), maxRow, &from)
			if err != nil {
				t.Fatalf("%+v: %v", from, err)
			}
			got, err := readAll(again)
			if err != io.EOF || !reflect.DeepEqual(append([]string{}, got...), append([]string{}, want[k:]...)) {
				t.Errorf("%+v: got %q, %v; want %q", from, got, err, want[k:])
			}
			if again.Mark().Rows != len(want) {
				t.Errorf("%+v: at the end the mark is %+v", from, again.Mark())
			}
			if _, ok := formats.Inner(again).(*csvrows.Reader); !ok {
				t.Errorf("the inner reader is %T", formats.Inner(again))
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		}
		_, _ = r.Next()
	}
	for _, from := range []rows.Mark{{Rows: 1, Member: "z.csv"}, {Rows: 1, Before: 2, Member: "a.csv"}, {Rows: 99}} {
		r, err := formats.Open(csv(), input(data, t.TempDir()), maxRow, &from)
		if e, ok := errors.AsType[*rows.FileError](err); !ok || e.Code != rows.MarkMismatch || r != nil {
			t.Errorf("%+v: %v", from, err)
		}
	}
}

func TestSourceErrorsAreNotTheFiles(t *testing.T) {
	t.Parallel()
	cut := errors.New("cable cut")
	for name, data := range map[string][]byte{"plain": []byte("a\n1\n"), "gzip": gzipped(t, bytes.Repeat([]byte("a\n"), 1000))} {
		for at := range len(data) - 1 {
			in := formats.Input{Stream: io.MultiReader(bytes.NewReader(data[:at]), iotest.ErrReader(cut)), Random: bytes.NewReader(data)}
			r, err := formats.Open(csv(), in, maxRow, nil)
			if err == nil {
				_, err = readAll(r)
			}
			if !errors.Is(err, cut) {
				t.Errorf("%s cut at %d: %v", name, at, err)
			}
		}
	}
}
