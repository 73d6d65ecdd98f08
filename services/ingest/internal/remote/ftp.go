package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jlaffaye/ftp"

	"waybill.internal/pkg/fault"
)

// ftpStore speaks FTP and FTPS, with passive data connections only. It changes
// into the folder after the login, so that names alone are sent and a folder that
// is missing is an error: many servers list it as empty.
type ftpStore struct {
	*site
	password string
	config   *tls.Config // nil: FTP without TLS
	conn     *ftp.ServerConn
	used     time.Time       // when conn was last in use
	rough    map[string]bool // names whose time, in the last listing, is not the one that MDTM gives
	listing  *tail           // of the listing under way; nil: there is none
}

func openFTP(s *site) (Store, error) {
	password, err := s.secret(s.remote.Password)
	if err != nil {
		return nil, err
	}
	f := &ftpStore{site: s, password: password}
	if s.remote.Username == "" {
		s.remote.Username, f.password = "anonymous", "anonymous"
	}
	if s.url.Scheme == "ftps" {
		if f.config, err = s.tls(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// do runs one operation within a session. A session that did not end with an
// answer of the server is dropped: nobody knows what it would say next.
func (f *ftpStore) do(ctx context.Context, longest time.Duration, budget int64, act, name string, work func(context.Context) error) error {
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
	if f.conn == nil || replyOf(err) == 0 || f.lines.why() != nil {
		f.drop()
	}
	return f.failed(act, name, f.reply(err))
}

func (f *ftpStore) drop() {
	f.lines.closeAll()
	f.conn = nil
}

func (f *ftpStore) List(ctx context.Context, match string, limit int) (entries []Entry, more bool, err error) {
	f.rough = map[string]bool{}
	err = f.do(ctx, f.options.Brief, maxListing, "list", "", func(ctx context.Context) error {
		listing := &tail{last: '\n'}
		f.listing = listing
		found, err := f.conn.List("")
		f.listing = nil
		if err == nil && listing.last != '\n' {
			err = fmt.Errorf("the listing ended within a line: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		for _, e := range found {
			if e.Type == ftp.EntryTypeFile && f.ours(e.Name, match) {
				entries = append(entries, Entry{Name: e.Name, Size: int64(e.Size), ModTime: e.Time.UTC()})
			}
		}
		entries, more = firstOf(entries, limit)
		return f.refine(ctx, entries)
	})
	if err != nil {
		return nil, false, err
	}
	return entries, more, nil
}

// refine asks for the times that LIST gives in minutes of an unknown time zone.
func (f *ftpStore) refine(ctx context.Context, entries []Entry) error {
	if f.conn.IsTimePreciseInList() {
		return nil
	}
	for i := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		at, err := f.timeOf(entries[i].Name)
		switch {
		case err != nil && replyOf(err) == 0:
			return err
		case err != nil || at.IsZero():
			f.rough[entries[i].Name] = true
		default:
			entries[i].ModTime = at
		}
	}
	return nil
}

// timeOf asks for the time of change; zero if the server cannot tell.
func (f *ftpStore) timeOf(name string) (time.Time, error) {
	if !f.conn.IsGetTimeSupported() {
		return time.Time{}, nil
	}
	at, err := f.conn.GetTime(name)
	var form *time.ParseError
	if errors.As(err, &form) {
		return time.Time{}, nil
	}
	return at, err
}

// check looks whether the file is still e; what the server cannot tell is not compared.
func (f *ftpStore) check(e Entry) error {
	size, at := int64(-1), time.Time{}
	if f.conn.IsTimePreciseInList() {
		got, err := f.conn.GetEntry(e.Name)
		if err != nil {
			return err
		}
		size, at = int64(got.Size), got.Time.UTC()
	} else {
		var err error
		if size, err = f.sizeOf(e.Name); err != nil {
			return err
		}
		if at, err = f.timeOf(e.Name); err != nil {
			return err
		}
	}
	if e.Size >= 0 && size >= 0 && size != e.Size || !at.IsZero() && !e.ModTime.IsZero() && !f.rough[e.Name] && !at.Equal(e.ModTime) {
		return ErrChanged
	}
	return nil
}

// sizeOf is -1 if the server does not know the command.
func (f *ftpStore) sizeOf(name string) (int64, error) {
	size, err := f.conn.FileSize(name)
	if code := replyOf(err); code >= 500 && code <= 504 {
		return -1, nil
	}
	return size, err
}

func (f *ftpStore) Fetch(ctx context.Context, e Entry, to *os.File, at int64) (Entry, error) {
	t, err := f.transferOf(e, to, at)
	if err != nil {
		return e, err
	}
	err = f.do(ctx, f.options.Transfer, maxChatter, "fetch", e.Name, func(ctx context.Context) error {
		return f.fetch(ctx, t)
	})
	return t.entry, err
}

func (f *ftpStore) fetch(ctx context.Context, t *transfer) error {
	if err := f.check(t.entry); err != nil {
		return err
	}
	if t.entry.Size < 0 || t.at < t.entry.Size || t.at == 0 {
		if err := f.retrieve(ctx, t); err != nil {
			return err
		}
	}
	if err := f.check(t.entry); err != nil {
		return err
	}
	return t.whole()
}

// retrieve gets the rest of the file. A server that cannot continue sends all of it.
func (f *ftpStore) retrieve(ctx context.Context, t *transfer) error {
	data, err := f.conn.RetrFrom(t.entry.Name, uint64(t.at))
	if code := replyOf(err); t.at > 0 && code >= 500 && code <= 504 {
		if err := t.cut(0); err != nil {
			return err
		}
		data, err = f.conn.RetrFrom(t.entry.Name, 0)
	}
	if err != nil {
		return err
	}
	err = t.copy(data)
	if err == nil && t.at < t.entry.Size {
		err = t.whole()
	}
	if err != nil {
		f.drop() // the server's verdict on half a file may take as long as the file
		return err
	}
	// The verdict of the server. If it is lost, because the control connection
	// rested for too long, the file's size and time tell.
	verdict := data.Close()
	if verdict == nil {
		return nil
	}
	if code := replyOf(verdict); code != 0 || t.entry.Size < 0 || t.at != t.entry.Size {
		return fault.Wrap(verdict, fault.System, "cut", "the server broke off after %d bytes (%s); what came is kept and the next look goes on from there", t.at, clip(verdict))
	}
	f.drop()
	return f.ready(ctx)
}

func (f *ftpStore) Move(ctx context.Context, e Entry, folder string) error {
	return f.do(ctx, f.options.Brief, maxChatter, "move", e.Name, func(ctx context.Context) error {
		if err := f.check(e); err != nil {
			return err
		}
		// That the folder exists is usual, and each server has its own answer to it.
		// If it cannot be made, the rename says so.
		if err := f.conn.MakeDir(folder); err != nil && replyOf(err) == 0 {
			return err
		}
		for _, name := range numbered(e.Name, time.Now()) {
			taken, err := f.exists(folder + "/" + name)
			if err != nil {
				return err
			}
			if !taken {
				return f.conn.Rename(e.Name, folder+"/"+name)
			}
		}
		return fault.New(fault.System, "name_taken", "there are several files of this name in %s already; clear it", folder)
	})
}

// exists asks in as many ways as a server may need; one that can tell neither
// size nor time of a file would rename over it, so it is an error.
func (f *ftpStore) exists(name string) (bool, error) {
	_, err := f.conn.GetEntry(name)
	if code := replyOf(err); code >= 500 && code <= 504 {
		_, err = f.conn.FileSize(name)
	}
	if code := replyOf(err); code >= 500 && code <= 504 && f.conn.IsGetTimeSupported() {
		_, err = f.conn.GetTime(name)
	}
	switch code := replyOf(err); {
	case err == nil:
		return true, nil
	case code == ftp.StatusFileUnavailable:
		return false, nil
	case code >= 500 && code <= 504:
		return false, fmt.Errorf("the server does not tell which names are taken: %w", errors.ErrUnsupported)
	}
	return false, err
}

func (f *ftpStore) Delete(ctx context.Context, e Entry) error {
	return f.do(ctx, f.options.Brief, maxChatter, "delete", e.Name, func(context.Context) error {
		if err := f.check(e); err != nil {
			return err
		}
		return f.conn.Delete(e.Name)
	})
}

// Close tells the server goodbye without waiting for an answer.
func (f *ftpStore) Close() error {
	if f.conn != nil {
		ctx, done := f.brief(context.Background(), maxChatter)
		defer done()
		if ctx.Err() == nil {
			_ = f.conn.Quit() // it is leaving either way
		}
	}
	f.drop()
	return nil
}
