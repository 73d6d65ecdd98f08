package integration

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// Apply adds the credentials to a header, read at this moment so that a rotated
// secret is taken up without a restart. A nil Auth adds nothing.
func (a *Auth) Apply(h http.Header) error {
	switch {
	case a == nil:
		return nil
	case a.Bearer != nil:
		token, err := a.Bearer.Reveal()
		if err != nil {
			return err
		}
		h.Set("Authorization", "Bearer "+token)
	case a.Basic != nil:
		password, err := a.Basic.Password.Reveal()
		if err != nil {
			return err
		}
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.Basic.Username+":"+password)))
	case a.Header != nil:
		value, err := a.Header.Value.Reveal()
		if err != nil {
			return err
		}
		h.Set(a.Header.Name, value)
	}
	return nil
}

// ResponseOf is an answer as expressions see it: a body that is not JSON is a text.
func ResponseOf(status int, header http.Header, body []byte) Response {
	r := Response{Status: status, Headers: make(map[string]string, len(header))}
	for name, values := range header {
		r.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if len(body) == 0 {
		return r
	}
	if decoded, err := DecodeJSON(body); err == nil {
		r.Body = decoded
	} else {
		r.Body = strings.ToValidUTF8(string(body), "\uFFFD")
	}
	return r
}
