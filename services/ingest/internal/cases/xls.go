package cases

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xlsrows"
)

// maxCaseRow bounds a row of a spreadsheet as JSON.
const maxCaseRow = 16 << 20

// sheetCounts is what other parsers say of one sheet: rows that are not blank.
type sheetCounts struct {
	Calamine *int   `json:"calamine"`
	XLRD     *int   `json:"xlrd"`
	State    string `json:"state"` // Hidden, VeryHidden; empty: visible
}

// xlsFile compares an old binary spreadsheet: its version, its code page, its date
// system, its sheets with their state, and how many rows of each are not blank. A
// file that both other parsers refuse must be refused. Where one of them counts
// otherwise than the other, one of the two counts must be met. Charts are no
// worksheets here, though one of the parsers gives the numbers they show.
func xlsFile(c Case) []string {
	var want struct {
		Sheets        map[string]sheetCounts `json:"sheets"`
		Biff          int                    `json:"biff"`
		Codepage      int                    `json:"codepage"`
		Date1904      bool                   `json:"date1904"`
		NonblankRows  map[string]int         `json:"nonblank_rows"`
		CalamineError string                 `json:"calamine_error"`
		XLRDError     string                 `json:"xlrd_error"`
		OpenpyxlError string                 `json:"openpyxl_error"` // as the oracle names xlrd's in some versions
		OracleError   string                 `json:"oracle_error"`
	}
	if err := strict(c.Expect, &want); err != nil {
		return []string{"its expectation cannot be read: " + err.Error()}
	}
	book, err := xlsrows.Inspect(bytes.NewReader(c.Content()), int64(len(c.Content())))
	if len(want.Sheets) == 0 && want.CalamineError+want.OracleError != "" {
		for i := 0; err == nil && i < len(book.Sheets); i++ {
			_, err = countXLS(c.Content(), book.Sheets[i].Name)
		}
		return mustRefuse(err)
	}
	if err != nil {
		return []string{"it is refused: " + err.Error()}
	}
	var out []string
	if want.Biff != 0 { // xlrd could read it
		differ(&out, "version", book.Version, want.Biff)
		differ(&out, "code page", book.Codepage, want.Codepage)
		differ(&out, "1904 dates", book.Date1904, want.Date1904)
	}
	seen := map[string]bool{}
	for _, s := range book.Sheets {
		seen[s.Name] = true
		expected, ok := want.Sheets[s.Name]
		if !ok {
			out = append(out, fmt.Sprintf("sheet %q is not expected", s.Name))
			continue
		}
		if expected.Calamine != nil {
			differ(&out, fmt.Sprintf("sheet %q hidden", s.Name), s.Hidden, expected.State != "")
		}
		out = append(out, compareRows(c, s.Name, expected, want.NonblankRows[s.Name])...)
	}
	for _, name := range sortedKeys(want.Sheets) {
		switch {
		case seen[name]:
		case slices.Contains(book.Others, name) && want.Sheets[name].XLRD == nil:
			c.Note("%q is a chart or a macro sheet, no worksheet: its numbers are not counted", name)
		default:
			out = append(out, fmt.Sprintf("sheet %q is missing", name))
		}
	}
	return out
}

func mustRefuse(err error) []string {
	var named *rows.FileError
	if errors.As(err, &named) {
		return nil
	}
	return []string{fmt.Sprintf("no other parser reads it, but it is not refused with a named error: %v", err)}
}

// compareRows counts the rows of one sheet that are not blank, broken ones too.
func compareRows(c Case, sheet string, want sheetCounts, most int) []string {
	got, err := countXLS(c.Content(), sheet)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("sheet %q: %v", sheet, err)}
	case got == most:
		return nil
	case want.Calamine != nil && got == *want.Calamine:
		c.Note("sheet %q has %d rows as calamine counts, xlrd counts otherwise", sheet, got)
		return nil
	case want.XLRD != nil && got == *want.XLRD:
		c.Note("sheet %q has %d rows as xlrd counts, calamine counts otherwise", sheet, got)
		return nil
	}
	return []string{fmt.Sprintf("sheet %q: got %d rows that are not blank, want %d", sheet, got, most)}
}

func countXLS(content []byte, sheet string) (int, error) {
	// Header 0: the first row is a row like any other, as the other parsers count.
	r, err := xlsrows.New(bytes.NewReader(content), int64(len(content)), &integration.Sheet{Sheet: sheet}, maxCaseRow, nil)
	if err != nil {
		return 0, err
	}
	defer r.Close() //nolint:errcheck // nothing is written
	n := 0
	for {
		_, err := r.Next()
		var broken *rows.RowError
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil && !errors.As(err, &broken):
			return n, err
		}
		n++
	}
}
