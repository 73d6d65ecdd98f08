package cases

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/charmap"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/csvrows"
	"waybill.internal/services/ingest/internal/formats"
	"waybill.internal/services/ingest/internal/rows"
)

const (
	maxRow = 1 << 20
	// maxHeader names of a header are in an expectation, then how many more there are.
	maxHeader = 60
)

// csvExpect is what Python's csv says of a file.
type csvExpect struct {
	Records    int            `json:"records"`
	Blank      int            `json:"blank_rows"`
	Columns    int            `json:"columns"`
	Ragged     int            `json:"ragged_records"`
	Digest     string         `json:"sha256_records"`
	Header     []string       `json:"header"`
	Duplicates []string       `json:"duplicate_headers"`
	BlankNames int            `json:"blank_headers"`
	Widths     map[string]int `json:"widths"`
	OracleErr  string         `json:"oracle_error"`
}

// csvFile compares the records of separated values, cell by cell. What Python reads
// of stray quotes is only compared where our own default refuses them.
func csvFile(c Case) []string {
	f := integration.CSV{Delimiter: c.Spec.Delim, Quote: `"`, Stray: "refuse", Escape: c.Spec.Escape, Comment: c.Spec.Comment, Trim: "none", Header: true}
	if f.Delimiter == "" {
		f.Delimiter = ","
	}
	if c.Spec.SkipBlanks {
		f.Trim = "start"
	}
	if len(c.Spec.Quote) > 0 {
		var quote *string
		if err := json.Unmarshal(c.Spec.Quote, &quote); err != nil {
			return []string{"spec: quote: " + err.Error()}
		}
		if f.Quote = "none"; quote != nil {
			f.Quote = *quote
		}
	}
	header := new(int)
	if len(c.Spec.Header) > 0 {
		if err := json.Unmarshal(c.Spec.Header, &header); err != nil {
			return []string{"spec: header: " + err.Error()}
		}
	}
	if f.Header = header != nil; f.Header {
		f.Preamble = *header
	}
	out := separated(c, f)
	if len(out) == 0 || f.Quote == "none" {
		return out
	}
	f.Stray = "keep"
	again := separated(c, f)
	if len(again) == 0 {
		c.Note("as expected with stray_quotes: keep; with the default there are %d differences, such as: %s", len(out), out[0])
	}
	if len(again) < len(out) {
		return again
	}
	return out
}

// splitFile compares rows and cells that stand between marks of several characters.
func splitFile(c Case) []string {
	return separated(c, integration.CSV{Delimiter: c.Spec.FieldSep, RowEnd: c.Spec.RowSep, Quote: "none", Stray: "refuse", Trim: "none"})
}

// separated reads a file as f says, with the columns of the expectation where the
// file does not name them, as an integration has to.
func separated(c Case, f integration.CSV) []string {
	var want csvExpect
	if err := strict(c.Expect, &want); err != nil {
		return []string{"what is expected cannot be read: " + err.Error()}
	}
	charset, err := charsetOf(c.Spec.Enc)
	if err != nil {
		return []string{err.Error()}
	}
	f.Charset = charset
	var out []string
	unnamed := f.Header && want.Header != nil && (len(want.Header) == 0 || want.BlankNames == want.Columns)
	if unnamed { // its names must come from the integration, and the row is passed over
		f.Header, f.Preamble, f.Columns = false, f.Preamble+1, numbered(want.Columns)
	} else if f.Header {
		refused := refusedHeader(c, f)
		if refused == nil && (want.BlankNames > 0 || len(want.Duplicates) > 0) {
			out = append(out, "names that have to be guessed are taken")
		}
		if refused != nil {
			c.Note("without names for the columns it is refused: %v", refused)
			f.Columns = numbered(want.Columns)
		}
	} else {
		f.Columns = numbered(want.Columns)
	}
	got, err := tally(c, f)
	if want.OracleErr != "" && (err != nil || len(got.broken) > 0) {
		return out // both refuse it, we perhaps only rows
	}
	if unnamed {
		got.header, got.headed = want.Header, len(want.Header) > 0
		if want.Columns > maxHeader {
			got.header = append(slices.Clone(want.Header[:min(maxHeader, len(want.Header))]), make([]string, want.Columns-maxHeader)...)
		}
	}
	if err != nil {
		return append(out, "not read: "+err.Error())
	}
	return append(out, got.compare(want)...)
}

// refusedHeader gives why the header cannot name the columns, if it cannot.
func refusedHeader(c Case, f integration.CSV) error {
	r, err := c.open(&integration.Format{CSV: &f})
	if err != nil {
		if e, ok := errors.AsType[*rows.FileError](err); ok && e.Code == rows.BadHeader {
			return e
		}
		return nil // told when it is read
	}
	_ = r.Close() // only read
	return nil
}

func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "c" + strconv.Itoa(i+1)
	}
	return names
}

// open opens the file as an integration with this format does.
func (c Case) open(f *integration.Format) (rows.Reader, error) {
	content := c.Content()
	if f.Member = escaped(c.Spec.Member); c.Spec.Compression == "zip" && f.Member == "" {
		// The other parser takes the first file of the archive.
		z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return nil, err
		}
		for _, m := range z.File {
			if !strings.HasSuffix(m.Name, "/") {
				f.Member = escaped(m.Name)
				break
			}
		}
	}
	return formats.Open(f, formats.Input{Name: c.File, Stream: bytes.NewReader(content), Random: bytes.NewReader(content), Size: int64(len(content))}, maxRow, nil)
}

// escaped makes a pattern that fits only this name.
func escaped(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// csvTally is what our reader gives of a file.
type csvTally struct {
	records, ragged, blank int
	header                 []string
	headed                 bool
	widths                 map[int]int
	order                  []int // widths as they came
	digest                 string
	broken                 []string // other than ragged
}

func tally(c Case, f integration.CSV) (csvTally, error) {
	t := csvTally{widths: map[int]int{}, headed: f.Header}
	outer, err := c.open(&integration.Format{CSV: &f})
	if err != nil {
		return t, err
	}
	defer outer.Close() //nolint:errcheck // only read
	digest := sha256.New()
	quoted := 0
	defer func() {
		if quoted > 0 {
			c.Note("%d rows begin with the comment character inside quotes: records to us, comments to the other parser", quoted)
		}
	}()
	for {
		_, err := outer.Next()
		r, ok := formats.Inner(outer).(*csvrows.Reader)
		if !ok {
			return t, fmt.Errorf("it was read by %T", formats.Inner(outer))
		}
		t.blank = r.Blank()
		if t.header == nil {
			for _, name := range r.Header() {
				t.header = append(t.header, oracleText(c, r, name))
			}
		}
		if err == io.EOF {
			t.digest = hex.EncodeToString(digest.Sum(nil))
			return t, nil
		}
		if e, ok := errors.AsType[*rows.RowError](err); ok && e.Code != rows.Ragged {
			t.broken = append(t.broken, e.Error())
			t.records++
			continue
		} else if err != nil && !ok {
			return t, err
		}
		cells := r.Cells()
		if c.Spec.Comment != "" && strings.HasPrefix(cells[0], c.Spec.Comment) {
			quoted++
			continue
		}
		t.records++
		if err != nil {
			t.ragged++
		}
		if t.widths[len(cells)]++; t.widths[len(cells)] == 1 {
			t.order = append(t.order, len(cells))
		}
		_, _ = io.WriteString(digest, oracleText(c, r, strings.Join(cells, "\x1f")+"\x1e"))
	}
}

// oracleText gives a text as the other parser decodes it. Python's latin-1 makes
// control characters of 32 bytes that windows-1252, which is what the name means on
// the web and to us, has letters for: the same bytes, told by other names.
func oracleText(c Case, r *csvrows.Reader, text string) string {
	if charset, err := charsetOf(c.Spec.Enc); err != nil || charset != "iso-8859-1" || r.Charset() != "windows-1252" {
		return text
	}
	return strings.Map(func(char rune) rune {
		if b, ok := charmap.Windows1252.EncodeRune(char); ok {
			return rune(b)
		}
		return char
	}, text)
}

// columns is the width of the header, else the most frequent one of rows.
func (t csvTally) columns() int {
	if t.headed && t.header != nil {
		return len(t.header)
	}
	best := 0
	for _, width := range t.order {
		if t.widths[width] > t.widths[best] {
			best = width
		}
	}
	return best
}

func (t csvTally) compare(want csvExpect) (out []string) {
	if want.OracleErr != "" {
		return []string{"read, but the other parser says: " + want.OracleErr}
	}
	differ(&out, "records", t.records, want.Records)
	differ(&out, "blank_rows", t.blank, want.Blank)
	differ(&out, "columns", t.columns(), want.Columns)
	differ(&out, "ragged_records", t.ragged, want.Ragged)
	differ(&out, "sha256_records", t.digest, want.Digest)
	if want.Header != nil || t.headed {
		t.compareHeader(&out, want)
	}
	widths := map[string]int{}
	if t.ragged > 0 {
		for width, n := range t.widths {
			widths[strconv.Itoa(width)] = n
		}
	}
	if !maps.Equal(widths, want.Widths) {
		out = append(out, fmt.Sprintf("widths: got %v, want %v", widths, want.Widths))
	}
	return append(out, t.broken...)
}

func (t csvTally) compareHeader(out *[]string, want csvExpect) {
	got := t.header
	if len(got) > maxHeader {
		got = append(slices.Clone(got[:maxHeader]), fmt.Sprintf("...%d more", len(got)-maxHeader))
	}
	if !slices.Equal(got, want.Header) {
		*out = append(*out, fmt.Sprintf("header: got %q, want %q", got, want.Header))
	}
	count := map[string]int{}
	blank := 0
	for _, name := range t.header {
		count[name]++
		if strings.TrimSpace(name) == "" {
			blank++
		}
	}
	var twice []string
	for _, name := range sortedKeys(count) {
		if count[name] > 1 {
			twice = append(twice, name)
		}
	}
	if !slices.Equal(twice, want.Duplicates) {
		*out = append(*out, fmt.Sprintf("duplicate_headers: got %q, want %q", twice, want.Duplicates))
	}
	differ(out, "blank_headers", blank, want.BlankNames)
}
