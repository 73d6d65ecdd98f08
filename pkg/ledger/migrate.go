package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaVersion is the number of the newest migration; a test keeps it true.
const schemaVersion = 5

// daysAhead is how many by-day partitions are made before they are needed.
const daysAhead = 7

// Migrate brings the schema up to date, as its owner. It waits for another
// migration that runs, and may be run again. It returns the versions applied.
func Migrate(ctx context.Context, url string) ([]int64, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("ledger address: %w", err)
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	unlock, err := onlyMigration(ctx, db)
	if err != nil {
		return nil, err
	}
	defer unlock()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		return nil, fmt.Errorf("ledger migrations: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate the ledger: %w", err)
	}
	applied := make([]int64, len(results))
	for i, r := range results {
		applied[i] = r.Source.Version
	}
	return applied, install(ctx, db)
}

// onlyMigration waits until no other migration of this schema runs. It holds a
// lock of the database session rather than goose's locker, which asks every
// five seconds and knows one lock for all schemas.
func onlyMigration(ctx context.Context, db *sql.DB) (unlock func(), err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("the ledger does not answer: %w", err)
	}
	// The lock ends with the connection, which closing the pool ends.
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock(hashtextextended('waybill.migrate.' || current_schema(), 0))`); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for another migration of the ledger: %w", err), conn.Close())
	}
	return func() {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // not back to the pool: the connection and its lock end
	}, nil
}

func install(ctx context.Context, db *sql.DB) error {
	key := make([]byte, 32)
	rand.Read(key)
	if _, err := db.ExecContext(ctx, `INSERT INTO installation (key) VALUES ($1) ON CONFLICT DO NOTHING`, key); err != nil {
		return fmt.Errorf("keep the installation key: %w", err)
	}
	today := time.Now().UTC()
	if _, err := db.ExecContext(ctx, `SELECT ensure_days($1::date, $2::date)`, today.AddDate(0, 0, -1), today.AddDate(0, 0, daysAhead)); err != nil {
		return fmt.Errorf("make the partitions of the coming days: %w", err)
	}
	return nil
}

// EnsureDays makes the by-day partitions of the coming days. Rows of a day
// without one go to the default partition, so being late loses nothing.
func (l *Ledger) EnsureDays(ctx context.Context) error {
	return l.transact(ctx, "make the partitions of the coming days", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT ensure_days((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + $1::int)`, daysAhead)
		return err
	})
}
