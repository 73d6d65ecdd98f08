package provider

import (
	"net/http"

	"waybill.internal/pkg/signature"
)

// Error is a refused request; Code is one of signature's codes or one of those below.
type Error = signature.Error

// Code names the reason of a refusal.
type Code = signature.Code

// Reasons beside signature's.
const (
	MissingKey    Code = "missing_key"
	BadKey        Code = "bad_key"
	MalformedBody Code = "malformed_body" // the scheme looks into the body, and it cannot be read
	MalformedURL  Code = "malformed_url"  // the scheme signs the URL, and it cannot be read
)

// single gives the one value of a header; twice is refused, because two readers
// could disagree on which value counts.
func single(h http.Header, name string, missing Code) (string, error) {
	values := h.Values(name)
	switch {
	case len(values) > 1:
		return "", &Error{Code: signature.DuplicateHeader, Header: name, Detail: "the header " + name + " is given more than once"}
	case len(values) == 0 || values[0] == "":
		return "", &Error{Code: missing, Header: name, Detail: "the header " + name + " is missing or empty"}
	}
	return values[0], nil
}

func malformed(header, want string) error {
	return &Error{Code: signature.MalformedSignature, Header: header, Detail: "the header " + header + " must hold " + want}
}
