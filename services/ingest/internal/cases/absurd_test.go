package cases

import (
	"archive/zip"
	"bytes"
	"fmt"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
)

// sheetOf is a spreadsheet with one sheet.
func sheetOf(t *testing.T, sheet string, more map[string]string) []byte {
	t.Helper()
	const head = `<?xml version="1.0" encoding="UTF-8"?>`
	const rel = `http://schemas.openxmlformats.org/officeDocument/2006/relationships`
	const main = `http://schemas.openxmlformats.org/spreadsheetml/2006/main`
	parts := map[string]string{
		"[Content_Types].xml":        `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>`,
		"_rels/.rels":                `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="` + rel + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`,
		"xl/workbook.xml":            `<workbook xmlns="` + main + `" xmlns:r="` + rel + `"><sheets><sheet name="A" sheetId="1" r:id="r1"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="` + rel + `/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="` + rel + `/sharedStrings" Target="sharedStrings.xml"/><Relationship Id="r3" Type="` + rel + `/styles" Target="styles.xml"/></Relationships>`,
		"xl/worksheets/sheet1.xml":   `<worksheet xmlns="` + main + `">` + sheet + `</worksheet>`,
	}
	for name, part := range more {
		parts[name] = part
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for name, part := range parts {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(head + strings.ReplaceAll(part, "MAIN", main))); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func repeated(n int, each func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(each(i))
	}
	return b.String()
}

// TestAbsurd reads what nobody would send: each ends, well or with a named error,
// within the bounds of a hostile file. Not parallel: its memory is watched.
func TestAbsurd(t *testing.T) {
	same := func(s string) func(int) string { return func(int) string { return s } }
	xml := func(depth int) *integration.Format {
		return &integration.Format{XML: &integration.XML{MaxDepth: depth}}
	}
	named := func(record string) *integration.Format {
		return &integration.Format{XML: &integration.XML{Record: record, MaxDepth: 256}}
	}
	sheet := func(header int, merged string) *integration.Format {
		return &integration.Format{XLSX: &integration.Sheet{Header: header, Merged: merged}}
	}
	csv := func(delimiter, charset string) *integration.Format {
		return &integration.Format{CSV: &integration.CSV{Delimiter: delimiter, Quote: `"`, Stray: "refuse", Trim: "none", Charset: charset, Header: true}}
	}
	json := func(items string) *integration.Format {
		return &integration.Format{JSON: &integration.JSON{Items: items}}
	}
	const mib = 1 << 20
	block := repeated(1000, func(i int) string { return fmt.Sprintf("%04x", i*7919%65536) }) // packs, but not as a bomb does
	for name, c := range map[string]struct {
		format *integration.Format
		make   func() string
	}{
		"csv: quotes":           {csv(",", "utf-8"), func() string { return strings.Repeat(`"`, 16*mib) }},
		"csv: quotes, detected": {csv("auto", "auto"), func() string { return strings.Repeat(`"`, 16*mib) }},
		"csv: an open quote":    {csv("auto", "auto"), func() string { return "a,b\n1,\"" + strings.Repeat("x,y\n", 4*mib) }},
		"csv: open quotes":      {csv(",", "utf-8"), func() string { return "a,b\n" + strings.Repeat("\"x\n", 4*mib) }},
		"csv: stray quotes":     {csv(",", "utf-8"), func() string { return "a,b\n" + strings.Repeat("\"x\"y,\"\n", 2*mib) }},
		"csv: many columns":     {csv(",", "utf-8"), func() string { return strings.Repeat(",", 8*mib) + "\n" }},
		"csv: a wide header": {csv(",", "utf-8"), func() string {
			return repeated(10_000, func(i int) string { return fmt.Sprintf("c%d,", i) }) + "z\n" + strings.Repeat(strings.Repeat(",", 10_000)+"\n", 100)
		}},
		"csv: short rows of a wide": {csv(",", "utf-8"), func() string {
			return repeated(10_000, func(i int) string { return fmt.Sprintf("c%d,", i) }) + "z\n" + strings.Repeat("1\n", 1*mib)
		}},
		"csv: carriage returns":       {csv(",", "utf-8"), func() string { return strings.Repeat("\r", 16*mib) }},
		"csv: no text":                {csv("auto", "auto"), func() string { return strings.Repeat("\xff\xfe\x00", 5*mib) }},
		"csv: utf-16 without an end":  {csv("auto", "auto"), func() string { return "\xff\xfe" + strings.Repeat("a\x00", 8*mib) }},
		"json: deep":                  {json(""), func() string { return strings.Repeat("[", 8*mib) }},
		"json: deep keys":             {json(""), func() string { return strings.Repeat(`{"a":`, 4*mib) }},
		"json: deep behind a pointer": {json("/x"), func() string { return `{"y":` + strings.Repeat("[", 4*mib) + strings.Repeat("]", 4*mib) + `,"x":[1]}` }},
		"json: a long number":         {json(""), func() string { return "[" + strings.Repeat("1", 16*mib) + "]" }},
		"json: a long text":           {json(""), func() string { return `["` + strings.Repeat("x", 16*mib) + `"]` }},
		"json: a long key outside":    {json("/x"), func() string { return `{"` + strings.Repeat("k", 16*mib) + `":1,"x":[1]}` }},
		"json: many keys outside": {json("/x"), func() string {
			return `{` + repeated(mib, func(i int) string { return fmt.Sprintf(`"k%d":1,`, i) }) + `"x":[1]}`
		}},
		"json: long keys outside": {json("/x"), func() string {
			return `{` + repeated(300, func(i int) string { return fmt.Sprintf(`"%s%d":1,`, strings.Repeat(block, mib/len(block)-1), i) }) + `"x":[1]}`
		}},
		"json: many keys in an item": {json(""), func() string {
			return `[{` + repeated(50_000, func(i int) string { return fmt.Sprintf(`"k%d":1,`, i) }) + `"x":1}]`
		}},
		"json: lists of lists":  {json(""), func() string { return `[[` + strings.Repeat("[],", 340_000) + `0]]` }},
		"json: spaces":          {json(""), func() string { return "[" + strings.Repeat(" ", 32*mib) + "]" }},
		"json: exponents":       {json(""), func() string { return "[" + strings.Repeat("1e999999999,", mib) + "1]" }},
		"ndjson: no line's end": {&integration.Format{NDJSON: &integration.NDJSON{}}, func() string { return strings.Repeat("[", 16*mib) }},
		"ndjson: blank lines":   {&integration.Format{NDJSON: &integration.NDJSON{}}, func() string { return strings.Repeat("\n", 16*mib) }},
		"xml: namespaces": {named("x"), func() string {
			return "<r" + repeated(2000, func(i int) string { return fmt.Sprintf(` xmlns:p%d="u%d"`, i, i) }) + ">" + strings.Repeat("<p0:x/>", mib) + "</r>"
		}},
		"xml: namespaces in each": {xml(256), func() string {
			return strings.Repeat(`<r xmlns="u" xmlns:a="u">`, 250) + strings.Repeat(`<a:x a:y="1"/>`, mib/2)
		}},
		"xml: attributes": {xml(64), func() string {
			return "<r><x" + repeated(mib/2, func(i int) string { return fmt.Sprintf(` a%d="1"`, i) }) + "/></r>"
		}},
		"xml: many attributes": {xml(64), func() string {
			return "<r>" + strings.Repeat("<x"+repeated(250, func(i int) string { return fmt.Sprintf(` a%d="1"`, i) })+"/>", 2000) + "</r>"
		}},
		"xml: entities": {xml(64), func() string {
			return "<!DOCTYPE r [" + repeated(20_000, func(i int) string { return fmt.Sprintf(`<!ENTITY e%d "x">`, i) }) + "]><r>" + repeated(mib/2, func(i int) string { return fmt.Sprintf("<x>&e%d;</x>", i%20_000) }) + "</r>"
		}},
		"xml: a chain of entities": {xml(64), func() string {
			return `<!DOCTYPE r [<!ENTITY e0 "x">` + repeated(500, func(i int) string { return fmt.Sprintf(`<!ENTITY e%d "&e%d;&e%d;">`, i+1, i, i) }) + "]><r><x>&e500;</x></r>"
		}},
		"xml: children of one name": {xml(64), func() string { return "<r><x>" + strings.Repeat("<a/>", 200_000) + "</x></r>" }},
		"xml: children of each name": {xml(64), func() string {
			return "<r><x>" + repeated(60_000, func(i int) string { return fmt.Sprintf("<a%d/>", i) }) + "</x></r>"
		}},
		"xml: many children, rows": {xml(64), func() string {
			return "<r>" + strings.Repeat("<x>"+repeated(2000, func(i int) string { return fmt.Sprintf("<a%d/>", i) })+"</x>", 300) + "</r>"
		}},
		"xml: a comment":      {xml(64), func() string { return "<r><!--" + strings.Repeat("-x", 8*mib) }},
		"xml: cdata":          {xml(64), func() string { return "<r><x><![CDATA[" + strings.Repeat("]]", 8*mib) }},
		"xml: comments":       {xml(64), func() string { return "<r>" + strings.Repeat("<!---->", 4*mib) + "</r>" }},
		"xml: pieces of text": {xml(64), func() string { return "<r><x>" + strings.Repeat("a<!---->", mib) + "</x></r>" }},
		"xml: a long name":    {xml(64), func() string { return "<" + strings.Repeat("n", 16*mib) }},
		"xml: references": {xml(64), func() string {
			return "<r>" + strings.Repeat("<x>"+strings.Repeat("&#x41;", 10_000)+"</x>", 200) + "</r>"
		}},
		"xlsx: a far column": {sheet(1, "first"), func() string {
			return `<sheetData><row r="1"><c r="A1" t="str"><v>a</v></c></row>` + repeated(400_000, func(i int) string { return fmt.Sprintf(`<row r="%d"><c r="XFD%d"><v>1</v></c></row>`, i+2, i+2) }) + `</sheetData>`
		}},
		"xlsx: a far empty column": {sheet(1, "first"), func() string {
			return `<sheetData><row r="1"><c r="A1" t="str"><v>a</v></c></row>` + repeated(400_000, func(i int) string {
				return fmt.Sprintf(`<row r="%d"><c r="A%d"><v>1</v></c><c r="XFD%d"/></row>`, i+2, i+2, i+2)
			}) + `</sheetData>`
		}},
		"xlsx: far without a header": {sheet(0, "first"), func() string {
			return `<sheetData>` + repeated(400_000, func(i int) string { return fmt.Sprintf(`<row r="%d"><c r="XFD%d"><v>1</v></c></row>`, i+2, i+2) }) + `</sheetData>`
		}},
		"xlsx: merged, long texts": {sheet(0, "fill"), func() string {
			return `<sheetData>` + repeated(12_000, func(i int) string { return fmt.Sprintf(`<row r="%d"><c r="A%d" t="s"><v>0</v></c></row>`, i+1, i+1) }) + `</sheetData><mergeCells>` + repeated(12_000, func(i int) string { return fmt.Sprintf(`<mergeCell ref="A%d:A1048576"/>`, i+1) }) + `</mergeCells>`
		}},
		"xlsx: merged, empty rows": {sheet(0, "fill"), func() string {
			return `<sheetData><row r="1"><c r="A1"><v>1</v></c></row>` + repeated(400_000, func(i int) string { return fmt.Sprintf(`<row r="%d"/>`, i+2) }) + `</sheetData><mergeCells>` + repeated(16_000, same(`<mergeCell ref="A1:A1048576"/>`)) + `</mergeCells>`
		}},
		"xlsx: merged, no values": {sheet(0, "fill"), func() string {
			return `<sheetData>` + repeated(400_000, func(i int) string { return fmt.Sprintf(`<row r="%d"><c r="B%d"><v>1</v></c></row>`, i+1, i+1) }) + `</sheetData><mergeCells>` + repeated(16_000, same(`<mergeCell ref="A1:A1048576"/>`)) + `</mergeCells>`
		}},
		"xlsx: empty texts": {sheet(0, "first"), func() string { return `<sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row></sheetData>` }},
		"xlsx: a long date format": {sheet(0, "first"), func() string {
			return `<sheetData>` + repeated(200_000, func(i int) string { return fmt.Sprintf(`<row r="%d"><c r="A%d" s="1"><v>1</v></c></row>`, i+1, i+1) }) + `</sheetData>`
		}},
	} {
		content := []byte(c.make())
		if c.format.XLSX != nil {
			text := strings.Repeat("x", 32_000)
			shared := `<sst xmlns="MAIN"><si><t>` + text + `</t></si>` + strings.Repeat(`<si/>`, mib) + `</sst>`
			styles := `<styleSheet xmlns="MAIN"><numFmts><numFmt numFmtId="200" formatCode="` + strings.Repeat("[", 30_000) + `"/></numFmts><cellXfs><xf numFmtId="0"/><xf numFmtId="200"/></cellXfs></styleSheet>`
			content = sheetOf(t, string(content), map[string]string{"xl/sharedStrings.xml": shared, "xl/styles.xml": styles})
		}
		if len(content) > 32*mib { // itself in memory, it would hide what the reader takes
			content = packed(content)
		}
		started := busy()
		end, differences := watchedAs(Case{File: name, content: content}, c.format)
		for _, d := range differences {
			t.Errorf("%s: %s", name, d)
		}
		t.Logf("%s: %d MiB, %v: %d rows, %d broken, %s", name, len(content)>>20, busy()-started, end.rows, end.broken, end.named)
	}
}
