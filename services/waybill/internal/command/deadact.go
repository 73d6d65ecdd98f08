package command

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
	"waybill.internal/services/waybill/internal/requeue"
)

const (
	maxRate   = 100_000
	maxNamed  = 1000 // records named on one command line
	maxReason = 500  // bytes
)

// actFlags are what requeue and discard share.
type actFlags struct {
	IDs         []string `arg:"" optional:"" name:"id" help:"Record ids, tracking ids or idempotency keys."`
	filterFlags `embed:""`
	All         bool   `help:"Everything of the kind; needed when neither ids nor a filter are given."`
	DryRun      bool   `help:"Only say what would be done."`
	Yes         bool   `short:"y" help:"Do not ask."`
	Actor       string `help:"Who does it, for the history; the default is $USER."`
	Rate        int    `default:"200" help:"Records a second."`
}

type deadRequeueCommand struct {
	actFlags  `embed:""`
	Reason    string        `help:"Why, for the history."`
	NoProbe   bool          `help:"Do not try one record first."`
	ProbeWait time.Duration `default:"60s" help:"How long the first record may take before the rest is left alone."`
}

func (deadRequeueCommand) Help() string {
	return `First tries one record, and stops if that fails again. Then goes on in batches over the set as it was found at the
beginning, at --rate records a second. Every record's history keeps who did it and why. Interrupted, the same
command goes on where it stopped.

Examples:
  waybill dead requeue --all --dry-run
  waybill dead requeue --integration service-requests --code http_500 --reason "CRM mended, ticket 812"
  waybill dead requeue --kind unacknowledged --all --yes
  waybill dead requeue 3f0e8a52-6c1d-8e4b-9a77-0d2f5b1c9e10`
}

func (c deadRequeueCommand) Run(in *invocation) error {
	event := record.Requeued
	if c.Kind == string(record.WaitUnacknowledged) {
		event = record.SendRequeued
	}
	probe := c.ProbeWait
	if c.NoProbe {
		probe = 0
	} else if probe <= 0 || probe > time.Hour {
		return usage("--probe-wait must lie between 1ns and 1h; --no-probe leaves the probe out")
	}
	return in.act(c.actFlags, event, cmp.Or(c.Reason, "requeued by command"), probe)
}

type deadDiscardCommand struct {
	actFlags `embed:""`
	Reason   string `required:"" help:"Why, for the history; the partner is told that the records were discarded."`
}

func (deadDiscardCommand) Help() string {
	return `A discarded record is final; its partner is told. It can still be requeued by its id.

Examples:
  waybill dead discard --code duplicate_order --reason "test orders, ticket 813" --dry-run
  waybill dead discard 3f0e8a52-6c1d-8e4b-9a77-0d2f5b1c9e10 --reason "the shop withdrew it"`
}

func (c deadDiscardCommand) Run(in *invocation) error {
	if strings.TrimSpace(c.Reason) == "" {
		return usage("--reason must say why: it is kept in the history")
	}
	if c.Kind == string(record.WaitUnacknowledged) {
		return usage("what the partner has not acknowledged is final already and cannot be discarded; waybill dead requeue --kind unacknowledged tells the partner again")
	}
	return in.act(c.actFlags, record.Discard, c.Reason, 0)
}

func (f actFlags) check() error {
	switch {
	case len(f.IDs) > 0 && (f.All || f.narrowed()):
		return usage("give ids, or filters, or --all: ids cannot be combined with the others")
	case len(f.IDs) > maxNamed:
		return usage("%d ids are given, at most %d are possible: use a filter", len(f.IDs), maxNamed)
	case len(f.IDs) == 0 && !f.All && !f.narrowed():
		return usage("say which records: ids, a filter (--integration, --class, --code), or --all")
	case f.Rate < 1 || f.Rate > maxRate:
		return usage("--rate must lie between 1 and %d records a second", maxRate)
	}
	return nil
}

// actView is what a requeue or discard prints.
type actView struct {
	Event    record.Event `json:"event"`
	Matched  int          `json:"matched"`
	Reasons  []reasonView `json:"reasons"`
	Sample   []recordView `json:"sample"`
	Unknown  int64        `json:"unknown_outcomes"`
	Expected float64      `json:"expected_seconds"`
	DryRun   bool         `json:"dry_run"`
	Done     int          `json:"done"`
	Skipped  int          `json:"skipped"`
	Left     int          `json:"left"`
	Probe    string       `json:"probe,omitempty"`
	Fate     string       `json:"probe_fate,omitempty"`
	Error    string       `json:"error,omitempty"`
}

func (in *invocation) act(flags actFlags, event record.Event, reason string, probe time.Duration) error {
	if err := flags.check(); err != nil {
		return err
	}
	user, _ := in.Lookup("USER")
	act := ledger.Act{Event: event, Actor: cmp.Or(flags.Actor, user), Reason: reason}
	if act.Actor == "" {
		return usage("say who you are with --actor: the history keeps who did it")
	}
	if len(reason) > maxReason || len(act.Actor) > maxReason {
		return usage("--reason and --actor may have %d bytes at most", maxReason)
	}
	b, err := in.openToAct()
	if err != nil {
		return err
	}
	defer b.Close()
	plan, err := in.plan(b, flags, event)
	if err != nil {
		return err
	}
	view := actView{Event: event, Matched: len(plan.Items), Unknown: plan.Unknown, Expected: plan.Duration(flags.Rate).Seconds(),
		DryRun: flags.DryRun, Left: len(plan.Items), Sample: []recordView{}}
	view.Reasons, _ = reasonViews(plan.Reasons)
	for _, r := range plan.Sample {
		view.Sample = append(view.Sample, viewOf(r))
	}
	if !in.json {
		writePlan(in.Stdout, view, plan, b.Now())
	}
	if flags.DryRun || len(plan.Items) == 0 {
		return in.print(view, func(w io.Writer) { writeNothingDone(w, view) })
	}
	if err := in.confirm(flags, view); err != nil {
		return err
	}
	return in.carryOut(b, plan, view, requeue.Options{Act: act, Rate: flags.Rate, Probe: probe})
}

// plan freezes the records that are meant.
func (in *invocation) plan(b *book, flags actFlags, event record.Event) (requeue.Plan, error) {
	if len(flags.IDs) == 0 {
		return requeue.Freeze(in.ctx, b, flags.filter())
	}
	var records []record.Record
	seen := map[record.ID]bool{}
	for _, name := range flags.IDs {
		f, err := in.find(b, name, "")
		if err != nil {
			return requeue.Plan{}, err
		}
		if what := f.recordless(); what != "" {
			return requeue.Plan{}, problem(fmt.Errorf("%s is %s, not a record; nothing was done", name, what))
		}
		if err := allowed(f.record, event); err != nil {
			return requeue.Plan{}, problem(fmt.Errorf("%w; nothing was done", err))
		}
		if !seen[f.record.ID] {
			seen[f.record.ID] = true
			records = append(records, f.record)
		}
	}
	return requeue.FreezeRecords(records), nil
}

// allowed says why a record cannot be acted on.
func allowed(r record.Record, event record.Event) error {
	if event == record.SendRequeued {
		if _, err := record.NextOutcome(r.Outcome.State, event); err != nil {
			return fmt.Errorf("record %s does not wait for a person: its outcome is %s", r.ID, r.Outcome.State)
		}
		return nil
	}
	if _, err := record.Next(r.State, event); err != nil {
		if r.Outcome.State == record.Unacknowledged {
			return fmt.Errorf("record %s is %s; only its outcome can be told again, with --kind unacknowledged: %w", r.ID, r.State, err)
		}
		return fmt.Errorf("record %s: %w", r.ID, err)
	}
	return nil
}

func writePlan(w io.Writer, v actView, plan requeue.Plan, now time.Time) {
	if v.Matched == 0 {
		return
	}
	fmt.Fprintf(w, "%s to be %s:\n", plural(int64(v.Matched), "record", "records"), verb(v.Event))
	histogram(w, plan.Reasons, now)
	fmt.Fprintln(w, "\n  for example")
	for _, r := range plan.Sample {
		fmt.Fprintf(w, "    %s  %s  %s\n", r.ID, console.Short(r.Key, 40), console.Short(whyWaits(waitOf(v.Event), r), 80))
	}
	if v.Unknown > 0 {
		fmt.Fprintf(w, "\n  %s ended without an answer: the third party may have done it; the call is repeated with the same Idempotency-Key\n",
			plural(v.Unknown, "last call", "last calls"))
	}
	fmt.Fprintf(w, "\n  at least %s at this --rate\n", console.Duration(time.Duration(v.Expected*float64(time.Second))))
}

// waitOf is the kind of what an act takes up: only what was not confirmed is told again.
func waitOf(event record.Event) record.Wait {
	if event == record.SendRequeued {
		return record.WaitUnacknowledged
	}
	return record.WaitDead
}

// verb says what an act does to records.
func verb(event record.Event) string {
	switch event {
	case record.Discard:
		return "discarded"
	case record.SendRequeued:
		return "told again"
	default:
		return string(event)
	}
}

func writeNothingDone(w io.Writer, v actView) {
	if v.Matched == 0 {
		fmt.Fprintln(w, "Nothing matches: nothing to do.")
		return
	}
	fmt.Fprintln(w, "Dry run: nothing was done.")
}

// confirm asks a person, or wants --yes where there is none.
func (in *invocation) confirm(flags actFlags, v actView) error {
	if flags.Yes || len(flags.IDs) > 0 {
		return nil
	}
	if !in.Ask || in.json {
		return usage("%s would be %s; nobody can be asked here, so say --yes (or --dry-run)", plural(int64(v.Matched), "record", "records"), verb(v.Event))
	}
	fmt.Fprintf(in.Stderr, "Go on? [y/N] ")
	answer, err := bufio.NewReader(io.LimitReader(in.Stdin, 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return problem(errors.New("nothing was done"))
	}
	return nil
}

func (in *invocation) carryOut(b *book, plan requeue.Plan, view actView, o requeue.Options) error {
	progress := console.NewProgress(in.Stderr, in.Terminal, in.Now)
	if !in.json {
		if o.Probe > 0 {
			progress.Show("one record first …")
		}
		o.Progress = func(done int) {
			progress.Show(fmt.Sprintf("%s of %s", console.Count(int64(done)), console.Count(int64(view.Matched))))
		}
	}
	report, err := plan.Run(in.ctx, b, o)
	progress.End()
	view.Done, view.Skipped, view.Left, view.Fate = report.Done, report.Skipped, report.Left, report.Fate
	if report.Probe != (record.ID{}) {
		view.Probe = report.Probe.String()
	}
	if err != nil {
		view.Error = err.Error()
	}
	if printErr := in.print(view, view.writeDone); printErr != nil {
		return printErr
	}
	if err != nil {
		return problem(err)
	}
	if view.Done == 0 {
		return problem(fmt.Errorf("none of %s could be %s: their state does not allow it, or they have moved meanwhile; waybill trace ID says more",
			plural(int64(view.Matched), "record", "records"), verb(view.Event)))
	}
	return nil
}

func (v actView) writeDone(w io.Writer) {
	if v.Fate != "" {
		fmt.Fprintf(w, "The first one, %s: %s.\n", v.Probe, v.Fate)
	}
	fmt.Fprintf(w, "%s %s", plural(int64(v.Done), "record", "records"), verb(v.Event))
	if v.Skipped > 0 {
		fmt.Fprintf(w, ", %s skipped because their state does not allow it any more", console.Count(int64(v.Skipped)))
	}
	if v.Left > 0 {
		fmt.Fprintf(w, ", %s not touched", console.Count(int64(v.Left)))
	}
	fmt.Fprintln(w, ".")
}
