package xlsxrows

import (
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/grid"
	"waybill.internal/services/ingest/internal/xmlrows/xmlscan"
)

const (
	maxSheets  = 10_000
	maxTargets = 20_000 // relationships of a part
)

// Book is what a spreadsheet says of itself.
type Book struct {
	Date1904 bool // days are counted from 1904
	Sheets   []SheetInfo
	Others   []string // charts, dialogues, pages of macros and modules: no worksheets

	archive *archive
	styles  string
	shared  string
}

// SheetInfo is one worksheet, in the order of the workbook.
type SheetInfo struct {
	Name   string
	Hidden bool

	part string
}

// Inspect reads what a spreadsheet says of itself, without its rows.
func Inspect(src io.ReaderAt, size int64) (*Book, error) {
	a, err := openArchive(src, size)
	if err != nil {
		return nil, err
	}
	name, err := a.workbook()
	if err != nil {
		return nil, err
	}
	b := &Book{archive: a}
	targets, err := a.targets(name)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		switch {
		case strings.HasSuffix(t.kind, "/styles"):
			b.styles = t.part
		case strings.HasSuffix(t.kind, "/sharedstrings"):
			b.shared = t.part
		}
	}
	return b, b.read(name, targets)
}

// workbook finds the part that lists the sheets.
func (a *archive) workbook() (string, error) {
	const usual = "xl/workbook.xml"
	targets, err := a.targets("")
	if err != nil {
		return "", err
	}
	for _, t := range targets {
		if strings.HasSuffix(t.kind, "/officedocument") && a.has(t.part) {
			if strings.HasSuffix(t.part, ".bin") {
				return "", wrong(rows.Unsupported, "the file is a binary workbook (.xlsb), which is not read; save it as .xlsx")
			}
			return t.part, nil
		}
	}
	switch {
	case a.has(usual):
		return usual, nil
	case a.has("mimetype") && a.has("content.xml"):
		return "", wrong(rows.WrongFormat, "the file is an OpenDocument spreadsheet (.ods), which is not read; save it as .xlsx")
	}
	return "", wrong(rows.WrongFormat, "there is no workbook in the archive; is it an .xlsx?")
}

// target is a relationship of a part to another.
type target struct {
	id   string
	kind string // the last parts of its URI, in small letters
	part string
}

// targets reads the relationships of a part, "" for those of the file. None is fine.
func (a *archive) targets(of string) ([]target, error) {
	folder, base := path.Split(of)
	name := folder + "_rels/" + base + ".rels"
	if !a.has(name) {
		return nil, nil
	}
	var out []target
	err := a.each(name, func(t xmlscan.Token, _ int) error {
		if t.Name.Local != "Relationship" || strings.EqualFold(attribute(t, "TargetMode"), "External") {
			return nil
		}
		if len(out) == maxTargets {
			return wrong(rows.TooLarge, "there are more than %d relationships", maxTargets)
		}
		out = append(out, target{id: attribute(t, "Id"), kind: strings.ToLower(attribute(t, "Type")), part: partName(folder, attribute(t, "Target"))})
		return nil
	}, nil)
	return out, err
}

// read reads the list of sheets.
func (b *Book) read(name string, targets []target) error {
	byID := make(map[string]target, len(targets))
	for _, t := range targets {
		byID[t.id] = t
	}
	return b.archive.each(name, func(t xmlscan.Token, depth int) error {
		switch {
		case t.Name.Local == "workbookPr" && depth == 2:
			b.Date1904 = isTrue(attribute(t, "date1904"))
		case t.Name.Local == "sheet" && depth == 3:
			if len(b.Sheets)+len(b.Others) == maxSheets {
				return wrong(rows.TooLarge, "there are more than %d sheets", maxSheets)
			}
			id := relation(t)
			to, known := byID[id]
			if known && !strings.HasSuffix(to.kind, "/worksheet") || id == "" { // a module has no part
				b.Others = append(b.Others, attribute(t, "name"))
				return nil
			}
			state := attribute(t, "state")
			b.Sheets = append(b.Sheets, SheetInfo{Name: attribute(t, "name"), Hidden: state != "" && state != "visible", part: to.part})
		}
		return nil
	}, nil)
}

// relation is the attribute that refers to a relationship.
func relation(t xmlscan.Token) string {
	for _, a := range t.Attrs {
		if a.Name.Local == "id" && strings.HasSuffix(a.Name.Space, "/relationships") {
			return string(a.Value)
		}
	}
	return ""
}

func isTrue(s string) bool { return s == "1" || s == "true" || s == "on" }

// sheet finds a worksheet by name, or by number among the visible ones.
func (b *Book) sheet(which string) (SheetInfo, error) {
	var visible []SheetInfo
	names := make([]string, 0, len(b.Sheets))
	for _, s := range b.Sheets {
		if s.Name == which && which != "" {
			return b.present(s)
		}
		if !s.Hidden {
			visible = append(visible, s)
		}
		names = append(names, strconv.Quote(s.Name))
	}
	for _, s := range b.Sheets {
		if strings.EqualFold(s.Name, which) && which != "" { // as in Excel
			return b.present(s)
		}
	}
	if len(names) > 20 {
		names = append(names[:20], "…")
	}
	number := 1
	if which != "" {
		n, err := strconv.Atoi(which)
		if err != nil {
			return SheetInfo{}, wrong(rows.NotFound, "there is no sheet %s; there are %s", strconv.Quote(which), strings.Join(names, ", "))
		}
		number = n
	}
	if number < 1 || number > len(visible) {
		return SheetInfo{}, wrong(rows.NotFound, "there is no sheet %d; of %s, %d are visible", number, strings.Join(names, ", "), len(visible))
	}
	return b.present(visible[number-1])
}

func (b *Book) present(s SheetInfo) (SheetInfo, error) {
	if s.part == "" || !b.archive.has(s.part) {
		return s, wrong(rows.NotFound, "the sheet %s is listed, but is not in the file; send the spreadsheet again", strconv.Quote(s.Name))
	}
	return s, nil
}

const (
	maxFormats    = 65_536 // of cells; Excel has 65,490
	maxOwnFormats = 10_000
)

// formats reads what of a moment the cells of each format show.
func (b *Book) formats() ([]grid.DateKind, error) {
	if b.styles == "" || !b.archive.has(b.styles) {
		return nil, nil
	}
	own := map[int]grid.DateKind{}
	var ids []int
	inCells := false
	err := b.archive.each(b.styles, func(t xmlscan.Token, _ int) error {
		switch t.Name.Local {
		case "numFmt":
			id, err := strconv.Atoi(attribute(t, "numFmtId"))
			if err != nil {
				return nil // of no cell
			}
			if own[id] = grid.KindOfFormat(attribute(t, "formatCode")); len(own) > maxOwnFormats {
				return wrong(rows.TooLarge, "there are more than %d number formats", maxOwnFormats)
			}
		case "cellXfs":
			inCells = true
		case "xf":
			if inCells {
				id, _ := strconv.Atoi(attribute(t, "numFmtId")) // without one: General
				if ids = append(ids, id); len(ids) > maxFormats {
					return wrong(rows.TooLarge, "there are more than %d formats of cells", maxFormats)
				}
			}
		}
		return nil
	}, func(local string) { inCells = inCells && local != "cellXfs" })
	if err != nil {
		return nil, fmt.Errorf("xlsxrows: the formats: %w", err)
	}
	kinds := make([]grid.DateKind, len(ids))
	for i, id := range ids {
		kind, isOwn := own[id]
		if !isOwn {
			kind = grid.KindOfBuiltin(id)
		}
		kinds[i] = kind
	}
	return kinds, nil
}
