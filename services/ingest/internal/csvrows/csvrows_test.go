package csvrows_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
	"waybill.internal/services/ingest/internal/csvrows"
)

func read(t testing.TB, data string, o csvrows.Options) result {
	t.Helper()
	r, err := csvrows.NewReader(strings.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// lines writes a result as one text: "number@line a|b" or "number@line !code".
func (r result) lines() []string {
	var out []string
	i, j := 0, 0
	for i < len(r.rows) || j < len(r.broken) {
		if j == len(r.broken) || i < len(r.rows) && r.rows[i].Number < r.broken[j].Number {
			out = append(out, fmt.Sprintf("%d@%d %s", r.rows[i].Number, r.rows[i].Line, strings.Join(r.rows[i].Values, "|")))
			i++
		} else {
			out = append(out, fmt.Sprintf("%d@%d !%s", r.broken[j].Number, r.broken[j].Line, r.broken[j].Code))
			j++
		}
	}
	return out
}

func TestRows(t *testing.T) {
	t.Parallel()
	comma := csvrows.Options{Delimiter: ',', Header: true}
	for _, c := range []struct {
		name, data string
		opts       csvrows.Options
		want       []string
	}{
		{"plain", "a,b\n1,2\n3,4\n", comma, []string{"1@2 1|2", "2@3 3|4"}},
		{"last line without end", "a,b\n1,2", comma, []string{"1@2 1|2"}},
		{"crlf", "a,b\r\n1,2\r\n", comma, []string{"1@2 1|2"}},
		{"last line ends in CR", "a,b\r\n1,2\r", comma, []string{"1@2 1|2"}},
		{"empty", "", comma, nil},
		{"only a BOM", "\xef\xbb\xbf", comma, nil},
		{"header only", "a,b\n", comma, nil},
		{"blank lines", "\n\na,b\n\n1,2\n , \n\r\n3,4\n\n", comma, []string{"1@5 1|2", "2@8 3|4"}},
		{"ragged", "a,b\n1\n1,2,3\n4,5\n", comma, []string{"1@2 !ragged", "2@3 !ragged", "3@4 4|5"}},
		{"quoted line ends", "a,b\n\"1\n\r\n1\",2\n3,4\n", comma, []string{"1@2 1\n\n1|2", "2@5 3|4"}},
		{"doubled quotes", "a,b\n\"x \"\"y\"\"\",\"\"\"\"\n", comma, []string{`1@2 x "y"|"`}},
		{"bare quote", "a,b\nx\"y,2\n3,4\n", comma, []string{"1@2 !bare_quote", "2@3 3|4"}},
		{"stray quote", "a,b\n\"x\"y,2\n3,4\n", comma, []string{"1@2 !stray_quote", "2@3 3|4"}},
		{"bare quote hides a delimiter", "a,b\n1,a\"b,\"c\n3,4\n", comma, []string{"1@2 !bare_quote", "2@3 3|4"}},
		{"unterminated", "a,b\n\"x,2\n3,4\n5,6\n", comma, []string{"1@2 !unterminated_quote", "2@3 3|4", "3@4 5|6"}},
		{"unterminated last line", "a,b\n1,2\n3,\"4", comma, []string{"1@2 1|2", "2@3 !unterminated_quote"}},
		{"stray quote lines later", "a,b\n\"x,2\n3,4\n5,\"6\"\n7,8\n", comma, []string{"1@2 !stray_quote", "2@3 3|4", "3@4 5|6", "4@5 7|8"}},
		{"too long", "a,b\n" + strings.Repeat("x", 70) + ",2\n3,4\n", csvrows.Options{Delimiter: ',', Header: true, MaxRowBytes: 64}, []string{"1@2 !row_too_long", "2@3 3|4"}},
		{"too long at the end", "a,b\n" + strings.Repeat("x", 7000000), csvrows.Options{Delimiter: ',', Header: true, MaxRowBytes: 64}, []string{"1@2 !row_too_long"}},
		{"just long enough", "a,b\n" + strings.Repeat("x", 62) + ",2\r\n3,4\n", csvrows.Options{Delimiter: ',', Header: true, MaxRowBytes: 64}, []string{"1@2 " + strings.Repeat("x", 62) + "|2", "2@3 3|4"}},
		{"NUL", "a,b\n1,\x002\n3,4\n", comma, []string{"1@2 !nul", "2@3 3|4"}},
		{"lone CR", "a,b\n1,2\r3,4\n5,6\n", comma, []string{"1@2 !bare_carriage_return", "2@3 5|6"}},
		{"too many columns", "1,2\n1,2,3,4\n", csvrows.Options{Delimiter: ',', MaxColumns: 3}, []string{"1@1 1|2", "2@2 !too_many_columns"}},
		{"no header", "1;2\n3;4\n", csvrows.Options{}, []string{"1@1 1|2", "2@2 3|4"}},
		{"no header, first broken", "1;\"2\"x\n3;4\n5\n", csvrows.Options{Delimiter: ';'}, []string{"1@1 !stray_quote", "2@2 3|4", "3@3 !ragged"}},
		{"names given", "x;y\n1;2\n", csvrows.Options{Header: true, Columns: []string{"p", "q"}}, []string{"1@2 1|2"}},
		{"comments", "# x\na,b\n#,\"\n1,2\n", csvrows.Options{Delimiter: ',', Header: true, Comment: '#'}, []string{"1@4 1|2"}},
		{"preamble", "Report \"x\ny\na,b\n1,2\n", csvrows.Options{Delimiter: ',', Header: true, Preamble: 2}, []string{"1@4 1|2"}},
		{"no quotes", "a\tb\n\"1\t2\"\"\n", csvrows.Options{Header: true, NoQuotes: true}, []string{`1@2 "1|2""`}},
		{"blanks and zeros stay", "a,b\n 007 ,\" x\"\n", comma, []string{"1@2  007 | x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := read(t, c.data, c.opts).lines(); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if len(c.data) < 1000 {
				checkResume(t, []byte(c.data), c.opts, 50)
			}
		})
	}
}

func TestCharsets(t *testing.T) {
	t.Parallel()
	ascii := strings.Repeat("k,v\n", 20000) // more than the first 64 KiB
	for _, c := range []struct {
		name, data, declared, charset string
		want                          string // last line of the result
	}{
		{"utf-8", "k,é\n", "", "utf-8", "1@1 k|é"},
		{"utf-8 beats declared", "k,é\n", "iso-8859-1", "utf-8", "1@1 k|é"},
		{"declared for ascii", "k,v\n", "iso-8859-7", "iso-8859-7", "1@1 k|v"},
		{"declared", "k,\xe1\n", "iso-8859-7", "iso-8859-7", "1@1 k|α"},
		{"undefined byte", "k,\xff\n", "iso-8859-7", "iso-8859-7", "1@1 !invalid_bytes"},
		{"cp1252", "k,\x80\xe9\n", "", "windows-1252", "1@1 k|€é"},
		{"declared utf-8 is believed", "k,\xe9\n", "utf-8", "utf-8", "1@1 !invalid_bytes"},
		{"BOM beats declared", "\xef\xbb\xbfk,é\n", "iso-8859-1", "utf-8", "1@1 k|é"},
		{"BOM, then other bytes", "\xef\xbb\xbfk,\xe9\n", "", "utf-8", "1@1 !invalid_bytes"},
		{"utf-16le", "\xff\xfek\x00,\x00\xe9\x00\n\x00", "", "utf-16le", "1@1 k|é"},
		{"utf-16be", "\xfe\xff\x00k\x00,\x00\xe9\x00\n", "", "utf-16be", "1@1 k|é"},
		{"utf-16 cut off", "\xff\xfek\x00,\x00\xe9", "", "utf-16le", "1@1 !invalid_bytes"},
		{"utf-16 declared, no BOM", "k\x00,\x00v\x00\n\x00", "utf-16le", "utf-16le", "1@1 k|v"},
		{"utf-16 not declared, no BOM", "k\x00,\x00v\x00\n\x00", "", "utf-8", "2@2 !nul"},
		{"utf-32le", "\xff\xfe\x00\x00k\x00\x00\x00,\x00\x00\x00v\x00\x00\x00", "", "utf-32le", "1@1 k|v"},
		{"shift_jis with a pipe inside", "\x83\x7c,v\n", "shift_jis", "shift_jis", "1@1 ポ|v"},
		{"bad byte after the prefix", ascii + "k,\xe9\n", "", "utf-8", "20001@20001 !invalid_bytes"},
		{"replacement character is text", "k,\uFFFD\n", "", "utf-8", "1@1 k|\uFFFD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := csvrows.Options{Delimiter: ',', Charset: c.declared}
			r, err := csvrows.NewReader(iotest.OneByteReader(strings.NewReader(c.data)), o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(r)
			if err != nil {
				t.Fatal(err)
			}
			all := got.lines()
			if len(all) == 0 || all[len(all)-1] != c.want || r.Charset() != c.charset {
				t.Fatalf("charset %s, got %q, want %q", r.Charset(), all[max(0, len(all)-2):], c.want)
			}
			if len(c.data) < 1000 {
				checkResume(t, []byte(c.data), o, 10)
			}
		})
	}
}

// A character cut in two by the end of the first 64 KiB is no reason to take
// UTF-8 for something else.
func TestCharacterAcrossThePrefix(t *testing.T) {
	t.Parallel()
	data := "é" + strings.Repeat("x", 65533) + "€\n" + strings.Repeat("y,z\n", 10)
	r, err := csvrows.NewReader(strings.NewReader(data), csvrows.Options{Delimiter: ','})
	if err != nil || r.Charset() != "utf-8" {
		t.Fatalf("%v %v", r, err)
	}
}

func TestFileErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, data string
		opts       csvrows.Options
		code       csvrows.Code
	}{
		{"duplicate name", "a,b, a\n", csvrows.Options{Header: true}, csvrows.BadHeader},
		{"blank name", "a,,b\n", csvrows.Options{Header: true}, csvrows.BadHeader},
		{"old Mac line ends", "a,b\r1,2\r3,4\r", csvrows.Options{Header: true}, csvrows.BadHeader},
		{"unterminated header", "\"a,b\n1,2\n", csvrows.Options{Header: true}, csvrows.BadHeader},
		{"binary header", "PK\x03\x04\x00\x00,\n", csvrows.Options{Header: true}, csvrows.BadHeader},
		{"too many columns", "a,b,c\n", csvrows.Options{Header: true, MaxColumns: 2}, csvrows.BadHeader},
		{"other number than configured", "a,b,c\n", csvrows.Options{Header: true, Columns: []string{"x", "y"}}, csvrows.BadHeader},
		{"unknown charset", "a\n", csvrows.Options{Charset: "ebcdic-7"}, csvrows.UnknownCharset},
		{"dangerous charset", "a\n", csvrows.Options{Charset: "hz-gb-2312"}, csvrows.UnknownCharset},
		{"mark behind the end", "a\n", csvrows.Options{From: &csvrows.Mark{Rows: 1, Line: 2, Offset: 99}}, csvrows.MarkMismatch},
		{"mark in the header", "a\n1\n", csvrows.Options{Header: true, From: &csvrows.Mark{Line: 1, Columns: 1}}, csvrows.MarkMismatch},
		{"mark of another header", "a\n1\n", csvrows.Options{Header: true, From: &csvrows.Mark{Line: 2, Offset: 2, Columns: 2}}, csvrows.MarkMismatch},
		{"skip behind the end", "a\n", csvrows.Options{SkipRows: 2}, csvrows.MarkMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := csvrows.NewReader(strings.NewReader(c.data), c.opts)
			var e *csvrows.FileError
			if !errors.As(err, &e) || e.Code != c.code || e.Message == "" {
				t.Fatalf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestOptionsRefuseNonsense(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]csvrows.Options{
		"quote as delimiter": {Delimiter: '"'}, "line end as delimiter": {Delimiter: '\n'}, "wide delimiter": {Delimiter: '→'},
		"comment is delimiter": {Delimiter: '#', Comment: '#'}, "tiny rows": {MaxRowBytes: 1}, "huge rows": {MaxRowBytes: 1 << 30},
		"huge columns": {MaxColumns: 1 << 20}, "negative skip": {SkipRows: -1}, "negative preamble": {Preamble: -1},
		"skip and mark": {SkipRows: 1, From: &csvrows.Mark{Line: 1}}, "zero mark": {From: &csvrows.Mark{}},
		"same names": {Columns: []string{"a", "a"}}, "blank name": {Columns: []string{""}},
	} {
		if _, err := csvrows.NewReader(strings.NewReader("a,b\n"), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// An I/O error is never taken for the end of the file, wherever it comes.
func TestIOErrorsAreNotTheEnd(t *testing.T) {
	t.Parallel()
	data := "a,b\n" + strings.Repeat("1,\"2\n2\"\n", 30000)
	for _, fail := range []error{io.ErrUnexpectedEOF, errors.New("cable cut"), io.ErrClosedPipe} {
		for _, at := range []int{0, 3, 100, 65536, 70001, len(data)} {
			src := io.MultiReader(strings.NewReader(data[:at]), iotest.ErrReader(fail))
			r, err := csvrows.NewReader(src, csvrows.Options{Header: true, Delimiter: ','})
			var got result
			if err == nil {
				got, err = readAll(r)
			}
			if !errors.Is(err, fail) || errors.Is(err, io.EOF) || len(got.broken) > 0 {
				t.Errorf("%v at byte %d: got %v, %d broken", fail, at, err, len(got.broken))
			}
			if r != nil {
				if _, again := r.Next(); !errors.Is(again, fail) {
					t.Errorf("%v at byte %d: a second Next gives %v", fail, at, again)
				}
			}
		}
	}
	stuck := io.MultiReader(strings.NewReader("a,b\n"), readerFunc(func([]byte) (int, error) { return 0, nil }))
	if _, err := csvrows.NewReader(stuck, csvrows.Options{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a stuck source gives %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestRow(t *testing.T) {
	t.Parallel()
	row := read(t, "z,a\n\"<é>\n\",\"\"\"\"\n", csvrows.Options{Header: true, Delimiter: ','}).rows[0]
	js, err := json.Marshal(row)
	if err != nil || !json.Valid(js) || !strings.HasPrefix(string(js), `{"z":`) {
		t.Fatalf("%s %v", js, err)
	}
	var back map[string]string
	if err := json.Unmarshal(js, &back); err != nil || !reflect.DeepEqual(back, row.Map()) {
		t.Fatalf("%v %v", back, err)
	}
	if v, ok := row.Get("a"); v != `"` || !ok {
		t.Fatal(v)
	}
	if _, ok := row.Get("b"); ok {
		t.Fatal("found what is not there")
	}
}

// naive reads a whole text by encoding/csv, the way of the package comment:
// try the longest row, and where it is broken take one line.
func naive(data string, delim rune) []string {
	var out []string
	number, line := 0, 1
	width := 0
	for data != "" {
		cells, used, ok := naiveRow(data, delim)
		at := line
		line += strings.Count(data[:used], "\n")
		data = data[used:]
		if ok && len(cells) == 0 {
			continue // an empty line
		}
		if ok {
			blank := true
			for _, c := range cells {
				blank = blank && strings.TrimSpace(c) == ""
			}
			if blank {
				continue
			}
		}
		number++
		if ok && width == 0 {
			width = len(cells)
		}
		if !ok || len(cells) != width {
			out = append(out, fmt.Sprintf("%d@%d !", number, at))
			continue
		}
		out = append(out, fmt.Sprintf("%d@%d %s", number, at, strings.Join(cells, "|")))
	}
	return out
}

func naiveRow(data string, delim rune) (cells []string, used int, ok bool) {
	first := strings.IndexByte(data, '\n') + 1
	if first == 0 {
		first = len(data)
	}
	if strings.Trim(data[:first], "\r\n") == "" && strings.Count(data[:first], "\r") < 2 {
		return nil, first, true
	}
	r := csv.NewReader(strings.NewReader(data))
	r.Comma, r.FieldsPerRecord = delim, -1
	cells, err := r.Read()
	if err != nil {
		return nil, first, false
	}
	return cells, int(r.InputOffset()), true
}

func TestAgainstNaiveReader(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := []string{"a", "bc", " ", ",", ",", ";", "\"", "\"", "\"\"", "\n", "\n", "\r\n", "é", "1"}
		data := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 60).Draw(t, "pieces"), "")
		r, err := csvrows.NewReader(iotest.HalfReader(strings.NewReader(data)), csvrows.Options{Delimiter: ','})
		if err != nil {
			t.Fatal(err)
		}
		res, err := readAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got := res.lines()
		for i, l := range got {
			if before, _, isBroken := strings.Cut(l, " !"); isBroken {
				got[i] = before + " !"
			}
		}
		want := naive(data, ',')
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("data %q\ngot  %q\nwant %q", data, got, want)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("a,b\n1,\"2\n\"\n"), byte(0), true, "")
	f.Add([]byte("\xff\xfea\x00,\x00"), byte(1), false, "utf-16le")
	f.Add([]byte("\"a;b\n1;2\n\r\r\n"), byte(2), false, "iso-8859-7")
	f.Add([]byte("\x00\xff\"\"\",\n"), byte(3), true, "shift_jis")
	f.Fuzz(func(t *testing.T, data []byte, kind byte, header bool, charset string) {
		o := csvrows.Options{Header: header, MaxRowBytes: 64, MaxColumns: 16, NoQuotes: kind&1 != 0, Charset: charset}
		if kind&2 != 0 {
			o.Delimiter = ';'
		}
		if kind&4 != 0 {
			o.Comment = '#'
		}
		checkResume(t, data, o, 20)
	})
}
