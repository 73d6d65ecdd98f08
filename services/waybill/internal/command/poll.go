package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/services/waybill/internal/console"
)

type pollCommand struct {
	List pollListCommand `cmd:"" help:"List the polled sources: the last run of each, and what comes next."`
	Run  pollRunCommand  `cmd:"" help:"Poll a source now, or once more for a range of time."`
}

type pollListCommand struct{}

func (pollListCommand) Help() string {
	return `Examples:
  waybill poll list
  waybill poll list --json`
}

// pollView is a polled source as --json shows it.
type pollView struct {
	Integration string     `json:"integration"`
	Source      string     `json:"source"`
	State       string     `json:"state"` // running, waiting or failing
	NextAt      time.Time  `json:"next_at"`
	KnownUntil  *time.Time `json:"known_until,omitempty"` // what changed before it is known, by the partner's clock
	Failures    int        `json:"failures"`              // in a row
	Error       string     `json:"error,omitempty"`
	StartedAt   *time.Time `json:"started_at,omitempty"` // of the last run, or the one under way
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	Pages       int64      `json:"pages"`
	Items       int64      `json:"items"`
	Received    int64      `json:"received"`
	Rejected    int64      `json:"rejected"` // of the received
	Duplicates  int64      `json:"duplicates"`
	Requests    int64      `json:"requests"` // ranges that wait or are under way
}

func pollViewOf(p ledger.PollStory) pollView {
	v := pollView{Integration: p.Integration, Source: p.Source, State: "waiting", NextAt: p.NextAt.UTC(), KnownUntil: p.Reached, Failures: p.Failures, Error: p.Error,
		StartedAt: p.StartedAt, EndedAt: p.EndedAt, Pages: p.Pages, Items: p.Items, Received: p.Received, Rejected: p.Rejected, Duplicates: p.Duplicate, Requests: p.Requests}
	switch {
	case p.Running:
		v.State = "running"
	case p.Failures > 0:
		v.State = "failing"
	}
	return v
}

func (c pollListCommand) Run(in *invocation) error {
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	polls, err := b.Polls(in.ctx)
	if err != nil {
		return err
	}
	views := make([]pollView, len(polls))
	for i, p := range polls {
		views[i] = pollViewOf(p)
	}
	return in.print(map[string]any{"polls": views}, func(w io.Writer) { writePolls(w, views, b.Now()) })
}

func writePolls(w io.Writer, views []pollView, now time.Time) {
	if len(views) == 0 {
		fmt.Fprintln(w, "No source is polled: no ingest has had an integration with a poll yet.")
		return
	}
	table := console.NewTable("source", "state", "next", "known until", ">pages", ">items", ">received", ">duplicates", "why")
	for _, v := range views {
		known, next := "", "now"
		if v.KnownUntil != nil {
			known = v.KnownUntil.UTC().Format(timeFormat)
		}
		if left := v.NextAt.Sub(now); left > 0 {
			next = "in " + console.Duration(left)
		}
		why := v.Error
		if v.Requests > 0 {
			why = strings.TrimSuffix(plural(v.Requests, "range", "ranges")+" to poll; "+why, "; ")
		}
		table.Row(v.Integration+"/"+v.Source, v.State, next, known, console.Count(v.Pages), console.Count(v.Items), console.Count(v.Received), console.Count(v.Duplicates), console.Short(why, 80))
	}
	table.Write(w, "")
}

type pollRunCommand struct {
	Poll   string        `arg:"" name:"integration/source" help:"The source, as poll list shows it."`
	Since  string        `help:"Poll once more what changed since then: a time such as 2026-03-01T00:00:00Z, a day, or a duration back from now such as 36h or 7d."`
	Until  string        `help:"... and before then; the default is now."`
	NoWait bool          `help:"Leave the request, and do not wait until it is done." name:"no-wait"`
	Within time.Duration `default:"1h" help:"The longest to wait. What was asked for goes on all the same."`
	Actor  string        `env:"USER" default:"unknown" help:"Who asks; it is kept."`
}

func (pollRunCommand) Help() string {
	return `A range is polled by the running ingest, under the same rate as the regular runs and between
them; it does not move what they know. What is known already becomes no second record.

Examples:
  waybill poll run inventory/poll
  waybill poll run stripe-events/events --since 7d
  waybill poll run orders/poll --since 2026-03-01T00:00:00Z --until 2026-03-02T00:00:00Z --no-wait`
}

// pollWatch is the time between two looks at what was asked for.
const pollWatch = time.Second

func (c pollRunCommand) Run(in *invocation) error {
	name, source, ok := strings.Cut(c.Poll, "/")
	if !ok {
		return usage("%q names no source; write INTEGRATION/SOURCE, as waybill poll list shows it", c.Poll)
	}
	if c.Until != "" && c.Since == "" {
		return usage("--until needs --since: a range has a beginning")
	}
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	config, err := b.polled(name, source)
	if err != nil {
		return err
	}
	if err := b.running(in.ctx, ledger.SourceName{Integration: name, Source: source}); err != nil {
		return err
	}
	if c.Since == "" {
		return c.now(in, b, name, source)
	}
	if config.Since == nil {
		return usage("the poll %s has no `since`: every run reads everything; leave --since out", c.Poll)
	}
	since, until, err := c.times(b.Now())
	if err != nil {
		return err
	}
	id, err := b.RequestPoll(in.ctx, name, source, since, until, c.Actor)
	if err != nil {
		return err
	}
	if c.NoWait {
		r, err := b.PollRequest(in.ctx, id)
		if err != nil {
			return err
		}
		return in.print(rangeViewOf(r), func(w io.Writer) {
			fmt.Fprintf(w, "Request %d waits for an ingest; waybill poll list shows it.\n", id)
		})
	}
	return c.await(in, b, id)
}

// polled finds the source, or says which ones there are.
func (b *book) polled(name, source string) (*integration.Poll, error) {
	var there []string
	for _, e := range b.catalog.Entries() {
		for i := range e.Sources {
			s := &e.Sources[i]
			if s.Poll == nil {
				continue
			}
			if e.Name == name && s.Name == source {
				return s.Poll, nil
			}
			there = append(there, e.Name+"/"+s.Name)
		}
	}
	slices.Sort(there)
	if len(there) == 0 {
		return nil, usage("%s/%s is not polled; no integration in the ledger has a poll", name, source)
	}
	return nil, usage("%s/%s is not polled; there are %s", name, source, strings.Join(there, ", "))
}

func (c pollRunCommand) times(now time.Time) (since, until time.Time, err error) {
	if since, err = pollTime(c.Since, now); err != nil {
		return since, until, usage("--since: %w", err)
	}
	if c.Until != "" {
		if until, err = pollTime(c.Until, now); err != nil {
			return since, until, usage("--until: %w", err)
		}
	}
	switch {
	case !since.Before(now):
		return since, until, usage("--since %s lies ahead", c.Since)
	case !until.IsZero() && !since.Before(until):
		return since, until, usage("the range is empty: --since %s is not before --until %s", c.Since, c.Until)
	}
	return since, until, nil
}

// pollTime reads a time, a day, or a duration back from now.
func pollTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days+";", "%d;", &n); err == nil && n > 0 && n <= 36600 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; write one such as 2026-03-01T00:00:00Z, a day such as 2026-03-01, or a duration back from now such as 36h or 7d", console.Short(text, 40))
}

// rangeView is a range that was asked for.
type rangeView struct {
	ID          int64      `json:"id"`
	Integration string     `json:"integration"`
	Source      string     `json:"source"`
	Since       time.Time  `json:"since"`
	Until       time.Time  `json:"until"`
	State       string     `json:"state"` // open, done or failed
	Error       string     `json:"error,omitempty"`
	Pages       int64      `json:"pages"`
	Items       int64      `json:"items"`
	Received    int64      `json:"received"`
	Rejected    int64      `json:"rejected"` // of the received
	Duplicates  int64      `json:"duplicates"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
}

func rangeViewOf(r ledger.PollRequest) rangeView {
	return rangeView{ID: r.ID, Integration: r.Integration, Source: r.Source, Since: r.Since.UTC(), Until: r.Until.UTC(), State: r.State, Error: r.Error,
		Pages: r.Pages, Items: r.Items, Received: r.Received, Rejected: r.Rejected, Duplicates: r.Duplicate, EndedAt: r.EndedAt}
}

func (v rangeView) String() string {
	text := fmt.Sprintf("%s: %s, %s: %s received (%s of them rejected), %s", v.State, plural(v.Pages, "page", "pages"), plural(v.Items, "item", "items"),
		console.Count(v.Received), console.Count(v.Rejected), plural(v.Duplicates, "duplicate", "duplicates"))
	if v.Error != "" {
		text += "; " + console.Clean(v.Error)
	}
	return text
}

// await shows how far the range is until it is done.
func (c pollRunCommand) await(in *invocation, b *book, id int64) error {
	progress := console.NewProgress(in.Stderr, in.Terminal, in.Now)
	ctx, cancel := context.WithTimeout(in.ctx, c.Within)
	defer cancel()
	for {
		r, err := b.PollRequest(ctx, id)
		if err != nil {
			progress.End()
			return c.unfinished(in, err, fmt.Sprintf("request %d", id))
		}
		v := rangeViewOf(r)
		if r.State == "open" {
			progress.Show(v.String())
			if clock.Sleep(ctx, pollWatch) != nil {
				progress.End()
				return c.unfinished(in, ctx.Err(), fmt.Sprintf("request %d", id))
			}
			continue
		}
		progress.Say("request %d has ended", id)
		if err := in.print(v, func(w io.Writer) { fmt.Fprintln(w, v) }); err != nil {
			return err
		}
		if r.State == "failed" {
			return problem(fmt.Errorf("request %d was given up; repair what it says, and ask again: what was received stays", id))
		}
		return nil
	}
}

// now makes the regular run due and waits until a run that began later has ended.
func (c pollRunCommand) now(in *invocation, b *book, name, source string) error {
	asked, err := b.HurryPoll(in.ctx, name, source)
	if errors.Is(err, ledger.ErrNotFound) {
		return problem(fmt.Errorf("no ingest has had %s/%s yet: start one, it polls at once", name, source))
	}
	if err != nil {
		return err
	}
	if c.NoWait {
		return in.print(map[string]any{"integration": name, "source": source, "due": asked.UTC()}, func(w io.Writer) {
			fmt.Fprintln(w, "It is due now; waybill poll list shows what comes of it.")
		})
	}
	ctx, cancel := context.WithTimeout(in.ctx, c.Within)
	defer cancel()
	for {
		polls, err := b.Polls(ctx)
		if err != nil {
			return c.unfinished(in, err, c.Poll)
		}
		at := slices.IndexFunc(polls, func(p ledger.PollStory) bool { return p.Integration == name && p.Source == source })
		if at < 0 {
			return problem(fmt.Errorf("%s is gone from the ledger", c.Poll))
		}
		v := pollViewOf(polls[at])
		if v.State == "failing" {
			return problem(fmt.Errorf("%s failed, and is tried again by itself: %s", c.Poll, v.Error))
		}
		// One that was under way may have passed what the person waits for: the next follows it.
		if v.StartedAt != nil && !v.StartedAt.Before(asked) && v.EndedAt != nil && v.State == "waiting" {
			return in.print(v, func(w io.Writer) { writePolls(w, []pollView{v}, b.Now()) })
		}
		if clock.Sleep(ctx, pollWatch) != nil {
			return c.unfinished(in, ctx.Err(), c.Poll)
		}
	}
}

func (c pollRunCommand) unfinished(in *invocation, err error, what string) error {
	if in.ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return problem(fmt.Errorf("%s was not done within %s and goes on; does an ingest run? waybill poll list says how far it is", what, c.Within))
	}
	return err
}
