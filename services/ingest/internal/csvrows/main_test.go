package csvrows_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/csvrows"
	"waybill.internal/services/ingest/internal/rows"
)

const maxRow = 1 << 20

// plain is a file with a header, as an integration that says nothing has it.
func plain() integration.CSV {
	return integration.CSV{Delimiter: ",", Quote: `"`, Stray: "refuse", Trim: "none", Charset: "utf-8", Header: true}
}

// with changes what plain says.
func with(change func(f *integration.CSV)) integration.CSV {
	f := plain()
	change(&f)
	return f
}

func headless(f *integration.CSV) { f.Header = false }

// line writes what Next gave as one text: "number@line a|b" or "number@line !code".
func line(r *csvrows.Reader, row rows.Row, err error) string {
	if e, broken := errors.AsType[*rows.RowError](err); broken {
		return fmt.Sprintf("%d@%d !%s", e.Number, e.Line, e.Code)
	}
	return fmt.Sprintf("%d@%d %s", row.Number, row.Line, strings.Join(r.Cells(), "|"))
}

func readAll(r *csvrows.Reader) ([]string, error) {
	var out []string
	for {
		row, err := r.Next()
		if _, broken := errors.AsType[*rows.RowError](err); err != nil && !broken {
			if err == io.EOF {
				err = nil
			}
			return out, err
		}
		out = append(out, line(r, row, err))
	}
}

func read(t testing.TB, data string, f integration.CSV, maxRow int) []string {
	t.Helper()
	r, err := csvrows.New(strings.NewReader(data), &f, maxRow, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
