// Package rowstest reads files as text that a test compares, and holds readers to
// what they promise of their marks.
package rowstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"waybill.internal/services/ingest/internal/rows"
)

// TB is what *testing.T and *rapid.T have in common here.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Opener begins to read a file of rows of at most maxRow bytes, at its start or at a mark.
type Opener func(src io.Reader, maxRow int, from *rows.Mark) (rows.Reader, error)

// All gives each row as "number@line body" or "number@line !code", and how it ended.
func All(r rows.Reader) ([]string, error) {
	var out []string
	for {
		row, err := r.Next()
		if e, broken := errors.AsType[*rows.RowError](err); broken {
			out = append(out, fmt.Sprintf("%d@%d !%s", e.Number, e.Line, e.Code))
			continue
		}
		if err != nil {
			return out, err
		}
		out = append(out, fmt.Sprintf("%d@%d %s", row.Number, row.Line, row.Body))
	}
}

// Resume goes on at every mark, as the ledger keeps it, and by the number of rows
// alone: both must give exactly the rest, and end the same. A file that cannot be
// opened has nothing to resume.
func Resume(t TB, data []byte, maxRow int, open Opener) {
	t.Helper()
	whole, err := open(bytes.NewReader(data), maxRow, nil)
	if err != nil {
		return
	}
	all, end := All(whole)
	again, err := open(bytes.NewReader(data), maxRow, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k := 0; k <= len(all); k++ {
		stored, err := json.Marshal(again.Mark())
		if err != nil {
			t.Fatal(err)
		}
		var m rows.Mark
		if err := json.Unmarshal(stored, &m); err != nil {
			t.Fatal(err)
		}
		for name, from := range map[string]rows.Mark{"mark": m, "rows": {Rows: k, Offset: -1}} {
			r, err := open(bytes.NewReader(data), maxRow, &from)
			if err != nil {
				t.Fatalf("%s %+v after row %d: %v", name, from, k, err)
			}
			rest, ended := All(r)
			if strings.Join(rest, "\n") != strings.Join(all[k:], "\n") || fmt.Sprint(ended) != fmt.Sprint(end) {
				t.Fatalf("%s %+v after row %d: got %q, %v; want %q, %v", name, from, k, rest, ended, all[k:], end)
			}
		}
		_, _ = again.Next()
	}
}
