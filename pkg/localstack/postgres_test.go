package localstack_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/pkg/localstack"
	"waybill.internal/pkg/localstack/stacktest"
)

// query runs one statement on a connection of its own and gives its first column
// as text.
func query(ctx context.Context, url, sql string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return "", err
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(texts, " "), err
}

func wantQuery(t *testing.T, url, sql, want string) {
	t.Helper()
	got, err := query(t.Context(), url, sql)
	must(t, err)
	if got != want {
		t.Fatalf("%s: got %q, want %q", sql, got, want)
	}
}

func TestPostgresKeepsCommitsOverKill(t *testing.T) {
	t.Parallel()
	pg := stacktest.OwnPostgres(t)
	url := pg.URL()
	wantQuery(t, url, "show fsync", "on")
	wantQuery(t, url, "show synchronous_commit", "on")
	_, err := query(t.Context(), url, "create table kept as select 'a commit' as what")
	must(t, err)

	must(t, pg.Kill(t.Context()))
	if pg.PID() != 0 {
		t.Errorf("PID after Kill: %d, want 0", pg.PID())
	}
	if _, err := query(t.Context(), url, "select what from kept"); err == nil {
		t.Error("a killed Postgres answered")
	}
	if err := pg.Kill(t.Context()); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("second Kill: %v, want that it is not running", err)
	}
	if err := pg.Pause(); err == nil {
		t.Error("Pause of a killed Postgres succeeded")
	}
	must(t, pg.Restart(t.Context()))
	if pg.URL() != url {
		t.Errorf("URL moved from %s to %s", url, pg.URL())
	}
	wantQuery(t, url, "select what from kept", "a commit")

	before := pg.PID()
	must(t, pg.Restart(t.Context())) // of a running server
	if pg.PID() == before {
		t.Error("Restart of a running Postgres did nothing")
	}
	wantQuery(t, url, "select what from kept", "a commit")
}

func TestPostgresPause(t *testing.T) {
	t.Parallel()
	pg := stacktest.OwnPostgres(t)
	conn, err := pgx.Connect(t.Context(), pg.URL())
	must(t, err)
	defer conn.Close(context.Background())

	must(t, pg.Pause())
	// A running session must be as deaf as the postmaster.
	answer := make(chan error, 1)
	go func() { answer <- conn.Ping(t.Context()) }() // ends with the answer, below
	select {
	case err := <-answer:
		t.Errorf("a paused session answered: %v", err)
	case <-time.After(silentLimit):
	}
	ctx, cancel := context.WithTimeout(t.Context(), silentLimit)
	defer cancel()
	if _, err := query(ctx, pg.URL(), "select 'x'"); err == nil {
		t.Error("a paused Postgres took a connection and answered")
	}
	must(t, pg.Resume())
	must(t, <-answer)
	wantQuery(t, pg.URL(), "select 'back'", "back")
}

func TestPostgresPausedCanBeKilledAndStopped(t *testing.T) {
	t.Parallel()
	pg := stacktest.OwnPostgres(t)
	must(t, pg.Pause())
	must(t, pg.Kill(t.Context()))
	must(t, pg.Restart(t.Context()))
	wantQuery(t, pg.URL(), "select 'back'", "back")
	must(t, pg.Pause())
	must(t, pg.Stop(t.Context()))
	must(t, pg.Stop(t.Context())) // again is fine
	if err := pg.Restart(t.Context()); err == nil {
		t.Error("Restart after Stop succeeded")
	}
}

func TestPostgresUsesItsFolderAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openTempDir(t), "stack", "postgres") // neither exists yet
	opts := localstack.PostgresOptions{Dir: dir, MaxConnections: 7}
	pg, err := localstack.StartPostgres(t.Context(), opts)
	must(t, err)
	url := pg.URL()
	wantQuery(t, url, "show max_connections", "7")
	if _, err := localstack.StartPostgres(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("a second server on the same folder: %v, want that it is locked", err)
	}
	_, err = query(t.Context(), url, "create table kept as select 'over stop' as what")
	must(t, err)
	must(t, pg.Stop(t.Context()))

	// A pid file whose process id lives again as something else: ours.
	stale := fmt.Sprintf("%d\n%s/data\n1\n", os.Getpid(), dir)
	must(t, os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), []byte(stale), 0o644))
	pg, err = localstack.StartPostgres(t.Context(), opts)
	must(t, err)
	defer pg.Stop(context.Background())
	if pg.URL() != url {
		t.Errorf("URL moved from %s to %s", url, pg.URL())
	}
	wantQuery(t, url, "select what from kept", "over stop")
}

func TestPostgresRefusesBadOptions(t *testing.T) {
	t.Parallel()
	foreign := openTempDir(t)
	must(t, os.MkdirAll(filepath.Join(foreign, "data", "mine"), 0o755))
	for _, c := range []struct {
		name string
		opts localstack.PostgresOptions
		want string
	}{
		{"negative connections", localstack.PostgresOptions{MaxConnections: -1}, "MaxConnections is -1"},
		{"port too high", localstack.PostgresOptions{Port: 70000}, "port 70000: want 0"},
		{"somebody's folder", localstack.PostgresOptions{Dir: foreign}, "not a Postgres data folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pg, err := localstack.StartPostgres(t.Context(), c.opts)
			if err == nil {
				_ = pg.Stop(context.Background())
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want %q in it", err, c.want)
			}
		})
	}
}

func TestTwoPostgresAtOnce(t *testing.T) {
	t.Parallel()
	one, two := stacktest.OwnPostgres(t), stacktest.OwnPostgres(t)
	if one.URL() == two.URL() || one.PID() == two.PID() {
		t.Fatalf("the same server twice: %s", one.URL())
	}
	_, err := query(t.Context(), one.URL(), "create table only_in_one ()")
	must(t, err)
	wantQuery(t, two.URL(), "select count(*)::text from pg_class where relname = 'only_in_one'", "0")
}

func TestSchemasAreApart(t *testing.T) {
	t.Parallel()
	one, two := stacktest.Postgres(t), stacktest.Postgres(t)
	_, err := query(t.Context(), one, "create table only_in_one ()")
	must(t, err)
	wantQuery(t, one, "select count(*)::text from only_in_one", "0")
	if _, err := query(t.Context(), two, "select count(*)::text from only_in_one"); err == nil {
		t.Error("one test's schema sees another's table")
	}
}

// openTempDir is a folder that Postgres's own account can reach, which
// t.TempDir's parent is not on every system.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}
