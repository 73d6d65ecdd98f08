package provider

import (
	"crypto/sha1" // #nosec G505 -- HMAC-SHA1 is still sound and some providers sign with nothing else
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"net/url"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

const maxTemplateParts = 32

// Template is the signed content of the scheme hmac: text in which {body} (the raw
// bytes), {timestamp} and {id} (as they stand in the request), {method}, {url},
// {path} (without the query) and {header:Name} stand for parts of the request. \n is
// a line feed.
type Template struct{ parts []part }

type part struct {
	name string // empty: literal
	text string // the literal, or the header's name
}

// ParseTemplate reads a template, or says what is wrong with it.
func ParseTemplate(source string) (Template, error) {
	var t Template
	rest := strings.ReplaceAll(source, `\n`, "\n")
	for rest != "" {
		if len(t.parts) >= maxTemplateParts {
			return Template{}, fmt.Errorf("content has more than %d parts", maxTemplateParts)
		}
		literal, after, open := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return Template{}, errors.New("content has a } without its {")
		}
		if literal != "" {
			t.parts = append(t.parts, part{text: literal})
		}
		if !open {
			break
		}
		inside, tail, closed := strings.Cut(after, "}")
		if !closed {
			return Template{}, errors.New("content has a { without its }")
		}
		name, argument, _ := strings.Cut(inside, ":")
		switch {
		case name == "header" && validHeaderName(argument):
		case argument == "" && strings.Contains(" body timestamp id method url path ", " "+name+" ") && inside == name:
		default:
			return Template{}, fmt.Errorf("content knows no {%s}; there are {body}, {timestamp}, {id}, {method}, {url}, {path} and {header:Name}", shorten(inside))
		}
		t.parts = append(t.parts, part{name, argument})
		rest = tail
	}
	if !t.holds("body") {
		return Template{}, errors.New("content must hold {body}: what is not signed could be anybody's")
	}
	return t, nil
}

func shorten(text string) string {
	if len(text) > 40 {
		return text[:40] + "…"
	}
	return text
}

func (t Template) holds(name string) bool {
	for _, p := range t.parts {
		if p.name == name {
			return true
		}
	}
	return false
}

func (t Template) render(r Request, stamp, id string) (content, error) {
	var c content
	for _, p := range t.parts {
		switch p.name {
		case "":
			c = append(c, []byte(p.text))
		case "body":
			c = append(c, r.Body)
		case "timestamp":
			c = append(c, []byte(stamp))
		case "id":
			c = append(c, []byte(id))
		case "method":
			c = append(c, []byte(r.Method))
		case "url":
			c = append(c, []byte(r.URL))
		case "path":
			u, err := url.Parse(r.URL)
			if err != nil {
				return nil, &Error{Code: MalformedURL, Header: "Host", Detail: "the address that was posted to cannot be read"}
			}
			c = append(c, []byte(u.EscapedPath()))
		case "header":
			value, err := single(r.Header, p.text, signature.MissingSignature)
			if err != nil {
				return nil, err
			}
			c = append(c, []byte(value))
		}
	}
	return c, nil
}

func hashOf(algorithm string) (func() hash.Hash, bool) {
	switch algorithm {
	case "", "sha256":
		return sha256.New, true
	case "sha512":
		return sha512.New, true
	case "sha384":
		return sha512.New384, true
	case "sha1":
		return sha1.New, true
	}
	return nil, false
}

func encodingOf(name string) (encoding, bool) {
	switch encoding(name) {
	case "", asHex:
		return asHex, true
	case asBase64, asBase64URL:
		return encoding(name), true
	}
	return "", false
}

func (c Config) template() (Template, error) {
	if c.Content == "" {
		return ParseTemplate("{body}")
	}
	return ParseTemplate(c.Content)
}

// checkHMAC checks the description of the scheme hmac.
func (c Config) checkHMAC() error {
	if c.Header == "" {
		return &Misfit{"header", "needs the header that carries the signature"}
	}
	if _, ok := hashOf(c.Algorithm); !ok {
		return &Misfit{"algorithm", fmt.Sprintf("unknown algorithm %q, known are sha256, sha512, sha384 and sha1", c.Algorithm)}
	}
	if _, ok := encodingOf(c.Encoding); !ok {
		return &Misfit{"encoding", fmt.Sprintf("unknown encoding %q, known are hex, base64 and base64url", c.Encoding)}
	}
	t, err := c.template()
	if err != nil {
		return &Misfit{"content", err.Error()}
	}
	parameter, inList := strings.CutSuffix(c.Timestamp, "=")
	switch {
	case strings.ContainsAny(c.Parameter, "=,; "):
		return &Misfit{"parameter", "parameter is a name only, such as v1"}
	case inList && c.Parameter == "":
		return &Misfit{"timestamp", fmt.Sprintf("timestamp %s is a parameter of the signature header; name the signature's too: parameter: v1", c.Timestamp)}
	case inList && (parameter == "" || strings.ContainsAny(parameter, "=,; ")):
		return &Misfit{"timestamp", "timestamp must be a header, or a parameter of the signature header such as t="}
	case !inList && c.Timestamp != "" && !validHeaderName(c.Timestamp):
		return &Misfit{"timestamp", fmt.Sprintf("%q is no header name; for a parameter of the signature header write t=", c.Timestamp)}
	case c.ID != "" && !validHeaderName(c.ID):
		return &Misfit{"id", fmt.Sprintf("%q is no header name", c.ID)}
	case t.holds("timestamp") && c.Timestamp == "":
		return &Misfit{"content", "content signs {timestamp}; say where it is: timestamp: X-Timestamp, or t="}
	case !t.holds("timestamp") && c.Timestamp != "":
		return &Misfit{"timestamp", "the time is not signed, so it proves nothing; put {timestamp} into content or remove it"}
	case t.holds("id") && c.ID == "":
		return &Misfit{"content", "content signs {id}; name its header: id: X-Event-Id"}
	}
	return nil
}

func hmacRules(c Config) (rules, error) {
	t, err := c.template()
	if err != nil {
		return rules{}, err
	}
	d := described{Config: c, template: t}
	d.hash, _ = hashOf(c.Algorithm)
	d.encoding, _ = encodingOf(c.Encoding)
	return rules{rawKey, d.read}, nil
}

// described is an hmac as the configuration describes it.
type described struct {
	Config
	template Template
	hash     func() hash.Hash
	encoding encoding
}

func (d described) read(r Request) (reading, error) {
	text, err := single(r.Header, d.Header, signature.MissingSignature)
	if err != nil {
		return reading{}, err
	}
	l := list{signatures: []string{text}}
	parameter, inList := strings.CutSuffix(d.Timestamp, "=")
	if d.Parameter != "" {
		if !inList {
			parameter = ""
		}
		if l, err = readList(text, d.Header, ",;", parameter, d.Parameter); err != nil {
			return reading{}, err
		}
	}
	all, err := d.signatures(l)
	if err != nil {
		return reading{}, err
	}
	got := reading{timed: d.Timestamp != "", timeHeader: d.Timestamp}
	if got.timed && !inList {
		if l.time, err = single(r.Header, d.Timestamp, signature.MissingTimestamp); err != nil {
			return reading{}, err
		}
	}
	if got.timed {
		if inList {
			got.timeHeader = d.Header
		}
		if got.at, err = parseAnyTime(l.time, got.timeHeader); err != nil {
			return reading{}, err
		}
	}
	id := ""
	if d.ID != "" {
		if id, err = single(r.Header, d.ID, signature.MissingID); err != nil {
			return reading{}, err
		}
	}
	signed, err := d.template.render(r, l.time, id)
	if err != nil {
		return reading{}, err
	}
	got.proofs = []proof{{d.Header, d.hash, all, []content{signed}}}
	return got, nil
}

func (d described) signatures(l list) ([][]byte, error) {
	size := d.hash().Size()
	var all [][]byte
	for _, text := range l.signatures {
		digits, ok := strings.CutPrefix(text, d.Prefix)
		if !ok {
			continue
		}
		if b, ok := d.encoding.decode(digits, size); ok {
			all = append(all, b)
		}
	}
	if len(all) == 0 {
		want := prefixed(d.Prefix) + d.encoding.describe(size)
		if d.Parameter != "" {
			want = d.Parameter + "= and " + want
		}
		return nil, malformed(d.Header, want)
	}
	return all, nil
}

// parseAnyTime also takes RFC 3339, which some senders sign.
func parseAnyTime(text, header string) (time.Time, error) {
	if strings.Contains(text, "T") {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at, nil
		}
	}
	return parseTime(text, header)
}

// checkPublicURL takes https://host or https://host/path, and http for tests.
func checkPublicURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
		return fmt.Errorf("%q is no address that a provider could post to; write one such as https://hooks.example.com", shorten(text))
	}
	return nil
}

// publicURL is the address as the provider knows it: the configured scheme and host,
// and the configured path if there is one, with the rest of the request's.
func publicURL(configured, requested string) string {
	if configured == "" {
		return requested
	}
	tail := requested
	if _, rest, absolute := strings.Cut(requested, "://"); absolute {
		tail = ""
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			tail = rest[i:]
		}
	}
	_, rest, _ := strings.Cut(configured, "://")
	if i := strings.IndexByte(rest, '/'); i >= 0 && i < len(rest)-1 { // has a path
		if q := strings.IndexByte(tail, '?'); q >= 0 {
			return configured + tail[q:]
		}
		return configured
	}
	return strings.TrimSuffix(configured, "/") + tail
}
