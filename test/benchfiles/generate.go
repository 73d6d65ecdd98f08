package main

import (
	"archive/zip"
	"bufio"
	"encoding/base32"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

// columns of a row: an order line.
var columns = [...]string{"order_no", "sku", "name", "quantity", "price", "currency", "country", "email", "ordered_at", "note"}

// maxSheetRows is what a sheet of an .xlsx can hold beside its header.
const maxSheetRows = 1<<20 - 1

// generator gives rows, the same ones every time.
type generator struct {
	random *rand.Rand
	n      int
	row    [len(columns)]string
}

func newGenerator() *generator { return &generator{random: rand.New(rand.NewPCG(7, 11))} }

// next gives the next row; it is valid until the next call. About 40 bytes of it
// cannot be compressed.
func (g *generator) next() []string {
	words := [...]string{"Schraube", "Säge", "Größe M", "Kabel", "Łódź", "日本", "Ventil", "Öl", "Motor", "Band, breit"}
	g.n++
	r := g.random
	var noise [25]byte
	for i := 0; i < len(noise); i += 8 {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], r.Uint64())
		copy(noise[i:], b[:])
	}
	id := strconv.Itoa(g.n)
	g.row = [...]string{
		"ORD-" + strings.Repeat("0", max(0, 9-len(id))) + id,
		"SKU-" + strconv.Itoa(10000+r.IntN(90000)),
		words[r.IntN(len(words))] + " " + words[r.IntN(len(words))] + " " + strconv.Itoa(r.IntN(1000)),
		strconv.Itoa(1 + r.IntN(99)),
		strconv.FormatFloat(float64(r.IntN(1_000_000))/100, 'f', 2, 64),
		[...]string{"EUR", "USD", "PLN"}[r.IntN(3)],
		[...]string{"DE", "FR", "PL", "US", "JP"}[r.IntN(5)],
		"customer" + strconv.Itoa(r.IntN(1_000_000)) + "@example.com",
		time.Unix(1_750_000_000+int64(g.n), 0).UTC().Format(time.RFC3339),
		base32.StdEncoding.EncodeToString(noise[:]),
	}
	return g.row[:]
}

// made is a generated file.
type made struct {
	path  string
	bytes int64
	rows  int
}

// encoder writes rows in one format.
type encoder interface {
	begin() error
	row(cells []string) error
	end() error
}

// generate writes a file of about size bytes.
func generate(format, path string, size int64) (made, error) {
	if format == "xlsx" {
		return generateXLSX(path, size)
	}
	return write(path, func(w io.Writer) (int, error) {
		counted := &counter{w: w}
		e, err := newEncoder(format, counted)
		if err != nil {
			return 0, err
		}
		g := newGenerator()
		err = e.begin()
		for err == nil && counted.n < size {
			err = e.row(g.next())
		}
		return g.n, errors.Join(err, e.end())
	})
}

// generateRows writes so many rows as CSV without a header, for COPY.
func generateRows(path string, rows int) (made, error) {
	return write(path, func(w io.Writer) (int, error) {
		c, g := csv.NewWriter(w), newGenerator()
		for range rows {
			if err := c.Write(g.next()); err != nil {
				return 0, err
			}
		}
		c.Flush()
		return rows, c.Error()
	})
}

// write makes a file through a buffer and counts its bytes.
func write(path string, fill func(io.Writer) (rows int, err error)) (m made, err error) {
	f, err := os.Create(path)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(f, 1<<20)
	rows, err := fill(buffered)
	if err = errors.Join(err, buffered.Flush()); err != nil {
		return m, fmt.Errorf("write %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return m, err
	}
	return made{path: path, bytes: info.Size(), rows: rows}, nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func newEncoder(format string, w io.Writer) (encoder, error) {
	switch format {
	case "csv":
		return csvEncoder{csv.NewWriter(w)}, nil
	case "ndjson":
		return ndjsonEncoder{w}, nil
	case "xml":
		return xmlEncoder{w}, nil
	default:
		return nil, fmt.Errorf("there is no format %q; there are %s", format, strings.Join(allFormats(), ", "))
	}
}

type csvEncoder struct{ w *csv.Writer }

func (e csvEncoder) begin() error { return e.w.Write(columns[:]) }
func (e csvEncoder) row(cells []string) error {
	if err := e.w.Write(cells); err != nil {
		return err
	}
	e.w.Flush() // so that what was written is counted
	return e.w.Error()
}
func (e csvEncoder) end() error { return nil }

type ndjsonEncoder struct{ w io.Writer }

func (ndjsonEncoder) begin() error { return nil }
func (ndjsonEncoder) end() error   { return nil }
func (e ndjsonEncoder) row(cells []string) error {
	line := []byte{'{'}
	for i, c := range cells {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(strconv.AppendQuote(line, columns[i]), ':')
		if numeric(i) {
			line = append(line, c...)
			continue
		}
		text, err := json.Marshal(c)
		if err != nil {
			return err
		}
		line = append(line, text...)
	}
	_, err := e.w.Write(append(line, '}', '\n'))
	return err
}

// numeric says which columns hold numbers, where a format tells them from texts.
func numeric(column int) bool { return columns[column] == "quantity" || columns[column] == "price" }

type xmlEncoder struct{ w io.Writer }

func (e xmlEncoder) begin() error {
	_, err := io.WriteString(e.w, xml.Header+"<orders>\n")
	return err
}
func (e xmlEncoder) end() error { _, err := io.WriteString(e.w, "</orders>\n"); return err }
func (e xmlEncoder) row(cells []string) error {
	var b strings.Builder
	b.WriteString("<order>")
	for i, c := range cells {
		b.WriteString("<" + columns[i] + ">")
		if err := xml.EscapeText(&b, []byte(c)); err != nil {
			return err
		}
		b.WriteString("</" + columns[i] + ">")
	}
	b.WriteString("</order>\n")
	_, err := io.WriteString(e.w, b.String())
	return err
}

// sampleRows are written to learn how many bytes a row of an .xlsx takes.
const sampleRows = 20_000

// generateXLSX writes as many rows as make about size bytes, but no more than a
// sheet holds. Texts are shared, as spreadsheet programs write them.
func generateXLSX(path string, size int64) (made, error) {
	sample, err := writeXLSX(path, sampleRows)
	if err != nil {
		return made{}, err
	}
	return writeXLSX(path, min(maxSheetRows, max(1, int(size*sampleRows/sample.bytes))))
}

func writeXLSX(path string, rows int) (made, error) {
	return write(path, func(w io.Writer) (int, error) {
		z := zip.NewWriter(w)
		for _, part := range xlsxParts() {
			if err := addPart(z, part[0], func(w *bufio.Writer) error { _, err := w.WriteString(xml.Header + part[1]); return err }); err != nil {
				return 0, err
			}
		}
		err := addPart(z, "xl/worksheets/sheet1.xml", func(w *bufio.Writer) error { return writeSheet(w, rows) })
		if err == nil {
			err = addPart(z, "xl/sharedStrings.xml", func(w *bufio.Writer) error { return writeShared(w, rows) })
		}
		return rows, errors.Join(err, z.Close())
	})
}

func addPart(z *zip.Writer, name string, fill func(*bufio.Writer) error) error {
	w, err := z.Create(name)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 64<<10)
	return errors.Join(fill(b), b.Flush())
}

func xlsxParts() [][2]string {
	const main, rel, pack = "http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://schemas.openxmlformats.org/officeDocument/2006/relationships", "http://schemas.openxmlformats.org/package/2006/"
	return [][2]string{
		{"[Content_Types].xml", `<Types xmlns="` + pack + `content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>` +
			`<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>` +
			`<Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>` +
			`<Override PartName="/xl/sharedStrings.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/></Types>`},
		{"_rels/.rels", `<Relationships xmlns="` + pack + `relationships"><Relationship Id="rId1" Type="` + rel + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		{"xl/workbook.xml", `<workbook xmlns="` + main + `" xmlns:r="` + rel + `"><sheets><sheet name="Orders" sheetId="1" r:id="rId1"/></sheets></workbook>`},
		{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + pack + `relationships"><Relationship Id="rId1" Type="` + rel + `/worksheet" Target="worksheets/sheet1.xml"/>` +
			`<Relationship Id="rId2" Type="` + rel + `/sharedStrings" Target="sharedStrings.xml"/></Relationships>`},
	}
}

// eachText gives every text in the order of the sheet with its number: the header's,
// then those of each row that are no numbers. Short ones that come again have the
// number of their first time.
func eachText(rows int, cell func(row, column int, text string, number int, first bool) error) error {
	known := map[string]int{}
	n := 0
	give := func(row int, cells []string) error {
		for c, text := range cells {
			number, again := known[text]
			if row > 0 && numeric(c) {
				number, again = -1, true
			} else if !again {
				number, n = n, n+1
				if columns[c] == "currency" || columns[c] == "country" || columns[c] == "sku" {
					known[text] = number
				}
			}
			if err := cell(row, c, text, number, !again); err != nil {
				return err
			}
		}
		return nil
	}
	if err := give(0, columns[:]); err != nil {
		return err
	}
	g := newGenerator()
	for row := range rows {
		if err := give(row+1, g.next()); err != nil {
			return err
		}
	}
	return nil
}

func writeSheet(w *bufio.Writer, rows int) error {
	fmt.Fprint(w, xml.Header, `<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>`)
	err := eachText(rows, func(row, column int, text string, number int, _ bool) error {
		if column == 0 && row > 0 {
			fmt.Fprint(w, "</row>")
		}
		if column == 0 {
			fmt.Fprintf(w, `<row r="%d">`, row+1)
		}
		if number < 0 {
			_, err := fmt.Fprintf(w, `<c r="%c%d"><v>%s</v></c>`, 'A'+column, row+1, text)
			return err
		}
		_, err := fmt.Fprintf(w, `<c r="%c%d" t="s"><v>%d</v></c>`, 'A'+column, row+1, number)
		return err
	})
	fmt.Fprint(w, "</row></sheetData></worksheet>")
	return err
}

func writeShared(w *bufio.Writer, rows int) error {
	fmt.Fprint(w, xml.Header, `<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">`)
	err := eachText(rows, func(_, _ int, text string, _ int, first bool) error {
		if !first {
			return nil
		}
		w.WriteString("<si><t>")
		err := xml.EscapeText(w, []byte(text))
		w.WriteString("</t></si>")
		return err
	})
	fmt.Fprint(w, "</sst>")
	return err
}
