package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/pkg/localstack"
	"waybill.internal/test/harness"
)

// Result is one format.
type Result struct {
	Format       string  `json:"format"`
	MiB          float64 `json:"mib"`
	Rows         int     `json:"rows"`
	Seconds      float64 `json:"seconds"` // from the file's arrival to its end in the ledger
	RowsPS       float64 `json:"rows_per_second"`
	PeakMiB      float64 `json:"ingest_peak_mib"`
	IngestCPU    float64 `json:"ingest_cpu_us_per_row"`
	PostgresCPU  float64 `json:"postgres_cpu_us_per_row"`
	CopyPS       float64 `json:"copy_rows_per_second"`
	CopyCPU      float64 `json:"copy_postgres_cpu_us_per_row"`
	OfCopy       float64 `json:"of_copy"`
	OwnCopyPS    float64 `json:"own_copy_rows_per_second"` // of the ledger's rows, with their indexes
	OfOwnCopy    float64 `json:"of_own_copy"`
	PlainPS      float64 `json:"plain_rows_per_second"`
	PlainPeakMiB float64 `json:"plain_peak_mib"`
}

const (
	startLimit = 2 * time.Minute
	stopLimit  = time.Minute
	// stallLimit is how long a file may make no progress before the run fails.
	stallLimit = 5 * time.Minute
	pollEvery  = 25 * time.Millisecond
)

// integration has one source of one format and nothing to check, as COPY has not.
const integration = `integration: files
sources:
  - name: drop
    file: {from: "in/*", on_arrival: true, complete: {by: rename}, format: {%s: {}}}
record: {}
process: {}
`

// servers are one Postgres and one Kafka of our own.
type servers struct {
	postgres *localstack.Postgres
	kafka    string
	stopIt   func(context.Context) error
}

func startServers(ctx context.Context, embedded bool) (*servers, error) {
	pg, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{Durable: true})
	if err != nil {
		return nil, err
	}
	s := &servers{postgres: pg}
	if embedded {
		var k *localstack.EmbeddedKafka
		if k, err = localstack.StartEmbeddedKafka(ctx, "", 0); err == nil {
			s.kafka, s.stopIt = k.Addr(), func(context.Context) error { return k.Stop() }
		}
	} else {
		var k *localstack.Kafka
		if k, err = localstack.StartKafka(ctx, localstack.KafkaOptions{}); err == nil {
			s.kafka, s.stopIt = k.Addr(), k.Stop
		}
	}
	if err != nil {
		return nil, errors.Join(err, pg.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *servers) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	return errors.Join(s.stopIt(ctx), s.postgres.Stop(ctx))
}

// runner measures one format once.
type runner struct {
	options
	servers  *servers
	dir      string
	name     string // of the schema and the topics
	progress io.Writer
}

func (r *runner) measure(ctx context.Context, format string) (Result, error) {
	if err := os.MkdirAll(filepath.Join(r.dir, "in"), 0o755); err != nil {
		return Result{}, err
	}
	size := r.size
	if format == "xlsx" {
		size = r.xlsxSize()
	}
	r.tell("%s: generating %d MiB", format, size>>20)
	file, err := generate(format, filepath.Join(r.dir, "made."+format), size)
	if err != nil {
		return Result{}, err
	}
	result := Result{Format: format, MiB: float64(file.bytes) / (1 << 20), Rows: file.rows}
	if err := r.plain(ctx, format, file, &result); err != nil {
		return result, fmt.Errorf("plain reader: %w", err)
	}
	before, err := r.copy(ctx, file.rows, &result)
	if err != nil {
		return result, fmt.Errorf("COPY: %w", err)
	}
	if err := r.ledger(ctx, format, file, &result); err != nil {
		return result, fmt.Errorf("into the ledger: %w", err)
	}
	after, err := r.copy(ctx, file.rows, &result)
	if err != nil {
		return result, fmt.Errorf("COPY: %w", err)
	}
	// Once before and once after, as the neighbours of a shared machine come and go.
	result.CopyPS = 2 * float64(file.rows) / (before + after).Seconds()
	result.OfCopy = result.RowsPS / result.CopyPS
	r.tell("%s: %d rows; ledger %.0f/s, COPY %.0f/s, COPY of its own rows %.0f/s, plain reader %.0f/s; ingest held at most %.0f MiB", format, result.Rows, result.RowsPS, result.CopyPS, result.OwnCopyPS, result.PlainPS, result.PeakMiB)
	return result, os.RemoveAll(r.dir)
}

func (r *runner) tell(format string, args ...any) { fmt.Fprintf(r.progress, format+"\n", args...) }

// plainVariable makes this program the plain reader of "format path".
const plainVariable = "WAYBILL_BENCHFILES_PLAIN"

type plainAnswer struct {
	Rows    int
	Seconds float64
	Peak    int64
}

func runPlain(task string, stdout io.Writer) error {
	format, path, _ := strings.Cut(task, " ")
	start := time.Now()
	rows, err := plain(format, path)
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	peak, err := harness.PeakMemory(os.Getpid())
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(plainAnswer{rows, seconds, peak})
}

// plain runs the plain reader in a process of its own, so that its memory is known.
func (r *runner) plain(ctx context.Context, format string, file made, result *Result) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, self)
	command.Env = append(os.Environ(), plainVariable+"="+format+" "+file.path)
	command.Stderr = r.progress
	out, err := command.Output()
	if err != nil {
		return err
	}
	var answer plainAnswer
	if err := json.Unmarshal(out, &answer); err != nil {
		return err
	}
	if answer.Rows != file.rows {
		return fmt.Errorf("it found %d rows, %d were written", answer.Rows, file.rows)
	}
	result.PlainPS, result.PlainPeakMiB = float64(answer.Rows)/answer.Seconds, float64(answer.Peak)/(1<<20)
	return nil
}

// copy writes the rows into a plain table and drops it.
func (r *runner) copy(ctx context.Context, rows int, result *Result) (time.Duration, error) {
	path := filepath.Join(r.dir, "copy.csv")
	if _, err := os.Stat(path); err != nil {
		if _, err := generateRows(path, rows); err != nil {
			return 0, err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	conn, err := pgx.Connect(ctx, r.servers.postgres.URL())
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "CREATE TABLE plain ("+strings.Join(columns[:], " text, ")+" text)"); err != nil {
		return 0, err
	}
	cpu, err := harness.TreeCPU(r.servers.postgres.PID())
	if err != nil {
		return 0, err
	}
	start := time.Now()
	tag, err := conn.PgConn().CopyFrom(ctx, f, "COPY plain FROM STDIN (FORMAT csv)")
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	if tag.RowsAffected() != int64(rows) {
		return 0, fmt.Errorf("it wrote %d rows of %d", tag.RowsAffected(), rows)
	}
	end, err := harness.TreeCPU(r.servers.postgres.PID())
	if err != nil {
		return 0, err
	}
	result.CopyCPU = perRow(end-cpu, rows)
	_, err = conn.Exec(ctx, "DROP TABLE plain")
	return took, err
}

func perRow(d time.Duration, rows int) float64 {
	return float64(d) / float64(time.Microsecond) / float64(rows)
}

// ledger lets ingest take the file.
func (r *runner) ledger(ctx context.Context, format string, file made, result *Result) error {
	start, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	address, err := harness.MakeSchema(start, r.servers.postgres.URL(), r.name)
	if err != nil {
		return err
	}
	stack, err := harness.New(start, harness.Options{Postgres: address, Kafka: r.servers.kafka, Prefix: r.name,
		Integration: fmt.Sprintf(integration, format), Env: map[string]string{"WAYBILL_INGEST_DROP": r.dir}})
	if err != nil {
		return err
	}
	defer stack.Close()
	ingest, err := stack.Start("ingest")
	if err != nil {
		return err
	}
	if err := stack.AwaitReady(start, "ingest"); err != nil {
		return err
	}
	if err := r.take(ctx, stack, ingest, file, format, result); err != nil {
		return fmt.Errorf("%w\n%s", err, ingest.Log())
	}
	if err := ingest.Stop(stopLimit); err != nil {
		return err
	}
	if err := r.copyOwn(ctx, stack.Pool, file.rows, result); err != nil {
		return fmt.Errorf("COPY of the ledger's own rows: %w", err)
	}
	_, err = stack.Pool.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{r.name}.Sanitize()+" CASCADE")
	return err
}

// take drops the file and waits for its end.
func (r *runner) take(ctx context.Context, stack *harness.Stack, ingest *harness.Proc, file made, format string, result *Result) error {
	cpu := [2]time.Duration{}
	pids := [2]int{ingest.PID(), r.servers.postgres.PID()}
	for i, pid := range pids {
		var err error
		if cpu[i], err = harness.TreeCPU(pid); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := os.Rename(file.path, filepath.Join(r.dir, "in", filepath.Base(file.path))); err != nil {
		return err
	}
	if err := r.await(ctx, stack, ingest, file, format); err != nil {
		return err
	}
	result.Seconds = time.Since(start).Seconds()
	result.RowsPS = float64(file.rows) / result.Seconds
	for i, pid := range pids {
		end, err := harness.TreeCPU(pid)
		if err != nil {
			return err
		}
		cpu[i] = end - cpu[i]
	}
	result.IngestCPU, result.PostgresCPU = perRow(cpu[0], file.rows), perRow(cpu[1], file.rows)
	peak, err := harness.PeakMemory(ingest.PID())
	result.PeakMiB = float64(peak) / (1 << 20)
	return err
}

// await polls the file's row until it has ended, and holds it to what was written.
func (r *runner) await(ctx context.Context, stack *harness.Stack, ingest *harness.Proc, file made, format string) error {
	var last, rows, rejected int64
	moved := time.Now()
	profiled := make(chan error, 1) // one profile at most is written into it
	profiling := false
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		var state, reason string
		err := stack.Pool.QueryRow(ctx, "SELECT state, error, rows_done, rejected FROM file ORDER BY id DESC LIMIT 1").Scan(&state, &reason, &rows, &rejected)
		switch {
		case err != nil && !errors.Is(err, pgx.ErrNoRows):
			return err
		case state == "failed":
			return fmt.Errorf("the file failed after %d rows: %s", rows, reason)
		case state == "done" && (rows != int64(file.rows) || rejected != 0):
			return fmt.Errorf("%d rows and %d rejected, %d were written", rows, rejected, file.rows)
		case state == "done" && profiling:
			return <-profiled
		case state == "done":
			return nil
		}
		if rows > last {
			last, moved = rows, time.Now()
		}
		if rows > 0 && r.profiles != "" && !profiling {
			profiling = true
			go func() { profiled <- r.profile(ctx, stack.AdminURL("ingest"), format) }() // ends with its request
		}
		if time.Since(moved) > stallLimit {
			return fmt.Errorf("nothing moved for %s after %d rows", stallLimit, rows)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-ingest.Done():
			return errors.New("ingest has ended")
		}
	}
}

const (
	profileSeconds = 5
	profileBytes   = 32 << 20
)

func (r *runner) profile(ctx context.Context, admin, format string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", admin, profileSeconds), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", request.URL, response.Status)
	}
	if err := os.MkdirAll(r.profiles, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(r.profiles, format+".pprof"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, io.LimitReader(response.Body, profileBytes))
	return err
}
