package file_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/pkg/testmaterial"
	"waybill.internal/test/world"
)

type caseFile struct {
	File string `json:"file"`
	Spec struct {
		Kind        string          `json:"kind"`
		Enc         string          `json:"enc"`
		Delim       string          `json:"delim"`
		Header      *int            `json:"header"`
		Quote       json.RawMessage `json:"quote"` // null: no quotes; left out: "
		Comment     string          `json:"comment"`
		Escape      string          `json:"escape"`
		Blanks      bool            `json:"skipinitialspace"`
		Compression string          `json:"compression"`
	} `json:"spec"`
	Expect struct {
		Records       int64    `json:"records"`
		Columns       int      `json:"columns"`
		Ragged        int64    `json:"ragged_records"`
		DuplicateHead []string `json:"duplicate_headers"`
		BlankHead     int      `json:"blank_headers"`
	} `json:"expect"`
	raw, content []byte
}

func loadCases(t *testing.T) []caseFile {
	t.Helper()
	dir := testmaterial.Folder(t)
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Files []json.RawMessage `json:"files"`
	}
	if err := json.Unmarshal(b, &manifest); err != nil {
		t.Fatal(err)
	}
	var out []caseFile
	for _, raw := range manifest.Files {
		if !bytes.Contains(raw, []byte(`"csv/`)) {
			continue // expectations of other formats have other shapes
		}
		var c caseFile
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(c.File, "csv/") {
			continue
		}
		if c.raw, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(c.File))); err != nil {
			t.Fatal(err)
		}
		c.content = unpacked(t, c)
		out = append(out, c)
	}
	if len(out) < 50 {
		t.Fatalf("only %d csv files in the manifest", len(out))
	}
	return out
}

func unpacked(t *testing.T, c caseFile) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(c.raw)
	var err error
	switch c.Spec.Compression {
	case "gz":
		r, err = gzip.NewReader(r)
	case "zip":
		var z *zip.Reader
		if z, err = zip.NewReader(bytes.NewReader(c.raw), int64(len(c.raw))); err == nil {
			r, err = z.File[0].Open()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// counted tells whether an integration file can say all that the oracle was
// told. Where it cannot (comments, lines before the header, other escapes,
// charsets that are not offered), the file must end all the same.
func (c caseFile) counted() bool {
	unquoted := string(c.Spec.Quote) == "null" && bytes.IndexByte(c.content, '"') >= 0
	charset := map[string]bool{"": true, "utf-8-sig": true, "latin-1": true, "cp1252": true}[c.Spec.Enc]
	return c.Spec.Kind == "csv" && charset && !unquoted && c.Spec.Comment == "" && c.Spec.Escape == "" && !c.Spec.Blanks && (c.Spec.Header == nil || *c.Spec.Header == 0)
}

func (c caseFile) source(name, dir string) string {
	delimiter := c.Spec.Delim
	if delimiter == "" {
		delimiter = ","
	}
	charset := map[string]string{"latin-1": "iso-8859-1", "cp1252": "windows-1252"}[c.Spec.Enc]
	if charset == "" {
		charset = "utf-8"
	}
	header := "header: true"
	if c.Spec.Header == nil {
		columns := make([]string, max(c.Expect.Columns, 1))
		for i := range columns {
			columns[i] = fmt.Sprintf("c%d", i+1)
		}
		header = "header: false, columns: [" + strings.Join(columns, ", ") + "]"
	}
	return fmt.Sprintf("  - name: %s\n    file: {from: \"in/%s\", every: \"0 0 1 1 *\", format: {csv: {delimiter: %q, charset: %s, %s}}}\n", name, dir, delimiter, charset, header)
}

// TestManifest drops all the CSV files that other people's programs wrote.
func TestManifest(t *testing.T) {
	t.Parallel()
	cases := loadCases(t)
	var b strings.Builder
	b.WriteString("integration: drop\nsources:\n")
	packed := 0
	for i, c := range cases {
		b.WriteString(c.source(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d", i)))
		if c.Spec.Compression != "" { // and as it lies there: no text at all
			b.WriteString(c.source(fmt.Sprintf("p%d", i), fmt.Sprintf("p%d", i)))
			packed++
		}
	}
	b.WriteString("record: {}\nprocess: {}\n")
	w := newInbox(t, b.String())
	base := w.dir
	for i, c := range cases {
		for name, content := range map[string][]byte{fmt.Sprintf("s%d", i): c.content, fmt.Sprintf("p%d", i): c.raw} {
			if name[0] == 'p' && c.Spec.Compression == "" {
				continue
			}
			w.dir = filepath.Join(base, name)
			w.Must(os.MkdirAll(w.dir, 0o750))
			w.put("file.csv", content)
		}
	}
	w.start()
	w.Await("every file to end", func() bool {
		return world.One[int](w, `SELECT count(*) FROM file WHERE state <> 'reading'`) == len(cases)+packed
	})
	if n := world.One[int64](w, `SELECT count(*) FROM file f WHERE rows_done <> received + duplicates OR received <> (SELECT count(*) FROM record r WHERE r.source = f.source)`); n != 0 {
		t.Errorf("the counts of %d files do not hold what the ledger has", n)
	}
	counted := 0
	for i, c := range cases {
		f := w.fileOf(fmt.Sprintf("s%d", i))
		guessed := c.Spec.Header != nil && (len(c.Expect.DuplicateHead) > 0 || c.Expect.BlankHead > 0)
		switch {
		case guessed:
			if f.State != "failed" || !strings.Contains(f.Error, "bad_header") {
				t.Errorf("%s: a header that would have to be guessed: %+v", c.File, f)
			}
		case strings.HasSuffix(c.File, "/accent.csv"): // valid UTF-8 wins over the declared charset: the counts hold
			fallthrough
		case c.counted():
			counted++
			if f.State != "done" || f.Rows != c.Expect.Records || f.Rejected != c.Expect.Ragged {
				t.Errorf("%s: %+v, want %d rows and %d rejected", c.File, f, c.Expect.Records, c.Expect.Ragged)
			}
		default:
			t.Logf("%s: cannot be described to the end: %s, %d rows, %d rejected %s", c.File, f.State, f.Rows, f.Rejected, f.Error)
		}
	}
	if counted < 35 {
		t.Errorf("only %d files were counted against the manifest", counted)
	}
	t.Logf("%d of %d files counted against the manifest", counted, len(cases))
}

func (w *inbox) fileOf(source string) fileRow {
	w.Helper()
	var f fileRow
	w.Must(w.DB.QueryRow(w.Context(), `SELECT state, error, rows_done, received, rejected, duplicates FROM file WHERE source = $1`, source).
		Scan(&f.State, &f.Error, &f.Rows, &f.Received, &f.Rejected, &f.Duplicates))
	return f
}
