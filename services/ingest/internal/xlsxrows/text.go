package xlsxrows

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape puts in the characters that XML cannot hold, which spreadsheets write as
// _x000D_. It changes text.
func unescape(text []byte) []byte {
	if !bytes.Contains(text, []byte("_x")) {
		return text
	}
	out := text[:0]
	for i := 0; i < len(text); {
		r, n := escaped(text[i:])
		if n == 0 {
			out = append(out, text[i])
			i++
			continue
		}
		if i += n; utf16.IsSurrogate(r) {
			low, m := escaped(text[i:])
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				i += m
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

func escaped(p []byte) (rune, int) {
	if len(p) < 7 || p[0] != '_' || p[1] != 'x' || p[6] != '_' {
		return 0, 0
	}
	n, err := strconv.ParseUint(string(p[2:6]), 16, 16)
	if err != nil {
		return 0, 0
	}
	return rune(n), 7
}

// columnOf reads the letters of a cell's place such as AB12, from 0; false if there
// are none or too many.
func columnOf(place []byte) (int, bool) {
	n, letters := 0, 0
	for _, b := range place {
		b |= 0x20
		if b < 'a' || b > 'z' {
			break
		}
		if letters++; letters > 3 {
			return 0, false
		}
		n = n*26 + int(b-'a') + 1
	}
	return n - 1, letters > 0
}
