package csvrows

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Row is one row: as many values as columns, in the file's order.
type Row struct {
	Number  int      // from 1; broken rows count, header and blank rows do not
	Line    int      // physical line the row starts at, from 1
	Columns []string // shared by all rows of a Reader: do not change
	Values  []string
}

// Get gives the value of a column.
func (r Row) Get(column string) (string, bool) {
	for i, c := range r.Columns {
		if c == column {
			return r.Values[i], true
		}
	}
	return "", false
}

// Map gives the row by column name.
func (r Row) Map() map[string]string {
	m := make(map[string]string, len(r.Columns))
	for i, c := range r.Columns {
		m[c] = r.Values[i]
	}
	return m
}

// MarshalJSON gives one object of texts in the file's order, the same bytes for
// the same row every time.
func (r Row) MarshalJSON() ([]byte, error) {
	if len(r.Columns) != len(r.Values) {
		return nil, fmt.Errorf("csvrows: row %d has %d values for %d columns", r.Number, len(r.Values), len(r.Columns))
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i := range r.Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, text := range []string{r.Columns[i], r.Values[i]} {
			if j == 1 {
				b.WriteByte(':')
			}
			if err := e.Encode(text); err != nil {
				return nil, fmt.Errorf("csvrows: row %d, column %q: %w", r.Number, r.Columns[i], err)
			}
			b.Truncate(b.Len() - 1) // the encoder's line end
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
