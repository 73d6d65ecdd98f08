// Package ledger is the truth about every record, in Postgres.
//
// One exported method is one transaction. Whatever moves a record goes through
// record.Step: a method locks the rows it needs in id order, asks Step, and
// writes rows, waiting rows, outbox batches, history and tally together. The
// batches that a method returns are to be published from memory after it
// returned; what its process does not live to publish, the relay does.
//
// Fences: every transition raises the record's fence, and the only UPDATE of a
// record names the state and the fence that it leaves. A caller whose fence no
// longer matches is told so (Held is false); this is an answer, not an error.
//
// Errors: anything that fails is an error of the whole transaction, of which
// nothing happened, except that a commit whose answer was lost is unknown.
// Deadlocks and serialization failures (40P01, 40001) are repeated here, at
// most maxRepeats times.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/record"
)

const (
	// SessionLapse is how long after its last renewal a session holds its leases.
	SessionLapse = 8 * time.Second
	// SessionRenewal is the time between two renewals.
	SessionRenewal = 2 * time.Second
	// MaxBatch bounds the records of one call, and so of one outbox row.
	MaxBatch = 5000

	maxRepeats = 5
	// publishPatience is how long a batch may stand unpublished with a live process
	// before the relay takes it: that process may not know that its commit happened.
	publishPatience = time.Minute
	// topicConfirm is how long a topic must be seen shorter before it counts as
	// wiped: longer than ends are under way from Kafka to the ledger.
	topicConfirm     = 2 * time.Second
	statementTimeout = "5s"
	maxMessageBytes  = 1000
)

// Terms are what an integration decides about its records, and the lane whose
// topics carry them.
type Terms struct {
	Lane   string
	Policy record.Policy
}

// Options of Open. Terms must answer for every integration name, unknown ones
// included: records outlive the file that described them.
type Options struct {
	Terms    func(integration string) Terms
	MaxConns int32  // of the pool; 0: 8
	Name     string // application_name, shown in pg_stat_activity
}

// Ledger is safe for concurrent use.
type Ledger struct {
	pool    *pgxpool.Pool
	queries map[string]string
	terms   func(string) Terms
	key     atomic.Pointer[[]byte]
	skew    atomic.Int64 // ledger clock minus ours, in ns
}

// Open makes the pool. It does not wait for the server: Ready tells whether
// the ledger can be used.
func Open(ctx context.Context, url string, o Options) (*Ledger, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("ledger address: %w", err)
	}
	config.MaxConns = o.MaxConns
	if config.MaxConns == 0 {
		config.MaxConns = 8
	}
	config.ConnConfig.ConnectTimeout = 2 * time.Second
	parameters := config.ConnConfig.RuntimeParams
	parameters["application_name"] = o.Name
	parameters["timezone"] = "UTC"
	parameters["statement_timeout"] = statementTimeout
	parameters["idle_in_transaction_session_timeout"] = "10s"
	parameters["lock_timeout"] = "4s"
	// An accepted record must survive a crash, whatever the server's default is.
	parameters["synchronous_commit"] = "on"
	if planted.CommitAsync {
		parameters["synchronous_commit"] = "off"
	}
	// Every statement of the hot path finds a few hundred rows by their key. A plan made while
	// the tables were empty must not read them whole an hour later.
	parameters["plan_cache_mode"] = "force_generic_plan"
	parameters["enable_seqscan"] = "off"
	parameters["enable_hashjoin"] = "off"
	parameters["enable_mergejoin"] = "off"
	parameters["jit"] = "off"
	// An index look-up per given id must win even while a table is small.
	parameters["random_page_cost"] = "1"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("ledger pool: %w", err)
	}
	queries, err := parseQueries(queriesSQL)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &Ledger{pool: pool, queries: queries, terms: o.Terms}, nil
}

// Close ends every connection; it waits for those in use.
func (l *Ledger) Close() { l.pool.Close() }

// Now is the ledger's clock, estimated from ours: the offset is measured by
// every transaction that reads the server's time.
func (l *Ledger) Now() time.Time { return time.Now().Add(time.Duration(l.skew.Load())) }

// Skew is how far the ledger's clock is ahead of ours.
func (l *Ledger) Skew() time.Duration { return time.Duration(l.skew.Load()) }

func (l *Ledger) observe(server time.Time) { l.skew.Store(int64(time.Until(server))) }

// ErrSchema says that the ledger's schema is older than this binary needs.
var ErrSchema = errors.New("the ledger's schema is missing or older than this binary: run `waybill migrate`")

// Ready reports whether the ledger answers and has this binary's schema.
func (l *Ledger) Ready(ctx context.Context) error {
	var have int64
	err := l.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&have)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "42P01" {
		return ErrSchema
	}
	if err != nil {
		return fmt.Errorf("the ledger does not answer: %w", err)
	}
	if have < schemaVersion {
		return fmt.Errorf("%w (it is at %d, this binary needs %d)", ErrSchema, have, schemaVersion)
	}
	return nil
}

// InstallationKey derives record ids; it is read once.
func (l *Ledger) InstallationKey(ctx context.Context) ([]byte, error) {
	if key := l.key.Load(); key != nil {
		return *key, nil
	}
	var key []byte
	if err := l.pool.QueryRow(ctx, `SELECT key FROM installation`).Scan(&key); err != nil {
		return nil, fmt.Errorf("read the installation key: %w", err)
	}
	l.key.Store(&key)
	return key, nil
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// transact runs f in a transaction, again after a deadlock or a serialization failure.
func (l *Ledger) transact(ctx context.Context, act string, f func(tx pgx.Tx) error) error {
	return repeat(act, func() error { return l.once(ctx, f) })
}

// ErrUnknown is in the error of a transaction whose commit got no answer: it
// may have happened. Records that it claimed are then held by a session whose
// worker does not know of them, so that session has to end (Session.End).
var ErrUnknown = errors.New("the commit got no answer: it may have happened")

func (l *Ledger) once(ctx context.Context, f func(tx pgx.Tx) error) error {
	tx, err := l.pool.Begin(ctx)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(rollback) // a connection that cannot roll back is closed, which rolls back
		return err
	}
	err = tx.Commit(ctx)
	if _, answered := errors.AsType[*pgconn.PgError](err); err != nil && !answered && !errors.Is(err, pgx.ErrTxCommitRollback) {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// execute runs one statement, again after a deadlock or a serialization failure.
func (l *Ledger) execute(ctx context.Context, act, query string, args pgx.NamedArgs) error {
	return repeat(act, func() error {
		_, err := l.pool.Exec(ctx, l.queries[query], args)
		return err
	})
}

func repeat(act string, f func() error) error {
	var err error
	for range maxRepeats {
		if err = f(); !repeatable(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("ledger: %s: %w", act, err)
	}
	return nil
}

// bounded refuses what no caller may send in one call: its locks and its memory have a bound.
func bounded(act string, n int) error {
	if n > MaxBatch {
		return fmt.Errorf("ledger: %s: %d in one call, at most %d are allowed: send fewer", act, n, MaxBatch)
	}
	return nil
}

func repeatable(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == "40P01" || pgErr.Code == "40001")
}

// DataFault reports whether the database refused the values of a row (SQLSTATE
// classes 21, 22, 23 and 54): the fault lies in the data, not in the ledger.
// Class 21 is one row that is written twice by two upserts of one statement.
func DataFault(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pgErr.Code) != 5 {
		return false
	}
	switch pgErr.Code[:2] {
	case "21", "22", "23", "54":
		return true
	}
	return false
}

// rowFault marks an error that one item of a batch caused, so that a group
// commit splits the batch until it has found it.
type rowFault struct{ error }

func (rowFault) Split() bool { return true }

func (f rowFault) Unwrap() error { return f.error }

func splitOnDataFault(err error) error {
	if err != nil && DataFault(err) {
		return rowFault{err}
	}
	return err
}

// RowFault reports whether one item's values or tables are to blame for the error,
// so that the same item alone would fail again.
func RowFault(err error) bool {
	split, ok := errors.AsType[interface {
		error
		Split() bool
	}](err)
	return ok && split.Split()
}

// splitOnAnswer is splitOnDataFault for a transaction that wrote into tables of
// others: whatever the server said no to (a table or column that is not there, a
// privilege, a trigger, a row that somebody keeps locked) may be one row's matter.
// Not so what says that the server itself cannot go on.
func splitOnAnswer(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pgErr.Code) != 5 {
		return err
	}
	switch pgErr.Code[:2] {
	case "08", "40", "53", "57", "58", "XX":
		return err
	}
	return rowFault{err}
}

func uuids(ids []record.ID) []pgtype.UUID {
	out := make([]pgtype.UUID, len(ids))
	for i, id := range ids {
		out[i] = pgtype.UUID{Bytes: id, Valid: true}
	}
	return out
}

func nullUUID(id [16]byte) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: id != [16]byte{}} }

func nullTime(t time.Time) pgtype.Timestamptz {
	return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()}
}

// nullJSON keeps what is no JSON as a string, rather than failing whom it came with.
func nullJSON(b []byte) pgtype.Text {
	if len(b) > 0 && !(json.Valid(b) && utf8.Valid(b)) {
		b, _ = json.Marshal(cleanText(string(b), MaxInteractionBody)) // a string always marshals
	}
	return nullText(b)
}

func nullText(b []byte) pgtype.Text { return pgtype.Text{String: string(b), Valid: len(b) > 0} }

// DataFaultText says what the database found wrong with a row's values,
// without the values themselves.
func DataFaultText(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return "the table refused the row"
	}
	text := "the table refused the row: SQLSTATE " + pgErr.Code
	if pgErr.ConstraintName != "" {
		text += ", constraint " + pgErr.ConstraintName
	}
	if pgErr.ColumnName != "" {
		text += ", column " + pgErr.ColumnName
	}
	return text
}
