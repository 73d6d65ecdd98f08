package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
	"waybill.internal/services/waybill/internal/console"
	"waybill.internal/services/waybill/internal/sample"
)

// maxSample bounds the file that stands for a webhook, in bytes.
const maxSample = 16 << 20

// webhookTestView is what became of a sample.
type webhookTestView struct {
	Source   string          `json:"source"`
	Scheme   string          `json:"scheme"`
	Sample   string          `json:"sample"`
	Verified bool            `json:"verified"`
	Secret   string          `json:"secret,omitempty"` // the variable whose value fitted
	Refusal  string          `json:"refusal,omitempty"`
	EventID  string          `json:"event_id,omitempty"`
	Record   *triedView      `json:"record,omitempty"`
	Note     string          `json:"note,omitempty"`
	Status   int             `json:"status,omitempty"` // of the answer, with --send
	Answer   json.RawMessage `json:"answer,omitempty"`
}

func (c sourceTestCommand) webhook(ctx context.Context, in *invocation, e catalog.Entry, s *integration.Source) error {
	config := s.Webhook.Verify.Verification()
	to, err := sourceURL(c.To, s.Webhook.Path)
	if err != nil {
		return err
	}
	r, from, err := c.sample(in, config, to)
	if err != nil {
		return err
	}
	signing := config
	if signing.Secrets, err = firstSecret(s.Webhook.Verify); err != nil {
		return usage("the sample cannot be signed: %w", err)
	}
	signed, err := provider.Sign(signing, r, in.Now())
	if err != nil {
		return usage("the sample cannot be signed: %w", err)
	}
	view := webhookTestView{Source: c.Source, Scheme: string(config.Scheme), Sample: from}
	if err := view.verify(config, s, signed, in.Now()); err != nil {
		return err
	}
	view.judge(e, s, signed)
	if c.Send {
		if err := view.send(ctx, signed); err != nil {
			return err
		}
	}
	if err := in.print(view, view.write); err != nil {
		return err
	}
	if !view.Verified || (view.Record != nil && len(view.Record.Problems) > 0) || view.Status >= http.StatusMultipleChoices {
		return problem(nil)
	}
	return nil
}

// sample is the request to sign: the file given, or an event as the provider sends it.
func (c sourceTestCommand) sample(in *invocation, config provider.Config, to string) (provider.Request, string, error) {
	if c.File != "" {
		body, err := readSample(c.File)
		if err != nil {
			return provider.Request{}, "", err
		}
		return provider.Request{Method: http.MethodPost, URL: to, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}, c.File, nil
	}
	event := c.Event
	if event == "" {
		all, err := sample.List()
		if err != nil {
			return provider.Request{}, "", err
		}
		for _, known := range all {
			if known.Provider == string(config.Scheme) && event == "" {
				event = known.Name
			}
		}
	}
	if event == "" {
		return provider.Request{}, "", usage("there is no sample of %s: give a FILE that holds the body of a request", config.Scheme)
	}
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:24]
	r, err := sample.New(string(config.Scheme), event, to, sample.Fresh{ID: id, UUID: uuid.NewString(), At: in.Now()})
	if err != nil {
		return r, "", usage("%w", err)
	}
	return r, string(config.Scheme) + " " + event, nil
}

// readSample reads a file, or what a pipe gives, up to a bound.
func readSample(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, usage("%w", err)
	}
	defer file.Close()
	body, err := io.ReadAll(io.LimitReader(file, maxSample+1))
	if err != nil {
		return nil, usage("%w", err)
	}
	if len(body) > maxSample {
		return nil, usage("%s has more than %d bytes", name, maxSample)
	}
	return body, nil
}

// verify asks the verifier that ingest would ask, with all secrets that are set here.
func (v *webhookTestView) verify(config provider.Config, s *integration.Source, signed provider.Request, now time.Time) error {
	var names []string
	for _, secret := range s.Webhook.Verify.Secrets {
		if value, err := secret.Reveal(); err == nil {
			config.Secrets, names = append(config.Secrets, value), append(names, secret.Name())
		}
	}
	verifier, err := provider.New(config)
	if err != nil {
		return usage("the source cannot verify anything with the secrets that are set here: %w", err)
	}
	got, err := verifier.Verify(signed, now)
	if err != nil {
		v.Refusal = err.Error()
		return nil
	}
	v.Verified, v.EventID = true, got.EventID
	if got.KeyIndex >= 0 && got.KeyIndex < len(names) {
		v.Secret = names[got.KeyIndex]
	}
	return nil
}

// judge says what base validation makes of the body.
func (v *webhookTestView) judge(e catalog.Entry, s *integration.Source, signed provider.Request) {
	if kind, _, _ := strings.Cut(signed.Header.Get("Content-Type"), ";"); kind != "application/json" {
		v.Note = "a form is not validated here; --send shows what ingest makes of it"
		return
	}
	body, err := integration.DecodeJSON(signed.Body)
	if err != nil {
		v.Record = &triedView{Problems: []string{"the body is not the JSON it should be: " + err.Error()}}
		return
	}
	if _, list := body.([]any); list && s.Webhook.Batch {
		v.Note = "a list is one record for each item, which are not validated here; --send shows what ingest makes of them"
		return
	}
	headers := map[string]string{}
	for name, values := range signed.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	v.Record = &triedView{}
	first := ""
	if v.Record.Key, v.Record.Entity, err = e.Keys(s, integration.Input{Body: body, Headers: headers, EventID: v.EventID}); err != nil {
		first = err.Error()
	}
	v.Record.Problems = problemTexts(first, e.Validate(body))
}

func (v *webhookTestView) send(ctx context.Context, signed provider.Request) error {
	client := &http.Client{Timeout: sendTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := roundTrip(ctx, client, signed)
	if err != nil {
		return unreachable(fmt.Errorf("post the sample to %s: %w; whether it was accepted is unknown", signed.URL, err))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return unreachable(fmt.Errorf("read the answer of %s: %w; whether it was accepted is unknown", signed.URL, err))
	}
	if v.Status = response.StatusCode; json.Valid(answer) {
		v.Answer = answer
	}
	return nil
}

func (v webhookTestView) write(w io.Writer) {
	fmt.Fprintf(w, "sample     %s, signed for %s\n", console.Clean(v.Sample), v.Source)
	if v.Verified {
		fmt.Fprintf(w, "signature  fits (%s%s)\n", v.Scheme, strings.TrimSuffix(", "+v.Secret, ", "))
	} else {
		fmt.Fprintf(w, "signature  refused (%s): %s\n", v.Scheme, console.Clean(v.Refusal))
	}
	if r := v.Record; r != nil {
		fmt.Fprintf(w, "key        %s\n", cmp.Or(console.Clean(r.Key), "-"))
		for _, p := range r.Problems {
			fmt.Fprintln(w, "invalid   ", console.Clean(p))
		}
		if len(r.Problems) == 0 {
			fmt.Fprintln(w, "validation passed")
		}
	}
	if v.Note != "" {
		fmt.Fprintln(w, "note      ", v.Note)
	}
	if v.Status == 0 {
		fmt.Fprintln(w, "No record was made; --send posts it.")
		return
	}
	fmt.Fprintf(w, "answer     %d %s %s\n", v.Status, http.StatusText(v.Status), console.Short(console.Clean(string(v.Answer)), 300))
}
