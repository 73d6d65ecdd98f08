package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// TrackingHeader carries the tracking id of an interaction, on requests and answers.
const TrackingHeader = "Trackingid"

const maxResponseHeader = 64 << 10

// Options of a Client. Zero values take the defaults given.
type Options struct {
	AllowPrivate   bool          // loopback and private networks may be called too
	AllowHosts     []string      // when set, only these hosts: "api.example" or "*.example"
	MaxResponse    int64         // bytes of a body, also decompressed; 1 MiB
	Timeout        time.Duration // of a whole call, unless its context ends earlier; 10 s
	ConnectTimeout time.Duration // of one connection attempt; 5 s
	IdleTimeout    time.Duration // until an unused connection is closed; 60 s
	MaxIdlePerHost int           // unused connections kept per host; 16
	MaxPerHost     int           // connections per host, 0: no bound of its own, the caller bounds concurrency
	UserAgent      string        // "waybill"
	TLS            *tls.Config   // cloned; at least TLS 1.2
	Resolver       *net.Resolver // nil: the system's
}

// Client calls third parties. It is safe for concurrent use; Close it.
type Client struct {
	transport  *http.Transport
	timeout    time.Duration
	max        int64
	userAgent  string
	allowHosts []string
}

// Request is one call. Header and Body are not changed.
type Request struct {
	Method     string      // "" is GET
	URL        string      // http or https
	Header     http.Header // Host, Trackingid, Content-Length and the hop-by-hop headers are refused
	Body       []byte
	TrackingID [16]byte // zero: a new one is made
}

// Response is an answer, whatever its status, with its whole body.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // decompressed when it came as gzip
}

// New returns a client; it opens no connection yet.
func New(o Options) (*Client, error) {
	if o.MaxResponse < 0 || o.Timeout < 0 || o.ConnectTimeout < 0 || o.IdleTimeout < 0 || o.MaxIdlePerHost < 0 || o.MaxPerHost < 0 {
		return nil, errors.New("egress: no option may be negative; give 0 for the default")
	}
	if o.TLS != nil && o.TLS.MaxVersion != 0 && o.TLS.MaxVersion < tls.VersionTLS12 {
		return nil, errors.New("egress: TLS below 1.2 is not spoken; leave MaxVersion out")
	}
	setDefault(&o.MaxResponse, 1<<20)
	setDefault(&o.Timeout, 10*time.Second)
	setDefault(&o.ConnectTimeout, 5*time.Second)
	setDefault(&o.IdleTimeout, time.Minute)
	setDefault(&o.MaxIdlePerHost, 16)
	setDefault(&o.UserAgent, "waybill")
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		config = o.TLS.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	}
	g := newGuard(o.AllowPrivate)
	dialer := &net.Dialer{Timeout: o.ConnectTimeout, ControlContext: g.control, Resolver: o.Resolver}
	return &Client{
		timeout: o.Timeout, max: o.MaxResponse, userAgent: o.UserAgent, allowHosts: slices.Clone(o.AllowHosts),
		transport: &http.Transport{
			Proxy:                  nil, // never from the environment: a proxy would dial for us, unguarded
			DialContext:            dialer.DialContext,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    o.ConnectTimeout,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // what is decompressed is counted here, not in net/http
			MaxIdleConns:           0,    // bounded per host
			MaxIdleConnsPerHost:    o.MaxIdlePerHost,
			MaxConnsPerHost:        o.MaxPerHost,
			IdleConnTimeout:        o.IdleTimeout,
			MaxResponseHeaderBytes: maxResponseHeader,
		},
	}, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Close closes unused connections. Calls under way end by their own deadline.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Do makes one call and reads its whole answer. The error, if any, is an
// *Error; any status, 3xx and 5xx included, is an answer and no error (see
// fault.FromHTTP). The Interaction is complete in either case.
func (c *Client) Do(ctx context.Context, r Request) (Response, Interaction, error) {
	begin := time.Now()
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if r.TrackingID == [16]byte{} {
		r.TrackingID = newTrackingID()
	}
	response, err := c.do(ctx, r)
	return response, interactionOf(r, response, err, time.Since(begin)), err
}

// newTrackingID falls back on a random id of the runtime's own generator:
// uuid.NewV7 fails only when the system gives no randomness, where Go's own
// generator ends the process.
func newTrackingID() [16]byte {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.New()
	}
	return id
}

func (c *Client) do(ctx context.Context, r Request) (Response, error) {
	target, err := c.target(r.URL)
	if err != nil {
		return Response{}, err
	}
	if err := checkHeader(r.Header); err != nil {
		err.Host = target.Host
		return Response{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := c.request(ctx, r, target)
	if err != nil {
		return Response{}, err
	}
	// RoundTrip and not http.Client: no redirects, no cookies.
	answer, err := c.transport.RoundTrip(request)
	if err != nil {
		return Response{}, classify(ctx, target.Host, connected.Load(), err)
	}
	defer answer.Body.Close()
	response := Response{Status: answer.StatusCode, Header: answer.Header}
	response.Body, err = c.readBody(answer)
	if err != nil {
		return response, classify(ctx, target.Host, true, err)
	}
	return response, nil
}

func (c *Client) target(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's text repeats the URL, secrets included.
		return nil, &Error{Code: CodeBadURL, Message: "the URL cannot be read", Err: errors.New("parse URL")}
	}
	host := strings.ToLower(u.Hostname())
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, &Error{Code: CodeBadURL, Message: fmt.Sprintf("the scheme %.20q is not called; use http or https", u.Scheme)}
	case host == "" || u.Opaque != "":
		return nil, &Error{Code: CodeBadURL, Message: "the URL has no host"}
	case disguised(host):
		return nil, &Error{Code: CodeBlockedAddress, Host: u.Host, Message: "the host is an address in disguise; write it as four decimal numbers"}
	case len(c.allowHosts) > 0 && !slices.ContainsFunc(c.allowHosts, func(rule string) bool { return matchHost(rule, host) }):
		return nil, &Error{Code: CodeBlockedAddress, Host: u.Host, Message: "the host is not among the allowed hosts"}
	}
	return u, nil
}

func matchHost(rule, host string) bool {
	rule, host = strings.ToLower(rule), strings.TrimSuffix(host, ".")
	if suffix, ok := strings.CutPrefix(rule, "*"); ok {
		return strings.HasPrefix(suffix, ".") && strings.HasSuffix(host, suffix) && len(host) > len(suffix)
	}
	return rule == host
}

func (c *Client) request(ctx context.Context, r Request, target *url.URL) (*http.Request, error) {
	var body io.Reader
	if len(r.Body) > 0 {
		// Not a *bytes.Reader: net/http could rewind that and repeat the request
		// by itself, which the interaction would not show.
		body = struct{ io.Reader }{bytes.NewReader(r.Body)}
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, "http://unset", body)
	if err != nil {
		return nil, &Error{Code: CodeBadURL, Host: target.Host, Message: fmt.Sprintf("the method %.20q cannot be used", r.Method), Err: err}
	}
	request.URL, request.Host, request.ContentLength = target, target.Host, int64(len(r.Body))
	for name, values := range r.Header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	if user := target.User; user != nil && request.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", c.userAgent)
	}
	request.Header.Set(TrackingHeader, uuid.UUID(r.TrackingID).String())
	return request, nil
}

// readBody reads at most max bytes, and at most max bytes of what gzip makes of
// them. The deadline of the request covers it.
func (c *Client) readBody(answer *http.Response) ([]byte, error) {
	if answer.ContentLength > c.max {
		return nil, c.tooLarge()
	}
	body, err := c.readBounded(answer.Body)
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer.Header.Get("Content-Encoding")), "gzip") || len(body) == 0 {
		return body, err
	}
	unzip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Code: CodeBadResponse, Message: "the body is said to be gzip and is not", Err: err}
	}
	plain, err := c.readBounded(unzip)
	var own *Error
	if err != nil && !errors.As(err, &own) {
		return nil, &Error{Code: CodeBadResponse, Message: "the gzip body is damaged", Err: err}
	}
	answer.Header.Del("Content-Encoding")
	answer.Header.Del("Content-Length")
	return plain, err
}

func (c *Client) readBounded(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, c.max+1))
	if int64(len(body)) > c.max {
		return nil, c.tooLarge()
	}
	return body, err
}

func (c *Client) tooLarge() error {
	return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the answer's body is larger than %d bytes", c.max)}
}
