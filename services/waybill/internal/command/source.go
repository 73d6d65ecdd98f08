package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/services/waybill/internal/console"
)

type sourceCommand struct {
	List   sourceListCommand   `cmd:"" help:"List the sources: when each was heard, what it is expected to do, what is wrong."`
	Test   sourceTestCommand   `cmd:"" help:"Try a source without making a record."`
	Pause  sourcePauseCommand  `cmd:"" help:"Let a source take nothing until it is resumed."`
	Resume sourceResumeCommand `cmd:"" help:"Let a paused source take things again."`
}

type sourceListCommand struct {
	Integration string `help:"Only of this integration."`
}

func (sourceListCommand) Help() string {
	return `States: ok, new (nothing ever came), silent, unproven (signatures fit no secret), format changed, paused, removed (no integration has it any more).
The rate is what base validation judged in the last hour.

Examples:
  waybill source list
  waybill source list --integration orders --json`
}

// sourceView is a source as --json shows it.
type sourceView struct {
	Integration  string               `json:"integration"`
	Source       string               `json:"source"`
	Kind         string               `json:"kind"`
	State        string               `json:"state"`
	HeardAt      *time.Time           `json:"heard_at,omitempty"`
	RegisteredAt *time.Time           `json:"registered_at,omitempty"`
	Expect       string               `json:"expect,omitempty"`
	PerHour      int64                `json:"arrivals_last_hour"`
	Rejected     int64                `json:"rejected_last_hour"`
	Secrets      []secretView         `json:"secrets,omitempty"`
	SilentSince  *time.Time           `json:"silent_since,omitempty"`
	Unproven     *time.Time           `json:"unproven_since,omitempty"`
	Drift        *time.Time           `json:"format_changed_since,omitempty"`
	AlertedAt    *time.Time           `json:"alerted_at,omitempty"`
	Told         string               `json:"alert,omitempty"` // what the last alert said
	Paused       *pauseView           `json:"paused,omitempty"`
	uses         map[string]time.Time // as the ledger has them
}

type secretView struct {
	Name   string     `json:"name"` // of the variable
	UsedAt *time.Time `json:"last_used_at,omitempty"`
	Former bool       `json:"former,omitempty"` // the integration does not list it any more
}

type pauseView struct {
	At  time.Time `json:"at"`
	By  string    `json:"by"`
	Why string    `json:"why"`
}

func sourceViewOf(s ledger.SourceStory) sourceView {
	v := sourceView{Integration: s.Integration, Source: s.Source, Kind: s.Kind, State: "removed", HeardAt: s.HeardAt, RegisteredAt: &s.RegisteredAt, PerHour: s.Arrivals, Rejected: s.Rejected,
		SilentSince: s.SilentSince, Unproven: s.UnprovenSince, Drift: s.DriftSince, AlertedAt: s.AlertedAt, Told: s.Told, uses: s.Secrets}
	if s.PausedAt != nil {
		v.Paused = &pauseView{s.PausedAt.UTC(), s.PausedBy, s.PausedWhy}
	}
	return v
}

// describe fills in what the integration says of the source.
func (v *sourceView) describe(s *integration.Source) {
	v.Kind, v.Expect = kindOf(s), expectation(s.Expect())
	var troubles []string
	for _, trouble := range []struct {
		holds bool
		name  string
	}{{v.SilentSince != nil, "silent"}, {v.Unproven != nil, "unproven"}, {v.Drift != nil, "format changed"}} {
		if trouble.holds {
			troubles = append(troubles, trouble.name)
		}
	}
	switch {
	case v.Paused != nil:
		v.State = "paused"
	case len(troubles) > 0:
		v.State = strings.Join(troubles, ", ")
	case v.HeardAt == nil:
		v.State = "new"
	default:
		v.State = "ok"
	}
	if s.Webhook == nil {
		return
	}
	listed := map[string]bool{}
	for _, secret := range s.Webhook.Verify.Secrets {
		listed[secret.Name()] = true
		v.addSecret(secret.Name(), false)
	}
	for _, name := range slices.Sorted(maps.Keys(v.uses)) {
		if !listed[name] {
			v.addSecret(name, true)
		}
	}
}

func (v *sourceView) addSecret(name string, former bool) {
	view := secretView{Name: name, Former: former}
	if at, ok := v.uses[name]; ok {
		view.UsedAt = &at
	}
	v.Secrets = append(v.Secrets, view)
}

func kindOf(s *integration.Source) string {
	switch {
	case s.Webhook != nil:
		return "webhook"
	case s.File != nil:
		return "file"
	case s.Poll != nil:
		return "poll"
	}
	return "kafka"
}

func expectation(e integration.Expectation) string {
	switch {
	case e.Within > 0:
		return "every " + console.Duration(e.Within)
	case !e.Zero():
		return e.Schedule.String()
	}
	return ""
}

func (c sourceListCommand) Run(in *invocation) error {
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	views, err := b.sources(in, c.Integration)
	if err != nil {
		return err
	}
	return in.print(map[string]any{"sources": views}, func(w io.Writer) { writeSources(w, views, b.Now()) })
}

// sources joins what the integrations say with what the ledger knows.
func (b *book) sources(in *invocation, only string) ([]sourceView, error) {
	stories, err := b.SourceStories(in.ctx)
	if err != nil {
		return nil, err
	}
	all := map[ledger.SourceName]sourceView{}
	for _, s := range stories {
		all[s.SourceName] = sourceViewOf(s)
	}
	for _, e := range b.catalog.Entries() {
		for i := range e.Sources {
			name := ledger.SourceName{Integration: e.Name, Source: e.Sources[i].Name}
			v, known := all[name]
			if !known {
				v = sourceView{Integration: e.Name, Source: name.Source}
			}
			v.describe(&e.Sources[i])
			all[name] = v
		}
	}
	views := make([]sourceView, 0, len(all))
	for _, name := range slices.SortedFunc(maps.Keys(all), ledger.SourceName.Compare) {
		if only == "" || name.Integration == only {
			views = append(views, all[name])
		}
	}
	return views, nil
}

func writeSources(w io.Writer, views []sourceView, now time.Time) {
	if len(views) == 0 {
		fmt.Fprintln(w, "There is no source: no ingest has had an integration yet.")
		return
	}
	ago := func(at *time.Time, never string) string {
		if at == nil {
			return never
		}
		return console.Duration(now.Sub(*at)) + " ago"
	}
	table := console.NewTable("source", "kind", "state", "heard", "expected", ">last hour", ">rejected", "secrets last used")
	for _, v := range views {
		var secrets []string
		for _, s := range v.Secrets {
			text := s.Name + " " + ago(s.UsedAt, "never")
			if s.Former {
				text += " (not listed any more)"
			}
			secrets = append(secrets, text)
		}
		table.Row(v.Integration+"/"+v.Source, v.Kind, v.State, ago(v.HeardAt, "never"), v.Expect, console.Count(v.PerHour), console.Count(v.Rejected), strings.Join(secrets, ", "))
	}
	table.Write(w, "")
	for _, v := range views {
		name := v.Integration + "/" + v.Source
		if v.Paused != nil {
			fmt.Fprintf(w, "\n%s is paused since %s by %s: %s\n", name, v.Paused.At.Format(timeFormat), console.Clean(v.Paused.By), console.Clean(v.Paused.Why))
		}
		if v.Told != "" && (v.SilentSince != nil || v.Unproven != nil || v.Drift != nil) {
			fmt.Fprintf(w, "\n%s, %s: %s\n", name, ago(v.AlertedAt, ""), console.Clean(v.Told))
		}
	}
}

// pauseFlags are of pausing and of resuming.
type pauseFlags struct {
	Source string `arg:"" name:"integration/source" help:"The source, as source list shows it."`
	Why    string `required:"" help:"Why; it is kept, and shown to others."`
	Actor  string `help:"Who does it, for the history; the default is $USER."`
}

type sourcePauseCommand struct {
	pauseFlags `embed:""`
}

type sourceResumeCommand struct {
	pauseFlags `embed:""`
}

func (sourcePauseCommand) Help() string {
	return `Every ingest sees it within 2 s. A paused webhook answers 503 with Retry-After, so that the partner keeps what it has;
a paused file, poll or kafka source takes nothing, and goes on where it stood. A paused source raises no alert of silence.

Examples:
  waybill source pause orders/webhook --why "their new release floods us, ticket 4711"`
}

func (sourceResumeCommand) Help() string {
	return `Examples:
  waybill source resume orders/webhook --why "they have mended it"`
}

func (c sourcePauseCommand) Run(in *invocation) error { return c.run(in, "pause") }

func (c sourceResumeCommand) Run(in *invocation) error { return c.run(in, "resume") }

func (flags pauseFlags) run(in *invocation, act string) error {
	user, _ := in.Lookup("USER")
	actor, why := cmp.Or(flags.Actor, user), strings.TrimSpace(flags.Why)
	switch {
	case actor == "":
		return usage("say who you are with --actor: the history keeps who did it")
	case why == "":
		return usage("--why must say something: others read it")
	case len(why) > maxReason || len(actor) > maxReason:
		return usage("--why and --actor may have %d bytes at most", maxReason)
	}
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	e, s, err := b.sourceNamed(flags.Source)
	if err != nil {
		return err
	}
	name := ledger.SourceName{Integration: e.Name, Source: s.Name}
	do, done := b.PauseSource, "paused"
	if act == "resume" {
		do, done = b.ResumeSource, "resumed"
	}
	changed, err := do(in.ctx, name, actor, why)
	if err != nil {
		return err
	}
	view := map[string]any{"integration": name.Integration, "source": name.Source, "act": act, "changed": changed}
	return in.print(view, func(w io.Writer) {
		if changed {
			fmt.Fprintf(w, "%s is %s; every ingest sees it within 2 s.\n", name, done)
			return
		}
		fmt.Fprintf(w, "Nothing was done: %s is %s already. waybill source list shows it.\n", name, map[string]string{"pause": "paused", "resume": "not paused, that is, resumed"}[act])
	})
}

// running refuses what a paused source would not do.
func (b *book) running(ctx context.Context, name ledger.SourceName) error {
	paused, err := b.PausedSources(ctx)
	if err != nil {
		return err
	}
	for _, p := range paused {
		if p.SourceName == name {
			return problem(fmt.Errorf("%s is paused since %s by %s: %s; waybill source resume %s --why … lets it take things again", name, p.At.UTC().Format(timeFormat), p.By, p.Why, name))
		}
	}
	return nil
}

// sourceNamed finds INTEGRATION/SOURCE, or says which ones there are.
func (b *book) sourceNamed(text string) (catalog.Entry, *integration.Source, error) {
	name, source, _ := strings.Cut(text, "/")
	var there []string
	for _, e := range b.catalog.Entries() {
		for i := range e.Sources {
			if e.Name == name && e.Sources[i].Name == source {
				return e, &e.Sources[i], nil
			}
			there = append(there, e.Name+"/"+e.Sources[i].Name)
		}
	}
	if b.incomplete != nil {
		return catalog.Entry{}, nil, usage("there is no source %s among the integrations that can be read here; not every one can: %w", text, b.incomplete)
	}
	return catalog.Entry{}, nil, usage("there is no source %s; there are %s", text, cmp.Or(strings.Join(there, ", "), "none"))
}
