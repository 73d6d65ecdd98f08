package cases

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xlsxrows"
)

// xlsxCounts is what other parsers say of one sheet: rows that are not blank.
type xlsxCounts struct {
	Calamine *int   `json:"calamine"`
	Openpyxl *int   `json:"openpyxl"`
	Merged   int    `json:"merged"`
	State    string `json:"state"` // hidden, veryHidden; empty: visible
}

// xlsxFile compares a spreadsheet: its date system, its sheets with their state,
// their ranges of merged cells, and how many rows of each are not blank. A file
// that both other parsers refuse must be refused; what only one refuses must be
// read as the other reads it. Where one counts otherwise than the other, one of the
// two counts must be met.
func xlsxFile(c Case) []string {
	var want struct {
		Sheets        map[string]xlsxCounts `json:"sheets"`
		Date1904      *bool                 `json:"date1904"`
		NonblankRows  map[string]int        `json:"nonblank_rows"`
		CalamineError string                `json:"calamine_error"`
		OpenpyxlError string                `json:"openpyxl_error"`
		OracleError   string                `json:"oracle_error"`
	}
	if err := strict(c.Expect, &want); err != nil {
		return []string{"its expectation cannot be read: " + err.Error()}
	}
	book, err := xlsxrows.Inspect(bytes.NewReader(c.Content()), int64(len(c.Content())))
	if len(want.Sheets) == 0 && want.CalamineError+want.OpenpyxlError+want.OracleError != "" {
		for i := 0; err == nil && i < len(book.Sheets); i++ {
			_, _, err = countXLSX(c.Content(), book.Sheets[i].Name)
		}
		return mustRefuse(err)
	}
	if err != nil {
		return []string{"it is refused: " + err.Error()}
	}
	var out []string
	if want.Date1904 != nil { // openpyxl could read it
		differ(&out, "1904 dates", book.Date1904, *want.Date1904)
	} else if want.OpenpyxlError != "" {
		c.Note("it is read as calamine reads it; openpyxl says: %s", want.OpenpyxlError)
	}
	seen := map[string]bool{}
	for _, s := range book.Sheets {
		seen[s.Name] = true
		expected, ok := want.Sheets[s.Name]
		if !ok {
			out = append(out, fmt.Sprintf("sheet %q is not expected", s.Name))
			continue
		}
		differ(&out, fmt.Sprintf("sheet %q hidden", s.Name), s.Hidden, expected.State != "")
		out = append(out, compareXLSX(c, s.Name, expected, want.NonblankRows[s.Name])...)
	}
	for _, name := range sortedKeys(want.Sheets) {
		if !seen[name] && slices.Contains(book.Others, name) {
			c.Note("%q is a chart, a dialogue or a page of macros, no worksheet: it is not read", name)
		} else if !seen[name] && want.Sheets[name].Openpyxl == nil && want.OpenpyxlError == "" {
			c.Note("%q is no worksheet, as openpyxl says too: it is not read", name)
		} else if !seen[name] {
			out = append(out, fmt.Sprintf("sheet %q is missing", name))
		}
	}
	return out
}

// compareXLSX counts the rows of one sheet that are not blank, broken ones too.
func compareXLSX(c Case, sheet string, want xlsxCounts, most int) []string {
	got, merged, err := countXLSX(c.Content(), sheet)
	if err != nil {
		return []string{fmt.Sprintf("sheet %q: %v", sheet, err)}
	}
	var out []string
	if want.Openpyxl != nil {
		differ(&out, fmt.Sprintf("sheet %q: merged", sheet), merged, want.Merged)
	}
	switch {
	case got == most:
	case want.Calamine != nil && got == *want.Calamine:
		c.Note("sheet %q has %d rows as calamine counts, openpyxl counts otherwise", sheet, got)
	case want.Openpyxl != nil && got == *want.Openpyxl:
		c.Note("sheet %q has %d rows as openpyxl counts, calamine counts otherwise", sheet, got)
	default:
		out = append(out, fmt.Sprintf("sheet %q: got %d rows that are not blank, want %d", sheet, got, most))
	}
	return out
}

func countXLSX(content []byte, sheet string) (n, merged int, err error) {
	// Header 0: the first row is a row like any other, as the other parsers count.
	r, err := xlsxrows.New(bytes.NewReader(content), int64(len(content)), &integration.Sheet{Sheet: sheet}, maxCaseRow, nil, "")
	if err != nil {
		return 0, 0, err
	}
	defer r.Close() //nolint:errcheck // nothing is written
	for {
		_, err := r.Next()
		var broken *rows.RowError
		switch {
		case errors.Is(err, io.EOF):
			return n, r.Merged(), nil
		case err != nil && !errors.As(err, &broken):
			return n, 0, err
		}
		n++
	}
}
