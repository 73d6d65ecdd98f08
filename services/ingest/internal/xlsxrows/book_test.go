package xlsxrows_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// part is a file of the archive.
type part struct{ name, text string }

const (
	spreadsheetNS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	relationsNS   = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
)

// workbook describes a spreadsheet; what is empty is left out of the archive.
type workbook struct {
	sheets     []sheet
	shared     string // items of the table
	styles     string // inside styleSheet
	properties string // attributes of workbookPr
	more       []part
	without    string // a part to leave out
}

type sheet struct {
	name, state string
	rows        string // inside sheetData
	behind      string // behind it
}

func one(rows string) workbook { return workbook{sheets: []sheet{{name: "Data", rows: rows}}} }

func (w workbook) parts() []part {
	var list, relations strings.Builder
	parts := []part{{"_rels/.rels", `<Relationships><Relationship Id="r1" Type="` + relationsNS + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`}}
	for i, s := range w.sheets {
		state := ""
		if s.state != "" {
			state = ` state="` + s.state + `"`
		}
		fmt.Fprintf(&list, `<sheet name="%s" sheetId="%d" r:id="s%d"%s/>`, s.name, i+7, i, state)
		fmt.Fprintf(&relations, `<Relationship Id="s%d" Type="%s/worksheet" Target="worksheets/part%d.xml"/>`, i, relationsNS, len(w.sheets)-i)
		parts = append(parts, part{fmt.Sprintf("xl/worksheets/part%d.xml", len(w.sheets)-i),
			`<?xml version="1.0" encoding="UTF-8"?><worksheet xmlns="` + spreadsheetNS + `"><dimension ref="A1:XFD1048576"/><sheetData>` + s.rows + `</sheetData>` + s.behind + `</worksheet>`})
	}
	if w.shared != "" {
		relations.WriteString(`<Relationship Id="t" Type="` + relationsNS + `/sharedStrings" Target="/xl/SharedStrings.xml"/>`)
		parts = append(parts, part{"xl/sharedStrings.xml", `<sst xmlns="` + spreadsheetNS + `">` + w.shared + `</sst>`})
	}
	if w.styles != "" {
		relations.WriteString(`<Relationship Id="f" Type="` + relationsNS + `/styles" Target="styles.xml"/>`)
		parts = append(parts, part{"xl/styles.xml", `<styleSheet xmlns="` + spreadsheetNS + `">` + w.styles + `</styleSheet>`})
	}
	parts = append(parts,
		part{"xl/workbook.xml", `<workbook xmlns="` + spreadsheetNS + `" xmlns:r="` + relationsNS + `"><workbookPr ` + w.properties + `/><sheets>` + list.String() + `</sheets></workbook>`},
		part{"xl/_rels/workbook.xml.rels", `<Relationships>` + relations.String() + `</Relationships>`})
	return append(parts, w.more...)
}

// bytes packs the workbook.
func (w workbook) bytes(t testing.TB) []byte {
	t.Helper()
	return w.packed(t, nil)
}

// packed packs the workbook and a part that is streamed.
func (w workbook) packed(t testing.TB, streamed map[string]io.Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name string, src io.Reader) {
		f, err := z.Create(name)
		if err == nil {
			_, err = io.Copy(f, src)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range w.parts() {
		if p.name == w.without || streamed[p.name] != nil {
			continue
		}
		add(p.name, strings.NewReader(p.text))
	}
	for name, src := range streamed {
		add(name, src)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
