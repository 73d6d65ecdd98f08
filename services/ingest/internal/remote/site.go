package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
)

const (
	maxCertificates = 1 << 20
	// copyBuffer is what is read at once; SFTP asks for it in several requests at a time.
	copyBuffer = 256 << 10
	// restAfter is how long a session may rest before it is asked whether it still stands.
	restAfter = 10 * time.Second
)

// site is what all stores have: where, how, how long.
type site struct {
	options Options
	remote  integration.Remote
	url     *url.URL
	host    string // host:port, for errors
	lines   *lines
}

func newSite(f *integration.File, o Options) (*site, error) {
	u, err := url.Parse(f.From)
	if err != nil || u.Host == "" {
		return nil, fault.New(fault.Bug, "bad_url", "source %s: the address of its files cannot be read", o.Source)
	}
	s := &site{options: o, url: u, host: u.Host, lines: newLines(o.Connect, o.Idle, f.AllowPrivate)}
	if f.Remote != nil {
		s.remote = *f.Remote
	}
	if u.User != nil && s.remote.Username == "" {
		s.remote.Username = u.User.Username()
	}
	return s, nil
}

// address is host:port to dial.
func (s *site) address(port string) string {
	if p := s.url.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(s.url.Hostname(), port)
}

// folder is the path of the URL: from the server's root, or, after /~/, from
// where a login leads; "" is there itself.
func (s *site) folder() string {
	if p := s.url.Path; p == "/~" || strings.HasPrefix(p, "/~/") {
		return strings.Trim(strings.TrimPrefix(p, "/~"), "/")
	}
	return path.Clean("/" + s.url.Path)
}

// secret reads a secret; none is "".
func (s *site) secret(secret *integration.Secret) (string, error) {
	if secret == nil {
		return "", nil
	}
	value, err := secret.Reveal()
	if err != nil {
		return "", fault.Wrap(err, fault.Credentials, "secret_missing", "source %s: log in at %s: %v", s.options.Source, s.host, err)
	}
	return value, nil
}

// tls is what is trusted: the system's certificates, or those of remote.ca.
func (s *site) tls() (*tls.Config, error) {
	// The session cache is for FTP servers that take a data connection only if it
	// resumes the session of the control connection.
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.url.Hostname(), ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if s.remote.CA == "" {
		return config, nil
	}
	file, err := os.Open(s.remote.CA)
	if err != nil {
		return nil, fault.Wrap(err, fault.Credentials, "ca_unreadable", "source %s: the certificates to trust (remote.ca) cannot be read: %v", s.options.Source, err)
	}
	defer file.Close()
	pem, err := io.ReadAll(io.LimitReader(file, maxCertificates))
	if err != nil {
		return nil, fault.Wrap(err, fault.Credentials, "ca_unreadable", "source %s: the certificates to trust (remote.ca) cannot be read: %v", s.options.Source, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Credentials, "ca_unreadable", "source %s: the file %s (remote.ca) holds no certificate; give one in PEM", s.options.Source, s.remote.CA)
	}
	return config, nil
}

// transfer is one Fetch: where what comes is written.
type transfer struct {
	*site
	entry Entry
	to    *os.File
	at    int64 // so many bytes are there
}

// transferOf checks what can be checked before a byte is asked for.
func (s *site) transferOf(e Entry, to *os.File, at int64) (*transfer, error) {
	if !plain(e.Name) {
		return nil, s.failed("fetch", e.Name, fault.New(fault.Data, "bad_name", "the name is not one that is taken"))
	}
	if e.Size > s.options.MaxFile {
		return nil, s.failed("fetch", e.Name, fault.New(fault.Data, "file_too_large", "it has %d bytes, and at most %d are taken; ask the partner to split it", e.Size, s.options.MaxFile))
	}
	t := &transfer{site: s, entry: e, to: to, at: at}
	info, err := to.Stat()
	if err != nil {
		return nil, s.failed("fetch", e.Name, spoolError(err))
	}
	if at < 0 || info.Size() < at || e.Size >= 0 && at > e.Size {
		t.at = 0 // what is there is not the beginning of this file
	}
	return t, t.cut(t.at)
}

// cut leaves the first n bytes.
func (t *transfer) cut(n int64) error {
	t.at = n
	if err := t.to.Truncate(n); err != nil {
		return t.failed("fetch", t.entry.Name, spoolError(err))
	}
	return nil
}

func spoolError(err error) error {
	return fault.Wrap(err, fault.System, "spool_failed", "it could not be written to the local disk (%v); see whether the disk is full", err)
}

// copy writes what r gives to the end of what is there. More than the file has is
// an error; that less came, the caller finds out by whole.
func (t *transfer) copy(r io.Reader) error {
	most, buffer := t.entry.Size, make([]byte, copyBuffer)
	if most < 0 {
		most = t.options.MaxFile
	}
	for {
		n, err := r.Read(buffer)
		if t.at+int64(n) > most {
			return t.overrun(most)
		}
		if _, err := t.to.WriteAt(buffer[:n], t.at); err != nil {
			return spoolError(err)
		}
		t.at += int64(n)
		switch {
		case err == io.EOF: //nolint:errorlint // readers give it as it is at their end
			return nil
		case err != nil:
			return err
		}
	}
}

func (t *transfer) overrun(most int64) error {
	if t.entry.Size < 0 {
		return fault.New(fault.Data, "file_too_large", "more than %d bytes came, and no more are taken; ask the partner to split it", most)
	}
	return fmt.Errorf("more came than the %d bytes that it had: %w", most, ErrChanged)
}

// whole is the check at the end, on what came.
func (t *transfer) whole() error {
	if t.entry.Size >= 0 && t.at < t.entry.Size {
		return fmt.Errorf("%d of %d bytes came: %w", t.at, t.entry.Size, io.ErrUnexpectedEOF)
	}
	t.entry.Size = t.at
	return nil
}

// brief starts an operation that is no transfer.
func (s *site) brief(ctx context.Context, budget int64) (context.Context, func()) {
	return s.lines.begin(ctx, s.options.Brief, budget)
}

// readBudget is what a transfer over one connection may read: the file and what
// stands around it.
func (t *transfer) readBudget() int64 {
	left := t.options.MaxFile
	if t.entry.Size >= 0 {
		left = t.entry.Size - t.at
	}
	return left + left/4 + 4*maxChatter
}
