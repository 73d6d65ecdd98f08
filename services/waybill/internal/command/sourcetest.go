package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/stream"
	"waybill.internal/services/ingest"
	"waybill.internal/services/waybill/internal/console"
	"waybill.internal/services/waybill/internal/sample"
)

const (
	// tried is how many rows or items a test shows.
	tried = 5
	// testLimit bounds one test.
	testLimit = 5 * time.Minute
	// maxSample bounds the file that stands for a webhook, in bytes.
	maxSample = 16 << 20
)

type sourceTestCommand struct {
	Source string `arg:"" name:"integration/source" help:"The source, as source list shows it."`
	File   string `arg:"" optional:"" help:"webhook: the body to sign; the default is a sample of the provider. file: a file on this machine instead of those where the source looks."`
	Event  string `help:"webhook: which sample, as trigger --list shows them."`
	Send   bool   `help:"webhook: post it as well; that makes a record."`
	To     string `default:"http://127.0.0.1:8080" help:"webhook: where to post it; the path is the source's own unless given."`
}

func (sourceTestCommand) Help() string {
	return `webhook: signs a sample with the source's own secret, and says what the verifier and base validation make of it.
file: connects, lists what would be taken, and reads the first rows of the first file.
poll: makes one request, and shows the first items and their keys.
kafka: connects, and tells how far the source is behind.
No record is made and nothing is moved, unless --send is given. Exits with 1 if something is wrong, with 3 if the source's server does not answer.

Examples:
  waybill source test orders/webhook order.json
  waybill source test orders/webhook order.json --send
  waybill source test prices/file ~/Downloads/prices.csv
  waybill source test inventory/poll --json`
}

func (c sourceTestCommand) Run(in *invocation) error {
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	e, s, err := b.sourceNamed(c.Source)
	if err != nil {
		return err
	}
	if s.Webhook == nil && (c.Send || c.Event != "") {
		return usage("--send and --event are for webhooks; %s is a %s source", c.Source, kindOf(s))
	}
	if c.File != "" && s.Webhook == nil && s.File == nil {
		return usage("a %s source is tried where it is; leave FILE out", kindOf(s))
	}
	ctx, cancel := context.WithTimeout(in.ctx, testLimit)
	defer cancel()
	switch {
	case s.Webhook != nil:
		return c.webhook(ctx, in, e, s)
	case s.File != nil:
		return c.file(ctx, in, e, s)
	case s.Poll != nil:
		return c.poll(ctx, in, b, e, s)
	}
	return c.kafka(ctx, in, s)
}

// triedView is one record as it would be.
type triedView struct {
	Row      int             `json:"row,omitempty"`
	Line     int             `json:"line,omitempty"`
	Key      string          `json:"idempotency_key,omitempty"`
	Entity   string          `json:"entity_key,omitempty"`
	LeftOut  bool            `json:"left_out,omitempty"` // by the poll's `where`
	Problems []string        `json:"problems,omitempty"`
	Body     json.RawMessage `json:"body,omitempty"`
}

func problemTexts(first string, rest []integration.Problem) (texts []string) {
	if first != "" {
		texts = append(texts, first)
	}
	for _, p := range rest {
		texts = append(texts, p.Error())
	}
	return texts
}

func writeTried(w io.Writer, list []triedView) {
	for i, v := range list {
		title := fmt.Sprintf("item %d", i+1)
		if v.Row > 0 {
			title = fmt.Sprintf("row %d, line %d", v.Row, v.Line)
		}
		if v.LeftOut {
			title += " (left out by where)"
		}
		fmt.Fprintf(w, "%s  key %s", title, cmp.Or(console.Short(console.Clean(v.Key), 60), "-"))
		if v.Entity != "" && v.Entity != v.Key {
			fmt.Fprintf(w, "  entity %s", console.Short(console.Clean(v.Entity), 60))
		}
		fmt.Fprintln(w)
		for _, p := range v.Problems {
			fmt.Fprintln(w, "  would be rejected:", console.Clean(p))
		}
		if len(v.Body) > 0 {
			fmt.Fprintln(w, "  "+console.Short(console.Clean(string(v.Body)), 200))
		}
	}
}

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
		info, err := os.Stat(c.File)
		if err != nil {
			return provider.Request{}, "", usage("%w", err)
		}
		if info.Size() > maxSample {
			return provider.Request{}, "", usage("%s has more than %d bytes", c.File, maxSample)
		}
		body, err := os.ReadFile(c.File)
		if err != nil {
			return provider.Request{}, "", usage("%w", err)
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

// fileTestView is what a file source would take.
type fileTestView struct {
	Source string      `json:"source"`
	Place  string      `json:"place"`
	Files  []fileFound `json:"files"` // the first of them
	Found  int         `json:"found"`
	More   bool        `json:"more,omitempty"` // than were looked at
	Read   string      `json:"read,omitempty"`
	Rows   []triedView `json:"rows"`
	Error  string      `json:"error,omitempty"`
}

type fileFound struct {
	Name  string    `json:"name"`
	Bytes int64     `json:"bytes"`
	At    time.Time `json:"changed_at,omitzero"`
}

func (c sourceTestCommand) file(ctx context.Context, in *invocation, e catalog.Entry, s *integration.Source) error {
	root, _ := in.Lookup("WAYBILL_INGEST_DROP")
	trial, err := ingest.TryFile(ctx, e, s, ingest.FileTryWhere{Root: cmp.Or(root, "."), Local: c.File, Rows: tried})
	if err != nil {
		return wayOut(fmt.Errorf("look for files of %s in %s: %w", c.Source, trial.Place, err))
	}
	view := fileTestView{Source: c.Source, Place: trial.Place, Files: []fileFound{}, Found: len(trial.Files), More: trial.More, Read: trial.Read, Rows: []triedView{}, Error: trial.Error}
	for _, f := range trial.Files[:min(tried, len(trial.Files))] {
		view.Files = append(view.Files, fileFound{f.Name, f.Size, f.At.UTC()})
	}
	bad := trial.Error != ""
	for _, r := range trial.Rows {
		row := triedView{Row: r.Number, Line: r.Line, Key: r.Key, Entity: r.Entity, Body: r.Body, Problems: problemTexts(r.Problem, r.BodyProblems)}
		bad = bad || len(row.Problems) > 0
		view.Rows = append(view.Rows, row)
	}
	if err := in.print(view, view.write); err != nil || !bad {
		return err
	}
	return problem(nil)
}

func (v fileTestView) write(w io.Writer) {
	switch {
	case v.Found > 0:
		fmt.Fprintf(w, "%s in %s would be taken, if whole:\n", plural(int64(v.Found), "file", "files"), v.Place)
		for _, f := range v.Files {
			fmt.Fprintf(w, "  %s  %s\n", console.Clean(f.Name), plural(f.Bytes, "byte", "bytes"))
		}
		if v.Found > len(v.Files) {
			fmt.Fprintf(w, "  … and %d more\n", v.Found-len(v.Files))
		}
	case v.Read == "":
		fmt.Fprintf(w, "%s can be looked into; nothing there would be taken.\n", v.Place)
	}
	if v.Read != "" {
		fmt.Fprintf(w, "The first rows of %s:\n", console.Clean(v.Read))
		writeTried(w, v.Rows)
	}
	if v.Error != "" {
		fmt.Fprintln(w, "It cannot be read on:", console.Clean(v.Error))
	}
	fmt.Fprintln(w, "Nothing was taken.")
}

// pollTestView is what one request of a poll brought.
type pollTestView struct {
	Source string      `json:"source"`
	URL    string      `json:"url"`
	Status int         `json:"status"`
	Found  int         `json:"found"` // items of the first page
	More   bool        `json:"more"`  // there is a next page
	Items  []triedView `json:"items"`
	Note   string      `json:"note,omitempty"`
}

func (c sourceTestCommand) poll(ctx context.Context, in *invocation, b *book, e catalog.Entry, s *integration.Source) error {
	trial, err := ingest.TryPoll(ctx, b.Ledger, e, s, tried)
	if err != nil {
		return wayOut(fmt.Errorf("poll %s at %s: %w", c.Source, trial.URL, err))
	}
	view := pollTestView{Source: c.Source, URL: trial.URL, Status: trial.Status, Found: trial.Items, More: trial.More, Items: []triedView{}}
	bad := false
	for _, i := range trial.First {
		body, err := json.Marshal(i.Value)
		if err != nil || i.Value == nil {
			body = nil
		}
		item := triedView{Key: i.Key, Entity: i.Entity, LeftOut: !i.Taken, Body: body, Problems: problemTexts(i.Problem, i.BodyProblems)}
		bad = bad || (i.Taken && len(item.Problems) > 0)
		view.Items = append(view.Items, item)
		if i.NeedsDetail {
			view.Note = "each record is the detail of an item, which was not asked for: it is not validated, and keys made of it are not shown"
		}
	}
	if err := in.print(view, view.write); err != nil || !bad {
		return err
	}
	return problem(nil)
}

func (v pollTestView) write(w io.Writer) {
	more := "no further page"
	if v.More {
		more = "and there is a next page"
	}
	fmt.Fprintf(w, "%s answers %d: %s, %s\n", console.Clean(v.URL), v.Status, plural(int64(v.Found), "item", "items"), more)
	writeTried(w, v.Items)
	if v.Note != "" {
		fmt.Fprintln(w, v.Note)
	}
	fmt.Fprintln(w, "No record was made.")
}

func (c sourceTestCommand) kafka(ctx context.Context, in *invocation, s *integration.Source) error {
	config, err := in.settings()
	if err != nil {
		return err
	}
	config.Kafka.ClientID = "waybill-command"
	factory, err := stream.NewFactory(config.Kafka)
	if err != nil {
		return usage("%w", err)
	}
	lag, err := ingest.TryTopic(ctx, factory, s)
	if err != nil {
		return unreachable(fmt.Errorf("look at topic %s for group %s: %w", s.Kafka.Topic, s.Kafka.Group, err))
	}
	view := map[string]any{"source": c.Source, "topic": s.Kafka.Topic, "group": s.Kafka.Group, "lag": lag}
	return in.print(view, func(w io.Writer) {
		fmt.Fprintf(w, "Topic %s can be read; the group %s is %s behind. No message was taken.\n", s.Kafka.Topic, s.Kafka.Group, plural(lag, "message", "messages"))
	})
}

// wayOut gives a far end's failure its exit code: 3 when it could not be reached.
func wayOut(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Class != fault.System && f.Class != fault.Outage {
		return problem(err)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return problem(err)
	}
	return unreachable(err)
}
