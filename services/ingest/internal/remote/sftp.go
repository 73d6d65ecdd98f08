package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"waybill.internal/pkg/fault"
)

// sftpStore speaks SFTP with a server whose host key is pinned.
type sftpStore struct {
	*site
	config *ssh.ClientConfig
	conn   *ssh.Client
	client *sftp.Client
	used   time.Time // when client was last in use
	unkind error     // why the last server's host key was refused, nil if it was not
}

func openSFTP(s *site) (Store, error) {
	pins, err := parsePins(s.remote.HostKeys)
	if err != nil {
		return nil, fault.Wrap(err, fault.Credentials, "host_key_unreadable", "source %s: %v", s.options.Source, err)
	}
	f := &sftpStore{site: s}
	f.config = &ssh.ClientConfig{User: s.remote.Username, ClientVersion: "SSH-2.0-waybill",
		HostKeyAlgorithms: pins.algorithms(), HostKeyCallback: pins.callback(&f.unkind)}
	f.config.Auth, err = s.sshAuth()
	return f, err
}

// sshAuth gives the ways to log in: with the key, whose passphrase the password
// is if it has one, and with the password.
func (s *site) sshAuth() ([]ssh.AuthMethod, error) {
	password, err := s.secret(s.remote.Password)
	if err != nil {
		return nil, err
	}
	key, err := s.secret(s.remote.Key)
	if err != nil {
		return nil, err
	}
	var methods []ssh.AuthMethod
	if key != "" {
		signer, err := ssh.ParsePrivateKey([]byte(key))
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) && password != "" {
			signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(key), []byte(password))
		}
		if err != nil {
			// The parser's text may quote the key.
			return nil, fault.New(fault.Credentials, "key_unreadable", "source %s: the private key in ${%s} (remote.key) cannot be read; give it in PEM or OpenSSH's form, with its passphrase as remote.password", s.options.Source, s.remote.Key.Name())
		}
		methods = append(methods, ssh.PublicKeys(signer))
	}
	if password == "" {
		return methods, nil
	}
	return append(methods, ssh.Password(password), ssh.KeyboardInteractive(answerWith(password))), nil
}

// answerWith answers what is asked without an echo, which is the password, once:
// a server that asks again did not like it.
func answerWith(password string) ssh.KeyboardInteractiveChallenge {
	asked := false
	return func(_, _ string, questions []string, echos []bool) ([]string, error) {
		if len(questions) == 0 {
			return nil, nil
		}
		if asked || len(questions) > 1 || echos[0] {
			return nil, errors.New("unable to authenticate: the server asks for more than a password")
		}
		asked = true
		return []string{password}, nil
	}
}

// ready gives a session that stands: the one there is, or a new one.
func (f *sftpStore) ready(ctx context.Context) error {
	if f.client != nil && time.Since(f.used) > restAfter {
		if _, err := f.client.RealPath("."); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			f.drop()
		}
	}
	if f.client != nil {
		return nil
	}
	f.unkind = nil
	address := f.address("22")
	line, err := f.lines.dial("tcp", address, byOperation)
	if err != nil {
		return err
	}
	conn, channels, requests, err := ssh.NewClientConn(line, address, f.config)
	if err != nil {
		return f.refused(err)
	}
	f.conn = ssh.NewClient(conn, channels, requests)
	if f.client, err = sftp.NewClient(f.conn); err != nil {
		return fmt.Errorf("the server let us in, but gives no files over SFTP: %w", err)
	}
	return nil
}

func (f *sftpStore) refused(err error) error {
	if f.unkind != nil {
		return f.unkind
	}
	text := err.Error()
	if strings.Contains(text, "unable to authenticate") || strings.Contains(text, "Too many authentication failures") {
		return fault.Wrap(err, fault.Credentials, "login_refused", "the server refused the user name, password or key of source %s; see remote.username, remote.password and remote.key", f.options.Source)
	}
	var negotiation *ssh.AlgorithmNegotiationError
	if errors.As(err, &negotiation) {
		return fault.Wrap(err, fault.Credentials, "ssh_algorithms", "the server offers nothing that is safe enough, or no host key of the kinds in remote.host_keys (%s)", clip(err))
	}
	return err
}

// answered reports whether err is a server's answer, after which the session stands.
func answered(err error) bool {
	var status *sftp.StatusError
	return errors.As(err, &status) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrChanged)
}

func (f *sftpStore) do(ctx context.Context, longest time.Duration, budget int64, act, name string, work func(context.Context) error) error {
	ctx, done := f.lines.begin(ctx, longest, budget)
	defer done()
	err := f.ready(ctx)
	if err == nil {
		err = work(ctx)
	}
	f.used = time.Now()
	if err == nil {
		return nil
	}
	if f.client == nil || f.lines.why() != nil || !answered(err) {
		f.drop()
	}
	var status *sftp.StatusError
	switch {
	case errors.Is(err, sftp.ErrSSHFxConnectionLost):
		err = fmt.Errorf("%w: %w", err, io.ErrUnexpectedEOF)
	case errors.As(err, &status):
		err = fault.Wrap(err, fault.System, fmt.Sprintf("sftp_%d", status.Code), "the server answered %s", clip(err))
	}
	return f.failed(act, name, err)
}

// drop leaves a session without waiting for the server.
func (f *sftpStore) drop() {
	f.lines.closeAll()
	if f.client != nil {
		_ = f.client.Close() // its line is closed already
	}
	if f.conn != nil {
		_ = f.conn.Close()
	}
	f.client, f.conn = nil, nil
}

func (f *sftpStore) place(name string) string { return path.Join(f.folder(), name) }

func (f *sftpStore) List(ctx context.Context, match string, limit int) (entries []Entry, more bool, err error) {
	err = f.do(ctx, f.options.Brief, maxListing, "list", "", func(ctx context.Context) error {
		folder := path.Join(".", f.folder())
		if path.IsAbs(f.folder()) {
			folder = f.folder()
		}
		found, err := f.client.ReadDirContext(ctx, folder)
		if errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap(err, fault.Credentials, "folder_missing", "the folder %s is not there or not for us; see from, which begins at the server's root, or with /~/ where the login leads", folder)
		}
		if err != nil {
			return err
		}
		for _, info := range found {
			if info.Mode().IsRegular() && f.ours(info.Name(), match) {
				entries = append(entries, Entry{Name: info.Name(), Size: info.Size(), ModTime: info.ModTime().UTC()})
			}
		}
		entries, more = firstOf(entries, limit)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return entries, more, nil
}

// check looks whether the file is still e.
func (f *sftpStore) check(e Entry) error {
	info, err := f.client.Lstat(f.place(e.Name))
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || !e.Same(Entry{Name: e.Name, Size: info.Size(), ModTime: info.ModTime()}) {
		return ErrChanged
	}
	return nil
}

func (f *sftpStore) Fetch(ctx context.Context, e Entry, to *os.File, at int64) (Entry, error) {
	t, err := f.transferOf(e, to, at)
	if err != nil {
		return e, err
	}
	err = f.do(ctx, f.options.Transfer, t.readBudget(), "fetch", e.Name, func(context.Context) error {
		if err := f.check(e); err != nil {
			return err
		}
		file, err := f.client.Open(f.place(e.Name))
		if err != nil {
			return err
		}
		// One byte more is asked for, to see a file that grows.
		err = t.copy(io.NewSectionReader(file, t.at, e.Size-t.at+1))
		if err == nil {
			err = f.check(e)
		}
		if err == nil {
			err = t.whole()
		}
		if err == nil || answered(err) {
			err = errors.Join(err, file.Close())
		}
		return err
	})
	return t.entry, err
}

func (f *sftpStore) Move(ctx context.Context, e Entry, folder string) error {
	return f.do(ctx, f.options.Brief, maxChatter, "move", e.Name, func(context.Context) error {
		if err := f.check(e); err != nil {
			return err
		}
		target := f.place(folder)
		if made := f.client.Mkdir(target); made != nil {
			// That it exists is usual, and each server has its own answer to it.
			if info, err := f.client.Stat(target); err != nil || !info.IsDir() {
				return fmt.Errorf("make the folder %s: %w", folder, made)
			}
		}
		for _, name := range numbered(e.Name, time.Now()) {
			_, err := f.client.Lstat(path.Join(target, name))
			if errors.Is(err, fs.ErrNotExist) {
				return f.client.Rename(f.place(e.Name), path.Join(target, name))
			}
			if err != nil {
				return err
			}
		}
		return fault.New(fault.System, "name_taken", "there are several files of this name in %s already; clear it", folder)
	})
}

func (f *sftpStore) Delete(ctx context.Context, e Entry) error {
	return f.do(ctx, f.options.Brief, maxChatter, "delete", e.Name, func(context.Context) error {
		if err := f.check(e); err != nil {
			return err
		}
		return f.client.Remove(f.place(e.Name))
	})
}

func (f *sftpStore) Close() error {
	f.drop()
	return nil
}
