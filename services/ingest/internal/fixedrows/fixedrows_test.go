package fixedrows_test

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/fixedrows"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/rowstest"
)

func format(change func(f *integration.Fixed)) integration.Fixed {
	f := integration.Fixed{Charset: "utf-8", Columns: []integration.FixedColumn{{Name: "no", Start: 1, Width: 3}, {Name: "name", Start: 5, Width: 4}, {Name: "n", Start: 9, Width: 2}}}
	if change != nil {
		change(&f)
	}
	return f
}

func opener(f integration.Fixed) rowstest.Opener {
	return func(src io.Reader, maxRow int, from *rows.Mark) (rows.Reader, error) {
		return fixedrows.New(src, &f, maxRow, from)
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, data string
		format     integration.Fixed
		want       []string
	}{
		{"plain", "001 Anna12\r\n002-Bo   7 more\n", format(nil), []string{`1@1 {"no":"001","name":"Anna","n":"12"}`, `2@2 {"no":"002","name":"Bo","n":"7"}`}},
		{"characters, not bytes", "äöü ßßßß12", format(nil), []string{`1@1 {"no":"äöü","name":"ßßßß","n":"12"}`}},
		{"charset", "\xe4\xf6\xfc Anna12", format(func(f *integration.Fixed) { f.Charset = "windows-1252" }), []string{`1@1 {"no":"äöü","name":"Anna","n":"12"}`}},
		{"utf-16", "\xff\xfe0\x000\x001\x00 \x00A\x00n\x00n\x00a\x001\x002\x00\n\x00", format(nil), []string{`1@1 {"no":"001","name":"Anna","n":"12"}`}},
		{"short", "001 Anna1\n\n   \n001 Anna12\n001", format(nil), []string{"1@1 !ragged", `2@4 {"no":"001","name":"Anna","n":"12"}`, "3@5 !ragged"}},
		{"padded", "001 Anna1\n0\nä\n", format(func(f *integration.Fixed) { f.Pad = true }), []string{`1@1 {"no":"001","name":"Anna","n":"1"}`, `2@2 {"no":"0","name":"","n":""}`, `3@3 {"no":"ä","name":"","n":""}`}},
		{"preamble and comments", "* x\nHEAD\n* x\n001 Anna12\n* x", format(func(f *integration.Fixed) { f.Preamble, f.Comment = 1, "*" }), []string{`1@4 {"no":"001","name":"Anna","n":"12"}`}},
		{"only a preamble", "HEAD\n", format(func(f *integration.Fixed) { f.Preamble = 3 }), nil},
		{"columns in any order, overlapping", "äbcdefghij", format(func(f *integration.Fixed) {
			f.Columns = []integration.FixedColumn{{Name: "z", Start: 9, Width: 2}, {Name: "a", Start: 1, Width: 2}, {Name: "b", Start: 2, Width: 2}}
		}), []string{`1@1 {"z":"ij","a":"äb","b":"bc"}`}},
		{"broken", "001 An\x00a12\n001 An\xffa12\n" + strings.Repeat("x", 100) + "\n001 Anna12", format(nil), []string{"1@1 !nul", "2@2 !invalid_bytes", "3@3 !row_too_long", `4@4 {"no":"001","name":"Anna","n":"12"}`}},
		{"old Mac", "001 Anna12\r002 Anna12\r", format(nil), []string{`1@1 {"no":"001","name":"Anna","n":"12"}`, `2@2 {"no":"002","name":"Anna","n":"12"}`}},
		{"empty", "", format(nil), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := fixedrows.New(iotest.OneByteReader(strings.NewReader(c.data)), &c.format, 64, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := rowstest.All(r); err != io.EOF || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q, %v\nwant %q", got, err, c.want)
			}
			rowstest.Resume(t, []byte(c.data), 64, opener(c.format))
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	f := format(nil)
	cut := errors.New("cable cut")
	for _, data := range []string{"", "001", "001 Anna12\n"} {
		r, err := fixedrows.New(io.MultiReader(strings.NewReader(data), iotest.ErrReader(cut)), &f, 64, nil)
		if err == nil {
			_, err = rowstest.All(r)
		}
		if !errors.Is(err, cut) {
			t.Errorf("%q: %v", data, err)
		}
	}
	for name, from := range map[string]rows.Mark{"behind the end": {Rows: 1, Line: 2, Offset: 99}, "too many rows": {Rows: 9, Offset: -1}, "none": {Rows: -1}} {
		_, err := fixedrows.New(strings.NewReader("001 Anna12\n"), &f, 64, &from)
		if e, ok := errors.AsType[*rows.FileError](err); !ok || e.Code != rows.MarkMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := fixedrows.New(strings.NewReader(""), &integration.Fixed{Charset: "no-such"}, 64, nil)
	if e, ok := errors.AsType[*rows.FileError](err); !ok || e.Code != rows.UnknownCharset {
		t.Error(err)
	}
}

func TestResumeAtEveryMark(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"001 Anna12\n", "001 Anna12\r\n", "\n", "#\n", "ä", "x", "\r", "0123456789", "\xff", "\x00"})
	rapid.Check(t, func(t *rapid.T) {
		data := []byte(strings.Join(rapid.SliceOfN(piece, 0, 20).Draw(t, "data"), ""))
		f := format(func(f *integration.Fixed) {
			f.Pad, f.Preamble = rapid.Bool().Draw(t, "pad"), rapid.IntRange(0, 2).Draw(t, "preamble")
			f.Comment = rapid.SampledFrom([]string{"", "#", "ä"}).Draw(t, "comment")
			f.Charset = rapid.SampledFrom([]string{"auto", "utf-8", "windows-1252", "utf-16le", "shift_jis"}).Draw(t, "charset")
		})
		rowstest.Resume(t, data, 64, opener(f))
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("001 Anna12\n00\n"), 1, 3, false, "auto")
	f.Add([]byte("\xff\xfe0\x00"), 5, 1, true, "utf-16le")
	f.Fuzz(func(t *testing.T, data []byte, start, width int, pad bool, charset string) {
		if start < 1 || width < 1 || start > 1_000_000 || width > 1_000_000 {
			return
		}
		o := format(func(f *integration.Fixed) {
			f.Pad, f.Charset = pad, charset
			f.Columns = append(f.Columns, integration.FixedColumn{Name: "x", Start: start, Width: width})
		})
		rowstest.Resume(t, data[:min(len(data), 4096)], 64, opener(o))
	})
}
