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

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/csvrows"
	"waybill.internal/services/ingest/internal/rows"
)

func TestRows(t *testing.T) {
	t.Parallel()
	type csvFormat = integration.CSV
	for _, c := range []struct {
		name, data string
		format     csvFormat
		max        int
		want       []string
	}{
		{"plain", "a,b\n1,2\n3,4\n", plain(), 0, []string{"1@2 1|2", "2@3 3|4"}},
		{"last line without end", "a,b\n1,2", plain(), 0, []string{"1@2 1|2"}},
		{"crlf", "a,b\r\n1,2\r\n", plain(), 0, []string{"1@2 1|2"}},
		{"last line ends in CR", "a,b\r\n1,2\r", plain(), 0, []string{"1@2 1|2"}},
		{"empty", "", plain(), 0, nil},
		{"only a BOM", "\xef\xbb\xbf", plain(), 0, nil},
		{"header only", "a,b\n", plain(), 0, nil},
		{"blank lines", "\n\na,b\n\n1,2\n , \n\r\n3,4\n\n", plain(), 0, []string{"1@5 1|2", "2@8 3|4"}},
		{"ragged", "a,b\n1\n1,2,3\n4,5\n", plain(), 0, []string{"1@2 !ragged", "2@3 !ragged", "3@4 4|5"}},
		{"quoted line ends stay", "a,b\n\"1\n\r\n1\",2\n3,4\n", plain(), 0, []string{"1@2 1\n\r\n1|2", "2@5 3|4"}},
		{"doubled quotes", "a,b\n\"x \"\"y\"\"\",\"\"\"\"\n", plain(), 0, []string{`1@2 x "y"|"`}},
		{"quoted at the end", "a,b\n\"x\",\"\"\n\"x\",", plain(), 0, []string{`1@2 x|`, "2@3 x|"}},
		{"bare quote", "a,b\nx\"y,2\n3,4\n", plain(), 0, []string{"1@2 !bare_quote", "2@3 3|4"}},
		{"stray quote", "a,b\n\"x\"y,2\n3,4\n", plain(), 0, []string{"1@2 !stray_quote", "2@3 3|4"}},
		{"bare quote hides a delimiter", "a,b\n1,a\"b,\"c\n3,4\n", plain(), 0, []string{"1@2 !bare_quote", "2@3 3|4"}},
		{"unterminated", "a,b\n\"x,2\n3,4\n5,6\n", plain(), 0, []string{"1@2 !unterminated_quote", "2@3 3|4", "3@4 5|6"}},
		{"unterminated last line", "a,b\n1,2\n3,\"4", plain(), 0, []string{"1@2 1|2", "2@3 !unterminated_quote"}},
		{"stray quote lines later", "a,b\n\"x,2\n3,4\n5,\"6\"\n7,8\n", plain(), 0, []string{"1@2 !stray_quote", "2@3 3|4", "3@4 5|6", "4@5 7|8"}},
		{"stray quotes kept", "a,b\nx\"y,\"2\"\" \"z\n\"3\" ,4\n", with(func(f *csvFormat) { f.Stray = "keep" }), 0, []string{`1@2 x"y|2" z`, "2@3 3 |4"}},
		{"kept, but unterminated", "a,b\n\"x\"y,2\n\"3,4\n5,6\n", with(func(f *csvFormat) { f.Stray = "keep" }), 0, []string{"1@2 xy|2", "2@3 !unterminated_quote", "3@4 5|6"}},
		{"too long", "a,b\n" + strings.Repeat("x", 70) + ",2\n3,4\n", plain(), 64, []string{"1@2 !row_too_long", "2@3 3|4"}},
		{"too long at the end", "a,b\n" + strings.Repeat("x", 7000000), plain(), 64, []string{"1@2 !row_too_long"}},
		{"too long as JSON", "a,b\n" + strings.Repeat("\x01", 20) + ",2\r\n3,4\n", plain(), 64, []string{"1@2 !row_too_long", "2@3 3|4"}},
		{"just long enough", "a,b\n" + strings.Repeat("x", 48) + ",2\r\n3,4\n", plain(), 64, []string{"1@2 " + strings.Repeat("x", 48) + "|2", "2@3 3|4"}},
		{"NUL", "a,b\n1,\x002\n3,4\n", plain(), 0, []string{"1@2 !nul", "2@3 3|4"}},
		{"lone CR", "a,b\n1,2\r3,4\n5,6\n", plain(), 0, []string{"1@2 !bare_carriage_return", "2@3 5|6"}},
		{"lone CR behind a quote", "a,b\n1,\"2\"\r3,4\n5,6\n", plain(), 0, []string{"1@2 !bare_carriage_return", "2@3 5|6"}},
		{"old Mac with LF in a cell", "a,b\r1,\"2\n\"\"3\"\r4,5\r", plain(), 0, []string{"1@2 1|2\n\"3", "2@3 4|5"}},
		{"a quoted CR is no row's end", "a,b\n\"1\r\",2\n", plain(), 0, []string{"1@2 1\r|2"}},
		{"old Mac", "a,b\r1,2\r\"3\r\",4\r\r5", plain(), 0, []string{"1@2 1|2", "2@3 3\r|4", "3@6 !ragged"}},
		{"too many columns", "a,b\n" + strings.Repeat(",", 16384) + "x\n1,2\n", plain(), 0, []string{"1@2 !too_many_columns", "2@3 1|2"}},
		{"no header", "1,2\n3,4\n", with(headless), 0, []string{"1@1 1|2", "2@2 3|4"}},
		{"no header, first broken", "1,\"2\"x\n3,4\n5\n", with(headless), 0, []string{"1@1 !stray_quote", "2@2 3|4", "3@3 !ragged"}},
		{"names given", "x,y\n1,2\n", with(func(f *csvFormat) { f.Columns = []string{"p", "q"} }), 0, []string{"1@2 1|2"}},
		{"comments", "# x\na,b\n#,\"\n1,2\n", with(func(f *csvFormat) { f.Comment = "#" }), 0, []string{"1@4 1|2"}},
		{"preamble", "Report \"x\ny\na,b\n1,2\n", with(func(f *csvFormat) { f.Preamble = 2 }), 0, []string{"1@4 1|2"}},
		{"comments are no preamble", "# x\nReport \"x\n# x\na,b\n1,2\n", with(func(f *csvFormat) { f.Preamble, f.Comment = 1, "#" }), 0, []string{"1@5 1|2"}},
		{"no quotes", "a,b\n\"1,2\"\"\n", with(func(f *csvFormat) { f.Quote = "none" }), 0, []string{`1@2 "1|2""`}},
		{"other quotes", "a,b\n'1,1','it''s \"'\n", with(func(f *csvFormat) { f.Quote = "'" }), 0, []string{`1@2 1,1|it's "`}},
		{"blanks and zeros stay", "a,b\n 007 ,\" x\"\n", plain(), 0, []string{"1@2  007 | x"}},
		{"wide delimiter", "a+|b\n1+|\"2+|\"\n+1+|+|\n+|", with(func(f *csvFormat) { f.Delimiter = "+|" }), 0, []string{"1@2 1|2+|", "2@3 !ragged"}},
		{"own row end", "a+|b&|\r\n1\n1+|2&|3+|4\n&|\n", with(func(f *csvFormat) { f.Delimiter, f.RowEnd, f.Quote = "+|", "&|", "none" }), 0, []string{"1@2 1\n1|2", "2@3 3|4\n"}},
		{"own row end in quotes", "a;b&\n\"1&\";2&\"3;4&5;6&", with(func(f *csvFormat) { f.Delimiter, f.RowEnd = ";", "&" }), 0, []string{"1@2 1&|2", "2@2 !unterminated_quote", "3@2 5|6"}},
		{"own row end, too long", "a;b&" + strings.Repeat("x\n", 99) + "&1;2", with(func(f *csvFormat) { f.Delimiter, f.RowEnd = ";", "&" }), 64, []string{"1@1 !row_too_long", "2@100 1|2"}},
		{"escape", `a,b` + "\n" + `"1\"\\\,",\"2\,` + "\n3,4\\", with(func(f *csvFormat) { f.Escape = `\` }), 0, []string{`1@2 1"\,|"2,`, "2@3 3|4"}},
		{"escaped line end", "a,b\n\"1\\\n\",2\\\n2\n3,4", with(func(f *csvFormat) { f.Escape = `\` }), 0, []string{"1@2 1\n|2\n2", "2@5 3|4"}},
		{"escape, doubled quotes", `a,b` + "\n" + `"1""x",2` + "\n", with(func(f *csvFormat) { f.Escape = `\` }), 0, []string{"1@2 !stray_quote"}},
		{"escape, doubled quotes kept", `a,b` + "\n" + `"1""x",2` + "\n", with(func(f *csvFormat) { f.Escape, f.Stray = `\`, "keep" }), 0, []string{`1@2 1"x"|2`}},
		{"trim start", "a, b\n 1, \"2, \"\n3 ,  4 \n", with(func(f *csvFormat) { f.Trim = "start" }), 0, []string{"1@2 1|2, ", "2@3 3 |4 "}},
		{"trim both", "a, b\n 1 , \" 2\" \n\t3 ,\n", with(func(f *csvFormat) { f.Trim = "both" }), 0, []string{"1@2 1| 2", "2@3 3|"}},
		{"trim both, stray", "a,b\n\"1\" \"2\",3\n\"1\"  x,3\n", with(func(f *csvFormat) { f.Trim = "both" }), 0, []string{"1@2 !stray_quote", "2@3 !stray_quote"}},
		{"trim leaves the delimiter", "a\tb\n1\t\t\n 1\t 2\n", with(func(f *csvFormat) { f.Trim, f.Delimiter = "both", "\t" }), 0, []string{"1@2 !ragged", "2@3 1|2"}},
		{"marks beyond ASCII", "a§b\n«1§««»§2§\n", with(func(f *csvFormat) { f.Delimiter, f.Quote = "§", "»" }), 0, []string{"1@2 !bare_quote"}},
		{"auto", "a;b\n1,1;2\n", with(func(f *csvFormat) { f.Delimiter = "auto" }), 0, []string{"1@2 1,1|2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.max == 0 {
				c.max = maxRow
			}
			if got := read(t, c.data, c.format, c.max); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if len(c.data) < 1000 {
				checkResume(t, []byte(c.data), c.format, c.max)
			}
		})
	}
}

func TestCharsets(t *testing.T) {
	t.Parallel()
	ascii := strings.Repeat("k,v\n", 20000) // more than the first 64 KiB
	for _, c := range []struct {
		name, data, set, charset string
		want                     string // last line of the result
	}{
		{"utf-8", "k,é\n", "auto", "utf-8", "1@1 k|é"},
		{"set beats utf-8", "k,é\n", "iso-8859-1", "windows-1252", "1@1 k|Ã©"},
		{"set for ascii", "k,v\n", "iso-8859-7", "iso-8859-7", "1@1 k|v"},
		{"set", "k,\xe1\n", "iso-8859-7", "iso-8859-7", "1@1 k|α"},
		{"old code page", "k,\x82\n", "ibm850", "ibm850", "1@1 k|é"},
		{"Latin 1 that is UTF-8", "k,Á\n", "latin1", "windows-1252", "1@1 k|Ã\u0081"},
		{"no windows-1252", "k,Á\n", "windows-1252", "windows-1252", "1@1 !invalid_bytes"},
		{"no text by guess", "k,\xc1\x81\n", "auto", "windows-1252", "1@1 !invalid_bytes"},
		{"EBCDIC", "\x92k\xa5\x25\x91k\x92\x81\x25", "ibm037", "ibm037", "2@2 j|ka"},
		{"controls", "k,\x85\xe1\n", "iso-8859-7", "iso-8859-7", "1@1 k|\u0085α"},
		{"undefined byte", "k,\xff\n", "iso-8859-7", "iso-8859-7", "1@1 !invalid_bytes"},
		{"cp1252", "k,\x80\xe9\n", "auto", "windows-1252", "1@1 k|€é"},
		{"utf-8 is believed", "k,\xe9\n", "utf-8", "utf-8", "1@1 !invalid_bytes"},
		{"BOM beats set", "\xef\xbb\xbfk,é\n", "iso-8859-1", "utf-8", "1@1 k|é"},
		{"BOM, then other bytes", "\xef\xbb\xbfk,\xe9\n", "auto", "utf-8", "1@1 !invalid_bytes"},
		{"utf-16le", "\xff\xfek\x00,\x00\xe9\x00\n\x00", "auto", "utf-16le", "1@1 k|é"},
		{"utf-16be", "\xfe\xff\x00k\x00,\x00\xe9\x00\n", "utf-8", "utf-16be", "1@1 k|é"},
		{"utf-16 cut off", "\xff\xfek\x00,\x00\xe9", "auto", "utf-16le", "1@1 !invalid_bytes"},
		{"utf-16 set, no BOM", "k\x00,\x00v\x00\n\x00", "utf-16le", "utf-16le", "1@1 k|v"},
		{"utf-16 not set, no BOM", "k\x00,\x00v\x00\n\x00", "auto", "utf-8", "2@2 !nul"},
		{"utf-32le", "\xff\xfe\x00\x00k\x00\x00\x00,\x00\x00\x00v\x00\x00\x00", "auto", "utf-32le", "1@1 k|v"},
		{"shift_jis with a pipe inside", "\x83\x7c,v\n", "shift_jis", "shift_jis", "1@1 ポ|v"},
		{"bad byte after the prefix", ascii + "k,\xe9\n", "auto", "utf-8", "20001@20001 !invalid_bytes"},
		{"replacement character is text", "k,\uFFFD\n", "auto", "utf-8", "1@1 k|\uFFFD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := with(headless)
			f.Charset = c.set
			r, err := csvrows.New(iotest.OneByteReader(strings.NewReader(c.data)), &f, maxRow, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 || got[len(got)-1] != c.want || r.Charset() != c.charset {
				t.Fatalf("charset %s, got %q, want %q", r.Charset(), got[max(0, len(got)-2):], c.want)
			}
			if len(c.data) < 1000 {
				checkResume(t, []byte(c.data), f, maxRow)
			}
		})
	}
}

// A delimiter that is not ASCII is one in the file's charset, too.
func TestDelimiterInTheFilesCharset(t *testing.T) {
	t.Parallel()
	f := with(func(f *integration.CSV) { f.Delimiter, f.Charset = "§", "windows-1252" })
	if got := read(t, "a\xa7b\n\xe9\xa72\n", f, maxRow); !reflect.DeepEqual(got, []string{"1@2 é|2"}) {
		t.Fatal(got)
	}
	checkResume(t, []byte("a\xa7b\n\xe9\xa72\n3\xa74"), f, maxRow)
}

// A character cut in two by the end of the first 64 KiB is no reason to take
// UTF-8 for something else.
func TestCharacterAcrossThePrefix(t *testing.T) {
	t.Parallel()
	data := "é" + strings.Repeat("x", 65533) + "€\n" + strings.Repeat("y,z\n", 10)
	f := with(headless)
	f.Charset = "auto"
	r, err := csvrows.New(strings.NewReader(data), &f, maxRow, nil)
	if err != nil || r.Charset() != "utf-8" {
		t.Fatalf("%v %v", r, err)
	}
}

func TestFileErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, data string
		format     integration.CSV
		from       *rows.Mark
		code       rows.Code
	}{
		{"duplicate name", "a,b, a\n", plain(), nil, rows.BadHeader},
		{"blank name", "a,,b\n", plain(), nil, rows.BadHeader},
		{"unterminated header", "\"a,b\n1,2\n", plain(), nil, rows.BadHeader},
		{"binary header", "PK\x03\x04\x00\x00,\n", plain(), nil, rows.BadHeader},
		{"other number than configured", "a,b,c\n", with(func(f *integration.CSV) { f.Columns = []string{"x", "y"} }), nil, rows.BadHeader},
		{"unknown charset", "a\n", with(func(f *integration.CSV) { f.Charset = "ebcdic-7" }), nil, rows.UnknownCharset},
		{"dangerous charset", "a\n", with(func(f *integration.CSV) { f.Charset = "hz-gb-2312" }), nil, rows.UnknownCharset},
		{"mark behind the end", "a\n", with(headless), &rows.Mark{Rows: 1, Line: 2, Offset: 99}, rows.MarkMismatch},
		{"mark in the header", "a\n1\n", plain(), &rows.Mark{Line: 1, Offset: 1, Columns: 1}, rows.MarkMismatch},
		{"mark of another header", "a\n1\n", plain(), &rows.Mark{Line: 2, Offset: 2, Columns: 2}, rows.MarkMismatch},
		{"mark of none", "a\n1\n", plain(), &rows.Mark{Rows: -1}, rows.MarkMismatch},
		{"skip behind the end", "a\n", with(headless), &rows.Mark{Rows: 2, Offset: -1}, rows.MarkMismatch},
		{"endless line", "a\n" + strings.Repeat("x", 65<<20), plain(), nil, rows.TooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := csvrows.New(strings.NewReader(c.data), &c.format, maxRow, c.from)
			if err == nil {
				_, err = readAll(r)
			}
			e, ok := errors.AsType[*rows.FileError](err)
			if !ok || e.Code != c.code || e.Message == "" {
				t.Fatalf("got %v, want %s", err, c.code)
			}
		})
	}
}

// An I/O error is never taken for the end of the file, wherever it comes.
func TestIOErrorsAreNotTheEnd(t *testing.T) {
	t.Parallel()
	data := "a,b\n" + strings.Repeat("1,\"2\n2\"\n", 30000)
	f := plain()
	for _, fail := range []error{io.ErrUnexpectedEOF, errors.New("cable cut"), io.ErrClosedPipe} {
		for _, at := range []int{0, 3, 100, 65536, 70001, len(data)} {
			src := io.MultiReader(strings.NewReader(data[:at]), iotest.ErrReader(fail))
			r, err := csvrows.New(src, &f, maxRow, nil)
			var got []string
			if err == nil {
				got, err = readAll(r)
			}
			if !errors.Is(err, fail) || errors.Is(err, io.EOF) || strings.Contains(strings.Join(got, "\n"), "!") {
				t.Errorf("%v at byte %d: got %v", fail, at, err)
			}
			if r != nil {
				if _, again := r.Next(); !errors.Is(again, fail) {
					t.Errorf("%v at byte %d: a second Next gives %v", fail, at, again)
				}
			}
		}
	}
	stuck := io.MultiReader(strings.NewReader("a,b\n"), readerFunc(func([]byte) (int, error) { return 0, nil }))
	if _, err := csvrows.New(stuck, &f, maxRow, nil); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a stuck source gives %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The body is what encoding/json would write, and the value what it would read.
func TestBodyAndValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\b\f\t\"\\/<&\u2028\u2029\x7f\x01é")))).Filter(func(s string) bool {
			return !strings.ContainsAny(s, "\x00\r\n\uFFFD") && strings.TrimSpace(s) != ""
		})
		name, cell := text.Draw(t, "name"), text.Draw(t, "cell")
		f := plain()
		f.Header, f.Columns = false, []string{name, "z"}
		quoted := `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
		r, err := csvrows.New(strings.NewReader(quoted+",2\n"), &f, maxRow, nil)
		if err != nil {
			t.Fatal(err)
		}
		row, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		value, err := integration.DecodeJSON(row.Body)
		if err != nil || !reflect.DeepEqual(value, row.Value) || !reflect.DeepEqual(row.Value, map[string]any{name: cell, "z": "2"}) {
			t.Fatalf("%s is read as %v, %v, and given as %v", row.Body, value, err, row.Value)
		}
		var want strings.Builder
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(cell); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(row.Body), strings.TrimSpace(want.String())+`,"z":"2"}`) {
			t.Fatalf("%s, want %s in it", row.Body, want.String())
		}
	})
}

// Lines that leave a quoted cell open whether they begin in one or not are not looked
// at again for each of them: that would take hours.
func TestForgottenQuotesAreLinear(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		format integration.CSV
		line   string
	}{
		"kept":             {with(func(f *integration.CSV) { f.Stray = "keep" }), "x\",\",\n"},
		"delimiter":        {with(func(f *integration.CSV) { f.Delimiter = ",\"" }), "a,\"\"b\n"},
		"escape":           {with(func(f *integration.CSV) { f.Escape = "\\" }), "\"\\\"\n"},
		"refused":          {plain(), "\"x\n"},
		"never closed":     {plain(), "\"\"\"\n"},
		"empty and opened": {plain(), "\"\",\"\n"},
	} {
		const n = 300_000
		c.format.Header = false
		got := read(t, strings.Repeat(c.line, n), c.format, maxRow)
		if len(got) < n/3 {
			t.Errorf("%s: %d rows", name, len(got))
		}
	}
}

// naive reads a whole text by encoding/csv, the way of the package comment:
// try the longest row, and where it is broken take one line.
func naive(data string) []string {
	var out []string
	number, at, width := 0, 1, 0
	for data != "" {
		cells, used, ok := naiveRow(data)
		from := at
		at += strings.Count(data[:used], "\n")
		data = data[used:]
		if ok && strings.TrimSpace(strings.Join(cells, "")) == "" {
			continue
		}
		number++
		if ok && width == 0 {
			width = len(cells)
		}
		if !ok || len(cells) != width {
			out = append(out, fmt.Sprintf("%d@%d !", number, from))
			continue
		}
		out = append(out, fmt.Sprintf("%d@%d %s", number, from, strings.Join(cells, "|")))
	}
	return out
}

func naiveRow(data string) (cells []string, used int, ok bool) {
	first := strings.IndexByte(data, '\n') + 1
	if first == 0 {
		first = len(data)
	}
	if strings.Trim(data[:first], "\r\n") == "" && strings.Count(data[:first], "\r") < 2 {
		return nil, first, true
	}
	r := csv.NewReader(strings.NewReader(data))
	r.FieldsPerRecord = -1
	cells, err := r.Read()
	if err != nil {
		return nil, first, false
	}
	return cells, int(r.InputOffset()), true
}

// pieces are what texts of the properties are made of.
func pieces() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		all := []string{"a", "bc", " ", ",", ",", ";", "\"", "\"", "\"\"", "\n", "\n", "\r\n", "é", "1", "\\", "#"}
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(all), 0, 60).Draw(t, "pieces"), "")
	})
}

func TestAgainstNaiveReader(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		data := pieces().Draw(t, "data")
		f := with(headless)
		r, err := csvrows.New(iotest.HalfReader(strings.NewReader(data)), &f, maxRow, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range got {
			l = strings.ReplaceAll(l, "\r\n", "\n") // encoding/csv changes them
			if before, _, isBroken := strings.Cut(l, " !"); isBroken {
				l = before + " !"
			}
			got[i] = l
		}
		if want := naive(data); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("data %q\ngot  %q\nwant %q", data, got, want)
		}
	})
}
