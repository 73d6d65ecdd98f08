package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/test/harness"
)

const (
	startLimit   = 90 * time.Second
	stopLimit    = 30 * time.Second
	confirmLimit = 3 * time.Minute
	connections  = 100 // of Postgres
)

// processes are those whose CPU counts, in the order of the report. Generator,
// third party and partner live in this process and do not count.
var processes = [...]string{"ingest", "processor", "acknowledger", "postgres", "kafka"}

var services = [...]string{"ingest", "processor", "acknowledger"}

// integration is the benchmark's path: HMAC, JSON Schema and a check, one call,
// map, upsert, and statuses confirmed in batches of 50.
const integration = harness.Begin + harness.Record + `destinations:
  crm: {url: "${CRM_URL}", concurrency: 64, timeout: 10s, allow_private: true}
process:
  steps:
    - call:
        name: crm
        to: crm
        path: /requests
        body: {request_no: body.request_no, product: body.product}
        keep: {crm_id: response.body.id}
    - map: {request_no: body.request_no, product_key: body.product, crm_id: steps.crm.crm_id}
    - upsert: {table: service_requests, key: [request_no]}
  retry: {delays: [1s, 2s, 3s], attempts: 4, give_up_after: 10m}
` + harness.Acknowledge + `    retry: {first: 500ms, max: 2s, give_up_after: 1h}
`

// cell is one variant running for one repetition, in a schema and on topics of its own.
type cell struct {
	servers  *harness.Servers
	stack    *harness.Stack
	schema   string
	procs    map[string]*harness.Proc
	gone     map[string]time.Duration // CPU of processes stopped in this cell
	peak     map[string]int64         // RSS, bytes
	posted   int
	stretch  int
	most     float64 // accepted per second, of the burst
	profiles string  // where CPU profiles go, the file name's beginning; "": none
}

// newCell starts a variant's three services and warms them up.
func newCell(ctx context.Context, s *harness.Servers, v variant, name, profiles string) (*cell, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	address, err := harness.MakeSchema(ctx, s.Postgres.URL(), name)
	if err != nil {
		return nil, err
	}
	// The harness takes ready binaries from this variable; cells run one after another.
	if err := os.Setenv("WAYBILL_BIN", v.binaries); err != nil {
		return nil, err
	}
	stack, err := harness.New(ctx, harness.Options{Postgres: address, Kafka: s.Kafka.Addr(), Prefix: name, Integration: integration, Env: v.env})
	if err != nil {
		return nil, err
	}
	c := &cell{servers: s, stack: stack, schema: name, procs: map[string]*harness.Proc{}, gone: map[string]time.Duration{}, peak: map[string]int64{}, profiles: profiles}
	for _, service := range services {
		if err := c.start(ctx, service); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	if _, err := c.measure(ctx, &load{records: warmUp, size: smallBody, clients: clients}); err != nil {
		return nil, errors.Join(fmt.Errorf("warm up: %w", err), c.close())
	}
	return c, nil
}

func (c *cell) start(ctx context.Context, service string) error {
	p, err := c.stack.Start(service)
	if err != nil {
		return fmt.Errorf("start %s: %w", service, err)
	}
	c.procs[service] = p
	return c.stack.AwaitReady(ctx, service)
}

func (c *cell) stop(service string) error {
	p := c.procs[service]
	if p == nil {
		return nil
	}
	cpu, err := harness.CPU(p.PID())
	if err != nil {
		return err
	}
	peak, err := harness.PeakMemory(p.PID())
	if err != nil {
		return err
	}
	c.gone[service] += cpu
	c.peak[service] = max(c.peak[service], peak)
	delete(c.procs, service)
	return p.Stop(stopLimit)
}

// close ends the cell and drops its schema, so that no vacuum of it falls into the next.
func (c *cell) close() error {
	var errs []error
	for _, service := range services {
		errs = append(errs, c.stop(service))
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	_, err := c.stack.Pool.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{c.schema}.Sanitize()+" CASCADE")
	c.stack.Close()
	return errors.Join(append(errs, err)...)
}

// reading is every counter at one moment.
type reading struct {
	at  time.Time
	cpu map[string]time.Duration
	wal int64
}

func (c *cell) read(ctx context.Context) (reading, error) {
	r := reading{at: time.Now(), cpu: map[string]time.Duration{}}
	err := c.stack.Pool.QueryRow(ctx, `SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint`).Scan(&r.wal)
	if err != nil {
		return r, fmt.Errorf("read the position in the WAL: %w", err)
	}
	if r.cpu["postgres"], err = harness.TreeCPU(c.servers.Postgres.PID()); err != nil {
		return r, err
	}
	if r.cpu["kafka"], err = harness.TreeCPU(c.servers.Kafka.PID()); err != nil {
		return r, err
	}
	for _, service := range services {
		r.cpu[service] = c.gone[service]
		if p := c.procs[service]; p != nil {
			cpu, err := harness.CPU(p.PID())
			if err != nil {
				return r, err
			}
			r.cpu[service] += cpu
		}
	}
	return r, nil
}

// post runs a load under a name of its own.
func (c *cell) post(ctx context.Context, l *load) error {
	c.stretch++
	l.name, l.post = fmt.Sprintf("s%d", c.stretch), c.stack.Post
	c.posted += l.records
	return l.run(ctx)
}

// awaitConfirmed waits until the partner has confirmed everything posted in this cell.
func (c *cell) awaitConfirmed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, confirmLimit)
	defer cancel()
	err := harness.Poll(ctx, func() (bool, error) {
		for service, p := range c.procs {
			select {
			case <-p.Done():
				return false, fmt.Errorf("%s has ended\n%s", service, p.Log())
			default:
			}
		}
		return len(c.stack.Partner.Told()) >= c.posted, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d posted records were told to the partner: %w", len(c.stack.Partner.Told()), c.posted, err)
	}
	return nil
}

// hot is the share of heap-only updates among the updates of record so far. The
// services have stopped: what they had counted is in the server's statistics.
func (c *cell) hot(ctx context.Context) (float64, error) {
	var share float64
	err := c.stack.Pool.QueryRow(ctx, `SELECT coalesce(sum(n_tup_hot_upd) / nullif(sum(n_tup_upd), 0), 0)::float8 FROM pg_stat_user_tables
		WHERE schemaname = $1 AND (relname = 'record' OR relname LIKE 'record\_%')`, c.schema).Scan(&share)
	if err != nil {
		return 0, fmt.Errorf("share of HOT updates: %w", err)
	}
	return share, nil
}
