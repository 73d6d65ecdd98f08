package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"waybill.internal/pkg/provider"
	"waybill.internal/services/waybill/internal/console"
)

const (
	listenStop      = 5 * time.Second // for requests under way when it is stopped
	listenAtOnce    = 64              // requests under way; more get 503
	maxListenAnswer = 16 << 20        // of the target
)

type listenCommand struct {
	ForwardTo string `placeholder:"URL" help:"Where every verified request goes on to, such as http://127.0.0.1:3000/hooks."`
	Port      uint16 `default:"4242" help:"Where to listen; 0 takes a free port."`
	Host      string `default:"127.0.0.1" help:"The address to listen on; 0.0.0.0 lets other machines post."`
	Scheme    string `default:"standard-webhooks" help:"How senders sign: standard-webhooks, or a provider's name such as stripe."`
	Secret    string `help:"A file that holds the secret to verify with; - reads standard input. The default is one that is made once and kept."`
	All       bool   `help:"Forward what does not verify, too."`
}

func (listenCommand) Help() string {
	return `Receives webhooks on this machine, says of each whether its signature holds and why not, and forwards it as it came, byte
for byte; the sender gets the answer of the target. Without --forward-to the answer is 200. The secret is kept in the folder
waybill/listen of your settings ($XDG_CONFIG_HOME or ~/.config) and stays the same.

Examples:
  waybill listen --forward-to http://127.0.0.1:3000/hooks
  waybill listen --scheme stripe --secret stripe.secret --json`
}

func (c listenCommand) Run(in *invocation) error {
	scheme := provider.Scheme(c.Scheme)
	if !scheme.Known() || scheme == provider.HMAC || scheme == provider.None {
		return usage("--scheme %s: name a provider such as stripe, or standard-webhooks, svix, api-key or basic", c.Scheme)
	}
	if c.ForwardTo != "" && !strings.HasPrefix(c.ForwardTo, "http://") && !strings.HasPrefix(c.ForwardTo, "https://") {
		return usage("--forward-to must be an address such as http://127.0.0.1:3000/hooks")
	}
	kept, err := c.secret(in, scheme)
	if err != nil {
		return err
	}
	verifier, err := provider.New(provider.Config{Scheme: scheme, Secrets: []string{kept.Verify}})
	if err != nil {
		return usage("the secret of %s: %w", cmp.Or(c.Secret, kept.file), err)
	}
	listener, err := (&net.ListenConfig{}).Listen(in.ctx, "tcp", net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))))
	if err != nil {
		return usage("listen on %s:%d: %w; is another process there? --port 0 takes a free port", c.Host, c.Port, err)
	}
	l := &listening{in: in, scheme: scheme, verifier: verifier, secret: kept.Verify, forwardTo: c.ForwardTo, all: c.All, room: make(chan struct{}, listenAtOnce),
		client: &http.Client{Timeout: sendTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{DisableCompression: true}}} // bytes pass as they are
	defer l.client.CloseIdleConnections()
	start := startView{URL: "http://" + listener.Addr().String(), Scheme: c.Scheme, Secret: kept.Verify, SecretFile: kept.file, ForwardTo: c.ForwardTo}
	if c.Secret != "" {
		start.Secret, start.SecretFile = "", c.Secret // theirs: not ours to show
	}
	if err := in.print(start, start.write); err != nil {
		return errors.Join(err, listener.Close())
	}
	return l.serve(listener)
}

// keptSecret is the pair of a scheme and the file of what signs.
type keptSecret struct {
	provider.Pair
	file string
}

// secret reads the given one, or the kept one, which is made at the first start.
func (c listenCommand) secret(in *invocation, scheme provider.Scheme) (keptSecret, error) {
	if c.Secret != "" {
		value, err := in.secret(c.Secret)
		return keptSecret{provider.Pair{Verify: value}, c.Secret}, err
	}
	dir, err := in.settingsFolder()
	if err != nil {
		return keptSecret{}, err
	}
	dir = filepath.Join(dir, "listen")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return keptSecret{}, fmt.Errorf("keep the secret: %w; give one by --secret", err)
	}
	pair, err := provider.NewPair(scheme)
	if err != nil {
		return keptSecret{}, err
	}
	name := filepath.Join(dir, string(scheme))
	if pair.Sign != pair.Verify {
		if pair, err = keepPair(name, pair); err != nil {
			return keptSecret{}, err
		}
		return keptSecret{pair, name + ".secret"}, nil
	}
	text, err := keep(name+".secret", pair.Sign)
	return keptSecret{provider.Pair{Sign: text, Verify: text}, name + ".secret"}, err
}

// keepPair keeps both halves in one file of two lines, so that they stay a pair, and
// what signs in a file of its own for trigger.
func keepPair(name string, pair provider.Pair) (provider.Pair, error) {
	text, err := keep(name+".pair", pair.Sign+"\n"+pair.Verify)
	if err != nil {
		return provider.Pair{}, err
	}
	sign, verify, ok := strings.Cut(text, "\n")
	if !ok {
		return provider.Pair{}, fmt.Errorf("%s.pair is damaged; remove it, and a new pair is made", name)
	}
	if _, err := keep(name+".secret", sign); err != nil {
		return provider.Pair{}, err
	}
	return provider.Pair{Sign: sign, Verify: verify}, nil
}

// keep writes a secret that is not there yet, whole or not at all, and gives the one
// that is there: of two first starts at once one wins.
func keep(name, value string) (string, error) {
	temporary, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("keep the secret: %w; give one by --secret", err)
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // only a leftover
	_, err = temporary.WriteString(value + "\n")
	if err = errors.Join(err, temporary.Close()); err == nil {
		if err = os.Link(temporary.Name(), name); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("keep the secret: %w; give one by --secret", err)
	}
	raw, err := readBounded(name)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(raw))
	if text == "" {
		return "", fmt.Errorf("%s is empty; remove it, and a new secret is made", name)
	}
	return text, nil
}

// settingsFolder is waybill's folder of the user's settings.
func (in *invocation) settingsFolder() (string, error) {
	if dir, ok := in.Lookup("XDG_CONFIG_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "waybill"), nil
	}
	if home, ok := in.Lookup("HOME"); ok && home != "" {
		return filepath.Join(home, ".config", "waybill"), nil
	}
	return "", usage("there is no folder to keep a secret in; set HOME, or give a secret by --secret")
}

// startView is what is said first.
type startView struct {
	URL        string `json:"url"`
	Scheme     string `json:"scheme"`
	Secret     string `json:"secret,omitempty"`
	SecretFile string `json:"secret_file"`
	ForwardTo  string `json:"forward_to,omitempty"`
}

func (v startView) write(w io.Writer) {
	fmt.Fprintf(w, "listening   %s, signed as %s; Ctrl-C stops\n", v.URL, v.Scheme)
	if v.Secret != "" {
		fmt.Fprintf(w, "secret      %s   (stays the same; to sign: %s)\n", v.Secret, v.SecretFile)
	}
	if v.ForwardTo != "" {
		fmt.Fprintf(w, "forwards to %s\n", v.ForwardTo)
	}
	fmt.Fprintf(w, "try         waybill trigger %s EVENT --to %s --secret %s\n\n", v.Scheme, v.URL, v.SecretFile)
}

// listening is the running receiver.
type listening struct {
	in        *invocation
	scheme    provider.Scheme
	verifier  provider.Verifier
	secret    string
	forwardTo string
	all       bool
	client    *http.Client
	room      chan struct{} // bounds the requests under way

	mu sync.Mutex // of the output
}

// serve ends when the invocation is interrupted and the requests under way are done.
func (l *listening) serve(listener net.Listener) error {
	server := &http.Server{Handler: l, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }() // ends with Shutdown or Close below
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-l.in.ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.in.ctx), listenStop)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close() // what does not end by itself is cut
	}
	return nil
}

// Verdicts on a request.
const (
	verdictVerified  = "verified"
	verdictRefused   = "refused"
	verdictHandshake = "handshake"
)

// heardView is one request.
type heardView struct {
	At      time.Time `json:"at"`
	Method  string    `json:"method"`
	Path    string    `json:"path"`
	Bytes   int       `json:"bytes"`
	EventID string    `json:"event_id,omitempty"`
	Verdict string    `json:"verdict"`
	Why     string    `json:"why,omitempty"`     // why refused
	Status  int       `json:"status"`            // of the answer
	Forward string    `json:"forward,omitempty"` // why it could not be forwarded
}

func (v heardView) write(w io.Writer) {
	line := fmt.Sprintf("%s  %d  %-9s  %s", v.At.Format(timeFormat), v.Status, v.Verdict, console.Clean(cmp.Or(v.EventID, "-")))
	for _, more := range []string{v.Why, v.Forward} {
		if more != "" {
			line += "  " + console.Clean(more)
		}
	}
	fmt.Fprintln(w, line)
}

func (l *listening) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case l.room <- struct{}{}:
		defer func() { <-l.room }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests are under way", http.StatusServiceUnavailable)
		return
	}
	view := heardView{At: l.in.Now().UTC(), Method: r.Method, Path: r.URL.Path, Verdict: verdictRefused}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSentBytes))
	view.Bytes = len(body)
	if err != nil {
		view.Why, view.Status = "the body could not be read: "+err.Error(), http.StatusBadRequest
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			view.Status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, view.Why, view.Status)
		l.say(view)
		return
	}
	l.answer(w, l.request(r, body), &view)
	l.say(view)
}

// request is what is verified: the address as the sender wrote it.
func (l *listening) request(r *http.Request, body []byte) provider.Request {
	scheme := "http"
	if first(r.Header.Get("X-Forwarded-Proto")) == "https" {
		scheme = "https" // a tunnel of the developer's own
	}
	host := cmp.Or(first(r.Header.Get("X-Forwarded-Host")), r.Host)
	return provider.Request{Method: r.Method, URL: scheme + "://" + host + r.URL.RequestURI(), Header: r.Header, Body: body}
}

func first(list string) string {
	one, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(one)
}

// answer gives the sender a handshake's answer, the target's, or ours.
func (l *listening) answer(w http.ResponseWriter, r provider.Request, view *heardView) {
	handshake, isHandshake := provider.Handshake(l.scheme, r, []string{l.secret})
	if !isHandshake || handshake.Signed {
		got, err := l.verifier.Verify(r, l.in.Now())
		view.EventID = got.EventID
		switch {
		case err != nil:
			view.Why = err.Error()
		default:
			view.Verdict = verdictVerified
		}
	}
	switch {
	case isHandshake && (view.Verdict == verdictVerified || !handshake.Signed):
		view.Verdict = verdictHandshake
		give(w, handshake, view)
	case view.Verdict == verdictRefused && !l.all:
		view.Status = http.StatusUnauthorized
		http.Error(w, view.Why, view.Status)
	case l.forwardTo == "":
		answer, wanted := provider.Accepted(l.scheme, r)
		if !wanted {
			answer = provider.Answer{Status: http.StatusOK}
		}
		give(w, answer, view)
	default:
		l.forward(w, r, view)
	}
}

func give(w http.ResponseWriter, a provider.Answer, view *heardView) {
	view.Status = a.Status
	if a.ContentType != "" {
		w.Header().Set("Content-Type", a.ContentType)
	}
	w.WriteHeader(a.Status)
	if len(a.Body) > 0 { // 204 has none
		_, _ = w.Write(a.Body) // the sender has gone if it fails
	}
}

// forward sends the request on as it came and answers what the target answered.
func (l *listening) forward(w http.ResponseWriter, r provider.Request, view *heardView) {
	fail := func(err error) {
		view.Status, view.Forward = http.StatusBadGateway, "not forwarded: "+err.Error()
		http.Error(w, view.Forward, view.Status)
	}
	to, err := target(l.forwardTo, r.URL)
	if err != nil {
		fail(err)
		return
	}
	r.Header = passed(r.Header)
	r.URL = to
	response, err := roundTrip(l.in.ctx, l.client, r)
	if err != nil {
		fail(err)
		return
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxListenAnswer+1))
	if err == nil && len(answer) > maxListenAnswer {
		err = fmt.Errorf("the answer is larger than %d bytes", maxListenAnswer)
	}
	if err != nil {
		fail(err)
		return
	}
	for name, values := range passed(response.Header) {
		w.Header()[name] = values
	}
	view.Status = response.StatusCode
	w.WriteHeader(response.StatusCode)
	_, _ = w.Write(answer) // the sender has gone if it fails
}

// target is the address to forward to; one without a path takes the request's.
func target(forwardTo, requested string) (string, error) {
	to, err := url.Parse(forwardTo)
	if err != nil {
		return "", err
	}
	from, err := url.Parse(requested)
	if err != nil {
		return "", err
	}
	if to.Path == "" || to.Path == "/" {
		to.Path, to.RawPath = from.Path, from.RawPath
	}
	switch {
	case to.RawQuery == "":
		to.RawQuery = from.RawQuery
	case from.RawQuery != "":
		to.RawQuery += "&" + from.RawQuery
	}
	return to.String(), nil
}

// passed is a header without what belongs to one connection only.
func passed(h http.Header) http.Header {
	out := h.Clone()
	for name := range strings.SplitSeq(h.Get("Connection"), ",") {
		out.Del(strings.TrimSpace(name))
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length"} {
		out.Del(name)
	}
	return out
}

// say prints one line for a request.
func (l *listening) say(view heardView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in.json {
		_ = json.NewEncoder(l.in.Stdout).Encode(view) // nobody reads on
		return
	}
	view.write(l.in.Stdout)
}
