package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// Audit is the conservation of records at one moment: what the tally says,
// what a recount of the rows says, and what is overdue with nothing under way.
type Audit struct {
	At           time.Time
	Integrations map[string]*Count
	Overdue      []record.ID // at most maxOverdue
	Unaccounted  int64       // every difference, summed; 0 or something is lost
	Differences  []string    // one sentence each
}

// Count is one integration's conservation, as the tally has it.
type Count struct {
	Received, Duplicates, Refused, Conflicts int64
	States                                   map[record.State]int64
	Outcomes                                 map[record.OutcomeState]int64
}

// Arrivals is every request or row that got a definite answer.
func (c Count) Arrivals() int64 { return c.Received + c.Duplicates + c.Refused }

// InFlight is queued, processing and retrying together.
func (c Count) InFlight() int64 {
	return c.States[record.Queued] + c.States[record.Processing] + c.States[record.Retrying]
}

const maxOverdue = 1000

// Audit takes one snapshot and compares. Grace is how long a record may stand
// with nothing under way before it counts as overdue; a transaction that is
// still being published needs a few seconds.
func (l *Ledger) Audit(ctx context.Context, grace time.Duration) (Audit, error) {
	a := Audit{Integrations: map[string]*Count{}}
	err := pgx.BeginTxFunc(ctx, l.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// This reads whole tables: let the planner do so, and let it take its time.
		if _, err := tx.Exec(ctx, `SELECT set_config(name, value, true) FROM (VALUES ('enable_seqscan','on'),('enable_hashjoin','on'),('enable_mergejoin','on'),('statement_timeout','10min'),('plan_cache_mode','force_custom_plan')) AS s(name, value)`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&a.At); err != nil {
			return err
		}
		if err := a.tally(ctx, l, tx); err != nil {
			return err
		}
		if err := a.recount(ctx, l, tx); err != nil {
			return err
		}
		return a.overdue(ctx, l, tx, grace)
	})
	if err != nil {
		return a, fmt.Errorf("ledger: audit: %w", err)
	}
	return a, nil
}

func (a *Audit) of(integration string) *Count {
	c := a.Integrations[integration]
	if c == nil {
		c = &Count{States: map[record.State]int64{}, Outcomes: map[record.OutcomeState]int64{}}
		a.Integrations[integration] = c
	}
	return c
}

func (a *Audit) tally(ctx context.Context, l *Ledger, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, l.queries["tally_sums"])
	if err != nil {
		return err
	}
	var integration, measure string
	var sum int64
	_, err = pgx.ForEachRow(rows, []any{&integration, &measure, &sum}, func() error {
		c := a.of(integration)
		kind, name, _ := strings.Cut(measure, ":")
		switch kind {
		case "received":
			c.Received = sum
		case "duplicate":
			c.Duplicates = sum
		case "refused":
			c.Refused = sum
		case "conflict":
			c.Conflicts = sum
		case "state":
			c.States[record.State(name)] = sum
		case "outcome":
			c.Outcomes[record.OutcomeState(name)] = sum
		default:
			a.differ(1, "the tally has a measure %q that this binary does not know", measure)
		}
		return nil
	})
	return err
}

func (a *Audit) differ(by int64, format string, args ...any) {
	if by == 0 {
		return
	}
	a.Unaccounted += max(by, -by)
	a.Differences = append(a.Differences, fmt.Sprintf(format, args...))
}

func (a *Audit) recount(ctx context.Context, l *Ledger, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, l.queries["recount"])
	if err != nil {
		return err
	}
	counted := Audit{Integrations: map[string]*Count{}}
	var integration string
	var state record.State
	var outcome record.OutcomeState
	var n int64
	if _, err = pgx.ForEachRow(rows, []any{&integration, &state, &outcome, &n}, func() error {
		c := counted.of(integration)
		c.Received += n
		c.States[state] += n
		c.Outcomes[outcome] += n
		a.of(integration)
		return nil
	}); err != nil {
		return err
	}
	for name, tallied := range a.Integrations {
		rows := counted.of(name)
		a.differ(tallied.Received-rows.Received, "%s: %d records were received, but the ledger holds %d rows", name, tallied.Received, rows.Received)
		for _, s := range record.States() {
			a.differ(tallied.States[s]-rows.States[s], "%s: the tally says %d %s, the rows say %d", name, tallied.States[s], s, rows.States[s])
		}
		for _, s := range record.OutcomeStates()[1:] {
			a.differ(tallied.Outcomes[s]-rows.Outcomes[s], "%s: the tally says %d outcomes %s, the rows say %d", name, tallied.Outcomes[s], s, rows.Outcomes[s])
		}
	}
	return nil
}

func (a *Audit) overdue(ctx context.Context, l *Ledger, tx pgx.Tx, grace time.Duration) error {
	rows, err := tx.Query(ctx, l.queries["overdue"], pgx.NamedArgs{"grace": grace, "lapse": SessionLapse, "rows": maxOverdue})
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[pgtype.UUID])
	for _, id := range ids {
		a.Overdue = append(a.Overdue, id.Bytes)
	}
	a.differ(int64(len(ids)), "%d records are past their deadline with nothing under way", len(ids))
	return err
}

// FoldTally sums appended deltas into fewer rows; it returns after one bounded fold.
func (l *Ledger) FoldTally(ctx context.Context, limit int) error {
	return l.transact(ctx, "fold the tally", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL enable_seqscan = on`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, l.queries["fold_tally"], pgx.NamedArgs{"rows": limit})
		return err
	})
}

// DropSessions forgets sessions that lapsed a day ago.
func (l *Ledger) DropSessions(ctx context.Context) error {
	return l.execute(ctx, "drop old sessions", "drop_sessions", pgx.NamedArgs{})
}
