package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// maxOwnRows bounds the rows that are copied out of the ledger and into it again.
const maxOwnRows = 1_000_000

// copyOwn takes the first rows that the ledger made of the file, each a record and its
// payload, and writes them by COPY into empty tables of the same columns, checks and
// indexes: what Postgres asks for such rows when nobody asks whether it knows them, and
// makes no messages of them.
func (r *runner) copyOwn(ctx context.Context, pool *pgxpool.Pool, rows int, result *Result) error {
	rows = min(rows, maxOwnRows)
	var took time.Duration
	for _, table := range []string{"record", "payload"} {
		path := filepath.Join(r.dir, table+".copy")
		if err := copyOut(ctx, pool, fmt.Sprintf("COPY (SELECT * FROM %s ORDER BY seq LIMIT %d) TO STDOUT (FORMAT binary)", table, rows), path); err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, fmt.Sprintf("CREATE TABLE copied_%s (LIKE %s INCLUDING ALL)", table, table)); err != nil {
			return err
		}
		start := time.Now()
		copied, err := copyIn(ctx, pool, fmt.Sprintf("COPY copied_%s FROM STDIN (FORMAT binary)", table), path)
		if err != nil {
			return err
		}
		took += time.Since(start)
		if copied != int64(rows) {
			return fmt.Errorf("%s has %d rows, the file %d", table, copied, rows)
		}
	}
	result.OwnCopyPS = float64(rows) / took.Seconds()
	result.OfOwnCopy = result.RowsPS / result.OwnCopyPS
	return nil
}

func copyOut(ctx context.Context, pool *pgxpool.Pool, statement, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().CopyTo(ctx, f, statement)
	return err
}

func copyIn(ctx context.Context, pool *pgxpool.Pool, statement, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	tag, err := conn.Conn().PgConn().CopyFrom(ctx, f, statement)
	return tag.RowsAffected(), err
}
