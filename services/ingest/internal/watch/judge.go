package watch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/timetable"
)

// What is judged, and when it is told.
const (
	// Grace is how long after a run of an expected schedule something may come; half
	// the time to the next run if that is less.
	Grace = time.Hour
	// Burst is the time within which MaxUnproven requests with a wrong signature are one.
	Burst       = 5 * time.Minute
	MaxUnproven = 20
	// Recent is the time over which the share of rejected arrivals is looked at.
	Recent        = 10 * time.Minute
	DriftArrivals = 50   // arrivals that it takes, now and before
	DriftShare    = 0.30 // rejected now
	UsualShare    = 0.05 // rejected before
	EndShare      = 0.15 // less than this: it is over

	endArrivals = 20
	endAfter    = time.Hour // ... after which fewer arrivals are believed
	// maxListed bounds the fields and reasons that an alert names of each sort.
	maxListed = 6
)

// about is what the judge knows of a source from its integration.
type about struct {
	name    ledger.SourceName
	expect  integration.Expectation
	zone    *time.Location
	kind    string
	scheme  string
	secrets []string // names of the variables, as listed
}

// verdict is what a person is told: a trouble that begins, or one that has ended.
type verdict struct {
	problem telemetry.Problem
	over    bool
}

func (a about) problem(kind telemetry.Kind, class fault.Class, code, message string) telemetry.Problem {
	return telemetry.Problem{Kind: kind, Integration: a.name.Integration, Class: class, Code: code, Where: a.name.Source, Message: message,
		Repair: "waybill source list --integration " + a.name.Integration}
}

// judge looks at a source by the ledger's clock; it changes s.
func (a about) judge(s *ledger.SourceState) []verdict {
	var told []verdict
	for _, look := range []func(*ledger.SourceState) *verdict{a.silence, a.secret, a.drift} {
		if v := look(s); v != nil {
			told = append(told, *v)
			if !v.over {
				s.Told = v.problem.Message
			}
		}
	}
	return told
}

func (a about) silence(s *ledger.SourceState) *verdict {
	if s.PausedAt != nil || a.expect.Zero() {
		s.SilentSince = nil
		return nil
	}
	heard := latest(&s.RegisteredAt, s.HeardAt, s.ResumedAt)
	if s.SilentSince != nil {
		if !heard.After(*s.SilentSince) {
			return nil // it was told
		}
		was := *s.SilentSince
		s.SilentSince = nil
		if s.HeardAt == nil || !s.HeardAt.After(was) {
			return nil // it was resumed, which is no sign of life
		}
		return &verdict{a.problem(telemetry.KindSilence, "", "nothing_came", fmt.Sprintf("%s speaks again, after %s", a.name, rounded(s.HeardAt.Sub(was)))), true}
	}
	due, why := a.due(heard)
	if due.IsZero() || s.Now.Before(due) {
		return nil
	}
	s.SilentSince = &heard
	return &verdict{problem: a.problem(telemetry.KindSilence, "", "nothing_came",
		fmt.Sprintf("nothing came to %s (%s) %s: %s; ask the partner, and see whether what it sends reaches us", a.name, a.kind, why, lastHeard(s)))}
}

func lastHeard(s *ledger.SourceState) string {
	switch {
	case s.HeardAt == nil:
		return "nothing ever came; it is known since " + stamp(s.RegisteredAt)
	case s.ResumedAt != nil && s.ResumedAt.After(*s.HeardAt):
		return "the last thing came " + stamp(*s.HeardAt) + ", and it was resumed " + stamp(*s.ResumedAt)
	}
	return "the last thing came " + stamp(*s.HeardAt)
}

// due is when silence since heard becomes one that is told; zero: never.
func (a about) due(heard time.Time) (at time.Time, why string) {
	if a.expect.Within > 0 {
		return heard.Add(a.expect.Within), "for " + rounded(a.expect.Within)
	}
	table := timetable.Table{Every: a.expect.Schedule, Zone: a.zone}
	run := table.After(heard)
	if run.IsZero() {
		return run, ""
	}
	grace := Grace
	if next := table.After(run); !next.IsZero() {
		grace = min(grace, next.Sub(run)/2)
	}
	return run.Add(grace), fmt.Sprintf("within %s after %s, as its schedule %q says", rounded(grace), run.Format("2006-01-02 15:04 MST"), a.expect.Schedule)
}

func (a about) secret(s *ledger.SourceState) *verdict {
	if s.UnprovenSince != nil {
		if s.VerifiedAt == nil || !s.VerifiedAt.After(*s.UnprovenSince) {
			return nil // it was told
		}
		s.UnprovenSince = nil
		return &verdict{a.problem(telemetry.KindUnproven, fault.Credentials, "fits_no_key", fmt.Sprintf("a secret of %s fits again", a.name)), true}
	}
	if s.Unproven < MaxUnproven {
		return nil
	}
	s.UnprovenSince = ptr(s.Now)
	return &verdict{problem: a.problem(telemetry.KindUnproven, fault.Credentials, "fits_no_key", fmt.Sprintf(
		"was the secret rotated? %d requests to %s (%s) within %s had a signature that fits no secret, and none has fitted since. %s. Set the partner's new secret in one of these variables, or list another one in verify.secrets; what was refused comes again only if the partner repeats it",
		s.Unproven, a.name, a.scheme, rounded(Burst), a.lastUses(s.Secrets)))}
}

// lastUses says when each secret last proved a request; never its value.
func (a about) lastUses(uses map[string]time.Time) string {
	list := make([]string, 0, len(a.secrets))
	for _, name := range a.secrets {
		text := name + " never fitted"
		if at, ok := uses[name]; ok {
			text = name + " last fitted " + stamp(at)
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func (a about) drift(s *ledger.SourceState) *verdict {
	share, usual := ratio(float64(s.Rejected), float64(s.Arrivals)), ratio(s.UsualRejected, s.UsualArrivals)
	if s.DriftSince != nil {
		enough := s.Arrivals >= endArrivals || s.Arrivals > 0 && s.Now.Sub(*s.DriftSince) > endAfter
		if !enough || share >= EndShare {
			return nil // it was told
		}
		s.DriftSince = nil
		return &verdict{a.problem(telemetry.KindDrift, fault.Data, "format_changed", fmt.Sprintf("%s is understood again: %.0f %% of %d arrivals were rejected", a.name, 100*share, s.Arrivals)), true}
	}
	if s.Arrivals < DriftArrivals || share < DriftShare || s.UsualArrivals < DriftArrivals || usual >= UsualShare {
		return nil
	}
	s.DriftSince = ptr(s.Now)
	return &verdict{problem: a.problem(telemetry.KindDrift, fault.Data, "format_changed", fmt.Sprintf("did their format change? %.0f %% of %d arrivals of %s were rejected within %s, before %.1f %%. %s",
		100*share, s.Arrivals, a.name, rounded(Recent), 100*usual, explain(readFields(s.Fields), s.Now)))}
}

// explain names the fields and the reasons, never a value.
func explain(f fields, now time.Time) string {
	rejected := f.rejected(now.Unix(), int64(Recent/time.Second))
	d := differ(f.Usual, rejected.Fields)
	var parts []string
	for _, sort := range []struct {
		title string
		names []string
	}{{"New fields: ", d.Added}, {"Missing fields: ", d.Missing}, {"Other types: ", d.Retyped}, {"Most frequent reasons: ", rejected.top(3)}} {
		if len(sort.names) > 0 {
			parts = append(parts, sort.title+listed(sort.names))
		}
	}
	if len(d.Added)+len(d.Missing)+len(d.Retyped) == 0 {
		parts = append([]string{"The fields are the same as before, so it is their values"}, parts...)
	}
	return strings.Join(parts, ". ")
}

func listed(names []string) string {
	if len(names) > maxListed {
		return strings.Join(names[:maxListed], ", ") + fmt.Sprintf(" and %d more", len(names)-maxListed)
	}
	return strings.Join(names, ", ")
}

func ratio(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return part / whole
}

func latest(times ...*time.Time) (last time.Time) {
	for _, t := range times {
		if t != nil && t.After(last) {
			last = *t
		}
	}
	return last
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// rounded writes a duration without what is zero in it.
func rounded(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// secretNames lists the variables of a source's secrets.
func secretNames(list []integration.Secret) []string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name()
	}
	return names
}

// sortedNames gives the sources in the order in which their rows are locked.
func sortedNames[T any](m map[ledger.SourceName]T) []ledger.SourceName {
	return slices.SortedFunc(maps.Keys(m), ledger.SourceName.Compare)
}
