package formats_test

import (
	"errors"
	"io"
	"os"
	"testing"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/formats"
	"waybill.internal/services/ingest/internal/rows"
)

// workbook is the least that is a spreadsheet: a header and one row.
func workbook(t testing.TB) []byte {
	t.Helper()
	const head = `<?xml version="1.0" encoding="UTF-8"?>`
	const rel = `http://schemas.openxmlformats.org/officeDocument/2006/relationships`
	const main = `http://schemas.openxmlformats.org/spreadsheetml/2006/main`
	return zipped(t, map[string][]byte{
		"[Content_Types].xml":        []byte(head + `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>`),
		"_rels/.rels":                []byte(head + `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="` + rel + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`),
		"xl/workbook.xml":            []byte(head + `<workbook xmlns="` + main + `" xmlns:r="` + rel + `"><sheets><sheet name="A" sheetId="1" r:id="r1"/></sheets></workbook>`),
		"xl/_rels/workbook.xml.rels": []byte(head + `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="` + rel + `/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`),
		"xl/worksheets/sheet1.xml":   []byte(head + `<worksheet xmlns="` + main + `"><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row><row r="2"><c r="A2"><v>1</v></c></row></sheetData></worksheet>`),
	})
}

// A spreadsheet is a zip archive itself: as such it is no layer, and what is around
// it is unpacked to a file that goes when the reader is closed.
func TestWorkbookInLayers(t *testing.T) {
	t.Parallel()
	plain := workbook(t)
	f := &integration.Format{XLSX: &integration.Sheet{Header: 1, Merged: "first"}}
	for name, data := range map[string][]byte{
		"none": plain, "gzip": gzipped(t, plain), "zip": zipped(t, map[string][]byte{"x.xlsx": plain}), "zip in gzip": gzipped(t, zipped(t, map[string][]byte{"x.xlsx": plain})),
	} {
		temp := t.TempDir()
		r, err := formats.Open(f, input(data, temp), maxRow, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := readAll(r)
		if err != io.EOF || len(got) != 1 || got[0] != `1@2 {"a":1}` {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
	_, err := formats.Open(f, input(plain[:len(plain)-40], t.TempDir()), maxRow, nil)
	if _, ok := errors.AsType[*rows.FileError](err); !ok {
		t.Errorf("cut off: %v", err)
	}
}
