package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
)

// maxCause bounds, in characters, what is kept of a text that a server wrote.
const maxCause = 300

// failed is the error of every exported method: which source, what it did, where,
// to which file, and what happened. An error that has a class keeps it.
func (s *site) failed(act, name string, err error) error {
	f := s.classify(err)
	what := act
	if name != "" {
		what += " " + shown(name)
	}
	told := fault.Wrap(cause{err}, f.Class, f.Code, "source %s: %s at %s: %s", s.options.Source, what, s.host, f.Message)
	told.RetryAfter, told.Candidate = f.RetryAfter, f.Candidate
	return told
}

// cause keeps the chain for errors.Is and errors.As. What may be told of its text,
// which can quote a server, is in the message already, bounded.
type cause struct{ err error }

func (cause) Error() string   { return "" }
func (c cause) Unwrap() error { return c.err }

// classify decides once. Why we ended it ourselves comes first: the libraries tell
// of a broken connection then.
func (s *site) classify(err error) *fault.Error {
	var own *fault.Error
	if errors.As(err, &own) {
		return own
	}
	if why := s.lines.why(); why != nil {
		return s.ended(why, err)
	}
	for _, adapter := range []func(error) *fault.Error{ofFile, ofAddress, ofTrust, ofBreak} {
		if f := adapter(err); f != nil {
			return f
		}
	}
	f := fault.Of(err)
	return fault.Wrap(err, f.Class, f.Code, "%s", clip(err))
}

func (s *site) ended(why, err error) *fault.Error {
	switch {
	case errors.Is(why, errStalled):
		return fault.Wrap(err, fault.System, "stalled", "the server sent nothing for %s and was given up; the next look goes on from there", s.options.Idle)
	case errors.Is(why, errTooMuch):
		return fault.Wrap(err, fault.System, "listing_too_large", "the server sent more than is kept in memory; ask the partner to move old files away")
	case errors.Is(why, errTooLarge):
		return fault.Wrap(err, fault.System, "bad_response", "the server sent more than %d bytes in answer to one command; see scheme and port", maxAnswer)
	case errors.Is(why, errTooLong), errors.Is(why, context.DeadlineExceeded):
		return fault.Wrap(err, fault.System, "timeout", "the time for it ran out; the next look goes on from there")
	}
	return fault.Wrap(err, fault.System, "canceled", "it was given up before its end")
}

func ofFile(err error) *fault.Error {
	switch {
	case errors.Is(err, ErrChanged):
		return fault.Wrap(err, fault.System, "file_changed", "%s; it is left until the next look. Ask the partner to write under another name and to rename at the end", clip(err))
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.System, "file_missing", "there is no such file any more, or yet (%s)", clip(err))
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(err, fault.Credentials, "permission", "the server does not allow it (%s); ask for the right to read and to move files there", clip(err))
	case errors.Is(err, errors.ErrUnsupported):
		return fault.Wrap(err, fault.Credentials, "unsupported", "this place cannot do that (%s); write after: keep", clip(err))
	}
	return nil
}

func ofAddress(err error) *fault.Error {
	var (
		blocked *egress.Error
		dns     *net.DNSError
		op      *net.OpError
	)
	switch {
	case errors.As(err, &blocked) && blocked.Code == egress.CodeBlockedAddress:
		return fault.Wrap(err, fault.Credentials, "blocked_address", "its address is not a public one; write allow_private: true if it is meant")
	case errors.As(err, &dns):
		return fault.Wrap(err, fault.System, "dns", "the name of the server could not be resolved (%s); see whether from is spelled right", dns.Err)
	case errors.As(err, &op) && op.Op == "dial":
		return fault.Wrap(err, fault.System, "connect", "no connection could be made (%s); see whether the server runs and lets us in", clip(op.Err))
	}
	return nil
}

func ofTrust(err error) *fault.Error {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
		host   x509.HostnameError
	)
	switch {
	case errors.As(err, &verify), errors.As(err, &host):
		return fault.Wrap(err, fault.Credentials, "tls", "the server's certificate is not trusted (%s); have it renewed, or name the authority in remote.ca", clip(err))
	case errors.As(err, &record):
		return fault.Wrap(err, fault.Credentials, "tls", "the server does not speak TLS here (%s); see scheme, port and remote.implicit", clip(err))
	case errors.As(err, &alert):
		return fault.Wrap(err, fault.Credentials, "tls", "the server ended the TLS handshake (%s)", clip(err))
	}
	return nil
}

// ofBreak knows a connection that ended before its time.
func ofBreak(err error) *fault.Error {
	for _, lost := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, net.ErrClosed} {
		if errors.Is(err, lost) {
			return fault.Wrap(err, fault.System, "cut", "the connection broke (%s); what came is kept and the next look goes on from there", clip(err))
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.Wrap(err, fault.System, "timeout", "the server did not answer in time")
	}
	return nil
}

// clip bounds a text that may quote a server, and takes line breaks out of it.
func clip(err error) string {
	text := []rune(fmt.Sprintf("%.2000q", err.Error()))
	text = text[1 : len(text)-1]
	if len(text) > maxCause {
		text = append(text[:maxCause], '…')
	}
	return string(text)
}
