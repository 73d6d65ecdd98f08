package localstack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	postgresUser     = "waybill"
	postgresDatabase = "waybill"

	defaultMaxConnections = 100
	// postgresStartLimit bounds one start, crash recovery included; a nearer
	// deadline of the caller's context wins.
	postgresStartLimit = 2 * time.Minute
	// postgresStopLimit bounds one stop before the server is killed.
	postgresStopLimit = 20 * time.Second
	// leftoverLimit is how long a postmaster of a process that has just died may
	// take to follow it.
	leftoverLimit = 10 * time.Second
	startPoll     = 25 * time.Millisecond
)

// PostgresOptions say how to start a Postgres. The zero value is good.
type PostgresOptions struct {
	// Dir holds data, log, port and password. A folder used before is used
	// again with its data. Empty means a temporary one, deleted by Stop.
	Dir string
	// Port on 127.0.0.1. 0 means any free one, remembered in Dir.
	Port int
	// Durable makes a commit survive a crash of the machine (fsync on). Without
	// it a commit survives the death of Postgres, however sudden, but not of the
	// machine. synchronous_commit is on either way.
	Durable bool
	// MaxConnections; 0 means 100.
	MaxConnections int
}

// Postgres is a running Postgres server with a database named waybill. Its
// methods may be called from any goroutine, one at a time runs.
type Postgres struct {
	opts     PostgresOptions
	home     *home
	port     *port
	runAs    *account
	binaries string
	password string

	mu   sync.Mutex
	proc *process // nil while stopped or killed
}

// StartPostgres starts a Postgres of its own and returns when it answers. The
// start takes at most two minutes, less when ctx ends earlier; ctx does not end
// the server later. When it fails nothing is left running.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	if opts.MaxConnections < 0 {
		return nil, fmt.Errorf("start postgres: MaxConnections is %d: want 0 (the default, %d) or more", opts.MaxConnections, defaultMaxConnections)
	}
	if opts.MaxConnections == 0 {
		opts.MaxConnections = defaultMaxConnections
	}
	pg := &Postgres{opts: opts}
	if err := pg.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start postgres: %w", err), pg.giveBack())
	}
	if err := pg.start(ctx); err != nil {
		return nil, errors.Join(err, pg.giveBack())
	}
	return pg, nil
}

// URL is the address of the database waybill, password included, for pgx or psql.
func (pg *Postgres) URL() string { return pg.urlOf(postgresDatabase) }

func (pg *Postgres) urlOf(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(postgresUser, pg.password),
		Host:     pg.port.addr(),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// PID is the postmaster's process id, 0 while none runs.
func (pg *Postgres) PID() int {
	pg.mu.Lock()
	defer pg.mu.Unlock()
	if pg.proc == nil || !pg.proc.alive() {
		return 0
	}
	return pg.proc.pid()
}

// Stop ends the server: sessions are cut, the data is left clean. It may be
// called again, and after Kill; no other method may be called after it.
func (pg *Postgres) Stop(ctx context.Context) error {
	pg.mu.Lock()
	defer pg.mu.Unlock()
	return errors.Join(pg.halt(ctx), pg.giveBack())
}

// Kill ends the server at once, like `pg_ctl stop -m immediate`: no checkpoint,
// no goodbye; the next start recovers from the log. When it returns, no process
// of the server is left.
func (pg *Postgres) Kill(ctx context.Context) error {
	pg.mu.Lock()
	defer pg.mu.Unlock()
	if pg.proc == nil {
		return fmt.Errorf("kill postgres: %w", errNotRunning)
	}
	ctx, cancel := context.WithTimeout(ctx, postgresStopLimit)
	defer cancel()
	err := pg.proc.end(ctx, syscall.SIGQUIT)
	pg.proc = nil
	if err != nil {
		return fmt.Errorf("kill postgres %s: %w", pg.home.path, err)
	}
	return nil
}

// Restart stops the server if it runs, and starts it on the same port and data.
func (pg *Postgres) Restart(ctx context.Context) error {
	pg.mu.Lock()
	defer pg.mu.Unlock()
	if pg.home == nil {
		return errors.New("restart postgres: it was stopped for good: start another")
	}
	if err := pg.halt(ctx); err != nil {
		return err
	}
	return pg.start(ctx)
}

// Pause freezes the postmaster and all its children (SIGSTOP): connections stay
// open and nothing answers.
func (pg *Postgres) Pause() error { return pg.onProcess("pause", (*process).pause) }

// Resume undoes Pause. On a server that is not paused it does nothing.
func (pg *Postgres) Resume() error { return pg.onProcess("resume", (*process).resume) }

func (pg *Postgres) onProcess(act string, do func(*process) error) error {
	pg.mu.Lock()
	defer pg.mu.Unlock()
	err := errNotRunning
	if pg.proc != nil && pg.proc.alive() {
		err = do(pg.proc)
	}
	if err != nil {
		return fmt.Errorf("%s postgres: %w", act, err)
	}
	return nil
}

// halt stops the server if it runs; mu is held.
func (pg *Postgres) halt(ctx context.Context) error {
	if pg.proc == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, postgresStopLimit)
	defer cancel()
	err := pg.proc.end(ctx, syscall.SIGINT)
	pg.proc = nil
	if err != nil {
		return fmt.Errorf("stop postgres %s: %w", pg.home.path, err)
	}
	return nil
}

// giveBack releases port and folder, once.
func (pg *Postgres) giveBack() error {
	if pg.home == nil {
		return nil
	}
	pg.port.release()
	err := pg.home.close()
	pg.home = nil
	return err
}

// start runs the server on the prepared folder until it answers; mu is held, or
// nobody else knows pg yet.
func (pg *Postgres) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, postgresStartLimit)
	defer cancel()
	if err := pg.clearStalePID(ctx); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	proc, err := startProcess(processSpec{
		path:   pg.binaries + "/postgres",
		args:   pg.serverArgs(),
		dir:    pg.home.file("data"), // the account must be able to stand there
		log:    pg.home.file("postgres.log"),
		cred:   pg.runAs.credential(),
		onExit: syscall.SIGQUIT, // an immediate stop takes the children along, frozen ones after 5 s
	})
	if err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := pg.await(ctx, proc); err != nil {
		return errors.Join(fmt.Errorf("start postgres on %s: %w; its log ends:\n%s", pg.port.addr(), err, proc.logTail()), proc.killAll())
	}
	pg.proc = proc
	return nil
}

func (pg *Postgres) serverArgs() []string {
	onOff := map[bool]string{true: "on", false: "off"}[pg.opts.Durable]
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(pg.port.number),
		"unix_socket_directories=", // none: TCP with a password is the only way in
		"max_connections=" + strconv.Itoa(pg.opts.MaxConnections),
		"fsync=" + onOff,
		"synchronous_commit=on",
		"full_page_writes=" + onOff,
		"max_locks_per_transaction=256", // many partitioned tables in many schemas
		"checkpoint_timeout=15min",
		"max_wal_size=4GB",
		"timezone=UTC",
		"log_timezone=UTC",
		"lc_messages=C",
	}
	args := []string{"-D", pg.home.file("data")}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}

// clearStalePID deals with a pid file left by a crash. Postgres itself removes
// one whose process is gone, but refuses to start when that process id lives
// again as something else, which is common in containers.
func (pg *Postgres) clearStalePID(ctx context.Context) error {
	path := pg.home.file("data", "postmaster.pid")
	ctx, cancel := context.WithTimeout(ctx, leftoverLimit)
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the pid file of the last run: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || pid <= 0 || !serves(pid, pg.home.file("data")) {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove the pid file of the last run: %w", err)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d already serves %s: stop it first", pid, pg.home.file("data"))
		}
	}
}
