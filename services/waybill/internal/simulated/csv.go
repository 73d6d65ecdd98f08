package simulated

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// CSV generates a file drop of service requests.
type CSV struct {
	Seed      uint64
	Rows      int  // data rows, default 2000
	Delimiter rune // default ';'

	Duplicate      float64 // shares of the rows, as in Mix
	UnknownProduct float64
	ClosedEarly    float64
	Broken         float64 // ragged, stray quote or invalid bytes, one third each
}

// CSVReport says how many rows of each kind a file has. Rows is their sum.
type CSVReport struct {
	Rows           int `json:"rows"`
	Good           int `json:"good"`
	Duplicates     int `json:"duplicates"` // the same request_no as an earlier row
	UnknownProduct int `json:"unknown_product"`
	ClosedEarly    int `json:"closed_early"`
	Ragged         int `json:"ragged"`
	StrayQuotes    int `json:"stray_quotes"`
	InvalidBytes   int `json:"invalid_bytes"`
}

// Broken counts the rows that cannot be read as rows.
func (r CSVReport) Broken() int { return r.Ragged + r.StrayQuotes + r.InvalidBytes }

const maxCSVRows = 10_000_000

var csvHeader = []string{"request_no", "email", "product", "opened_at", "closed_at", "quantity", "note"}

// Write writes the file as UTF-8 with byte order mark and header. The mark is
// there because a file without one that holds invalid bytes rightly passes for
// windows-1252. The same settings give the same bytes.
func (c CSV) Write(w io.Writer) (CSVReport, error) {
	if c.Rows == 0 {
		c.Rows = 2000
	}
	if c.Delimiter == 0 {
		c.Delimiter = ';'
	}
	if c.Rows < 0 || c.Rows > maxCSVRows {
		return CSVReport{}, fmt.Errorf("simulated: csv: rows must lie between 1 and %d", maxCSVRows)
	}
	// Broken rows take the place of the mix's malformed sendings.
	mix := Mix{Duplicate: c.Duplicate, UnknownProduct: c.UnknownProduct, ClosedEarly: c.ClosedEarly, Malformed: c.Broken}
	if err := mix.check(); err != nil {
		return CSVReport{}, err
	}
	out := bufio.NewWriter(w)
	rows := csv.NewWriter(out)
	rows.Comma = c.Delimiter
	if _, err := out.WriteString("\ufeff"); err != nil {
		return CSVReport{}, fmt.Errorf("simulated: csv: write byte order mark: %w", err)
	}
	if err := rows.Write(csvHeader); err != nil {
		return CSVReport{}, fmt.Errorf("simulated: csv: write header: %w", err)
	}
	var report CSVReport
	for n := range c.Rows {
		if err := c.row(out, rows, mix, n, &report); err != nil {
			return report, fmt.Errorf("simulated: csv: write row %d: %w", n+1, err)
		}
	}
	rows.Flush()
	if err := rows.Error(); err != nil {
		return report, fmt.Errorf("simulated: csv: write: %w", err)
	}
	if err := out.Flush(); err != nil {
		return report, fmt.Errorf("simulated: csv: write: %w", err)
	}
	return report, nil
}

func (c CSV) row(out *bufio.Writer, rows *csv.Writer, mix Mix, n int, report *CSVReport) error {
	kind, of := mix.resolve(c.Seed, n)
	report.Rows++
	recordKind := kind
	switch kind {
	case Duplicate:
		report.Duplicates++
		recordKind = mix.kind(c.Seed, of)
	case UnknownProduct:
		report.UnknownProduct++
	case ClosedEarly:
		report.ClosedEarly++
	case Malformed:
		// The csv writer cannot write broken rows, so it must be flushed first to
		// keep the order.
		rows.Flush()
		if err := rows.Error(); err != nil {
			return err
		}
		_, err := out.WriteString(c.brokenRow(n, report))
		return err
	default:
		report.Good++
	}
	r := serviceRequest(c.Seed, "CSV", of, recordKind)
	return rows.Write([]string{r.RequestNo, r.Email, r.Product, r.OpenedAt, r.ClosedAt, strconv.Itoa(r.Quantity), r.Note})
}

// brokenRow gives a row that is broken on its own line only.
func (c CSV) brokenRow(n int, report *CSVReport) string {
	r := serviceRequest(c.Seed, "CSV", n, Good)
	cells := []string{r.RequestNo, r.Email, r.Product, r.OpenedAt, "", "1", "broken"}
	switch int(roll(c.Seed, "broken", "", uint64(n)) * 3) {
	case 0:
		report.Ragged++
		cells = cells[:4]
	case 1:
		report.StrayQuotes++
		cells[6] = `"quoted" and more`
	default:
		report.InvalidBytes++
		cells[6] = "caf\xe9 \xff"
	}
	return strings.Join(cells, string(c.Delimiter)) + "\n"
}
