package integration

import "strings"

// validHeaderName tells whether name is a token of RFC 9110.
func validHeaderName(name string) bool {
	for _, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != "" && len(name) <= 255
}

// validHeaderValue tells whether value can be sent as it is: no control characters but tab.
func validHeaderValue(value string) bool {
	for _, c := range []byte(value) {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(value) <= 8<<10
}
