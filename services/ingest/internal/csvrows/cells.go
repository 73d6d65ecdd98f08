package csvrows

import (
	"bytes"
	"strings"
)

// split gives the cells of a row that the framer found whole, as UTF-8. Those
// without quotes and escapes are parts of text.
func (d *dialect) split(text string, plain bool, cells []string) []string {
	delim := string(d.delim)
	if plain {
		for {
			cell, rest, more := strings.Cut(text, delim)
			cells = append(cells, d.trimmed(cell))
			if !more {
				return cells
			}
			text = rest
		}
	}
	for {
		cell, used := d.cell(text)
		cells = append(cells, cell)
		if used == len(text) {
			return cells
		}
		if text = text[used+len(delim):]; text == "" {
			return append(cells, "")
		}
	}
}

func (d *dialect) trimmed(cell string) string {
	if !d.start {
		return cell
	}
	for cell != "" && d.isBlank(cell[0]) {
		cell = cell[1:]
	}
	for d.both && cell != "" && d.isBlank(cell[len(cell)-1]) {
		cell = cell[:len(cell)-1]
	}
	return cell
}

// cell gives the first cell of a text and the bytes it takes, without the
// delimiter behind it.
func (d *dialect) cell(text string) (string, int) {
	i := 0
	for d.start && i < len(text) && d.isBlank(text[i]) {
		i++
	}
	quote := string(d.quote)
	if quote == "" || !strings.HasPrefix(text[i:], quote) {
		return d.unquoted(text, i, nil)
	}
	i += len(quote)
	var out []byte
	for i < len(text) {
		rest := text[i:]
		switch {
		case len(d.escape) > 0 && strings.HasPrefix(rest, string(d.escape)):
			i += len(d.escape)
			if i < len(text) {
				out = append(out, text[i])
				i++
			}
		case !strings.HasPrefix(rest, quote):
			n := d.ordinary(rest)
			out = append(out, rest[:n]...)
			i += n
		case len(d.escape) == 0 && strings.HasPrefix(rest[len(quote):], quote):
			out = append(out, quote...)
			i += 2 * len(quote)
		default:
			return d.closed(text, i+len(quote), out)
		}
	}
	return string(out), i
}

// closed reads on behind the closing quote: up to the delimiter, what stands there
// belongs to the cell if stray quotes are kept.
func (d *dialect) closed(text string, i int, out []byte) (string, int) {
	rest := text[i:]
	if d.both {
		j := 0
		for j < len(rest) && d.isBlank(rest[j]) {
			j++
		}
		if j == len(rest) || strings.HasPrefix(rest[j:], string(d.delim)) {
			return string(out), i + j
		}
	}
	if rest == "" || strings.HasPrefix(rest, string(d.delim)) {
		return string(out), i
	}
	return d.unquoted(text, i, out)
}

// unquoted reads plain text up to the delimiter, behind what is in out.
func (d *dialect) unquoted(text string, i int, out []byte) (string, int) {
	delim := string(d.delim)
	from := len(out)
	for i < len(text) && !strings.HasPrefix(text[i:], delim) {
		if len(d.escape) > 0 && strings.HasPrefix(text[i:], string(d.escape)) {
			if i += len(d.escape); i < len(text) {
				out = append(out, text[i])
				i++
			}
			continue
		}
		out = append(out, text[i])
		i++
	}
	if d.both && from == 0 {
		out = bytes.TrimRightFunc(out, func(r rune) bool { return r < 0x80 && d.isBlank(byte(r)) })
	}
	return string(out), i
}

// ordinary gives the bytes at the start of a quoted text that mean only
// themselves; at least one.
func (d *dialect) ordinary(text string) int {
	n := 1
	for n < len(text) && text[n] != d.quote[0] && (len(d.escape) == 0 || text[n] != d.escape[0]) {
		n++
	}
	return n
}
