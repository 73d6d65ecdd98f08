package csvrows

import (
	"bytes"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows/charset"
	"waybill.internal/services/ingest/internal/rows/lines"
)

// Values of the integration's file.
const (
	auto     = "auto"
	none     = "none"
	keep     = "keep"
	trimBoth = "both"
	trimAny  = "start"
)

// dialect says what the marks of a file mean. Marks are bytes of the stream that is
// cut; an empty one is not used.
type dialect struct {
	delim   []byte
	end     []byte // row end; nil: LF or CR LF
	quote   []byte
	escape  []byte
	comment []byte
	lenient bool // stray quotes are text
	start   bool // blanks at the start of cells are left out
	both    bool // and at their end
	look    int  // bytes of the longest mark
}

func dialectOf(f *integration.CSV) dialect {
	d := dialect{delim: []byte(f.Delimiter), end: []byte(f.RowEnd), quote: []byte(f.Quote), escape: []byte(f.Escape), comment: []byte(f.Comment),
		lenient: f.Stray == keep, start: f.Trim == trimAny || f.Trim == trimBoth, both: f.Trim == trimBoth}
	if f.Quote == none {
		d.quote = nil
	}
	for _, mark := range [][]byte{d.delim, d.end, d.quote, d.escape, d.comment} {
		d.look = max(d.look, len(mark))
	}
	return d
}

// settle decides from the start of the file what the integration leaves open.
func (d *dialect) settle(f *integration.CSV, s *lines.Start) charset.Text {
	if len(d.end) == 0 && d.endWithCR(s.Prefix) {
		d.end = []byte{'\r'}
	}
	if f.Delimiter == auto {
		d.delim = detectDelimiter(s.Prefix, *d, f.Preamble)
	}
	if s.Text.Fits(string(d.delim), string(d.end), string(d.quote), string(d.escape), string(d.comment)) {
		return s.Text
	}
	return s.Text.Whole()
}

// endWithCR says that rows end with CR alone: outside of quotation marks there is
// one, and no LF. A prefix that ends with a CR may go on with LF.
func (d *dialect) endWithCR(prefix []byte) bool {
	found, quoted := false, false
	for i := 0; i < len(prefix); i++ {
		switch rest := prefix[i:]; {
		case at(rest, d.escape):
			i += len(d.escape)
		case at(rest, d.quote):
			quoted = !quoted
		case quoted:
		case rest[0] == '\n':
			return false
		case rest[0] == '\r' && len(rest) > 1:
			found = true
		}
	}
	return found
}

// separator is the byte that ends a physical line.
func (d *dialect) separator() byte {
	if d.oldMac() {
		return '\r'
	}
	return '\n'
}

func (d *dialect) oldMac() bool { return len(d.end) == 1 && d.end[0] == '\r' }

// ownEnd says that rows end with a mark that is no line end.
func (d *dialect) ownEnd() bool { return len(d.end) > 0 && !d.oldMac() }

// simple says that a line without a quote is a row whose cells stand between
// delimiters, so that it can be cut without looking at every byte.
func (d *dialect) simple() bool { return !d.ownEnd() && len(d.escape) == 0 }

func (d *dialect) isBlank(c byte) bool {
	return (c == ' ' || c == '\t') && (len(d.delim) != 1 || d.delim[0] != c)
}

// at says whether a mark stands at the start of w.
func at(w, mark []byte) bool {
	return len(mark) > 0 && len(w) >= len(mark) && w[0] == mark[0] && (len(mark) == 1 || bytes.HasPrefix(w, mark))
}

// Bounds and candidates of what is detected.
const detectRows = 50 // rows looked at for each candidate

// detectDelimiter picks the candidate under which most rows of the prefix have
// the same number of columns, at least two; among equals the one with more
// columns, then the order of the list. Nothing found: a comma.
func detectDelimiter(prefix []byte, d dialect, preamble int) []byte {
	best, bestScore := []byte{','}, 0
	for _, c := range []byte{',', ';', '\t', '|'} {
		d.delim = []byte{c}
		if bytes.Equal(d.delim, d.comment) || bytes.Equal(d.delim, d.quote) || bytes.Equal(d.delim, d.escape) {
			continue
		}
		if score := delimiterScore(prefix, d, preamble); score > bestScore {
			best, bestScore = d.delim, score
		}
	}
	return best
}

func delimiterScore(prefix []byte, d dialect, preamble int) int {
	d.look = max(d.look, 1)
	f := &framer{Buffer: lines.Of(prefix, d.separator()), dialect: &d, max: len(prefix) + 1}
	if f.preamble(preamble) != nil {
		return 0
	}
	widths := map[int]int{}
	n := 0
	for n < detectRows {
		fr, err := f.next()
		if err != nil {
			break
		}
		n++
		if fr.fault == "" {
			widths[fr.fields]++
		}
	}
	score := 0
	for width, k := range widths {
		if width > 1 {
			// The share of rows counts first, the width breaks ties.
			score = max(score, k*1000*detectRows/n+min(width, 999))
		}
	}
	return score
}
