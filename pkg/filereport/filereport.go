// Package filereport writes what became of a file for the people who sent it:
// counts, and for each rejected row its line, field and reason, as CSV or JSON.
//
//	err := filereport.Write(ctx, w, filereport.CSV, story, filereport.Options{Rows: page})
//
// Rejected rows are read from the ledger in pages of at most PageRows, so the
// memory it takes does not depend on the file. A report is of the moment: rows
// that a person put right since are not in it.
//
// # CSV
//
// One table, with the header kind,line,row,field,code,reason,record. Rows of kind
// file and count tell of the file: field names what, reason gives it. Each reason
// of a rejected row is one row of kind rejected; field is a JSON pointer into the
// record. A row of kind more says how many rejected rows were left out, and why.
//
// A cell that a spreadsheet would take for a formula (it begins with =, +, -, @, a
// tab or a carriage return, also in their full-width forms or behind blanks) has an
// apostrophe before it, and so has what follows a semicolon, a tab or a line end inside
// a cell: in many countries spreadsheets part cells there. Every reason was written by us or by the partner's
// own schema; file names and JSON pointers are the partner's.
//
// # JSON
//
// One object: file, counts, rejected (a list) and, if rows were left out, more.
package filereport

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
)

// PageRows is how many rejected rows are in memory at once.
const PageRows = 500

// Formats of a report.
const (
	CSV  = "csv"
	JSON = "json"
)

// Page gives at most limit rejected rows behind the row number after.
type Page func(ctx context.Context, after int64, limit int) ([]ledger.RejectedRow, error)

// Options of Write. Rows is required.
type Options struct {
	Rows Page
	// MaxBytes ends the list of rejected rows when so much is written; what is left
	// out is counted in the report. 0: there is no bound.
	MaxBytes int64
}

// writer is one format.
type writer interface {
	begin(f ledger.FileStory) error
	reject(r ledger.RejectedRow, reasons []fault.Problem) error
	end(more int64) error
}

// Write writes the report on a file. An error is the ledger's or w's.
func Write(ctx context.Context, w io.Writer, format string, f ledger.FileStory, o Options) error {
	counted := &counting{w: w}
	buffered := bufio.NewWriter(counted)
	var out writer
	switch format {
	case CSV:
		out = &csvWriter{csv.NewWriter(buffered)}
	case JSON:
		out = &jsonWriter{w: buffered}
	default:
		return fmt.Errorf("a report as %q is not written; write csv or json", format)
	}
	if err := out.begin(f); err != nil {
		return err
	}
	written, after := int64(0), int64(0)
	more := int64(0)
	for done := false; !done; {
		page, err := o.Rows(ctx, after, PageRows)
		if err != nil {
			return err
		}
		for i, r := range page {
			if o.MaxBytes > 0 && counted.n+int64(buffered.Buffered()) >= o.MaxBytes {
				more, done = max(f.Rejected-written, int64(len(page)-i)), true
				break
			}
			if err := out.reject(r, reasonsOf(r)); err != nil {
				return err
			}
			written++
			after = r.Number
		}
		done = done || len(page) < PageRows
	}
	if err := out.end(more); err != nil {
		return err
	}
	return buffered.Flush()
}

type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func reasonsOf(r ledger.RejectedRow) []fault.Problem {
	var reasons []fault.Problem
	if json.Unmarshal(r.Detail, &reasons) != nil || len(reasons) == 0 {
		reasons = []fault.Problem{{Code: r.Code, Message: r.Message}}
	}
	return reasons
}

// entry is a fact about the file.
type entry struct {
	name string
	text string
	n    int64
}

func facts(f ledger.FileStory) (file []entry, counts []entry) {
	file = []entry{{name: "id", text: strconv.FormatInt(f.ID, 10)}, {name: "name", text: f.Name}, {name: "integration", text: f.Integration}, {name: "source", text: f.Source},
		{name: "sha256", text: f.Hash}, {name: "tracking_id", text: f.TrackingID}, {name: "state", text: f.State}, {name: "started_at", text: f.StartedAt.UTC().Format(time.RFC3339)}}
	if f.EndedAt != nil {
		file = append(file, entry{name: "ended_at", text: f.EndedAt.UTC().Format(time.RFC3339)})
	}
	if f.Error != "" {
		file = append(file, entry{name: "error", text: f.Error})
	}
	return file, []entry{{name: "bytes", n: f.Size}, {name: "rows", n: f.Rows}, {name: "received", n: f.Received}, {name: "rejected", n: f.Rejected},
		{name: "duplicates", n: f.Duplicates}, {name: "unchanged", n: f.Unchanged}, {name: "deleted", n: f.Deleted}}
}

type csvWriter struct{ w *csv.Writer }

func (c *csvWriter) row(cells ...string) error {
	for i := range cells {
		cells[i] = Cell(cells[i])
	}
	return c.w.Write(cells)
}

func (c *csvWriter) begin(f ledger.FileStory) error {
	err := c.row("kind", "line", "row", "field", "code", "reason", "record")
	file, counts := facts(f)
	for _, e := range file {
		if err == nil {
			err = c.row("file", "", "", e.name, "", e.text, "")
		}
	}
	for _, e := range counts {
		if err == nil {
			err = c.row("count", "", "", e.name, "", strconv.FormatInt(e.n, 10), "")
		}
	}
	return err
}

func (c *csvWriter) reject(r ledger.RejectedRow, reasons []fault.Problem) error {
	for _, p := range reasons {
		if err := c.row("rejected", strconv.FormatInt(r.Line, 10), strconv.FormatInt(r.Number, 10), p.Pointer, p.Code, p.Message, r.Record.String()); err != nil {
			return err
		}
	}
	c.w.Flush() // so that its bytes count
	return c.w.Error()
}

func (c *csvWriter) end(more int64) error {
	if more > 0 {
		if err := c.row("more", "", "", "", "", fmt.Sprintf("%d more rejected rows are left out: the report is as large as it may be; ask for the rest", more), ""); err != nil {
			return err
		}
	}
	c.w.Flush()
	return c.w.Error()
}

// Cell makes a text safe for a spreadsheet: neither it nor, where a spreadsheet parts
// cells at semicolons, tabs or line ends instead of commas, a part of it is a formula.
func Cell(text string) string {
	var out strings.Builder
	for begin := 0; begin < len(text); {
		end := len(text)
		if i := strings.IndexAny(text[begin:], ";\t\r\n"); i >= 0 {
			end = begin + i + 1
		}
		// What parts cells may begin the text, and is then what a spreadsheet acts on.
		if part := text[begin:end]; formula(part) || begin == 0 && parts(part) {
			out.WriteByte('\'')
		}
		out.WriteString(text[begin:end])
		begin = end
	}
	return out.String()
}

// formula tells whether a spreadsheet would calculate a text: blanks, what nobody sees and
// quotation marks before the sign do not hinder it.
func formula(text string) bool {
	rest := strings.TrimLeftFunc(text, func(r rune) bool {
		return r == '"' || r == '\ufeff' || r == '\u200b' || unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r)
	})
	return rest != "" && strings.ContainsRune("=+-@|%\uff1d\uff0b\uff0d\uff20", firstRune(rest))
}

// parts tells whether a text begins with what may end a cell, blanks aside.
func parts(text string) bool {
	rest := strings.TrimLeft(text, " \u00a0\ufeff\u200b")
	return rest != "" && strings.ContainsRune("\t\r\n", firstRune(rest))
}

func firstRune(text string) rune {
	r, _ := utf8.DecodeRuneInString(text)
	return r
}

type jsonWriter struct {
	w     *bufio.Writer
	lines int
}

func (j *jsonWriter) object(entries []entry, numbers bool) error {
	for i, e := range entries {
		var value any = e.text
		if numbers {
			value = e.n
		}
		b, err := json.Marshal(value)
		if err != nil {
			return err
		}
		comma := ","
		if i == 0 {
			comma = ""
		}
		fmt.Fprintf(j.w, "%s%q:%s", comma, e.name, b)
	}
	return nil
}

func (j *jsonWriter) begin(f ledger.FileStory) error {
	file, counts := facts(f)
	_, _ = j.w.WriteString(`{"file":{`) // a buffered writer keeps its error for Flush
	if err := j.object(file, false); err != nil {
		return err
	}
	_, _ = j.w.WriteString(`},"counts":{`)
	if err := j.object(counts, true); err != nil {
		return err
	}
	_, err := j.w.WriteString(`},"rejected":[`)
	return err
}

func (j *jsonWriter) reject(r ledger.RejectedRow, reasons []fault.Problem) error {
	type reason struct {
		Field   string `json:"field"`
		Code    string `json:"code"`
		Message string `json:"reason"`
	}
	row := struct {
		Line    int64    `json:"line"`
		Row     int64    `json:"row"`
		Record  string   `json:"record"`
		Reasons []reason `json:"reasons"`
	}{r.Line, r.Number, r.Record.String(), make([]reason, len(reasons))}
	for i, p := range reasons {
		row.Reasons[i] = reason{p.Pointer, p.Code, p.Message}
	}
	b, err := json.Marshal(row)
	if err != nil {
		return err
	}
	if j.lines++; j.lines > 1 {
		_ = j.w.WriteByte(',')
	}
	_ = j.w.WriteByte('\n')
	_, err = j.w.Write(b)
	return err
}

func (j *jsonWriter) end(more int64) error {
	_, _ = j.w.WriteString("]")
	if more > 0 {
		fmt.Fprintf(j.w, `,"more":%d`, more)
	}
	_, err := j.w.WriteString("}\n")
	return err
}
