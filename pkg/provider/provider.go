package provider

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

// Scheme names a way to verify.
type Scheme string

// The schemes; the package comment tells them apart.
const (
	StandardWebhooks Scheme = "standard-webhooks"
	Svix             Scheme = "svix"
	Stripe           Scheme = "stripe"
	GitHub           Scheme = "github"
	Shopify          Scheme = "shopify"
	Slack            Scheme = "slack"
	GitLab           Scheme = "gitlab"
	Bitbucket        Scheme = "bitbucket"
	Gitea            Scheme = "gitea"
	Twilio           Scheme = "twilio"
	SendGrid         Scheme = "sendgrid"
	Adyen            Scheme = "adyen"
	Paddle           Scheme = "paddle"
	Square           Scheme = "square"
	WooCommerce      Scheme = "woocommerce"
	Mailgun          Scheme = "mailgun"
	Meta             Scheme = "meta"
	Zoom             Scheme = "zoom"
	Discord          Scheme = "discord"
	HMAC             Scheme = "hmac"
	APIKey           Scheme = "api-key"
	Basic            Scheme = "basic"
	None             Scheme = "none"
)

// Schemes lists all schemes, those of one provider first.
func Schemes() []Scheme {
	return []Scheme{Adyen, Bitbucket, Discord, Gitea, GitHub, GitLab, Mailgun, Meta, Paddle, SendGrid, Shopify, Slack, Square, Stripe,
		Svix, Twilio, WooCommerce, Zoom, StandardWebhooks, HMAC, APIKey, Basic, None}
}

// Known says whether there is such a scheme.
func (s Scheme) Known() bool { return slices.Contains(Schemes(), s) }

// HasEventID says whether the requests of a scheme carry an id of their event. With
// hmac that is so when Config.ID names it.
func (s Scheme) HasEventID() bool {
	switch s {
	case HMAC, APIKey, Basic, None, Meta, Discord, Zoom:
		return false
	}
	return true
}

// Timed says whether the scheme signs a time, so that a tolerance has a meaning.
// With hmac that is so when Config.Timestamp is set.
func (s Scheme) Timed() bool {
	switch s {
	case StandardWebhooks, Svix, Stripe, Slack, GitLab, SendGrid, Paddle, Mailgun, Zoom, Discord, HMAC:
		return true
	}
	return false
}

// SignsURL says whether the scheme signs the address that was posted to; hmac does
// when its content holds {url} or {path}.
func (s Scheme) SignsURL() bool { return s == Twilio || s == Square || s == HMAC }

// NeedsPublicURL says whether what is signed holds the name of the host, which
// without Config.PublicURL is what the sender says it is: a request that was signed
// for another receiver under the same secret would pass.
func (c Config) NeedsPublicURL() bool {
	if c.Scheme != HMAC {
		return c.Scheme == Twilio || c.Scheme == Square
	}
	t, err := c.template()
	return err == nil && t.holds("url")
}

// MaxSecrets bounds the live keys of one webhook.
const MaxSecrets = signature.MaxKeys

// DefaultTolerance is how far a signed time may lie from now, past and future.
const DefaultTolerance = signature.DefaultTolerance

// Config says how a webhook is verified. Fields a scheme does not use must be
// empty, so that a setting without effect is an error and not a surprise.
type Config struct {
	Scheme  Scheme
	Secrets []string // 1 to MaxSecrets, none empty, none twice; none at all with the scheme none

	Header string // hmac: required, the header of the signature; api-key: instead of the two usual ones
	User   string // basic: the user name, and the secrets are passwords; empty: the secrets are "user:password"

	// PublicURL is the address as the provider knows it, for twilio, square and an
	// hmac over {url} or {path}: scheme and host, to which the request's path and
	// query are added, or with a path, to which the query is. See NeedsPublicURL.
	PublicURL string

	Algorithm string // hmac: sha256 (default), sha512, sha384 or sha1
	Encoding  string // hmac: hex (default), base64 or base64url
	Prefix    string // hmac: text before the digits, such as "sha256="
	Parameter string // hmac: the header is a list such as t=1,v1=ab; the name of the signatures in it
	Content   string // hmac: what is signed, "{body}" if empty; see the type Template
	Timestamp string // hmac: where the time is: a header, or "t=" for a parameter of the signature header
	ID        string // hmac: the header that carries the event's id

	Tolerance time.Duration // distance of the signed time from now, default 5 minutes
}

// Request is what a provider sent, before anything parsed it.
type Request struct {
	Method string
	URL    string // absolute, as the provider saw it as far as we know; Config.PublicURL mends what a proxy changed
	Header http.Header
	Body   []byte // raw
}

// Verified is a request whose sender is known.
type Verified struct {
	KeyIndex int    // which of Config.Secrets matched, from 0; -1 with the scheme none
	EventID  string // the provider's own id of the event; empty when it has none
}

// Verifier verifies requests. It is safe for concurrent use.
type Verifier interface {
	// Verify checks the raw request as of now, the ledger's time. A refusal is
	// an *Error.
	Verify(r Request, now time.Time) (Verified, error)
}

// New makes the verifier of a configuration, or says what is wrong with it. The
// error never repeats a secret.
func New(c Config) (Verifier, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("verify %s: %w", c.Scheme, err)
	}
	v, err := newVerifier(c)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", c.Scheme, err)
	}
	return v, nil
}

func newVerifier(c Config) (Verifier, error) {
	switch c.Scheme {
	case None:
		return open{}, nil
	case APIKey:
		return newKeyVerifier(c)
	case Basic:
		return newBasicVerifier(c)
	case StandardWebhooks, Svix:
		return newStandardVerifier(c)
	case GitLab:
		return newGitLabVerifier(c)
	default:
		return newProofVerifier(c)
	}
}

// Misfit is a key of the configuration that cannot be as it is.
type Misfit struct {
	Key  string // as in the integration file: header, algorithm, …
	Text string
}

func (m *Misfit) Error() string { return m.Text }

// Check says what is wrong with everything but the secrets, as a *Misfit.
func (c Config) Check() error {
	if !c.Scheme.Known() {
		return &Misfit{"scheme", fmt.Sprintf("unknown scheme %q, known are %s", c.Scheme, known())}
	}
	for _, f := range []struct {
		key, value string
		schemes    []Scheme
	}{
		{"header", c.Header, []Scheme{HMAC, APIKey}},
		{"user", c.User, []Scheme{Basic}},
		{"public_url", c.PublicURL, []Scheme{HMAC, Twilio, Square}},
		{"algorithm", c.Algorithm, []Scheme{HMAC}},
		{"encoding", c.Encoding, []Scheme{HMAC}},
		{"prefix", c.Prefix, []Scheme{HMAC}},
		{"parameter", c.Parameter, []Scheme{HMAC}},
		{"content", c.Content, []Scheme{HMAC}},
		{"timestamp", c.Timestamp, []Scheme{HMAC}},
		{"id", c.ID, []Scheme{HMAC}},
	} {
		if f.value != "" && !slices.Contains(f.schemes, c.Scheme) {
			return &Misfit{f.key, fmt.Sprintf("%s belongs to the scheme %s, not %s; remove it", f.key, joined(f.schemes), c.Scheme)}
		}
	}
	if c.Header != "" && !validHeaderName(c.Header) {
		return &Misfit{"header", fmt.Sprintf("%q is no header name", c.Header)}
	}
	if strings.Contains(c.User, ":") {
		return &Misfit{"user", "a user name cannot hold a colon: the password begins after the first one"}
	}
	if err := checkPublicURL(c.PublicURL); err != nil {
		return &Misfit{"public_url", err.Error()}
	}
	if c.Tolerance < 0 {
		return &Misfit{"tolerance", "the tolerance must not be negative"}
	}
	if c.Tolerance != 0 && (!c.Scheme.Timed() || c.Scheme == HMAC && c.Timestamp == "") {
		return &Misfit{"tolerance", "a tolerance belongs to a scheme that signs a time, and here none is signed; remove it"}
	}
	if c.Scheme == HMAC {
		return c.checkHMAC()
	}
	return nil
}

func (c Config) check() error {
	if err := c.Check(); err != nil {
		return err
	}
	if c.Scheme == None {
		if len(c.Secrets) > 0 {
			return errors.New("the scheme none has no secrets; remove them, or name a scheme that uses them")
		}
		return nil
	}
	if len(c.Secrets) == 0 || len(c.Secrets) > MaxSecrets {
		return fmt.Errorf("needs 1 to %d secrets, has %d", MaxSecrets, len(c.Secrets))
	}
	seen := make(map[string]int, len(c.Secrets))
	for i, s := range c.Secrets {
		if strings.TrimSpace(s) == "" {
			return fmt.Errorf("secret %d is empty", i+1)
		}
		if first, twice := seen[s]; twice {
			return fmt.Errorf("secrets %d and %d are the same", first+1, i+1)
		}
		seen[s] = i
	}
	return nil
}

func known() string { return joined(Schemes()) }

func joined(schemes []Scheme) string {
	names := make([]string, len(schemes))
	for i, s := range schemes {
		names[i] = string(s)
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// validHeaderName keeps to the characters of real header names; a name outside
// of them could never be found in a request.
func validHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return name != ""
}

// open is the scheme none.
type open struct{}

func (open) Verify(Request, time.Time) (Verified, error) { return Verified{KeyIndex: -1}, nil }
