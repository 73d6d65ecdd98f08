package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/jlaffaye/ftp"

	"waybill.internal/pkg/fault"
)

// ready gives a session that stands: the one there is, or a new one.
func (f *ftpStore) ready(ctx context.Context) error {
	if f.conn != nil && time.Since(f.used) > restAfter && f.conn.NoOp() != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f.drop()
	}
	if f.conn != nil {
		return nil
	}
	port := "21"
	if f.config != nil && f.remote.Implicit {
		port = "990"
	}
	options := []ftp.DialOption{ftp.DialWithDialFunc(f.dialer())}
	switch {
	case f.config != nil && f.remote.Implicit:
		options = append(options, ftp.DialWithTLS(f.config))
	case f.config != nil:
		options = append(options, ftp.DialWithExplicitTLS(f.config))
	}
	conn, err := ftp.Dial(f.address(port), options...)
	if err != nil {
		return f.refusedTLS(err)
	}
	if err := conn.Login(f.remote.Username, f.password); err != nil {
		return f.refusedLogin(err)
	}
	f.conn = conn
	if folder := f.folder(); folder != "" {
		if err := conn.ChangeDir(folder); err != nil {
			f.conn = nil // the session stands nowhere
			return f.refusedFolder(folder, err)
		}
	}
	return nil
}

// dialer gives the function that connects: first the control connection, whose
// answers are bounded, then data connections, which the library sends to the same
// host whatever a PASV answer says.
func (f *ftpStore) dialer() func(network, address string) (net.Conn, error) {
	control := true
	return func(network, address string) (net.Conn, error) {
		first := control
		control = false
		limited := unlimited // the transfer counts
		switch {
		case first:
			limited = byAnswer
		case f.listing != nil:
			limited = byOperation
		}
		conn, err := f.lines.dial(network, address, limited)
		if err != nil {
			return nil, err
		}
		if f.config != nil && (!first || f.remote.Implicit) {
			conn = tls.Client(conn, f.config) // shakes hands at the first read: before, some servers do not answer
		}
		if f.listing != nil {
			f.listing.Conn = conn
			conn = f.listing
		}
		return conn, nil
	}
}

// tail remembers how a listing ended: without a line's end it was cut, and its
// last name may be another one.
type tail struct {
	net.Conn
	last byte
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if n > 0 {
		t.last = p[n-1]
	}
	return n, err
}

func (f *ftpStore) refusedTLS(err error) error {
	if code := replyOf(err); code >= 500 && f.config != nil {
		return fault.Wrap(err, fault.Credentials, "tls", "the server offers no TLS (%s); write ftp:// if that is meant, or implicit: true if TLS begins at once", clip(err))
	}
	return err
}

func (f *ftpStore) refusedLogin(err error) error {
	if noFTP(err) {
		return err
	}
	ours := f.lines.why() != nil || ofAddress(err) != nil || ofTrust(err) != nil || ofBreak(err) != nil
	switch code := replyOf(err); {
	// The library gives the answer to USER without its code.
	case code == 0 && !ours, code == ftp.StatusNotLoggedIn, code == 430, code == ftp.StatusLoginNeedAccount, code >= 500:
		return fault.Wrap(err, fault.Credentials, "login_refused", "the server refused the user name or password of source %s (%s); see remote.username and remote.password", f.options.Source, clip(err))
	case code >= 400:
		return fault.Wrap(err, fault.System, "busy", "the server takes no login now (%s); it is tried again at the next look", clip(err))
	}
	return err
}

func (f *ftpStore) refusedFolder(folder string, err error) error {
	if replyOf(err) >= 500 {
		return fault.Wrap(err, fault.Credentials, "folder_missing", "the folder %s is not there or not for us (%s); see from, which begins at the server's root, or with /~/ where the login leads", folder, clip(err))
	}
	return err
}

// replyOf is the code of a server's answer, 0 if err is none.
func replyOf(err error) int {
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return reply.Code
	}
	return 0
}

// noFTP reports whether what came is no FTP.
func noFTP(err error) bool {
	var form textproto.ProtocolError
	return errors.As(err, &form) || errors.Is(err, bufio.ErrTooLong)
}

// reply gives an answer its meaning for a file.
func (f *ftpStore) reply(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	switch code := replyOf(err); {
	case code == 0 && noFTP(err):
		return fault.Wrap(err, fault.System, "bad_response", "the server does not speak FTP as it should (%s); see scheme and port", clip(err))
	case code == 0:
		return err
	case code == ftp.StatusFileUnavailable && strings.Contains(strings.ToLower(err.Error()), "denied"), code == 532, code == ftp.StatusNotLoggedIn:
		return fmt.Errorf("%w: %w", err, fs.ErrPermission)
	case code == ftp.StatusFileUnavailable:
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return fault.Wrap(err, fault.System, fmt.Sprintf("ftp_%d", replyOf(err)), "the server answered %s", clip(err))
}
