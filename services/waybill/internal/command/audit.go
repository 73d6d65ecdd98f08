package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
)

type auditCommand struct {
	Grace time.Duration `default:"30s" help:"How long a record may stand with nothing under way before it counts as lost."`
}

func (auditCommand) Help() string {
	return `Compares the tally of every transaction with a recount of the rows, and looks for records past their deadline
with nothing under way. Exits with 1 unless unaccounted is 0.

Examples:
  waybill audit
  waybill audit --json | jq .unaccounted`
}

func (c auditCommand) Run(in *invocation) error {
	if c.Grace < 0 {
		return usage("--grace must not be negative")
	}
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	a, err := b.Audit(in.ctx, c.Grace)
	if err != nil {
		return err
	}
	view := auditOf(a)
	if err := in.print(view, view.write); err != nil {
		return err
	}
	if view.Unaccounted != 0 {
		return problem(nil)
	}
	return nil
}

// auditView is an audit as it is printed.
type auditView struct {
	At           time.Time         `json:"at"`
	Integrations []integrationView `json:"integrations"`
	Unaccounted  int64             `json:"unaccounted"`
	Differences  []string          `json:"differences"`
	Overdue      []record.ID       `json:"overdue"`
}

type integrationView struct {
	Name         string           `json:"integration"`
	Arrivals     int64            `json:"arrivals"`
	Received     int64            `json:"received"`
	Duplicates   int64            `json:"duplicates"`
	Refused      int64            `json:"refused"`
	Conflicts    int64            `json:"conflicts"`
	States       map[string]int64 `json:"states"`
	InFlight     int64            `json:"in_flight"`
	Told         int64            `json:"to_acknowledge"`
	Acknowledged int64            `json:"acknowledged"`
	Open         int64            `json:"unacknowledged"`
}

func auditOf(a ledger.Audit) auditView {
	view := auditView{At: a.At.UTC(), Integrations: []integrationView{}, Unaccounted: a.Unaccounted,
		Differences: append([]string{}, a.Differences...), Overdue: append([]record.ID{}, a.Overdue...)}
	for _, name := range slices.Sorted(maps.Keys(a.Integrations)) {
		c := a.Integrations[name]
		v := integrationView{Name: name, Arrivals: c.Arrivals(), Received: c.Received, Duplicates: c.Duplicates, Refused: c.Refused,
			Conflicts: c.Conflicts, States: map[string]int64{}, InFlight: c.InFlight(),
			Acknowledged: c.Outcomes[record.Acknowledged], Open: c.Outcomes[record.Unacknowledged]}
		for _, s := range record.States() {
			v.States[string(s)] = c.States[s]
		}
		for _, s := range record.OutcomeStates() {
			if s != record.NoOutcome {
				v.Told += c.Outcomes[s]
			}
		}
		if sum := v.sum(); sum != v.Received {
			view.Unaccounted += max(v.Received-sum, sum-v.Received)
			view.Differences = append(view.Differences, fmt.Sprintf("%s: %d records were received, their states add up to %d", name, v.Received, sum))
		}
		view.Integrations = append(view.Integrations, v)
	}
	return view
}

func (v integrationView) sum() (n int64) {
	for _, count := range v.States {
		n += count
	}
	return n
}

func (v auditView) write(w io.Writer) {
	if len(v.Integrations) == 0 {
		fmt.Fprintln(w, "Nothing has arrived yet.")
	}
	in := console.NewTable("", ">arrivals =", ">received", ">+ duplicates", ">+ refused")
	out := console.NewTable("", ">received =", ">processed", ">+ rejected", ">+ superseded", ">+ discarded", ">+ dead", ">+ parked", ">+ in flight")
	told := console.NewTable("", ">acknowledged", "", ">unacknowledged", ">conflicts")
	n := console.Count
	for _, i := range v.Integrations {
		name := i.Name
		if name == "" {
			name = "(none)" // refused before it was known which integration it is for
		}
		in.Row(name, n(i.Arrivals), n(i.Received), n(i.Duplicates), n(i.Refused))
		s := i.States
		out.Row(name, n(i.Received), n(s["processed"]), n(s["rejected"]), n(s["superseded"]), n(s["discarded"]), n(s["dead"]), n(s["parked"]), n(i.InFlight))
		told.Row(name, n(i.Acknowledged), "of "+n(i.Told), n(i.Open), n(i.Conflicts))
	}
	for _, t := range []*console.Table{in, out, told} {
		t.Write(w, "")
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "unaccounted %s\n", n(v.Unaccounted))
	for _, d := range v.Differences {
		fmt.Fprintln(w, "  "+d)
	}
	for i, id := range v.Overdue {
		if i == 10 {
			fmt.Fprintf(w, "  … and %s; --json lists them\n", plural(int64(len(v.Overdue)-i), "more", "more"))
			break
		}
		fmt.Fprintf(w, "  overdue: waybill trace %s\n", id)
	}
}
