package integration

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMark bounds delimiters and row ends, in characters.
const maxMark = 8

// format checks what a file contains: exactly one kind.
func (b *builder) format(f *Format, at string) {
	kinds := 0
	for _, set := range []bool{f.CSV != nil, f.Fixed != nil, f.XML != nil, f.XLSX != nil, f.XLS != nil, f.JSON != nil, f.NDJSON != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		if !b.refused(at) {
			b.wrong(at, "a format has exactly one kind; write csv, fixed, xml, xlsx, xls, json or ndjson, such as csv: {}")
		}
		return
	}
	b.textFormat(f, at)
}

// textFormat checks the formats that are text, and what surrounds any format.
func (b *builder) textFormat(f *Format, at string) {
	if _, err := path.Match(f.Member, "x"); err != nil {
		b.wrong(join(at, "member"), "%q is no pattern; write one such as *.csv", shorten(f.Member))
	}
	switch {
	case f.CSV != nil:
		b.csv(f.CSV, join(at, "csv"))
	case f.Fixed != nil:
		b.fixed(f.Fixed, join(at, "fixed"))
	case f.XML != nil:
		b.xml(f.XML, join(at, "xml"))
	case f.XLSX != nil:
		b.sheet(f.XLSX, join(at, "xlsx"))
	case f.XLS != nil:
		b.sheet(f.XLS, join(at, "xls"))
	case f.JSON != nil:
		if _, err := SplitPointer(f.JSON.Items); err != nil {
			b.wrong(join(at, "json.items"), "%v", err)
		}
	}
}

func (b *builder) csv(c *CSV, at string) {
	if c.Delimiter != "auto" {
		b.mark(join(at, "delimiter"), c.Delimiter, "delimiter", `";"`)
	}
	if c.RowEnd != "\r" { // files of old Macs
		b.mark(join(at, "row_end"), c.RowEnd, "row end", `"&|"`)
	}
	if c.Quote != "none" {
		b.character(join(at, "quote"), c.Quote, "quotation mark", `"'" or none`)
	}
	b.character(join(at, "escape"), c.Escape, "escape character", `"\\"`)
	b.character(join(at, "comment"), c.Comment, "comment character", `"#"`)
	b.apart(c, at)
	b.charset(join(at, "charset"), c.Charset)
	if !c.Header && len(c.Columns) == 0 {
		b.wrong(at, "nothing names the columns; write header: true, or columns")
	}
	for i, name := range c.Columns {
		if strings.TrimSpace(name) != name || strings.IndexFunc(name, unicode.IsControl) >= 0 {
			b.wrong(index(join(at, "columns"), i), "%q is no name of a column; leave out blanks around it and control characters", shorten(name))
		}
	}
}

// apart checks that no character has two meanings.
func (b *builder) apart(c *CSV, at string) {
	meanings := []struct{ key, text string }{
		{"delimiter", c.Delimiter}, {"row_end", c.RowEnd}, {"quote", c.Quote}, {"escape", c.Escape}, {"comment", c.Comment},
	}
	for i, one := range meanings {
		for _, other := range meanings[:i] {
			if one.text == "" || other.text == "" || other.text == "auto" || other.text == "none" || one.text == "none" {
				continue
			}
			if strings.HasPrefix(one.text, other.text) || strings.HasPrefix(other.text, one.text) {
				b.wrong(join(at, one.key), "%q is or begins like the %s; write another", shorten(one.text), other.key)
			}
		}
	}
}

// mark checks what stands between cells or rows: no line end, which is one already.
func (b *builder) mark(at, text, what, example string) {
	if n := utf8.RuneCountInString(text); n > maxMark || strings.ContainsAny(text, "\r\n\x00\uFFFD") {
		b.wrong(at, "%q is no %s; write 1 to %d characters such as %s", shorten(text), what, maxMark, example)
	}
}

func (b *builder) character(at, text, what, example string) {
	if r, size := utf8.DecodeRuneInString(text); text != "" && (size != len(text) || r == utf8.RuneError || unicode.IsControl(r) || r == ' ') {
		b.wrong(at, "%q is no %s; write one character such as %s", shorten(text), what, example)
	}
}

func (b *builder) charset(at, name string) {
	if name == CharsetAuto {
		return
	}
	if _, _, err := Charset(name); err != nil {
		b.wrong(at, "%v", err)
	}
}

func (b *builder) fixed(f *Fixed, at string) {
	b.charset(join(at, "charset"), f.Charset)
	b.character(join(at, "comment"), f.Comment, "comment character", `"#"`)
	names := make([]string, 0, len(f.Columns))
	for i, c := range f.Columns {
		if slices.Contains(names, c.Name) {
			b.wrong(index(join(at, "columns"), i), "%q is given twice; remove one", shorten(c.Name))
		}
		names = append(names, c.Name)
	}
}
