package xlsrows_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/xlsrows"
)

// story reads a sheet and writes each row, and how it ends, as one line.
func story(b []byte, f integration.Sheet) string {
	got, err := readAll(b, f)
	var out []string
	i, k := 0, 0
	for i < len(got.rows) || k < len(got.broken) {
		if k == len(got.broken) || i < len(got.rows) && got.rows[i].Number < got.broken[k].Number {
			out = append(out, fmt.Sprintf("%d@%d %s", got.rows[i].Number, got.rows[i].Line, got.rows[i].Body))
			i++
			continue
		}
		e := got.broken[k]
		out = append(out, fmt.Sprintf("%d@%d %s: %s", e.Number, e.Line, e.Code, e.Message))
		k++
	}
	if err != nil {
		out = append(out, err.Error())
	}
	return strings.Join(out, "\n")
}

func check(t *testing.T, got, want string) {
	t.Helper()
	want = strings.TrimSpace(want)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	cells := (&biff{}).
		text8(0, 0, "n").text8(0, 1, "b").text8(0, 2, " text ").text8(0, 3, "f").text8(0, 4, "e").
		number(1, 0, 0, 1e6).put(0x0205, 1, 1, 0, byte(1), byte(0)).text8(1, 2, ` "Größe\`+"\n日本𝄞 ").number(1, 3, 0, 0.1).
		put(0x027E, 2, 0, 0, uint32(123<<2|3)).put(0x0205, 2, 1, 0, byte(0), byte(0)). // RK: 1.23
		put(0x0006, 2, 2, 0, []byte{0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, 0, uint32(0), 0).put(0x04BC, "shared formula").put(0x0207, 4, byte(0), "text").
		put(0x0006, 2, 3, 0, []byte{1, 0, 1, 0, 0, 0, 0xFF, 0xFF}, 0, uint32(0), 0).
		put(0x0006, 3, 0, 0, 41.5, 0, uint32(0), 0).put(0x0006, 3, 2, 0, []byte{3, 0, 0, 0, 0, 0, 0xFF, 0xFF}, 0, uint32(0), 0).
		put(0x0006, 4, 0, 0, []byte{2, 0, 0x2A, 0, 0, 0, 0xFF, 0xFF}, 0, uint32(0), 0).
		put(0x0205, 5, 1, 0, byte(0x17), byte(1)).
		put(0x00BD, 7, 0, 0, uint32(7<<2|2), 0, uint32(0xFFFFFFFC|2), 1). // MULRK: 7 and -1
		put(0x00BE, 8, 0, 0, 0, 0, 2).                                    // blanks only: no row
		text8(9, 5, "behind").
		number(10, 0, 0, math.NaN()).number(11, 0, 0, math.MaxFloat64).number(12, 0, 0, -5e-324).
		text8(13, 0, "").text8(14, 2, "a\x00b")
	got := story(file8(nil, sheetOf("S", cells)), integration.Sheet{Header: 1})
	got = strings.ReplaceAll(got, strings.Repeat("0", 260), "…")
	check(t, got, `
1@2 {"n":1000000,"b":true,"text":" \"Größe\\\n日本𝄞 ","f":0.1,"e":null}
2@3 {"n":1.23,"b":false,"text":"text","f":true,"e":null}
3@4 {"n":41.5,"b":null,"text":"","f":null,"e":null}
4@5 cell_error: cell A5 holds the error #N/A instead of a value
5@6 cell_error: cell B6 holds the error #REF! instead of a value
6@8 {"n":7,"b":-1,"text":null,"f":null,"e":null}
7@10 ragged: a value stands in column F, behind the last of 5 columns
8@11 cell_error: cell A11 holds the error #NUM! instead of a value
9@12 {"n":17976931348623157…00000000000000000000000000000000,"b":null,"text":null,"f":null,"e":null}
10@13 {"n":-0.…0000000000000000000000000000000000000000000000000000000000000005,"b":null,"text":null,"f":null,"e":null}
11@15 nul: cell C15 contains a NUL character`)
}

func TestDates(t *testing.T) {
	t.Parallel()
	all := []any{14, 20, 22, 46, 1, "yyyy-mm-dd hh:mm:ss.000", `[$-407]d. mmmm yyyy;@`, `"day" 0`, `[h]:mm:ss`, `0.00E+00`, "General", `mm:ss`, `d/m`, `[Red]0;[Blue]-0`, `h:mm AM/PM`, `\d0`, "mmm", "[<1]0.0;0"}
	shown := &biff{}
	for k := range all {
		shown.number(0, k, k, 45000)
	}
	check(t, strings.ReplaceAll(story(file8(formats(all...), sheetOf("S", shown)), integration.Sheet{}), `"`, ""), `
1@1 {c1:2023-03-15,c2:2023-03-15T00:00:00,c3:2023-03-15T00:00:00,c4:45000,c5:45000,c6:2023-03-15T00:00:00,c7:2023-03-15,c8:45000,c9:45000,c10:45000,c11:45000,c12:2023-03-15T00:00:00,c13:2023-03-15,c14:45000,c15:2023-03-15T00:00:00,c16:45000,c17:2023-03-15,c18:45000}`)

	values := &biff{}
	for i, v := range []float64{45000.5, 0.25, 0, 1, 59, 60, 61, 2958465, 2958466, -1, 45000.123456789} {
		for k := range 3 {
			values.number(i, k, k, v)
		}
	}
	check(t, strings.ReplaceAll(story(file8(formats(all...), sheetOf("S", values)), integration.Sheet{}), `"`, ""), `
1@1 {c1:2023-03-15T12:00:00,c2:2023-03-15T12:00:00,c3:2023-03-15T12:00:00}
2@2 {c1:0.25,c2:06:00:00,c3:0.25}
3@3 {c1:0,c2:00:00:00,c3:0}
4@4 {c1:1900-01-01,c2:1900-01-01T00:00:00,c3:1900-01-01T00:00:00}
5@5 {c1:1900-02-28,c2:1900-02-28T00:00:00,c3:1900-02-28T00:00:00}
6@6 {c1:60,c2:60,c3:60}
7@7 {c1:1900-03-01,c2:1900-03-01T00:00:00,c3:1900-03-01T00:00:00}
8@8 {c1:9999-12-31,c2:9999-12-31T00:00:00,c3:9999-12-31T00:00:00}
9@9 {c1:2958466,c2:2958466,c3:2958466}
10@10 {c1:-1,c2:-1,c3:-1}
11@11 {c1:2023-03-15T02:57:46.667,c2:2023-03-15T02:57:46.667,c3:2023-03-15T02:57:46.667}`)
}

func TestStringsOverRecords(t *testing.T) {
	t.Parallel()
	sst := func(parts ...[]byte) *biff {
		w := &biff{}
		for i, p := range parts {
			op := uint16(0x003C)
			if i == 0 {
				op, p = 0x00FC, append([]byte{4, 0, 0, 0, 4, 0, 0, 0}, p...)
			}
			w.put(op, p)
		}
		return w
	}
	cells := (&biff{}).put(0x00FD, 0, 0, 0, uint32(0)).put(0x00FD, 0, 1, 0, uint32(1)).put(0x00FD, 0, 2, 0, uint32(2)).put(0x00FD, 0, 3, 0, uint32(3))
	want := `1@1 {"c1":"abcdef","c2":"rich","c3":"日本語","c4":"end"}`
	first := []byte("\x06\x00\x00abcdef")
	rich := append([]byte{4, 0, 8 | 4, 1, 0, 3, 0, 0, 0}, "rich\x00\x00\x01\x00xyz"...)
	japanese := append([]byte{3, 0, 1}, wide("日本語")...)
	end := []byte("\x03\x00\x00end")
	whole := bytes.Join([][]byte{first, rich, japanese, end}, nil)
	for name, w := range map[string]*biff{
		"one record":              sst(whole),
		"between texts":           sst(first, bytes.Join([][]byte{rich, japanese, end}, nil)),
		"in a text":               sst([]byte("\x06\x00\x00abc"), append([]byte("\x00def"), whole[9:]...)),
		"in a text, other width":  sst([]byte("\x06\x00\x00abc"), append(append([]byte{1}, wide("def")...), whole[9:]...)),
		"before the first letter": sst([]byte("\x06\x00\x00"), append([]byte("\x00abcdef"), whole[9:]...)),
		"in what belongs to it":   sst(append(bytes.Clone(first), rich[:15]...), append(append(bytes.Clone(rich[15:]), japanese...), end...)),
		"in its head":             sst(append(bytes.Clone(first), rich[:4]...), append(append(bytes.Clone(rich[4:]), japanese...), end...)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, story(file8(w, sheetOf("S", cells)), integration.Sheet{}), want)
		})
	}
	missing := story(file8(sst(first), sheetOf("S", cells)), integration.Sheet{})
	if !strings.Contains(missing, "malformed: the cell at byte") {
		t.Errorf("a text that is not there: %s", missing)
	}
	cut := story(file8(sst(first[:5]), sheetOf("S", cells)), integration.Sheet{})
	if !strings.Contains(cut, "malformed: the texts of the workbook end in the middle of one") {
		t.Errorf("a text that is cut off: %s", cut)
	}
}

func TestSheets(t *testing.T) {
	t.Parallel()
	one := func(s string) *biff { return (&biff{}).text8(0, 0, s) }
	b := file8(nil, testSheet{name: "Secret", hidden: 1, cells: one("hidden")}, testSheet{name: "Diagram", kind: 2, cells: &biff{}},
		sheetOf("First", one("first")), sheetOf("2", one("by name")), sheetOf("Last", one("last")))
	for want, text := range map[string]string{"": "first", "1": "first", "3": "last", "2": "by name", "Secret": "hidden", "last ": "last"} {
		check(t, story(b, integration.Sheet{Sheet: want}), `1@1 {"c1":"`+text+`"}`)
	}
	for _, want := range []string{"Diagram", "4", "0", "-1", "Nothing"} {
		check(t, story(b, integration.Sheet{Sheet: want}), `file: not_found: the sheet "`+want+`" is not in the workbook, which has "Secret", "First", "2", "Last"; set sheet to one of these or its number`)
	}
	w, err := xlsrows.Inspect(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(w.Sheets) != 4 || !w.Sheets[0].Hidden || w.Sheets[1].Hidden || fmt.Sprint(w.Others) != "[Diagram]" {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	cells := (&biff{}).text8(0, 0, "Report").
		text8(2, 0, " id ").text8(2, 1, "two\nlines").number(2, 2, 0, 2024).text8(2, 3, "  ").
		number(3, 0, 0, 1).number(4, 3, 0, 2)
	b := file8(nil, sheetOf("S", cells))
	twice := file8(nil, sheetOf("S", (&biff{}).text8(0, 0, "id").text8(0, 1, "id").number(1, 0, 0, 1)))
	for name, tc := range map[string]struct {
		file []byte
		f    integration.Sheet
		want string
	}{
		"names":          {b, integration.Sheet{Header: 3}, "1@4 {\"id\":1,\"two lines\":null,\"2024\":null}\n2@5 ragged: a value stands in column D, behind the last of 3 columns"},
		"own names":      {b, integration.Sheet{Header: 3, Columns: []string{"a", "b", "c", "d"}}, "1@4 {\"a\":1,\"b\":null,\"c\":null,\"d\":null}\n2@5 {\"a\":null,\"b\":null,\"c\":null,\"d\":2}"},
		"too few":        {b, integration.Sheet{Header: 3, Columns: []string{"a"}}, "file, line 3: bad_header: the header has 3 columns, 1 are configured"},
		"none":           {twice, integration.Sheet{}, "1@1 {\"c1\":\"id\",\"c2\":\"id\"}\n2@2 {\"c1\":1}"},
		"no names":       {twice, integration.Sheet{Columns: []string{"x", "y"}}, "1@1 {\"x\":\"id\",\"y\":\"id\"}\n2@2 {\"x\":1,\"y\":null}"},
		"twice":          {twice, integration.Sheet{Header: 1}, `file, line 1: bad_header: columns A and B are both named "id"; mend the file, or name the columns in the integration`},
		"an empty row":   {b, integration.Sheet{Header: 2}, "file, line 2: bad_header: row 2 should name the columns and is empty; set header to the row that does (the next one with a value is row 3)"},
		"an empty sheet": {file8(nil, sheetOf("S", &biff{})), integration.Sheet{Header: 1}, ""},
		"a gap": {file8(nil, sheetOf("S", (&biff{}).text8(0, 1, "b").number(1, 0, 0, 1))), integration.Sheet{Header: 1},
			"file, line 1: bad_header: column A has no name; mend the file, or name the columns in the integration"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, story(tc.file, tc.f), tc.want)
		})
	}
}

func TestMerged(t *testing.T) {
	t.Parallel()
	cells := (&biff{}).text8(0, 0, "a").text8(0, 2, "c").number(1, 2, 0, 2).put(0x0201, 2, 2, 0).text8(3, 2, "z").
		put(0x00E5, 2, 0, 2, 0, 1, 2, 2, 2, 2)
	b := file8(nil, sheetOf("S", cells))
	check(t, story(b, integration.Sheet{Columns: []string{"x", "y", "z"}, Merged: "first"}), `
1@1 {"x":"a","y":null,"z":"c"}
2@2 {"x":null,"y":null,"z":2}
3@4 {"x":null,"y":null,"z":"z"}`)
	check(t, story(b, integration.Sheet{Columns: []string{"x", "y", "z"}, Merged: "fill"}), `
1@1 {"x":"a","y":"a","z":"c"}
2@2 {"x":"a","y":"a","z":2}
3@4 {"x":null,"y":null,"z":"z"}`)
	check(t, story(b, integration.Sheet{Header: 1, Columns: []string{"x", "y", "z"}, Merged: "fill"}), `
1@2 {"x":null,"y":null,"z":2}
2@4 {"x":null,"y":null,"z":"z"}`)
}

// TestOrder: some writers put cells down as they are told to, a column at a time.
func TestOrder(t *testing.T) {
	t.Parallel()
	cells := &biff{}
	for c := range 3 {
		for r := range 200 {
			cells.number(r, c, 0, float64(1000*c+r))
		}
	}
	got, err := readAll(file8(nil, sheetOf("S", cells)), integration.Sheet{})
	if err != nil || len(got.rows) != 200 {
		t.Fatalf("%d rows, %v", len(got.rows), err)
	}
	for i, r := range got.rows {
		if want := fmt.Sprintf(`{"c1":%d,"c2":%d,"c3":%d}`, i, 1000+i, 2000+i); string(r.Body) != want || r.Line != i+1 {
			t.Fatalf("row %d is %s, want %s", i, r.Body, want)
		}
	}
}

func TestOlderVersions(t *testing.T) {
	t.Parallel()
	two := (&biff{}).put(0x0009, 2, 0x0010).put(0x0042, 1251).put(0x001E, byte(7), "General").put(0x001E, byte(7), "d/m/yy;").
		put(0x0004, 0, 0, []byte{0, 0, 0}, byte(4), "\xcf\xf0\xe8\xe2").put(0x0003, 1, 0, []byte{0, 1, 0}, 45000.0).put(0x0002, 2, 0, []byte{0, 0, 0}, 7).
		put(0x0005, 3, 0, []byte{0, 0, 0}, byte(1), byte(0)).
		put(0x0006, 4, 0, []byte{0, 0, 0}, []byte{0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, byte(0), byte(0)).put(0x0007, byte(2), "ok").put(0x000A)
	check(t, story(two.b, integration.Sheet{}), `
1@1 {"c1":"Прив"}
2@2 {"c1":"2023-03-15"}
3@3 {"c1":7}
4@4 {"c1":true}
5@5 {"c1":"ok"}`)
	four := (&biff{}).put(0x0409, 4, 0x0010, 0).put(0x0022, 1).put(0x041E, 0, byte(7), "General").put(0x041E, 0, byte(8), "yy-mm-dd").
		put(0x0443, []byte{0, 1}, make([]byte, 10)).put(0x0203, 0, 0, 0, 43538.0).put(0x0204, 1, 0, 0, 2, "hi").put(0x000A)
	check(t, story(four.b, integration.Sheet{Sheet: "Sheet 1"}), "1@1 {\"c1\":\"2023-03-15\"}\n2@2 {\"c1\":\"hi\"}")
	group := (&biff{}).put(0x0409, 4, 0x0100, 0)
	inner := (&biff{}).put(0x0409, 4, 0x0010, 0).put(0x0204, 0, 0, 0, 5, "inner").put(0x000A)
	group.put(0x008F, uint32(len(inner.b)), byte(1), "A")
	group.b = append(group.b, inner.b...)
	group.put(0x000A)
	check(t, story(group.b, integration.Sheet{Sheet: "A"}), `1@1 {"c1":"inner"}`)
	five := contain("Book", workbook(0x0500, (&biff{}).put(0x0042, 10000), sheetOf("S", (&biff{}).put(0x0204, 0, 0, 0, 2, "\x8a!").put(0x00D6, 0, 1, 0, 2, "ri", byte(0)))))
	check(t, story(five, integration.Sheet{}), `1@1 {"c1":"ä!","c2":"ri"}`)
	mac := contain("Book", workbook(0x0500, (&biff{}).put(0x0042, 10029), sheetOf("S", (&biff{}).put(0x0204, 0, 0, 0, 4, "\xb8\x97d\xff"))))
	check(t, story(mac, integration.Sheet{}), `1@1 {"c1":"łódˇ"}`)
	unknown := contain("Book", workbook(0x0500, (&biff{}).put(0x0042, 864), sheetOf("S", (&biff{}).put(0x0204, 0, 0, 0, 1, "A").put(0x0204, 1, 0, 0, 1, "\xE1"))))
	check(t, story(unknown, integration.Sheet{}), "1@1 {\"c1\":\"A\"}\nfile: unknown_charset: the texts are in code page 864, which is not read; save the file as Excel 97-2003 Workbook")
}
