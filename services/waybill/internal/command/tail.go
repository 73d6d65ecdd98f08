package command

import (
	"fmt"
	"io"
	"time"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

const (
	tailPage = 500
	tailPoll = 500 * time.Millisecond
)

type tailCommand struct {
	Follow      bool          `short:"f" help:"Go on until interrupted."`
	Since       time.Duration `default:"5m" help:"How far back to begin."`
	Limit       int           `short:"n" default:"100" help:"Without --follow: at most so many lines, the oldest first."`
	Integration string        `help:"Only of this integration."`
}

func (tailCommand) Help() string {
	return `One line per attempt, try at telling the partner, or human act that has ended. What arrives shows with its first attempt.

Examples:
  waybill tail -f
  waybill tail --since 1h --integration service-requests --json`
}

// passingView is one line of tail.
type passingView struct {
	At          time.Time          `json:"at"`
	ID          record.ID          `json:"id"`
	Integration string             `json:"integration"`
	Key         string             `json:"idempotency_key"`
	Kind        ledger.HistoryKind `json:"kind"`
	Number      int                `json:"number"`
	Event       record.Event       `json:"event"`
	From        string             `json:"from"`
	To          string             `json:"to"`
	Class       string             `json:"class,omitempty"`
	Code        string             `json:"code,omitempty"`
}

func (p passingView) write(w io.Writer) {
	what := string(p.Kind)
	if p.Number > 0 {
		what = fmt.Sprintf("%s %d", p.Kind, p.Number)
	}
	fmt.Fprintf(w, "%s  %s  %-10s  %-12s  %s → %s  %s\n", p.At.Format(timeFormat), p.ID, what, p.Event, p.From, p.To, why(p.Class, p.Code, ""))
}

func (c tailCommand) Run(in *invocation) error {
	if c.Limit < 1 || c.Since < 0 {
		return usage("--limit must be 1 or more and --since not negative")
	}
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	after, shown := b.Now().Add(-c.Since), 0
	for {
		page, err := b.Tail(in.ctx, after, tailPage)
		if err != nil && in.ctx.Err() != nil && c.Follow {
			return nil
		}
		if err != nil {
			return err
		}
		for _, p := range page {
			after = p.At
			if c.Integration != "" && p.Integration != c.Integration {
				continue
			}
			if shown++; !c.Follow && shown > c.Limit {
				in.warn("there is more: raise --limit, or begin later with --since")
				return nil
			}
			view := passingView{p.At.UTC(), p.ID, p.Integration, p.Key, p.Kind, p.Number, p.Event, p.From, p.To, p.Class, p.Code}
			if err := in.print(view, view.write); err != nil {
				return err
			}
		}
		if len(page) >= tailPage {
			continue
		}
		if !c.Follow || clock.Sleep(in.ctx, tailPoll) != nil {
			return nil
		}
	}
}
