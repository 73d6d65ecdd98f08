package xlsrows_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/testmaterial"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xlsrows"
)

const maxRow = 1 << 20

type caseFile struct {
	File string `json:"file"`
	Spec struct {
		Kind string `json:"kind"`
	} `json:"spec"`
	Expect struct {
		Biff     int            `json:"biff"`
		Codepage int            `json:"codepage"`
		Date1904 bool           `json:"date1904"`
		Rows     map[string]int `json:"nonblank_rows"`
		Sheets   map[string]struct {
			State string `json:"state"`
		} `json:"sheets"`
	} `json:"expect"`
}

func loadCases(t testing.TB) []caseFile {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testmaterial.Folder(t), "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var loose struct {
		Files []json.RawMessage `json:"files"`
	}
	if err := json.Unmarshal(b, &loose); err != nil {
		t.Fatal(err)
	}
	var out []caseFile
	for _, f := range loose.Files {
		var c caseFile
		if !bytes.Contains(f, []byte(`"xls/`)) {
			continue
		}
		if err := json.Unmarshal(f, &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	if len(out) < 20 {
		t.Fatalf("only %d .xls files in the manifest", len(out))
	}
	return out
}

func (c caseFile) read(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testmaterial.Folder(t), filepath.FromSlash(c.File)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type result struct {
	rows   []rows.Row
	broken []*rows.RowError
}

// readAll reads a sheet to its end.
func readAll(b []byte, f integration.Sheet) (result, error) {
	var got result
	r, err := xlsrows.New(bytes.NewReader(b), int64(len(b)), &f, maxRow, nil)
	if err != nil {
		return got, err
	}
	for {
		row, err := r.Next()
		var e *rows.RowError
		switch {
		case err == io.EOF:
			return got, r.Close()
		case errors.As(err, &e):
			got.broken = append(got.broken, e)
		case err != nil:
			return got, err
		default:
			got.rows = append(got.rows, row)
		}
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	for _, c := range loadCases(t) {
		t.Run(c.File, func(t *testing.T) {
			t.Parallel()
			b := c.read(t)
			w, err := xlsrows.Inspect(bytes.NewReader(b), int64(len(b)))
			if c.Spec.Kind == "reject" {
				var e *rows.FileError
				if !errors.As(err, &e) || e.Message == "" {
					t.Fatalf("not refused with a named error: %v", err)
				}
				if strings.HasSuffix(c.File, "password.xls") && e.Code != rows.Encrypted {
					t.Errorf("refused as %s, not as encrypted", e.Code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.Version != c.Expect.Biff || w.Codepage != c.Expect.Codepage || w.Date1904 != c.Expect.Date1904 {
				t.Errorf("version %d, code page %d, 1904 %v; want %d, %d, %v", w.Version, w.Codepage, w.Date1904, c.Expect.Biff, c.Expect.Codepage, c.Expect.Date1904)
			}
			if len(w.Sheets) != len(c.Expect.Sheets) {
				t.Errorf("sheets %v, want %v", w.Sheets, c.Expect.Sheets)
			}
			for _, s := range w.Sheets {
				got, err := readAll(b, integration.Sheet{Sheet: s.Name})
				if err != nil {
					t.Fatalf("%s: %v", s.Name, err)
				}
				if n := len(got.rows) + len(got.broken); n != c.Expect.Rows[s.Name] {
					t.Errorf("%s: %d rows, want %d", s.Name, n, c.Expect.Rows[s.Name])
				}
				if s.Hidden != (c.Expect.Sheets[s.Name].State != "") {
					t.Errorf("%s: hidden %v, want %q", s.Name, s.Hidden, c.Expect.Sheets[s.Name].State)
				}
			}
		})
	}
}
