package command

import (
	"fmt"
	"io"
	"time"

	"waybill.internal/services/waybill/internal/console"
)

type receiptCommand struct {
	ID          string `arg:"" name:"id" help:"A record id, a tracking id or an idempotency key."`
	Integration string `help:"Look an idempotency key up in this integration only."`
}

func (receiptCommand) Help() string {
	return `What the sender is told about its record, as the ledger has it now.

Examples:
  waybill receipt 3f0e8a52-6c1d-8e4b-9a77-0d2f5b1c9e10
  waybill receipt order-4711 --json`
}

func (c receiptCommand) Run(in *invocation) error {
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	f, err := in.find(b, c.ID, c.Integration)
	if err != nil {
		return err
	}
	if what := f.recordless(); what != "" {
		return problem(fmt.Errorf("%s is %s: it has no receipt; waybill trace %s shows it", c.ID, what, c.ID))
	}
	view := viewOf(f.record)
	return in.print(view, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s\n", view.ID, view.State)
		fmt.Fprintf(w, "  accepted  %s, %s ago\n", view.AcceptedAt.Format(timeFormat), console.Duration(b.Now().Sub(view.AcceptedAt).Round(time.Millisecond)))
		fmt.Fprintf(w, "  moved     %s, attempt %d\n", view.MovedAt.Format(timeFormat), view.Attempt)
		fmt.Fprintf(w, "  partner   %s\n", writeOutcome(f.record.Outcome))
		if view.Class != "" {
			fmt.Fprintf(w, "  why       %s\n", why(string(view.Class), view.Code, view.Message))
		}
		for _, line := range reasonLines(f.record.Failure.Detail) {
			fmt.Fprintln(w, "            - "+line)
		}
	})
}
