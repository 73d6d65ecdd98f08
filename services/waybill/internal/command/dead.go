package command

import (
	"fmt"
	"io"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
)

type deadCommand struct {
	List    deadListCommand    `cmd:"" help:"List what waits for a person, by reason first."`
	Show    deadShowCommand    `cmd:"" help:"Show one record: why it waits, what it holds, what was tried."`
	Requeue deadRequeueCommand `cmd:"" help:"Put records back to work."`
	Discard deadDiscardCommand `cmd:"" help:"Give records up, with a reason."`
}

// filterFlags pick what waits for a person.
type filterFlags struct {
	Kind        string `enum:"dead,unacknowledged,parked" default:"dead" help:"What waits: dead (attempts used up), unacknowledged (the partner never confirmed) or parked (by a person)."`
	Integration string `help:"Only of this integration."`
	Class       string `enum:",data,duplicate,system,outage,slow,credentials,bug" default:"" help:"Only of this error class."`
	Code        string `help:"Only with this error code."`
}

func (f filterFlags) filter() ledger.Filter {
	return ledger.Filter{Kind: record.Wait(f.Kind), Integration: f.Integration, Class: f.Class, Code: f.Code}
}

// narrowed reports whether anything but the kind was given.
func (f filterFlags) narrowed() bool { return f.Integration+f.Class+f.Code != "" }

type deadListCommand struct {
	filterFlags `embed:""`
	Limit       int `default:"20" help:"Records to show; the counts are always of all."`
}

func (deadListCommand) Help() string {
	return `Examples:
  waybill dead list
  waybill dead list --integration service-requests --code http_500 --limit 100
  waybill dead list --kind unacknowledged --json`
}

const maxListed = 5000

type reasonView struct {
	Integration string `json:"integration"`
	Class       string `json:"class"`
	Code        string `json:"code"`
	Count       int64  `json:"count"`
}

func reasonViews(reasons []ledger.Reason) (views []reasonView, total int64) {
	views = make([]reasonView, len(reasons))
	for i, r := range reasons {
		views[i] = reasonView{r.Integration, r.Class, r.Code, r.Count}
		total += r.Count
	}
	return views, total
}

func (c deadListCommand) Run(in *invocation) error {
	if c.Limit < 1 || c.Limit > maxListed {
		return usage("--limit must lie between 1 and %d", maxListed)
	}
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	reasons, err := b.Reasons(in.ctx, c.filter())
	if err != nil {
		return err
	}
	list, err := b.WaitingForPerson(in.ctx, c.filter(), nil, c.Limit)
	if err != nil {
		return err
	}
	views, total := reasonViews(reasons)
	records := make([]recordView, len(list))
	for i, w := range list {
		records[i] = viewOf(w.Record)
	}
	more := max(0, total-int64(len(list)))
	document := map[string]any{"kind": c.Kind, "total": total, "reasons": views, "records": records, "more": more}
	return in.print(document, func(w io.Writer) { c.write(w, b, reasons, list, more) })
}

func (c deadListCommand) write(w io.Writer, b *book, reasons []ledger.Reason, list []ledger.Waiting, more int64) {
	if len(list) == 0 {
		fmt.Fprintf(w, "Nothing %s waits for a person.\n", c.Kind)
		return
	}
	total := histogram(w, reasons, b.Now())
	fmt.Fprintf(w, "  %s in all\n\n", plural(total, "record", "records"))
	c.writeRecords(w, list, b)
	if more > 0 {
		fmt.Fprintf(w, "  … and %s: raise --limit or filter\n", plural(more, "more", "more"))
	}
	fmt.Fprintf(w, "\nwaybill dead show ID says more; waybill dead requeue --kind %s --all --dry-run says what a requeue would do.\n", c.Kind)
}

func (c deadListCommand) writeRecords(w io.Writer, list []ledger.Waiting, b *book) {
	table := console.NewTable("record", "integration", "key", ">attempts", ">waits", "why")
	for _, l := range list {
		r := l.Record
		table.Row(r.ID, r.Integration, console.Short(r.Key, 40), r.Attempt, console.Duration(b.Now().Sub(l.Since)),
			console.Short(whyWaits(record.Wait(c.Kind), r), 80))
	}
	table.Write(w, "  ")
}

// whyWaits says why a record waits for a person: what failed, or that the
// partner did not confirm how it ended, be it well.
func whyWaits(kind record.Wait, r record.Record) string {
	failed := why(string(r.Failure.Class), r.Failure.Code, r.Failure.Message)
	if kind != record.WaitUnacknowledged {
		return failed
	}
	text := fmt.Sprintf("the partner did not confirm outcome %d (%s)", r.Outcome.Number, plural(int64(r.Outcome.Try), "try", "tries"))
	if failed != "" {
		text += "; " + failed
	}
	return text
}

type deadShowCommand struct {
	ID          string `arg:"" name:"id" help:"A record id, a tracking id or an idempotency key."`
	Integration string `help:"Look an idempotency key up in this integration only."`
}

func (deadShowCommand) Help() string {
	return `Examples:
  waybill dead show 3f0e8a52-6c1d-8e4b-9a77-0d2f5b1c9e10`
}

func (c deadShowCommand) Run(in *invocation) error {
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
		return problem(fmt.Errorf("%s is %s, not a record; waybill trace %s shows it", c.ID, what, c.ID))
	}
	t, err := b.Trace(in.ctx, f.record.ID)
	if err != nil {
		return err
	}
	view := storyOf(t, f.by)
	return in.print(view, func(w io.Writer) {
		view.write(w, b.Now())
		fmt.Fprintln(w)
		writeWayOut(w, t.Record)
	})
}

// writeWayOut says what a person can do about a record.
func writeWayOut(w io.Writer, r record.Record) {
	switch {
	case r.State == record.Dead, r.State == record.Parked:
		fmt.Fprintf(w, "It waits for a person:\n  waybill dead requeue %s --reason \"…\"\n  waybill dead discard %s --reason \"…\"\n", r.ID, r.ID)
	case r.Outcome.State == record.Unacknowledged:
		fmt.Fprintf(w, "The partner has not confirmed how it ended:\n  waybill dead requeue --kind unacknowledged %s --reason \"…\"\n", r.ID)
	default:
		fmt.Fprintf(w, "It does not wait for a person: it is %s.\n", r.State)
	}
}
