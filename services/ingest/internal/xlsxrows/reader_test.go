package xlsxrows_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xlsxrows"
)

const maxRow = 1 << 20

// read gives each row as "number@line body", broken rows with their code.
func read(t testing.TB, file []byte, f integration.Sheet, limit int, from *rows.Mark) ([]string, error) {
	t.Helper()
	r, err := xlsxrows.New(bytes.NewReader(file), int64(len(file)), &f, limit, from, "")
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // nothing is written
	var out []string
	for {
		row, err := r.Next()
		var broken *rows.RowError
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case errors.As(err, &broken):
			out = append(out, fmt.Sprintf("%d@%d !%s: %s", broken.Number, broken.Line, broken.Code, broken.Message))
		case err != nil:
			if _, again := r.Next(); !errors.Is(again, err) {
				t.Errorf("after %v came %v", err, again)
			}
			return out, err
		default:
			value, err := integration.DecodeJSON(row.Body)
			if err != nil || !reflect.DeepEqual(value, row.Value) {
				t.Fatalf("%s is decoded as %v (%v), given as %v", row.Body, value, err, row.Value)
			}
			out = append(out, fmt.Sprintf("%d@%d %s", row.Number, row.Line, row.Body))
		}
	}
}

// cells wraps cells into one row, and dates into a style each.
func cells(c string) string { return "<row>" + c + "</row>" }

const dateStyles = `<numFmts><numFmt numFmtId="164" formatCode="[$-407]dd/mm/yyyy;@"/><numFmt numFmtId="165" formatCode="[h]:mm"/><numFmt numFmtId="166" formatCode="mm:ss.0"/>` +
	`<numFmt numFmtId="167" formatCode="0.00 &quot;days&quot;"/><numFmt numFmtId="168" formatCode="yyyy\-mm\-dd\ hh:mm"/><numFmt numFmtId="169" formatCode="#,##0.00\ [$kr-41D]"/><numFmt numFmtId="170" formatCode="mmm yy"/></numFmts>` +
	`<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="20"/><xf numFmtId="22"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="166"/><xf numFmtId="167"/><xf numFmtId="168"/><xf numFmtId="169"/><xf numFmtId="170"/><xf numFmtId="10"/></cellXfs>`

func TestCells(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, cell, want string }{
		{"whole number", `<c><v>42</v></c>`, `42`},
		{"as written", `<c><v>10.50</v></c>`, `10.50`},
		{"long id", `<c><v>12345678901234567890</v></c>`, `12345678901234567890`},
		{"sixteen digits", `<c><v>1234567890123456</v></c>`, `1234567890123456`},
		{"binary fraction", `<c><v>1.1000000000000001</v></c>`, `1.1`},
		{"small binary fraction", `<c><v>1.0000000000000001E-5</v></c>`, `0.00001`},
		{"many digits", `<c><v>0.12345678901234567890</v></c>`, `0.12345678901234567890`},
		{"exponent", `<c><v>1E+6</v></c>`, `1000000`},
		{"negative exponent", `<c><v>-1.25e-3</v></c>`, `-0.00125`},
		{"point moves inside", `<c><v>1.2345E2</v></c>`, `123.45`},
		{"leading zeros", `<c><v>+007.5</v></c>`, `7.5`},
		{"no whole part", `<c><v>.5</v></c>`, `0.5`},
		{"nothing behind the point", `<c><v>5.</v></c>`, `5`},
		{"zero", `<c><v>-0.0E+3</v></c>`, `0`},
		{"largest", `<c><v>1.7976931348623157E+308</v></c>`, `17976931348623157` + strings.Repeat("0", 292)},
		{"smallest", `<c><v>-5E-324</v></c>`, `-0.` + strings.Repeat("0", 323) + `5`},
		{"blanks around", "<c><v> 7 \n</v></c>", `7`},
		{"formula", `<c><f>SUM(A1:A2)</f><v>3</v></c>`, `3`},
		{"formula with text", `<c t="str"><f>A1</f><v> x </v></c>`, `" x "`},
		{"formula without a value", `<c><f>A1</f></c><c><v>1</v></c>`, `null,"c2":1`},
		{"boolean", `<c t="b"><v>1</v></c><c t="b"><v>0</v></c>`, `true,"c2":false`},
		{"shared text", `<c t="s"><v>0</v></c>`, `"plain"`},
		{"rich text", `<c t="s"><v>1</v></c>`, `"rich text"`},
		{"escaped characters", `<c t="s"><v>2</v></c>`, `"a\u000d\nb_x_😀"`},
		{"inline text", `<c t="inlineStr"><is><t xml:space="preserve"> x </t></is></c>`, `" x "`},
		{"inline rich text", `<c t="inlineStr"><is><r><t>x</t></r><r><t>y</t></r></is></c>`, `"xy"`},
		{"inline text as a value", `<c t="inlineStr"><v>x</v></c>`, `"x"`},
		{"empty text beside another", `<c t="str"><v></v></c><c><v>1</v></c>`, `"","c2":1`},
		{"date as text", `<c t="d"><v>2026-03-01</v></c>`, `"2026-03-01"`},
		{"date", `<c s="1"><v>46082</v></c>`, `"2026-03-01"`},
		{"date with a time", `<c s="1"><v>46082.5</v></c>`, `"2026-03-01T12:00:00"`},
		{"time", `<c s="2"><v>0.354166666666667</v></c>`, `"08:30:00"`},
		{"time with a day", `<c s="2"><v>46082.25</v></c>`, `"2026-03-01T06:00:00"`},
		{"moment", `<c s="3"><v>46082</v></c>`, `"2026-03-01T00:00:00"`},
		{"milliseconds", `<c s="8"><v>46082.000001157407</v></c>`, `"2026-03-01T00:00:00.1"`},
		{"own format", `<c s="4"><v>46082</v></c>`, `"2026-03-01"`},
		{"months are no minutes", `<c s="10"><v>46082</v></c>`, `"2026-03-01"`},
		{"duration", `<c s="5"><v>1.5</v></c>`, `1.5`},
		{"minutes", `<c s="6"><v>0.5</v></c>`, `"12:00:00"`},
		{"letters in quotes", `<c s="7"><v>46082</v></c>`, `46082`},
		{"letters in brackets", `<c s="9"><v>46082</v></c>`, `46082`},
		{"percent", `<c s="11"><v>0.25</v></c>`, `0.25`},
		{"before the false leap day", `<c s="1"><v>59</v></c>`, `"1900-02-28"`},
		{"the false leap day", `<c s="1"><v>60</v></c>`, `60`},
		{"after it", `<c s="1"><v>61</v></c>`, `"1900-03-01"`},
		{"the last day", `<c s="1"><v>2958465</v></c>`, `"9999-12-31"`},
		{"after the last day", `<c s="1"><v>2958466</v></c>`, `2958466`},
		{"before the first day", `<c s="1"><v>-1</v></c>`, `-1`},
		{"unknown style", `<c s="99"><v>46082</v></c>`, `46082`},
	} {
		w := one(cells(c.cell))
		w.styles = dateStyles
		w.shared = `<si><t>plain</t></si><si><r><t>rich</t></r><r><rPr/><t xml:space="preserve"> text</t></r><rPh><t>no</t></rPh></si><si><t>a_x000D_` + "\n" + `b_x005F_x_` + "_xD83D__xDE00_" + `</t></si>`
		got, err := read(t, w.bytes(t), integration.Sheet{}, maxRow, nil)
		if want := []string{`1@1 {"c1":` + c.want + `}`}; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q (%v), want %q", c.name, got, err, want)
		}
	}
}

func TestDatesFrom1904(t *testing.T) {
	t.Parallel()
	w := one(cells(`<c s="1"><v>0</v></c><c s="1"><v>44620</v></c>`))
	w.styles, w.properties = dateStyles, `date1904="1"`
	got, err := read(t, w.bytes(t), integration.Sheet{}, maxRow, nil)
	if want := []string{`1@1 {"c1":"1904-01-01","c2":"2026-03-01"}`}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q (%v)", got, err)
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	const grid = `<row r="3"><c r="A3"><v>1</v></c><c r="C3" t="str"><v>x</v></c></row><row r="5"/><row><c><v>2</v></c></row>`
	for _, c := range []struct {
		name, rows string
		f          integration.Sheet
		want       []string
	}{
		{"no header", grid, integration.Sheet{}, []string{`1@3 {"c1":1,"c2":null,"c3":"x"}`, `2@6 {"c1":2}`}},
		{"header", `<row><c t="str"><v> id </v></c><c t="str"><v>of
two lines</v></c><c t="str"><v> </v></c></row>` + grid, integration.Sheet{Header: 1},
			[]string{`1@3 !ragged: a value stands in column C, behind the last of 2 columns`, `2@6 {"id":2,"of two lines":null}`}},
		{"header further down", `<row r="1"><c t="str"><v>Report</v></c></row><row r="2"><c><v>2026</v></c><c t="b"><v>1</v></c></row><row r="3"><c><v>7</v></c></row>`,
			integration.Sheet{Header: 2}, []string{`1@3 {"2026":7,"true":null}`}},
		{"own names", grid, integration.Sheet{Columns: []string{"a", "b", "c"}}, []string{`1@3 {"a":1,"b":null,"c":"x"}`, `2@6 {"a":2,"b":null,"c":null}`}},
		{"own names instead of the header's", `<row><c><v>1</v></c></row>` + grid, integration.Sheet{Header: 1, Columns: []string{"a", "b", "c"}},
			[]string{`1@3 {"a":1,"b":null,"c":"x"}`, `2@6 {"a":2,"b":null,"c":null}`}},
		{"blank rows", `<row><c t="str"><v></v></c><c s="1"/></row><row/><row><c><v>1</v></c></row>`, integration.Sheet{}, []string{`1@3 {"c1":1}`}},
		{"nothing", ``, integration.Sheet{Header: 1}, nil},
		{"error cell", cells(`<c t="e"><v>#N/A</v></c>`) + cells(`<c><v>1</v></c>`), integration.Sheet{},
			[]string{`1@1 !cell_error: cell A1 holds the error #N/A instead of a value`, `2@2 {"c1":1}`}},
		{"text that is not there", cells(`<c t="s"><v>9</v></c>`), integration.Sheet{}, []string{`1@1 !cell_error: cell A1 holds the error of a text that is not in the file instead of a value`}},
		{"number that is none", cells(`<c><v>1,5</v></c>`), integration.Sheet{}, []string{`1@1 !cell_error: cell A1 holds the error of a number that is none instead of a value`}},
		{"NUL", cells(`<c t="str"><v>_x0000_</v></c>`), integration.Sheet{}, []string{`1@1 !nul: cell A1 contains a NUL character`}},
		{"cells out of order", cells(`<c r="B1"><v>2</v></c><c r="A1"><v>1</v></c><c><v>3</v></c>`), integration.Sheet{}, []string{`1@1 {"c1":1,"c2":3}`}},
		{"far cell", `<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>`, integration.Sheet{Columns: []string{"a"}},
			[]string{`1@1048576 !ragged: a value stands in column XFD, behind the last of 1 columns`}},
	} {
		got, err := read(t, one(c.rows).bytes(t), c.f, maxRow, nil)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\ngot  %q (%v)\nwant %q", c.name, got, err, c.want)
		}
	}
}

func TestRowTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	w := one(cells(`<c t="str"><v>`+long+`</v></c>`) + cells(`<c t="s"><v>0</v></c><c><v>1</v></c>`) + cells(`<c><v>1</v></c>`))
	w.shared = "<si><t>" + long + "</t></si>"
	got, err := read(t, w.bytes(t), integration.Sheet{}, 200, nil)
	want := []string{`1@1 !row_too_long: the row is longer than 200 bytes`, `2@2 !row_too_long: the row is longer than 200 bytes`, `3@3 {"c1":1}`}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q (%v)", got, err)
	}
}

func TestMerged(t *testing.T) {
	t.Parallel()
	w := workbook{sheets: []sheet{{name: "Data", rows: `<row><c t="str"><v>g</v></c><c t="str"><v>n</v></c><c t="str"><v>m</v></c></row>` +
		`<row r="2"><c r="A2" t="str"><v>x</v></c><c r="B2"><v>1</v></c></row><row r="3"><c r="B3"><v>2</v></c></row><row r="4"/><row r="5"><c r="A5"/><c r="B5"><v>3</v></c></row>`,
		behind: `<mergeCells><mergeCell ref="A2:A4"/><mergeCell ref="B5:C5"/></mergeCells>`}}}
	for merged, want := range map[string][]string{
		"first": {`1@2 {"g":"x","n":1,"m":null}`, `2@3 {"g":null,"n":2,"m":null}`, `3@5 {"g":null,"n":3,"m":null}`},
		"fill":  {`1@2 {"g":"x","n":1,"m":null}`, `2@3 {"g":"x","n":2,"m":null}`, `3@5 {"g":null,"n":3,"m":3}`},
	} {
		got, err := read(t, w.bytes(t), integration.Sheet{Header: 1, Merged: merged}, maxRow, nil)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q (%v), want %q", merged, got, err, want)
		}
	}
}

func TestSheets(t *testing.T) {
	t.Parallel()
	row := func(s string) string { return cells(`<c t="str"><v>` + s + `</v></c>`) }
	w := workbook{sheets: []sheet{{"Secret", "veryHidden", row("secret"), ""}, {"First", "", row("first"), ""}, {"1", "visible", row("named 1"), ""}, {"Ünï", "", row("third"), ""}}}
	for which, want := range map[string]string{"": "first", "First": "first", "FIRST": "first", "1": "named 1", "2": "named 1", "3": "third", "Secret": "secret", "Ünï": "third"} {
		got, err := read(t, w.bytes(t), integration.Sheet{Sheet: which}, maxRow, nil)
		if err != nil || len(got) != 1 || got[0] != `1@1 {"c1":"`+want+`"}` {
			t.Errorf("sheet %q: got %q (%v), want %q", which, got, err, want)
		}
	}
	for _, which := range []string{"4", "0", "-1", "Other"} {
		_, err := read(t, w.bytes(t), integration.Sheet{Sheet: which}, maxRow, nil)
		refused(t, "sheet "+which, err, rows.NotFound, "First")
	}
	book, err := xlsxrows.Inspect(bytes.NewReader(w.bytes(t)), int64(len(w.bytes(t))))
	if err != nil || len(book.Sheets) != 4 || !book.Sheets[0].Hidden || book.Sheets[1].Hidden {
		t.Errorf("got %+v (%v)", book, err)
	}
}

// A chart and a module, which has no part, stand among the sheets and are none.
func TestOtherPagesAreNoSheets(t *testing.T) {
	t.Parallel()
	w := one(cells(`<c><v>1</v></c>`))
	w.without = "xl/workbook.xml"
	w.more = []part{{"xl/Workbook.xml", `<workbook xmlns="` + spreadsheetNS + `" xmlns:r="` + relationsNS + `"><sheets><sheet name="Module" sheetId="1" r:id=""/><sheet name="Chart" sheetId="2" r:id="c"/><sheet name="Data" sheetId="3" r:id="s0"/></sheets></workbook>`},
		{"xl/_rels/Workbook.xml.rels", `<Relationships><Relationship Id="c" Type="` + relationsNS + `/chartsheet" Target="chart.xml"/><Relationship Id="s0" Type="` + relationsNS + `/worksheet" Target="worksheets/part1.xml"/></Relationships>`}}
	book, err := xlsxrows.Inspect(bytes.NewReader(w.bytes(t)), int64(len(w.bytes(t))))
	if err != nil || len(book.Sheets) != 1 || !reflect.DeepEqual(book.Others, []string{"Module", "Chart"}) {
		t.Fatalf("got %+v (%v)", book, err)
	}
	if got, err := read(t, w.bytes(t), integration.Sheet{}, maxRow, nil); err != nil || !reflect.DeepEqual(got, []string{`1@1 {"c1":1}`}) {
		t.Errorf("got %q (%v)", got, err)
	}
}

// Of two parts by one name the last counts, as in the archive's directory of others.
func TestTwoPartsByOneName(t *testing.T) {
	t.Parallel()
	w := one(cells(`<c><v>1</v></c>`))
	w.more = []part{{"xl/worksheets/part1.xml", `<worksheet xmlns="` + spreadsheetNS + `"><sheetData>` + cells(`<c><v>2</v></c>`) + `</sheetData></worksheet>`}}
	if got, err := read(t, w.bytes(t), integration.Sheet{}, maxRow, nil); err != nil || !reflect.DeepEqual(got, []string{`1@1 {"c1":2}`}) {
		t.Errorf("got %q (%v)", got, err)
	}
}

func refused(t *testing.T, name string, err error, code rows.Code, says string) {
	t.Helper()
	var fileErr *rows.FileError
	if !errors.As(err, &fileErr) || fileErr.Code != code || !strings.Contains(fileErr.Message, says) {
		t.Errorf("%s: got %v, want %s with %q", name, err, code, says)
	}
}

func TestOptionalPartsMayBeMissing(t *testing.T) {
	t.Parallel()
	for _, without := range []string{"_rels/.rels", "xl/sharedStrings.xml", "xl/styles.xml"} {
		w := one(cells(`<c s="1"><v>1</v></c>`))
		w.shared, w.styles, w.without = "<si/>", dateStyles, without
		if got, err := read(t, w.bytes(t), integration.Sheet{}, maxRow, nil); err != nil || len(got) != 1 {
			t.Errorf("without %s: %q %v", without, got, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := one(cells(`<c><v>1</v></c>`))
	manyRows := strings.Repeat("<row/>", 1<<20+1)
	bombed := one(cells(`<c t="s"><v>0</v></c>`))
	bombed.shared = "<si/>"
	bomb := `<!DOCTYPE sst [<!ENTITY a "` + strings.Repeat("x", 10_000) + `"><!ENTITY b "` + strings.Repeat("&a;", 1000) + `">]><sst><si><x>&b;</x></si></sst>`
	for _, c := range []struct {
		name string
		file []byte
		f    integration.Sheet
		code rows.Code
		says string
	}{
		{"nothing", nil, integration.Sheet{}, rows.WrongFormat, "empty"},
		{"HTML", []byte("<html></html>"), integration.Sheet{}, rows.WrongFormat, "no zip"},
		{"cut", good.bytes(t)[:200], integration.Sheet{}, rows.Truncated, "send"},
		{"old spreadsheet", []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old"), integration.Sheet{}, rows.WrongFormat, "xls"},
		{"password", []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 E\x00n\x00c\x00r\x00y\x00p\x00t\x00e\x00d\x00P\x00a\x00c\x00k\x00a\x00g\x00e\x00"), integration.Sheet{}, rows.Encrypted, "password"},
		{"another archive", archive(t, part{"a.txt", "x"}), integration.Sheet{}, rows.WrongFormat, "no workbook"},
		{"OpenDocument", archive(t, part{"mimetype", "x"}, part{"content.xml", "<x/>"}), integration.Sheet{}, rows.WrongFormat, ".ods"},
		{"xlsb", archive(t, part{"_rels/.rels", `<Relationships><Relationship Type="x/officeDocument" Target="xl/workbook.bin"/></Relationships>`}, part{"xl/workbook.bin", "x"}),
			integration.Sheet{}, rows.Unsupported, ".xlsb"},
		{"missing sheet", workbook{sheets: good.sheets, without: "xl/worksheets/part1.xml"}.bytes(t), integration.Sheet{}, rows.NotFound, "not in the file"},
		{"chart", good.packed(t, map[string]io.Reader{"xl/worksheets/part1.xml": strings.NewReader("<chartsheet/>")}), integration.Sheet{}, rows.Unsupported, "no worksheet"},
		{"broken XML", one("<row><c><v>1</c></row>").bytes(t), integration.Sheet{}, rows.Malformed, "part1.xml"},
		{"row number", one(`<row r="x"/>`).bytes(t), integration.Sheet{}, rows.Malformed, "number of a row"},
		{"row beyond the last", one(`<row r="1048577"/>`).bytes(t), integration.Sheet{}, rows.TooLarge, "rows"},
		{"too many rows", one(manyRows).bytes(t), integration.Sheet{}, rows.TooLarge, "rows"},
		{"column beyond the last", one(cells(`<c r="XFE1"><v>1</v></c>`)).bytes(t), integration.Sheet{}, rows.TooLarge, "column"},
		{"place of a cell", one(cells(`<c r="ABCD1"/>`)).bytes(t), integration.Sheet{}, rows.Malformed, "place"},
		{"header without a name", one(cells(`<c r="B1" t="str"><v>x</v></c>`)).bytes(t), integration.Sheet{Header: 1}, rows.BadHeader, "column A has no name"},
		{"header twice", one(cells(`<c t="str"><v>x</v></c><c t="str"><v>x </v></c>`)).bytes(t), integration.Sheet{Header: 1}, rows.BadHeader, "A and B"},
		{"header with an error", one(cells(`<c t="e"><v>#REF!</v></c>`)).bytes(t), integration.Sheet{Header: 1}, rows.BadHeader, "#REF!"},
		{"header is empty", one(`<row r="3"><c><v>1</v></c></row>`).bytes(t), integration.Sheet{Header: 1}, rows.BadHeader, "row 3"},
		{"header wider than configured", one(cells(`<c><v>1</v></c><c><v>2</v></c>`)).bytes(t), integration.Sheet{Header: 1, Columns: []string{"a"}}, rows.BadHeader, "2 columns"},
		{"merged range", workbook{sheets: []sheet{{name: "D", behind: `<mergeCells><mergeCell ref="B2:A1"/></mergeCells>`}}}.bytes(t), integration.Sheet{Merged: "fill"}, rows.Malformed, "range"},
		{"merged over each other", workbook{sheets: []sheet{{name: "D", rows: cells(`<c><v>1</v></c>`), behind: `<mergeCells>` + strings.Repeat(`<mergeCell ref="A1:XFD9"/>`, 2) + `</mergeCells>`}}}.bytes(t),
			integration.Sheet{Merged: "fill"}, rows.Malformed, "over each other"},
		{"entities", bombed.packed(t, map[string]io.Reader{"xl/sharedStrings.xml": strings.NewReader(bomb)}), integration.Sheet{}, rows.Bomb, "entity"},
		{"zip bomb", good.packed(t, map[string]io.Reader{"xl/worksheets/part1.xml": io.MultiReader(strings.NewReader("<worksheet><sheetData><row><c><v>"), io.LimitReader(zeros{}, 80<<20))}), integration.Sheet{}, rows.Bomb, "200 times"},
		{"long text", bombed.packed(t, map[string]io.Reader{"xl/sharedStrings.xml": io.MultiReader(strings.NewReader("<sst><si><t>"), io.LimitReader(zeros{}, 2<<20), strings.NewReader("</t></si></sst>"))}), integration.Sheet{}, rows.TooLarge, "text"},
	} {
		_, err := read(t, c.file, c.f, maxRow, nil)
		refused(t, c.name, err, c.code, c.says)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func archive(t *testing.T, parts ...part) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, p := range parts {
		f, err := z.Create(p.name)
		if err == nil {
			_, err = io.WriteString(f, p.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDamagedPartIsNamed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, p := range one(cells(`<c t="str"><v>some text</v></c>`)).parts() {
		f, err := z.CreateHeader(&zip.FileHeader{Name: p.name, Method: zip.Store})
		if err == nil {
			_, err = io.WriteString(f, p.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := read(t, bytes.Replace(out.Bytes(), []byte("some text"), []byte("same text"), 1), integration.Sheet{}, maxRow, nil)
	refused(t, "another byte", err, rows.Malformed, "damaged")
}

func TestHugeDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := range 60_000 {
		if _, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("%080d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := read(t, out.Bytes(), integration.Sheet{}, maxRow, nil)
	refused(t, "directory", err, rows.TooLarge, "directory")
}

// failing is a disk that fails behind a place.
type failing struct {
	src  io.ReaderAt
	from int64
}

var errDisk = errors.New("the disk failed")

func (f failing) ReadAt(p []byte, at int64) (int, error) {
	if at >= f.from {
		return 0, errDisk
	}
	return f.src.ReadAt(p, at)
}

func TestSourceErrorIsNoFaultOfTheFile(t *testing.T) {
	t.Parallel()
	file := one(cells(`<c><v>1</v></c>`)).bytes(t)
	_, err := xlsxrows.New(failing{bytes.NewReader(file), 8}, int64(len(file)), &integration.Sheet{}, maxRow, nil, "")
	if !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	kinds := []string{`<row/>`, cells(`<c><v>1</v></c>`), cells(`<c t="e"><v>#N/A</v></c>`), cells(`<c t="str"><v>x</v></c><c><v>2</v></c>`), `<row r="%d"><c><v>3</v></c></row>`}
	rapid.Check(t, func(rt *rapid.T) {
		body, line := cells(`<c t="str"><v>a</v></c><c t="str"><v>b</v></c>`), 1
		for range rapid.IntRange(0, 12).Draw(rt, "rows") {
			line++
			kind := rapid.SampledFrom(kinds).Draw(rt, "row")
			if strings.Contains(kind, "%d") {
				line += 5
				kind = fmt.Sprintf(kind, line)
			}
			body += kind
		}
		f := integration.Sheet{Header: rapid.IntRange(0, 1).Draw(rt, "header"), Merged: rapid.SampledFrom([]string{"first", "fill"}).Draw(rt, "merged")}
		w := workbook{sheets: []sheet{{name: "D", rows: body, behind: `<mergeCells><mergeCell ref="A2:A5"/></mergeCells>`}}}
		file := w.bytes(t)
		all, err := read(t, file, f, maxRow, nil)
		if err != nil {
			rt.Fatal(err)
		}
		r, err := xlsxrows.New(bytes.NewReader(file), int64(len(file)), &f, maxRow, nil, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close() //nolint:errcheck // nothing is written
		for range rapid.IntRange(0, len(all)).Draw(rt, "done") {
			_, _ = r.Next() // broken ones are done too
		}
		mark := r.Mark()
		rest, err := read(t, file, f, maxRow, &mark)
		if err != nil || strings.Join(rest, "\n") != strings.Join(all[mark.Rows:], "\n") {
			rt.Fatalf("from %+v: %q (%v), want %q", mark, rest, err, all[mark.Rows:])
		}
		mark.Rows = len(all) + 1
		_, err = read(t, file, f, maxRow, &mark)
		refused(t, "a mark behind the end", err, rows.MarkMismatch, "another file")
	})
}

// pieces writes what make gives for 0 to n-1 without holding it.
type pieces struct {
	n, of      int
	make       func(int) string
	head, tail string
	left       string
}

func (g *pieces) Read(p []byte) (int, error) {
	for g.left == "" {
		switch {
		case g.n > g.of+1:
			return 0, io.EOF
		case g.n == 0:
			g.left = g.head
		case g.n == g.of+1:
			g.left = g.tail
		default:
			g.left = g.make(g.n - 1)
		}
		g.n++
	}
	n := copy(p, g.left)
	g.left = g.left[n:]
	return n, nil
}

func large(t testing.TB, n int) []byte {
	w := one("")
	w.shared, w.styles = "<si/>", dateStyles
	return w.packed(t, map[string]io.Reader{
		"xl/worksheets/part1.xml": &pieces{of: n, head: "<worksheet><sheetData>", tail: "</sheetData></worksheet>", make: func(i int) string {
			return fmt.Sprintf(`<row r="%d"><c r="A%[1]d"><v>%[2]d</v></c><c r="B%[1]d" t="s"><v>%[2]d</v></c><c r="C%[1]d" s="1"><v>46082</v></c><c r="D%[1]d"><v>%[2]d.1000000000000001</v></c></row>`, i+1, i)
		}},
		"xl/sharedStrings.xml": &pieces{of: n, head: "<sst>", tail: "</sst>", make: func(i int) string {
			return fmt.Sprintf("<si><t>customer %d, %0100d</t></si>", i, i)
		}},
	})
}

//nolint:paralleltest // it measures the memory of the process
func TestMemoryIsBounded(t *testing.T) {
	const n, limit = 200_000, 64 << 20
	file := large(t, n) // its texts are 22 MB: they lie in a temporary file
	temp := t.TempDir()
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, err := xlsxrows.New(bytes.NewReader(file), int64(len(file)), &integration.Sheet{}, maxRow, nil, temp)
	if err != nil {
		t.Fatal(err)
	}
	most := uint64(0)
	for i := range n {
		row, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"c1":%d,"c2":"customer %d, %0100d","c3":"2026-03-01","c4":`, i, i, i)
		if !bytes.HasPrefix(row.Body, []byte(want)) {
			t.Fatalf("row %d is %s", i, row.Body)
		}
		if i%20_000 == 0 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc-min(before.HeapAlloc, m.HeapAlloc))
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if most > limit {
		t.Errorf("%d bytes held", most)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if _, err := r.Next(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after Close: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	w := one(cells(`<c t="s"><v>0</v></c><c s="1"><v>46082</v></c><c t="e"><v>#N/A</v></c>`) + `<row r="9"><c r="B9" t="inlineStr"><is><t>x</t></is></c></row>`)
	w.shared, w.styles = "<si><t>x</t></si>", dateStyles
	for _, p := range w.parts() {
		f.Add(p.name, p.text, "1")
	}
	f.Add("xl/worksheets/part1.xml", `<worksheet><sheetData><row><c><v>1E300</v></c></row></sheetData><mergeCells><mergeCell ref="A1:B2"/></mergeCells></worksheet>`, "")
	f.Fuzz(func(t *testing.T, name, text, which string) {
		if len(name) > 100 || strings.ContainsRune(name, 0) {
			return
		}
		file := w.packed(t, map[string]io.Reader{name: strings.NewReader(text)})
		for _, merged := range []string{"first", "fill"} {
			sheet := integration.Sheet{Sheet: which, Merged: merged}
			got, err := read(t, file, sheet, 300, nil)
			var fileErr *rows.FileError
			if err != nil && !errors.As(err, &fileErr) {
				t.Fatalf("%T %v", err, err)
			}
			if again, err := read(t, file, sheet, 300, &rows.Mark{Rows: min(1, len(got))}); err == nil && strings.Join(again, "\n") != strings.Join(got[min(1, len(got)):], "\n") {
				t.Fatalf("resumed: %q, want %q", again, got)
			}
		}
	})
}

// FuzzArchive: whatever the bytes are, they are read or refused by name.
func FuzzArchive(f *testing.F) {
	w := one(cells(`<c><v>1</v></c>`))
	w.shared = "<si><t>x</t></si>"
	f.Add(w.bytes(f))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, err := read(t, file, integration.Sheet{}, 300, nil)
		var fileErr *rows.FileError
		if err != nil && !errors.As(err, &fileErr) {
			t.Fatalf("%T %v", err, err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	file := large(b, 10_000)
	b.SetBytes(int64(len(file)))
	for range b.N {
		r, err := xlsxrows.New(bytes.NewReader(file), int64(len(file)), &integration.Sheet{}, maxRow, nil, "")
		for err == nil {
			_, err = r.Next()
		}
		_ = r.Close()
	}
}
