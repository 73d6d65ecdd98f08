package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	// keepMinutes is how long arrivals are kept by the minute; after that they are what is usual.
	keepMinutes = time.Hour
	// usualArrivals is what a source's past weighs at most, in arrivals, so that a lasting change becomes usual.
	usualArrivals = 100_000
	// maxSecretNames bounds the secrets that are remembered of one source.
	maxSecretNames = 32
)

// SourceName names a source by its integration and its own name.
type SourceName struct{ Integration, Source string }

// String is "integration/source".
func (n SourceName) String() string { return n.Integration + "/" + n.Source }

// Compare orders by integration and source, the order in which their rows are locked.
func (n SourceName) Compare(o SourceName) int {
	if c := strings.Compare(n.Integration, o.Integration); c != 0 {
		return c
	}
	return strings.Compare(n.Source, o.Source)
}

type sourceColumns struct{ integrations, sources []string }

func (c *sourceColumns) add(n SourceName) {
	c.integrations, c.sources = append(c.integrations, n.Integration), append(c.sources, n.Source)
}

func (c *sourceColumns) args() pgx.NamedArgs {
	return pgx.NamedArgs{"integrations": c.integrations, "sources": c.sources}
}

func namesOf(names []SourceName) *sourceColumns {
	c := &sourceColumns{}
	for _, n := range names {
		c.add(n)
	}
	return c
}

// RegisterSources makes the rows of sources that have none; kinds are theirs, in
// the same order. One that never speaks is silent from its registration on.
func (l *Ledger) RegisterSources(ctx context.Context, names []SourceName, kinds []string) error {
	if err := bounded("register sources", len(names)); err != nil {
		return err
	}
	args := namesOf(names).args()
	args["kinds"] = kinds
	return l.execute(ctx, "register sources", "register_sources", args)
}

// SourceNote is what one process saw of a source since its last note.
type SourceNote struct {
	SourceName
	Heard    time.Time // when something came last; zero: nothing did
	Verified time.Time // when a secret last proved a request; zero: none did
	// Arrivals were judged by base validation, Rejected of them found wrong. Unproven
	// requests had a signature that did not fit.
	Arrivals, Rejected, Unproven int64
	Secrets                      map[string]time.Time // last uses, by the name of the secret's variable
	// Fields merges what was seen into what the ledger keeps of the fields, both JSON; nil: nothing was seen.
	Fields func(kept []byte) []byte
}

// NoteSources keeps the notes, in one transaction. A source without a row is left out.
func (l *Ledger) NoteSources(ctx context.Context, notes []SourceNote) error {
	if err := bounded("note sources", len(notes)); err != nil {
		return err
	}
	notes = slices.Clone(notes)
	slices.SortFunc(notes, func(a, b SourceNote) int { return a.Compare(b.SourceName) })
	return l.transact(ctx, "note what sources did", func(tx pgx.Tx) error { return l.noteSources(ctx, tx, notes) })
}

func (l *Ledger) noteSources(ctx context.Context, tx pgx.Tx, notes []SourceNote) error {
	names := &sourceColumns{}
	var heard, verified []pgtype.Timestamptz
	var arrivals, rejected, unproven []int64
	place := map[SourceName]int{}
	for i, n := range notes {
		names.add(n.SourceName)
		place[n.SourceName] = i
		heard, verified = append(heard, nullTime(n.Heard)), append(verified, nullTime(n.Verified))
		arrivals, rejected, unproven = append(arrivals, n.Arrivals), append(rejected, n.Rejected), append(unproven, n.Unproven)
	}
	secrets, fields := make([]string, len(notes)), make([]string, len(notes))
	for i := range notes {
		secrets[i], fields[i] = "{}", "{}"
	}
	known := &sourceColumns{}
	rows, err := tx.Query(ctx, l.queries["lock_sources"], names.args())
	if err != nil {
		return err
	}
	var n SourceName
	var keptSecrets, keptFields string
	if _, err = pgx.ForEachRow(rows, []any{&n.Integration, &n.Source, &keptSecrets, &keptFields}, func() error {
		i := place[n]
		known.add(n)
		secrets[i], fields[i] = mergeSecrets(keptSecrets, notes[i].Secrets), keptFields
		if merge := notes[i].Fields; merge != nil {
			if merged := merge([]byte(keptFields)); json.Valid(merged) {
				fields[i] = string(merged)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	args := names.args()
	args["heard"], args["verified"], args["secrets"], args["fields"] = heard, verified, secrets, fields
	args["arrivals"], args["rejected"], args["unproven"] = arrivals, rejected, unproven
	b := &pgx.Batch{}
	b.Queue(l.queries["note_sources"], args)
	b.Queue(l.queries["count_minutes"], args)
	return tx.SendBatch(ctx, b).Close()
}

// mergeSecrets keeps the later use of each; what cannot be read is begun anew.
func mergeSecrets(kept string, seen map[string]time.Time) string {
	if len(seen) == 0 {
		return kept
	}
	all := map[string]time.Time{}
	if json.Unmarshal([]byte(kept), &all) != nil {
		all = map[string]time.Time{}
	}
	for name, at := range seen {
		if known, ok := all[name]; (ok || len(all) < maxSecretNames) && at.After(known) {
			all[name] = at.UTC().Truncate(time.Millisecond)
		}
	}
	merged, err := json.Marshal(all)
	if err != nil {
		return kept
	}
	return string(merged)
}

// SourceState is what is judged of a source. Judging may change the times that say
// since when a trouble lasts, nil for one that does not, and Told.
type SourceState struct {
	SourceName
	RegisteredAt                           time.Time
	HeardAt, VerifiedAt                    *time.Time
	Secrets                                map[string]time.Time
	Fields                                 []byte
	SilentSince, UnprovenSince, DriftSince *time.Time
	PausedAt, ResumedAt                    *time.Time
	Arrivals, Rejected                     int64   // of the recent window
	UsualArrivals, UsualRejected           float64 // before it; older ones weigh less
	Unproven                               int64   // of the burst window, and since a secret last proved a request
	Now                                    time.Time
	Told                                   string // what a person is told now; empty: nothing
}

// SourceWindows are the times over which sources are judged.
type SourceWindows struct {
	Every  time.Duration // a source is judged at most so often, by whichever process
	Recent time.Duration // of Arrivals and Rejected; at most an hour
	Burst  time.Duration // of Unproven; at most an hour
}

// JudgeSources lets judge look at each source whose turn it is, and keeps what it
// says. The rows are locked meanwhile: of several processes one judges. What judge
// tells a person it tells before the transaction ends, so that an alert may come
// twice when the ledger fails in between, and never not at all.
func (l *Ledger) JudgeSources(ctx context.Context, names []SourceName, w SourceWindows, judge func(*SourceState)) error {
	if err := bounded("judge sources", len(names)); err != nil {
		return err
	}
	return l.transact(ctx, "judge the sources", func(tx pgx.Tx) error {
		args := namesOf(names).args()
		args["every"], args["recent"], args["burst"] = w.Every, w.Recent, w.Burst
		rows, err := tx.Query(ctx, l.queries["take_sources"], args)
		if err != nil {
			return err
		}
		taken, err := pgx.CollectRows(rows, scanSourceState)
		if err != nil || len(taken) == 0 {
			return err
		}
		return l.keepJudged(ctx, tx, taken, judge)
	})
}

func scanSourceState(row pgx.CollectableRow) (s SourceState, err error) {
	var secrets, fields string
	err = row.Scan(&s.Integration, &s.Source, &s.RegisteredAt, &s.HeardAt, &s.VerifiedAt, &secrets, &fields, &s.SilentSince, &s.UnprovenSince, &s.DriftSince,
		&s.PausedAt, &s.ResumedAt, &s.Arrivals, &s.Rejected, &s.UsualArrivals, &s.UsualRejected, &s.Unproven, &s.Now)
	s.Fields, s.Secrets = []byte(fields), secretUses(secrets)
	return s, err
}

// secretUses reads what mergeSecrets wrote; what cannot be read is no use.
func secretUses(text string) map[string]time.Time {
	uses := map[string]time.Time{}
	if json.Unmarshal([]byte(text), &uses) != nil {
		return nil
	}
	return uses
}

func (l *Ledger) keepJudged(ctx context.Context, tx pgx.Tx, taken []SourceState, judge func(*SourceState)) error {
	names := &sourceColumns{}
	var silent, unproven, drift []*time.Time
	var told []string
	for i := range taken {
		s := &taken[i]
		judge(s)
		names.add(s.SourceName)
		silent, unproven, drift = append(silent, s.SilentSince), append(unproven, s.UnprovenSince), append(drift, s.DriftSince)
		told = append(told, cleanText(s.Told, maxMessageBytes))
	}
	args := names.args()
	args["silent"], args["unproven"], args["drift"], args["told"] = silent, unproven, drift, told
	args["keep"], args["most"] = keepMinutes, usualArrivals
	b := &pgx.Batch{}
	b.Queue(l.queries["judge_sources"], args)
	b.Queue(l.queries["fold_minutes"], args)
	return tx.SendBatch(ctx, b).Close()
}

// PausedSource is a source that takes nothing until a person resumes it.
type PausedSource struct {
	SourceName
	At  time.Time
	By  string
	Why string
}

// PausedSources lists them.
func (l *Ledger) PausedSources(ctx context.Context) ([]PausedSource, error) {
	return collect(ctx, l, "paused_sources", nil, func(row pgx.CollectableRow) (p PausedSource, err error) {
		err = row.Scan(&p.Integration, &p.Source, &p.At, &p.By, &p.Why)
		return p, err
	})
}

// PauseSource lets the source take nothing until it is resumed; who did it and why
// is kept. False: it was paused already, and stays as it was.
func (l *Ledger) PauseSource(ctx context.Context, n SourceName, actor, why string) (changed bool, err error) {
	return l.actOnSource(ctx, "pause_source", n, actor, why)
}

// ResumeSource ends a pause. False: there was none.
func (l *Ledger) ResumeSource(ctx context.Context, n SourceName, actor, why string) (changed bool, err error) {
	return l.actOnSource(ctx, "resume_source", n, actor, why)
}

func (l *Ledger) actOnSource(ctx context.Context, query string, n SourceName, actor, why string) (changed bool, err error) {
	args := pgx.NamedArgs{"integration": n.Integration, "source": n.Source, "actor": cleanText(actor, 200), "why": cleanText(why, maxMessageBytes)}
	if err := l.pool.QueryRow(ctx, l.queries[query], args).Scan(&changed); err != nil {
		return false, fmt.Errorf("ledger: %s %s: %w", query, n, err)
	}
	return changed, nil
}

// SourceAct is what a person did to a source.
type SourceAct struct {
	Act   string // pause or resume
	Actor string
	Why   string
	At    time.Time
}

// SourceActs lists what people did to a source, the last first, at most limit.
func (l *Ledger) SourceActs(ctx context.Context, n SourceName, limit int) ([]SourceAct, error) {
	return collect(ctx, l, "source_acts", pgx.NamedArgs{"integration": n.Integration, "source": n.Source, "rows": limit}, pgx.RowToStructByPos[SourceAct])
}

// SourceStory is what the ledger keeps about a source.
type SourceStory struct {
	SourceName
	Kind                                   string
	RegisteredAt                           time.Time
	HeardAt                                *time.Time
	SilentSince, UnprovenSince, DriftSince *time.Time
	AlertedAt                              *time.Time // of the last alert
	Told                                   string     // what it said
	PausedAt                               *time.Time
	PausedBy, PausedWhy                    string
	Secrets                                map[string]time.Time // last uses, by the name of the secret's variable
	Arrivals, Rejected                     int64                // of the last hour
}

// SourceStories lists every source that an ingest has had, by name.
func (l *Ledger) SourceStories(ctx context.Context) ([]SourceStory, error) {
	return collect(ctx, l, "source_stories", nil, func(row pgx.CollectableRow) (s SourceStory, err error) {
		var secrets string
		err = row.Scan(&s.Integration, &s.Source, &s.Kind, &s.RegisteredAt, &s.HeardAt, &s.SilentSince, &s.UnprovenSince, &s.DriftSince, &s.AlertedAt, &s.Told,
			&s.PausedAt, &s.PausedBy, &s.PausedWhy, &secrets, &s.Arrivals, &s.Rejected)
		s.Secrets = secretUses(secrets)
		return s, err
	})
}
