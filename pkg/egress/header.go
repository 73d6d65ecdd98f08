package egress

import (
	"fmt"
	"net/http"
	"strings"
)

const (
	maxHeaders     = 100
	maxHeaderBytes = 32 << 10
)

// checkHeader refuses what could break out of its line or take over what the
// client sets itself.
func checkHeader(h http.Header) *Error {
	bytes, count := 0, 0
	for name, values := range h {
		if !isToken(name) {
			return &Error{Code: CodeBadHeader, Message: fmt.Sprintf("the header name %.40q cannot be sent; use letters, digits and hyphens", name)}
		}
		if reserved(name) {
			return &Error{Code: CodeBadHeader, Message: fmt.Sprintf("the header %s is set by waybill; leave it out", http.CanonicalHeaderKey(name))}
		}
		for _, v := range values {
			if !isFieldValue(v) {
				// The value is not shown: it may be a secret.
				return &Error{Code: CodeBadHeader, Message: fmt.Sprintf("the value of header %s holds a control character, such as a line break", name)}
			}
			count++
			bytes += len(name) + len(v)
		}
	}
	if count > maxHeaders || bytes > maxHeaderBytes {
		return &Error{Code: CodeBadHeader, Message: fmt.Sprintf("%d headers with %d bytes; at most %d with %d bytes", count, bytes, maxHeaders, maxHeaderBytes)}
	}
	return nil
}

func reserved(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Host", TrackingHeader, "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade",
		"Proxy-Authorization", "Proxy-Connection":
		return true
	}
	return false
}

func isToken(s string) bool {
	for _, r := range s {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) {
			return false
		}
	}
	return s != ""
}

func isFieldValue(s string) bool {
	for i := range len(s) {
		if b := s[i]; (b < ' ' && b != '\t') || b == 0x7f {
			return false
		}
	}
	return true
}
