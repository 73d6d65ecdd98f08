package localstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// connectLimit bounds one try to connect: a server that takes longer is asked
// again.
const connectLimit = 15 * time.Second

// prepare finds account, binaries, folder and port, and makes the data folder if
// it is not there yet.
func (pg *Postgres) prepare(ctx context.Context) (err error) {
	if pg.runAs, err = unprivileged(); err != nil {
		return err
	}
	if pg.binaries, err = postgresBinaries(ctx, pg.runAs); err != nil {
		return err
	}
	if pg.home, err = openHome(pg.opts.Dir, "postgres"); err != nil {
		return err
	}
	if err := pg.runAs.canReach(pg.home.path); err != nil {
		return err
	}
	if pg.password, err = keepPassword(pg.home.file("password"), pg.runAs); err != nil {
		return err
	}
	if err := pg.initialise(ctx); err != nil {
		return err
	}
	pg.port, err = choosePort(pg.opts.Port, pg.home.file("port"))
	return err
}

// keepPassword reads the password made at the first start, or makes one. Only we
// and the server's account can read the file.
func keepPassword(path string, runAs *account) (string, error) {
	text, err := os.ReadFile(path)
	if err == nil && len(text) > 0 {
		return string(text), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the password of the last run: %w", err)
	}
	password := rand.Text()
	if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
		return "", fmt.Errorf("keep the password: %w", err)
	}
	return password, runAs.own(path)
}

// initialise makes the data folder. It is made beside its place and renamed, so
// that a crash in between leaves nothing that looks complete.
func (pg *Postgres) initialise(ctx context.Context) error {
	data := pg.home.file("data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return pg.checkVersion(data)
	}
	// Ours came by a rename and is complete, so what is there is empty or not ours.
	if err := os.Remove(data); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not a Postgres data folder: name another folder: %w", data, err)
	}
	fresh := pg.home.file("data.new")
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("clear a half-made data folder: %w", err)
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if err := pg.runAs.own(fresh); err != nil {
		return err
	}
	args := []string{
		"-D", fresh, "-U", postgresUser, "--pwfile=" + pg.home.file("password"),
		"-A", "scram-sha-256", "-E", "UTF8", "--locale=C",
	}
	if !pg.opts.Durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(pg.binaries, "initdb"), args...)
	cmd.Dir = fresh
	cmd.SysProcAttr = childAttributes(pg.runAs.credential(), 0)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w:\n%s", cmd.Path, err, out)
	}
	return os.Rename(fresh, data)
}

// checkVersion refuses data of another major version, which Postgres cannot read.
func (pg *Postgres) checkVersion(data string) error {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return err
	}
	out, err := exec.Command(filepath.Join(pg.binaries, "postgres"), "--version").Output()
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", pg.binaries, err)
	}
	have := strings.TrimSpace(string(text))
	if !strings.Contains(string(out), ") "+have+".") && !strings.Contains(string(out), ") "+have+"devel") {
		return fmt.Errorf("%s was made by Postgres %s, but the one here is %s: install that version, or name another folder",
			data, have, strings.TrimSpace(string(out)))
	}
	return nil
}

// await returns when the server answers and has the database, or with the reason
// why it will not.
func (pg *Postgres) await(ctx context.Context, proc *process) error {
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		err := pg.ensureDatabase(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-proc.done:
			return fmt.Errorf("it ended: %v", proc.err)
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// ensureDatabase creates the database waybill if this is the first start.
func (pg *Postgres) ensureDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.urlOf("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", postgresDatabase).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, "create database "+pgx.Identifier{postgresDatabase}.Sanitize())
	return err
}
