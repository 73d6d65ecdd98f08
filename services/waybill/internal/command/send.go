package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"waybill.internal/pkg/signature"
	"waybill.internal/services/waybill/internal/console"
	"waybill.internal/services/waybill/internal/simulated"
)

const (
	maxSecretBytes = 64 << 10
	maxSentBytes   = 16 << 20
	maxAnswerBytes = 64 << 10
	maxFiles       = 10_000
	sendTimeout    = 30 * time.Second
)

type sendCommand struct {
	URL         string   `required:"" help:"Where to post, such as http://127.0.0.1:8080/in/service-requests."`
	Secret      string   `required:"" help:"A file that holds the signing secret (whsec_…); - reads standard input."`
	Files       []string `arg:"" optional:"" name:"file" help:"Bodies to post, one request each."`
	EventID     string   `name:"id" help:"With one file: the event's id, which is its idempotency key; the default is a new one."`
	ContentType string   `default:"application/json" help:"Of the files."`

	Count       int     `help:"Post so many generated service requests instead of files."`
	Concurrency int     `default:"16" help:"With --count: requests at once."`
	Seed        uint64  `default:"1" help:"With --count: the same seed makes the same requests."`
	Duplicates  float64 `help:"With --count: share of requests that are sent again, 0 to 1."`
	Unknown     float64 `name:"unknown-products" help:"With --count: share of requests whose product is in no table."`
	Early       float64 `name:"closed-early" help:"With --count: share of requests closed before they were opened."`
	Unsigned    float64 `help:"With --count: share of requests without a signature."`
	Malformed   float64 `help:"With --count: share of requests whose JSON is cut off."`
}

func (sendCommand) Help() string {
	return `Signs as Standard Webhooks says, posts, and prints the receipts. Exits with 1 if a file was not accepted, with 3 if the
address does not answer.

Examples:
  waybill send --url http://127.0.0.1:8080/in/service-requests --secret brand.secret request.json
  waybill send --url http://127.0.0.1:8080/in/service-requests --secret brand.secret --count 1000 --duplicates 0.05`
}

func (c sendCommand) Run(in *invocation) error {
	switch {
	case (c.Count != 0) == (len(c.Files) != 0):
		return usage("give files to post, or --count for generated requests")
	case c.Count < 0 || len(c.Files) > maxFiles:
		return usage("--count must not be negative, and at most %d files can be posted at once", maxFiles)
	case c.EventID != "" && len(c.Files) != 1:
		return usage("--id names the event of one file")
	case !strings.HasPrefix(c.URL, "http://") && !strings.HasPrefix(c.URL, "https://"):
		return usage("--url must be an address such as http://127.0.0.1:8080/in/service-requests")
	}
	secret, err := in.secret(c.Secret)
	if err != nil {
		return err
	}
	key, err := signature.ParseKey(secret)
	if err != nil {
		return usage("the secret in %s: %w", c.Secret, err)
	}
	if !key.CanSign() {
		return usage("the secret in %s can only verify; signing needs the secret whsec_… or whsk_…", c.Secret)
	}
	if c.Count > 0 {
		return c.generate(in, secret)
	}
	return c.post(in, key)
}

// secret reads a small file, or standard input.
func (in *invocation) secret(path string) (string, error) {
	source := in.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", usage("--secret: %w; name a file that holds the secret", err)
		}
		defer f.Close()
		source = f
	}
	b, err := io.ReadAll(io.LimitReader(source, maxSecretBytes+1))
	if err != nil {
		return "", usage("read the secret from %s: %w", path, err)
	}
	if len(b) > maxSecretBytes {
		return "", usage("%s is larger than %d bytes: is it a file with a secret?", path, maxSecretBytes)
	}
	return strings.TrimSpace(string(b)), nil
}

func (c sendCommand) generate(in *invocation, secret string) error {
	sender := simulated.Sender{URL: c.URL, Key: secret, Seed: c.Seed, Count: c.Count, Concurrency: c.Concurrency, Now: in.Now,
		Mix: simulated.Mix{Duplicate: c.Duplicates, UnknownProduct: c.Unknown, ClosedEarly: c.Early, Unsigned: c.Unsigned, Malformed: c.Malformed}}
	progress := console.NewProgress(in.Stderr, in.Terminal, in.Now)
	report, err := sender.Run(in.ctx, func(n simulated.Counts) {
		if !in.json {
			progress.Show(fmt.Sprintf("sent %s of %s, %s again", console.Count(n.Sent), console.Count(int64(c.Count)), console.Count(n.Retries)))
		}
	})
	progress.End()
	if err != nil && in.ctx.Err() == nil {
		return usage("%w", err)
	}
	if printErr := in.print(report, func(w io.Writer) { writeReport(w, report) }); printErr != nil {
		return printErr
	}
	switch {
	case err != nil:
		return err
	case report.Undecided == report.Sent:
		return unreachable(fmt.Errorf("%s gave no definite answer", c.URL))
	case report.Undecided > 0:
		return problem(fmt.Errorf("%s got no definite answer", plural(report.Undecided, "request", "requests")))
	}
	return nil
}

func writeReport(w io.Writer, r simulated.Report) {
	fmt.Fprintf(w, "%s sent: %s accepted, %s duplicates, %s refused, %s undecided; %s sent more than once\n", console.Count(r.Sent), console.Count(r.Accepted),
		console.Count(r.Duplicates), console.Count(r.Refused), console.Count(r.Undecided), console.Count(r.Retried))
	if len(r.Receipts) > 0 {
		fmt.Fprintf(w, "waybill trace %s\n", r.Receipts[0])
	}
}

// answerView is what a posted file got.
type answerView struct {
	File       string          `json:"file"`
	EventID    string          `json:"event_id"`
	Status     int             `json:"status"`
	TrackingID string          `json:"tracking_id,omitempty"`
	Answer     json.RawMessage `json:"answer,omitempty"`
	Text       string          `json:"text,omitempty"` // an answer that is no JSON
}

func (c sendCommand) post(in *invocation, key signature.Key) error {
	client := &http.Client{Timeout: sendTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	refused := 0
	for _, file := range c.Files {
		view, err := c.one(in.ctx, in.Now(), client, key, file)
		if err != nil {
			return err
		}
		if view.Status < 200 || view.Status > 299 {
			refused++
		}
		if err := in.print(view, view.write); err != nil {
			return err
		}
	}
	if refused > 0 {
		return problem(fmt.Errorf("%d of %s not accepted", refused, plural(int64(len(c.Files)), "file was", "files were")))
	}
	return nil
}

func (c sendCommand) one(ctx context.Context, now time.Time, client *http.Client, key signature.Key, file string) (answerView, error) {
	body, err := readBounded(file)
	if err != nil {
		return answerView{}, usage("%w", err)
	}
	view := answerView{File: filepath.Base(file), EventID: c.EventID}
	if view.EventID == "" {
		view.EventID = "evt_" + uuid.NewString()
	}
	header, err := signature.Sign([]signature.Key{key}, view.EventID, now, body)
	if err != nil {
		return view, usage("sign %s: %w", file, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return view, usage("--url: %w", err)
	}
	request.Header = header
	request.Header.Set("Content-Type", c.ContentType)
	response, err := client.Do(request)
	if err != nil {
		return view, unreachable(fmt.Errorf("post %s: %w; whether it was accepted is unknown, send it again with --id %s", file, err, view.EventID))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return view, unreachable(fmt.Errorf("read the answer to %s: %w; send it again with --id %s", file, err, view.EventID))
	}
	view.Status, view.TrackingID = response.StatusCode, response.Header.Get("Trackingid")
	if json.Valid(answer) {
		view.Answer = answer
	} else {
		view.Text = string(answer)
	}
	return view, nil
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxSentBytes+1))
	if err == nil && len(body) > maxSentBytes {
		err = errors.New("larger than 16 MiB")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return body, nil
}

func (v answerView) write(w io.Writer) {
	fmt.Fprintf(w, "%s  %d %s  event %s  tracking id %s\n", v.File, v.Status, http.StatusText(v.Status), v.EventID, v.TrackingID)
	if text := string(v.Answer) + v.Text; text != "" {
		fmt.Fprintln(w, "  "+console.Clean(strings.TrimSpace(text)))
	}
}
