package csvrows

import (
	"bytes"
	"io"
)

const detectRows = 50 // rows looked at for each candidate

// detectDelimiter picks the candidate under which most rows of the prefix have
// the same number of columns, at least two; among equals the one with more
// columns, then the order of the list. Nothing found: a comma.
func detectDelimiter(prefix []byte, o Options) byte {
	best, bestScore := byte(','), 0
	for _, d := range []byte{',', ';', '\t', '|'} {
		if rune(d) == o.Comment {
			continue
		}
		if score := delimiterScore(prefix, d, o); score > bestScore {
			best, bestScore = d, score
		}
	}
	return best
}

func delimiterScore(prefix []byte, delim byte, o Options) int {
	f := &framer{src: bytes.NewReader(prefix), delim: delim, comment: byte(o.Comment), quotes: !o.NoQuotes, max: len(prefix) + 1, line: 1}
	for range o.Preamble {
		if _, err := f.passLine(); err != nil {
			return 0
		}
	}
	widths := map[int]int{}
	rows := 0
	for rows < detectRows {
		fr, err := f.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0
		}
		rows++
		if fr.fault == "" {
			widths[fr.fields]++
		}
	}
	score := 0
	for width, n := range widths {
		if width > 1 {
			// The share of rows counts first, the width breaks ties.
			score = max(score, n*1000*detectRows/rows+min(width, 999))
		}
	}
	return score
}
