package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
)

const (
	maxRedirects = 5
	maxHeader    = 64 << 10
	// unnamed is the name of a file whose address ends in none.
	unnamed = "download"
)

// webStore is one file at a web address. What List asked for is kept open for a
// Fetch that follows soon: one look is one request.
type webStore struct {
	*site
	http   *http.Transport
	client *http.Client
	opened *answer // of the last List; nil: none
}

// answer is one whose body has not been read.
type answer struct {
	*http.Response
	entry Entry
	came  time.Time
	end   context.CancelFunc
}

func (a *answer) close() {
	if a != nil {
		_ = a.Body.Close() // what was not read is not wanted
		a.end()
	}
}

func openWeb(s *site) (Store, error) {
	trust, err := s.tls()
	if err != nil {
		return nil, err
	}
	w := &webStore{site: s, http: s.transport(trust, unlimited)}
	w.client = &http.Client{Transport: w.http, CheckRedirect: sameHost}
	return w, nil
}

// transport connects through the store's lines: guarded, given up when silent. It
// speaks HTTP/1.1 alone, where a line belongs to one request.
func (s *site) transport(trust *tls.Config, limited limit) *http.Transport {
	return &http.Transport{
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return s.lines.dial(network, address, limited)
		},
		TLSClientConfig:        trust,
		TLSHandshakeTimeout:    s.options.Connect,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// sameHost follows a redirect to the same server, or to its TLS side.
func sameHost(next *http.Request, via []*http.Request) error {
	from, to := via[0].URL, next.URL
	same := from.Scheme == to.Scheme && from.Port() == to.Port() || from.Scheme == "http" && to.Scheme == "https" && from.Port() == "" && to.Port() == ""
	if len(via) > maxRedirects || !same || !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return http.ErrUseLastResponse
	}
	return nil
}

func (w *webStore) name() string {
	if name := path.Base(w.url.Path); plain(name) {
		return name
	}
	return unnamed
}

// get asks once. The answer's body is read within later operations, so only the
// header's way is bound to ctx; the lines are bound to whatever is under way.
func (w *webStore) get(ctx context.Context, header http.Header) (*answer, error) {
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	defer stop()
	a, err := w.send(own, header)
	if err != nil {
		end()
		var address *url.Error
		if errors.As(err, &address) {
			err = address.Err // the address may hold a secret in its query
		}
		return nil, w.unreadable(err)
	}
	a.end = end
	return a, nil
}

// unreadable names what is no HTTP.
func (w *webStore) unreadable(err error) error {
	var known *fault.Error
	if w.lines.why() != nil || errors.As(err, &known) || ofAddress(err) != nil || ofTrust(err) != nil || ofBreak(err) != nil {
		return err
	}
	return fault.Wrap(err, fault.System, "bad_response", "the answer could not be read as HTTP (%s); see scheme and port", clip(err))
}

func (w *webStore) send(ctx context.Context, header http.Header) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header = header
	request.Header.Set("User-Agent", "waybill")
	request.Header.Set("Accept-Encoding", "identity")
	if id, err := uuid.NewV7(); err == nil {
		request.Header.Set(egress.TrackingHeader, id.String())
	}
	if err := w.remote.Auth.Apply(request.Header); err != nil {
		return nil, fault.Wrap(err, fault.Credentials, "secret_missing", "%v", err)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, err
	}
	return &answer{Response: response, came: time.Now(), entry: entryOfAnswer(w.name(), response)}, nil
}

func entryOfAnswer(name string, r *http.Response) Entry {
	e := Entry{Name: name, Size: r.ContentLength, Tag: r.Header.Get("ETag")}
	if r.StatusCode == http.StatusPartialContent {
		_, e.Size, _ = contentRange(r.Header)
	}
	if at, err := http.ParseTime(r.Header.Get("Last-Modified")); err == nil {
		e.ModTime = at.UTC()
	}
	return e
}

// contentRange reads where a part begins and how long the whole is, -1 if that is unknown.
func contentRange(h http.Header) (from, total int64, ok bool) {
	value, ok := strings.CutPrefix(h.Get("Content-Range"), "bytes ")
	if !ok {
		return 0, -1, false
	}
	part, all, _ := strings.Cut(value, "/")
	first, _, _ := strings.Cut(part, "-")
	from, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	if err != nil || from < 0 {
		return 0, -1, false
	}
	if total, err = strconv.ParseInt(strings.TrimSpace(all), 10, 64); err != nil || total < 0 {
		total = -1
	}
	return from, total, true
}

func (w *webStore) do(ctx context.Context, longest time.Duration, act string, work func(context.Context) error) error {
	ctx, done := w.lines.begin(ctx, longest, maxChatter)
	defer done()
	if err := work(ctx); err != nil {
		w.forget()
		return w.failed(act, w.name(), err)
	}
	return nil
}

func (w *webStore) forget() {
	w.opened.close()
	w.opened = nil
}

func (w *webStore) List(ctx context.Context, _ string, limit int) (entries []Entry, more bool, err error) {
	err = w.do(ctx, w.options.Brief, "look for", func(ctx context.Context) error {
		w.forget()
		header, last := http.Header{}, w.options.Last
		if last.Tag != "" {
			header.Set("If-None-Match", last.Tag)
		}
		if !last.ModTime.IsZero() {
			header.Set("If-Modified-Since", last.ModTime.UTC().Format(http.TimeFormat))
		}
		a, err := w.get(ctx, header)
		if err != nil {
			return err
		}
		switch {
		case a.StatusCode == http.StatusNotModified, a.StatusCode == http.StatusNoContent, a.StatusCode == http.StatusOK && known(last, a.entry):
			a.close()
			return nil
		case a.StatusCode != http.StatusOK:
			a.close()
			return w.refused(a)
		}
		w.opened = a
		return readable(a.Response)
	})
	if err != nil || w.opened == nil {
		return nil, false, err
	}
	if limit < 1 {
		return nil, true, nil
	}
	return []Entry{w.opened.entry}, false, nil
}

// known reports whether an answer is what was fetched last, from a server that
// gives it all the same.
func known(last, now Entry) bool {
	if last.Tag != "" || now.Tag != "" {
		return last.Tag == now.Tag
	}
	return !now.ModTime.IsZero() && now.ModTime.Equal(last.ModTime) && (now.Size < 0 || now.Size == last.Size)
}

// readable refuses an answer whose end cannot be told from a cut, and one in an
// encoding that files do not have by themselves.
func readable(r *http.Response) error {
	if r.ContentLength < 0 && !slices.Contains(r.TransferEncoding, "chunked") {
		return fault.New(fault.System, "no_length", "the server does not say how long the file is, so that a cut could not be seen; let it send Content-Length, or chunks")
	}
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity", "gzip", "x-gzip", "zstd": // compressed files are read as such
		return nil
	default:
		return fault.New(fault.System, "encoding", "the server sends the file in the encoding %.40q though none was asked for; let it send the file as it is", encoding)
	}
}

// refused is the error of an answer that is no file.
func (w *webStore) refused(a *answer) error {
	f := fault.FromHTTP(a.StatusCode, a.Header, true, time.Now())
	switch code := a.StatusCode; {
	case code == http.StatusNotFound, code == http.StatusGone:
		return fmt.Errorf("the server answered %d: %w", code, fs.ErrNotExist)
	case f == nil:
		return fault.New(fault.System, "bad_status", "the server answered %d, which is no file", code)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fault.New(fault.Credentials, "login_refused", "the server answered %d: it refused the credentials of source %s; see remote.auth", code, w.options.Source)
	case code >= 300 && code <= 399:
		return fault.New(fault.Credentials, "redirect", "the server answered %d and sends us to %s, which is not followed; if that is meant, write it into from", code, elsewhere(a.Response))
	case f.Class == fault.Data:
		f.Class = fault.Credentials // every look would meet the same answer
	}
	told := fault.New(f.Class, f.Code, "the server answered %d", a.StatusCode)
	told.RetryAfter = f.RetryAfter
	return told
}

func elsewhere(r *http.Response) string {
	if to, err := r.Location(); err == nil {
		return shown(to.Scheme + "://" + to.Host)
	}
	return "another place"
}

func (w *webStore) Fetch(ctx context.Context, e Entry, to *os.File, at int64) (Entry, error) {
	t, err := w.transferOf(e, to, at)
	if err != nil {
		return e, err
	}
	err = w.do(ctx, w.options.Transfer, "fetch", func(ctx context.Context) error { return w.fetch(ctx, t) })
	return t.entry, err
}

func (w *webStore) fetch(ctx context.Context, t *transfer) error {
	validator := validatorOf(t.entry)
	if validator == "" && t.at > 0 {
		if err := t.cut(0); err != nil {
			return err
		}
	}
	if t.at > 0 && t.at == t.entry.Size {
		return t.whole()
	}
	a := w.opened
	w.opened = nil
	// The server's patience with a reader who rests is not known; half of ours is a guess.
	if a == nil || t.at > 0 || !a.entry.Same(t.entry) || time.Since(a.came) > w.options.Idle/2 {
		a.close()
		header := http.Header{}
		if t.at > 0 {
			header.Set("Range", "bytes="+strconv.FormatInt(t.at, 10)+"-")
			header.Set("If-Range", validator)
		}
		var err error
		if a, err = w.get(ctx, header); err != nil {
			return err
		}
	}
	defer a.close()
	if err := w.accept(t, a); err != nil {
		return err
	}
	if err := t.copy(a.Body); err != nil {
		return err
	}
	return t.whole()
}

// validatorOf is what If-Range takes: a strong tag, or a time.
func validatorOf(e Entry) string {
	switch {
	case e.Tag != "" && !strings.HasPrefix(e.Tag, "W/"):
		return e.Tag
	case e.Tag == "" && !e.ModTime.IsZero():
		return e.ModTime.UTC().Format(http.TimeFormat)
	}
	return ""
}

// accept looks whether an answer is the file, or its rest.
func (w *webStore) accept(t *transfer, a *answer) error {
	from, _, _ := contentRange(a.Header)
	switch a.StatusCode {
	case http.StatusOK:
		if !a.entry.Same(t.entry) {
			return ErrChanged
		}
		if err := readable(a.Response); err != nil {
			return err
		}
		return t.cut(0)
	case http.StatusPartialContent:
		if t.at == 0 || from != t.at || a.entry.Tag != t.entry.Tag || t.entry.Size >= 0 && a.entry.Size >= 0 && a.entry.Size != t.entry.Size {
			return ErrChanged
		}
		if t.entry.Size < 0 {
			t.entry.Size = a.entry.Size
		}
		return readable(a.Response)
	case http.StatusRequestedRangeNotSatisfiable:
		return ErrChanged
	}
	return w.refused(a)
}

func (w *webStore) Move(_ context.Context, e Entry, _ string) error {
	return w.failed("move", e.Name, fmt.Errorf("a web server only gives files: %w", errors.ErrUnsupported))
}

func (w *webStore) Delete(_ context.Context, e Entry) error {
	return w.failed("delete", e.Name, fmt.Errorf("a web server only gives files: %w", errors.ErrUnsupported))
}

func (w *webStore) Close() error {
	w.forget()
	w.http.CloseIdleConnections()
	w.lines.closeAll()
	return nil
}
