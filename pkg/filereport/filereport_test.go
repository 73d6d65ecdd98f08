package filereport_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/filereport"
	"waybill.internal/pkg/ledger"
)

// rejects gives n rejected rows in pages, and counts how many are asked for at once.
func rejects(t *testing.T, n int64) filereport.Page {
	t.Helper()
	return func(_ context.Context, after int64, limit int) ([]ledger.RejectedRow, error) {
		if limit > filereport.PageRows {
			t.Errorf("%d rows are asked for at once", limit)
		}
		var page []ledger.RejectedRow
		for i := after + 1; i <= n && len(page) < limit; i++ {
			r := ledger.RejectedRow{Number: i, Line: i + 1, Code: "ragged", Message: fmt.Sprintf("line %d: =1+1", i+1)}
			if i == 2 {
				r.Detail = []byte(`[{"pointer":"/=cmd","code":"schema","message":"@SUM(A1)","line":3},{"pointer":"","code":"check","message":"\tno","line":3}]`)
			}
			page = append(page, r)
		}
		return page, nil
	}
}

func story(n int64) ledger.FileStory {
	end := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	return ledger.FileStory{ID: 7, Name: "=HYPERLINK(\"x\").csv", State: "failed", Integration: "shop", Source: "file", Size: 10, Rows: n + 1, Received: n + 1, Rejected: n, Error: "-1", StartedAt: end, EndedAt: &end}
}

// TestCSV: every cell is there, none is a formula, and each reason has a row.
func TestCSV(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := filereport.Write(t.Context(), &out, filereport.CSV, story(1234), filereport.Options{Rows: rejects(t, 1234)}); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rejected := 0
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("%q is a formula", cell)
			}
		}
		if row[0] == "rejected" {
			rejected++
		}
	}
	if rejected != 1235 {
		t.Errorf("%d reasons, want 1235", rejected)
	}
	for _, want := range []string{"file,,,name,,\"'=HYPERLINK(\"\"x\"\").csv\",\n", "file,,,error,,'-1,\n", "count,,,rejected,,1234,\n", "rejected,3,2,/=cmd,schema,'@SUM(A1),", "rejected,1235,1234,,ragged,line 1235: =1+1,"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// TestJSON is one document with the same in it.
func TestJSON(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{0, 1, filereport.PageRows, 1234} {
		var out strings.Builder
		if err := filereport.Write(t.Context(), &out, filereport.JSON, story(n), filereport.Options{Rows: rejects(t, n)}); err != nil {
			t.Fatal(err)
		}
		var got struct {
			File     map[string]string
			Counts   map[string]int64
			Rejected []struct {
				Line, Row int64
				Reasons   []struct{ Field, Code, Reason string }
			}
			More *int64
		}
		if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
			t.Fatal(err)
		}
		if int64(len(got.Rejected)) != n || got.Counts["rejected"] != n || got.File["name"] != story(n).Name || got.More != nil {
			t.Errorf("%d rejected, counts %v, file %v", len(got.Rejected), got.Counts, got.File)
		}
		if n > 1 && (got.Rejected[1].Line != 3 || len(got.Rejected[1].Reasons) != 2 || got.Rejected[1].Reasons[0].Field != "/=cmd") {
			t.Errorf("row 2 is %+v", got.Rejected[1])
		}
	}
}

// TestBound: what is left out of a bounded report is counted in it.
func TestBound(t *testing.T) {
	t.Parallel()
	for _, format := range []string{filereport.CSV, filereport.JSON} {
		var out strings.Builder
		if err := filereport.Write(t.Context(), &out, format, story(5000), filereport.Options{Rows: rejects(t, 5000), MaxBytes: 20_000}); err != nil {
			t.Fatal(err)
		}
		written := strings.Count(out.String(), "ragged") + 1 // the second row has codes of its own
		left := fmt.Sprint(5000 - written)
		if out.Len() > 22_000 || !strings.Contains(out.String()[out.Len()-150:], left) {
			t.Errorf("%s: %d bytes, %d rows, the end is %q", format, out.Len(), written, out.String()[out.Len()-150:])
		}
	}
	if err := filereport.Write(t.Context(), &strings.Builder{}, "pdf", story(1), filereport.Options{Rows: rejects(t, 1)}); err == nil {
		t.Error("a report as pdf")
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "a=b": "a=b", "=1": "'=1", " =1": "' =1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx", "\uff1d1": "'\uff1d1", "/a": "/a", "Köln": "Köln",
		"\uff0b1": "'\uff0b1", "\uff0d1": "'\uff0d1", "\uff20x": "'\uff20x", "\u3000=1": "'\u3000=1", "\u200e=1": "'\u200e=1", "\x00=1": "'\x00=1", "\v=1": "'\v=1", "\n=1": "'\n'=1", "\"=1": "'\"=1",
		"a;=1": "a;'=1", "a; =1;b": "a;' =1;b", "a;\"=1\"": "a;'\"=1\"", "a\n=1": "a\n'=1", "a\t@x": "a\t'@x", "a;b;-2": "a;b;'-2", ";=1": ";'=1", "a;": "a;", "a,=1": "a,=1", " ": " ", "\n": "'\n",
		"|cmd": "'|cmd", "%0": "'%0", "=1;=2": "'=1;'=2", "\xff=1": "\xff=1"} {
		if got := filereport.Cell(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
