package console

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is rows in columns. A column whose title begins with ">" is aligned to
// the right: numbers.
type Table struct {
	titles []string
	right  []bool
	rows   [][]string
}

// NewTable makes a table with these titles.
func NewTable(titles ...string) *Table {
	t := &Table{}
	for _, title := range titles {
		name, right := strings.CutPrefix(title, ">")
		t.titles, t.right = append(t.titles, name), append(t.right, right)
	}
	return t
}

// Row adds a row; missing cells are empty.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(t.titles))
	for i := range row {
		if i < len(cells) {
			row[i] = Clean(fmt.Sprint(cells[i]))
		}
	}
	t.rows = append(t.rows, row)
}

// Write writes the table with an indent; nothing if it has no rows.
func (t *Table) Write(w io.Writer, indent string) {
	if len(t.rows) == 0 {
		return
	}
	widths := make([]int, len(t.titles))
	all := append([][]string{t.titles}, t.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
			line.WriteString("  ")
		}
		fmt.Fprintln(w, indent+strings.TrimRight(line.String(), " "))
	}
}
