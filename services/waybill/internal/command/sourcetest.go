package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/services/waybill/internal/console"
)

const (
	// tried is how many rows or items a test shows.
	tried = 5
	// testLimit bounds one test.
	testLimit = 5 * time.Minute
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
