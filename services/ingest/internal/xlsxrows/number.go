package xlsxrows

import (
	"bytes"
	"strconv"
)

const (
	maxDigits   = 350 // of a number as JSON
	maxExponent = 330 // also of the smallest binary fractions, which have 5e-324
)

// number appends a number as JSON without an exponent; false if raw is none.
//
// A spreadsheet's numbers are binary fractions, and Excel writes up to 17 digits of
// them: 1.1 is 1.1000000000000001 in the file. With 16 or 17 digits and a fraction
// the shortest text that is the same number is given; every other number keeps the
// digits that are written.
func number(to, raw []byte) ([]byte, bool) {
	raw = bytes.TrimSpace(raw)
	mantissa, exponent, ok := split(raw)
	if !ok {
		return to, false
	}
	negative := len(mantissa) > 0 && mantissa[0] == '-'
	mantissa = bytes.TrimLeft(mantissa, "+-")
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	digits := append(append(make([]byte, 0, len(mantissa)), whole...), fraction...)
	point := len(whole) + exponent
	significant := len(bytes.Trim(digits, "0"))
	if (significant == 16 || significant == 17) && point < len(digits) {
		if v, err := strconv.ParseFloat(string(raw), 64); err == nil {
			return strconv.AppendFloat(to, v, 'f', -1, 64), true
		}
	}
	if significant == 0 {
		return append(to, '0'), true
	}
	if max(point, len(digits)-point, len(digits)) > maxDigits {
		return to, false
	}
	if negative {
		to = append(to, '-')
	}
	return shifted(to, digits, point), true
}

// split checks [+-]digits[.digits][E[+-]digits].
func split(raw []byte) (mantissa []byte, exponent int, ok bool) {
	mantissa = raw
	if i := bytes.IndexAny(raw, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(string(raw[i+1:])); err != nil || exponent > maxExponent || exponent < -maxExponent {
			return nil, 0, false
		}
		mantissa = raw[:i]
	}
	digits, points := 0, 0
	for i, b := range mantissa {
		switch {
		case b >= '0' && b <= '9':
			digits++
		case b == '.':
			points++
		case i > 0 || b != '-' && b != '+':
			return nil, 0, false
		}
	}
	return mantissa, exponent, digits > 0 && points <= 1
}

// shifted writes digits with the point before the one at point.
func shifted(to, digits []byte, point int) []byte {
	for len(digits) > 0 && digits[0] == '0' && point > 1 {
		digits, point = digits[1:], point-1
	}
	switch {
	case point <= 0:
		to = append(to, "0."...)
		to = append(to, bytes.Repeat([]byte{'0'}, -point)...)
		return append(to, digits...)
	case point >= len(digits):
		to = append(to, digits...)
		return append(to, bytes.Repeat([]byte{'0'}, point-len(digits))...)
	}
	to = append(append(to, digits[:point]...), '.')
	return append(to, digits[point:]...)
}
