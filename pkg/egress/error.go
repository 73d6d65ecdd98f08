package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"waybill.internal/pkg/fault"
)

// Code names what went wrong. Codes are stable.
type Code string

// The codes, with the class that fault.Of gives them.
const (
	CodeBadURL         Code = "bad_url"            // bug: the rendered URL cannot be called
	CodeBadHeader      Code = "bad_header"         // bug: a rendered header cannot be sent
	CodeBlockedAddress Code = "blocked_address"    // credentials: the destination is configured wrongly, for every record
	CodeDNS            Code = "dns"                // system
	CodeConnect        Code = "connect"            // system
	CodeTLS            Code = "tls"                // credentials
	CodeTimeout        Code = "timeout"            // system
	CodeReset          Code = "reset"              // system
	CodeTooLarge       Code = "response_too_large" // system: what it did is unknown, so it is not the record's fault
	CodeBadResponse    Code = "bad_response"       // system
	CodeCanceled       Code = "canceled"           // system: we gave up
)

// maxCauseText bounds, in bytes, what is kept of a text that may quote the other side.
const maxCauseText = 512

// Error is a call without a usable answer. Its text is for logs and for the
// interaction: it may name the host and quote the other side. Fault's may not.
type Error struct {
	Code    Code
	Host    string // host[:port] called, "" when there is none
	Message string
	Err     error // may be nil
}

// Error says what happened, to which host.
func (e *Error) Error() string {
	text := string(e.Code)
	if e.Host != "" {
		text = "call " + e.Host + ": " + text
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// MayHaveExecuted reports whether the other side may have acted on the request.
// If so the attempt's outcome is unknown, and a later 409 is our own echo.
func (e *Error) MayHaveExecuted() bool {
	switch e.Code {
	case CodeTimeout, CodeReset, CodeTooLarge, CodeBadResponse, CodeCanceled:
		return true
	}
	return false
}

// Fault gives the error its class; fault.Of calls it. Its message is fixed for
// each code: senders and partners may see it, and neither our hosts nor what a
// third party wrote are theirs to see. The cause has both, for the log.
func (e *Error) Fault() *fault.Error {
	class := fault.System
	switch e.Code {
	case CodeBadURL, CodeBadHeader:
		class = fault.Bug
	case CodeBlockedAddress, CodeTLS:
		class = fault.Credentials
	}
	return fault.Wrap(e, class, string(e.Code), "%s", e.Code.public())
}

// public is what anybody may read about a failure of this code.
func (c Code) public() string {
	switch c {
	case CodeBadURL:
		return "the URL or method of the call cannot be used"
	case CodeBadHeader:
		return "a header of the call cannot be sent"
	case CodeBlockedAddress:
		return "the destination's address may not be called; see its url and allow_private"
	case CodeDNS:
		return "the destination's name could not be resolved"
	case CodeConnect:
		return "no connection to the destination could be made"
	case CodeTLS:
		return "no trusted TLS connection to the destination could be made"
	case CodeTimeout:
		return "no complete answer came in time"
	case CodeReset:
		return "the connection broke before the answer was complete"
	case CodeTooLarge:
		return "the answer is larger than allowed"
	case CodeBadResponse:
		return "the answer could not be read as HTTP"
	case CodeCanceled:
		return "the call was given up"
	}
	return "the call failed"
}

// classify turns what net/http returned into an *Error. connected says that the
// request had a connection, so that a deadline can have left something behind.
func classify(ctx context.Context, host string, connected bool, err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return &Error{Code: own.Code, Host: host, Message: own.Message, Err: err}
	}
	code, message := codeOf(ctx, connected, err)
	return &Error{Code: code, Host: host, Message: message, Err: err}
}

func codeOf(ctx context.Context, connected bool, err error) (Code, string) {
	var (
		dns *net.DNSError
		op  *net.OpError
		ne  net.Error
	)
	dialling := errors.As(err, &op) && op.Op == "dial"
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return CodeCanceled, "the call was given up"
	case errors.As(err, &dns):
		return CodeDNS, fmt.Sprintf("the name could not be resolved: %s", dns.Err)
	case isTLS(err):
		return CodeTLS, text(err.Error(), maxCauseText)
	case dialling:
		return CodeConnect, fmt.Sprintf("no connection: %v", op.Err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		if !connected {
			return CodeConnect, "no connection in time"
		}
		return CodeTimeout, "no complete answer in time"
	case isLost(err):
		return CodeReset, "the connection broke before the answer was complete"
	// net/http has no type for this one.
	case strings.Contains(err.Error(), "server response headers exceeded"):
		return CodeTooLarge, fmt.Sprintf("the answer's header is larger than %d bytes", maxResponseHeader)
	default:
		return CodeBadResponse, text(err.Error(), maxCauseText)
	}
}

func isLost(err error) bool {
	for _, lost := range []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, lost) {
			return true
		}
	}
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "read" || op.Op == "write") && !op.Timeout()
}

func isTLS(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		op        *net.OpError
	)
	if errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") { // how crypto/tls wraps its alerts
		return true
	}
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &record) || errors.As(err, &alert)
}
