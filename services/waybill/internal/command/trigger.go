package command

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
	"waybill.internal/services/waybill/internal/console"
	"waybill.internal/services/waybill/internal/sample"
)

const (
	triggerIDBytes = 12 // of a sample's id: 24 digits
	sampleID       = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	maxSampleID    = 64
)

type triggerCommand struct {
	Provider string `arg:"" optional:"" help:"Whose event, such as stripe; --list shows all."`
	Event    string `arg:"" optional:"" help:"Which event, such as payment_intent.succeeded."`

	To           string `help:"Where to post, such as http://127.0.0.1:8080/in/payments. With --source: the ingest, by default http://127.0.0.1:8080."`
	Secret       string `help:"A file that holds the secret to sign with; - reads standard input. sendgrid, discord: the private key."`
	Source       string `placeholder:"INTEGRATION[/SOURCE]" help:"Sign as this webhook source verifies, with its secret, and post to its path."`
	Integrations string `help:"With --source: the folder of the integration files; the default is WAYBILL_INTEGRATIONS, or deploy/integrations."`
	ID           string `name:"id" help:"The sample's id; the same again is the same event. The default is a new one."`
	DryRun       bool   `help:"Print the request, do not post it."`
	List         bool   `help:"List the providers and their events."`
}

func (triggerCommand) Help() string {
	return `Posts an event as the provider would: its shape, its headers, its signature. The receiver cannot tell the difference.
Exits with 1 if it was not accepted, with 3 if the address does not answer.

Examples:
  waybill trigger --list
  waybill trigger stripe payment_intent.succeeded --to http://127.0.0.1:8080/in/payments --secret stripe.secret
  waybill trigger github push --source tea-shop --dry-run`
}

func (c triggerCommand) Run(in *invocation) error {
	if c.List {
		return c.list(in)
	}
	if c.Provider == "" || c.Event == "" {
		return usage("name a provider and an event, such as stripe payment_intent.succeeded; waybill trigger --list shows them")
	}
	if strings.ContainsFunc(c.ID, func(r rune) bool { return !strings.ContainsRune(sampleID, r) }) || len(c.ID) > maxSampleID {
		return usage("--id: letters, digits, . _ and -, at most %d of them; it becomes a part of names in the body and of headers", maxSampleID)
	}
	config, to, err := c.config(in)
	if err != nil {
		return err
	}
	now := in.Now()
	fresh := sample.Fresh{ID: c.ID, UUID: uuid.NewString(), At: now}
	if c.ID == "" {
		raw := make([]byte, triggerIDBytes)
		if _, err := rand.Read(raw); err != nil {
			return fmt.Errorf("make an id: %w", err)
		}
		fresh.ID = hex.EncodeToString(raw)
	} else {
		// The same id again must be the same event, to the byte: another body under a known
		// id is a conflict. Only what is signed is of now.
		fresh.At = time.Date(2026, time.January, 1, 12, 0, 0, 0, time.UTC)
		fresh.UUID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(c.ID)).String()
	}
	r, err := sample.New(c.Provider, c.Event, to, fresh)
	if err != nil {
		return usage("%w", err)
	}
	if c.ID != "" && (config.Scheme == provider.StandardWebhooks || config.Scheme == provider.Svix) {
		r.Header.Set("webhook-id", "msg_"+c.ID)
	}
	signed, err := provider.Sign(config, r, now)
	if err != nil {
		return usage("%w", err)
	}
	view := requestViewOf(signed)
	view.EventID = provider.EventID(config, signed)
	if view.EventID == "" {
		view.EventID = signed.Header.Get("webhook-id") + signed.Header.Get("svix-id")
	}
	if c.DryRun {
		return in.print(view, view.write)
	}
	return c.post(in, signed, view)
}

func (c triggerCommand) list(in *invocation) error {
	all, err := sample.List()
	if err != nil {
		return err
	}
	return in.print(map[string]any{"events": all}, func(w io.Writer) {
		table := console.NewTable("provider", "event")
		for _, e := range all {
			table.Row(e.Provider, e.Name)
		}
		table.Write(w, "")
	})
}

// config says how to sign and where to post.
func (c triggerCommand) config(in *invocation) (provider.Config, string, error) {
	config, to := provider.Config{Scheme: provider.Scheme(c.Provider)}, c.To
	if c.Source != "" {
		s, err := c.source(in)
		if err != nil {
			return config, "", err
		}
		config = s.Webhook.Verify.Verification()
		if to, err = sourceURL(cmp.Or(c.To, "http://127.0.0.1:8080"), s.Webhook.Path); err != nil {
			return config, "", err
		}
		if c.Secret == "" {
			config.Secrets, err = firstSecret(s.Webhook.Verify)
			if err != nil {
				return config, "", usage("--source %s: %w", c.Source, err)
			}
		}
	}
	switch {
	case !strings.HasPrefix(to, "http://") && !strings.HasPrefix(to, "https://"):
		return config, "", usage("--to must be an address such as http://127.0.0.1:8080/in/payments, or name a webhook source by --source")
	case !config.Scheme.Known():
		return config, "", usage("there is no provider %q; waybill trigger --list shows those that there are", c.Provider)
	case config.Scheme != provider.Scheme(c.Provider) && isProvider(config.Scheme):
		return config, "", usage("the source %s takes requests of %s, not of %s", c.Source, config.Scheme, c.Provider)
	case c.Secret == "" && c.Source == "":
		return config, "", usage("--secret is needed to sign: a file that holds the secret, or name a webhook source by --source")
	case c.Secret != "":
		secret, err := in.secret(c.Secret)
		if err != nil {
			return config, "", err
		}
		config.Secrets = []string{secret}
	}
	return config, to, nil
}

// isProvider says whether a scheme is one provider's own; the others take any event.
func isProvider(s provider.Scheme) bool {
	switch s {
	case provider.StandardWebhooks, provider.Svix, provider.HMAC, provider.APIKey, provider.Basic, provider.None:
		return false
	}
	return true
}

// source finds a webhook source by integration, or by integration and name.
func (c triggerCommand) source(in *invocation) (*integration.Source, error) {
	dir, _ := in.Lookup("WAYBILL_INTEGRATIONS")
	dir = cmp.Or(c.Integrations, dir, "deploy/integrations")
	list, mistakes, err := load(dir, integration.Lookup(in.Lookup))
	if err != nil {
		return nil, usage("read the integrations in %s: %w", dir, err)
	}
	name, source, named := strings.Cut(c.Source, "/")
	var found []*integration.Source
	var others []string
	for _, i := range list {
		for at := range i.Sources {
			s := &i.Sources[at]
			if s.Webhook == nil {
				continue
			}
			others = append(others, i.Name+"/"+s.Name)
			if i.Name == name && (!named || s.Name == source) {
				found = append(found, s)
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, usage("%s has several webhook sources; name one: %s", name, strings.Join(others, ", "))
	case len(mistakes) > 0:
		return nil, mistakes
	}
	return nil, usage("%s has no webhook source %s; there are %s", dir, c.Source, cmp.Or(strings.Join(others, ", "), "none"))
}

// firstSecret is the first of a source's secrets that can sign something.
func firstSecret(v integration.Verify) ([]string, error) {
	var first error
	for _, secret := range v.Secrets {
		value, err := secret.Reveal()
		if err == nil && !strings.HasPrefix(value, provider.TokenPrefix) && !strings.HasPrefix(value, provider.DigestPrefix) {
			return []string{value}, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil && len(v.Secrets) > 0 {
		first = errors.New("only digests of its secrets are set; give the secret itself by --secret")
	}
	return nil, first // neither for the scheme none
}

// sourceURL is the source's path on an ingest, unless the address has its own.
func sourceURL(to, path string) (string, error) {
	u, err := url.Parse(to)
	if err != nil {
		return "", usage("--to: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = path
	}
	return u.String(), nil
}

// requestView is a signed request, as it is posted.
type requestView struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	EventID string            `json:"event_id,omitempty"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`

	Status     int             `json:"status,omitempty"` // of the answer
	TrackingID string          `json:"tracking_id,omitempty"`
	Answer     json.RawMessage `json:"answer,omitempty"`
	Text       string          `json:"text,omitempty"` // an answer that is no JSON
}

func requestViewOf(r provider.Request) requestView {
	v := requestView{Method: r.Method, URL: r.URL, Headers: map[string]string{}, Body: string(r.Body)}
	for name, values := range r.Header {
		v.Headers[name] = strings.Join(values, ", ")
	}
	return v
}

func (v requestView) write(w io.Writer) {
	fmt.Fprintf(w, "%s %s\n", v.Method, v.URL)
	for _, name := range slices.Sorted(maps.Keys(v.Headers)) {
		fmt.Fprintf(w, "%s: %s\n", name, v.Headers[name])
	}
	fmt.Fprintf(w, "\n%s\n", v.Body)
}

func (c triggerCommand) post(in *invocation, signed provider.Request, view requestView) error {
	client := &http.Client{Timeout: sendTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := roundTrip(in.ctx, client, signed)
	if err != nil {
		return unreachable(fmt.Errorf("post %s %s: %w; whether it was accepted is unknown", c.Provider, c.Event, err))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return unreachable(fmt.Errorf("read the answer to %s %s: %w; whether it was accepted is unknown", c.Provider, c.Event, err))
	}
	view.Status, view.TrackingID = response.StatusCode, response.Header.Get("Trackingid")
	if json.Valid(answer) {
		view.Answer = answer
	} else {
		view.Text = string(answer)
	}
	err = in.print(view, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s  %d %s  event %s  tracking id %s\n", c.Provider, c.Event, view.Status, http.StatusText(view.Status),
			cmp.Or(view.EventID, "-"), cmp.Or(view.TrackingID, "-"))
		if text := string(view.Answer) + view.Text; text != "" {
			fmt.Fprintln(w, "  "+console.Clean(strings.TrimSpace(text)))
		}
	})
	if err == nil && (view.Status < 200 || view.Status > 299) {
		err = problem(fmt.Errorf("%s did not accept it: %d", view.URL, view.Status))
	}
	return err
}

// roundTrip posts a request as it is, byte for byte.
func roundTrip(ctx context.Context, client *http.Client, r provider.Request) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	request.Header = r.Header
	return client.Do(request)
}
