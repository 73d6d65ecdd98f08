package egress_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
)

// TestFaultTellsNoHostAndNoForeignText: a fault's message reaches senders and
// partners; the log gets the rest.
func TestFaultTellsNoHostAndNoForeignText(t *testing.T) {
	t.Parallel()
	seen := map[string]egress.Code{}
	for _, code := range []egress.Code{
		egress.CodeBadURL, egress.CodeBadHeader, egress.CodeBlockedAddress, egress.CodeDNS, egress.CodeConnect, egress.CodeTLS,
		egress.CodeTimeout, egress.CodeReset, egress.CodeTooLarge, egress.CodeBadResponse, egress.CodeCanceled, "another",
	} {
		e := &egress.Error{Code: code, Host: "crm.internal:8443", Message: "canary", Err: io.EOF}
		f := fault.Of(e)
		if f.Message == "" || strings.Contains(f.Message, "crm.internal") || strings.Contains(f.Message, "canary") {
			t.Errorf("%s: the message is %q", code, f.Message)
		}
		if other, ok := seen[f.Message]; ok {
			t.Errorf("%s and %s have the same message", code, other)
		}
		seen[f.Message] = code
		if f.Code != string(code) || !errors.Is(f, io.EOF) || !strings.Contains(f.Error(), "crm.internal:8443") || !strings.Contains(f.Error(), "canary") {
			t.Errorf("%s: the log gets %v", code, f)
		}
	}
}

// TestForeignBytesStayOut: what a real server writes instead of HTTP does not
// come back in the fault, and not without bound or with a NUL in the error.
func TestForeignBytesStayOut(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no HTTP":    "canary" + strings.Repeat("x", 4000) + "\r\n\r\n",
		"bad status": "HTTP/1.1 canary\r\n\r\n",
		"bad header": "HTTP/1.1 200 OK\r\ncanary\x00 " + strings.Repeat("x", 4000) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, answer)
			})
			_, i, err := inside(t, egress.Options{}).Do(t.Context(), egress.Request{URL: url})
			wantCode(t, err, egress.CodeBadResponse)
			if f := fault.Of(err); f.Message != "the answer could not be read as HTTP" {
				t.Errorf("the message is %q", f.Message)
			}
			if !strings.Contains(i.Error, "canary") || len(i.Error) > 1000 || strings.Contains(i.Error, "\x00") {
				t.Errorf("the interaction has %q", i.Error)
			}
		})
	}
}
