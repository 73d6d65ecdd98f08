package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/pkg/clock"
	"waybill.internal/test/harness"
	"waybill.internal/test/torture/journal"
)

const (
	// atOnce bounds the faults under way together.
	atOnce = 3
	// progressLimit is how long progress is waited for after a heal.
	progressLimit = 60 * time.Second
	// healLimit bounds one fault with its healing.
	healLimit = 3 * time.Minute
	// backendsCut bounds how many connections one fault ends.
	backendsCut = 12
)

// nemesis breaks things by plan, heals each, and writes down when.
type nemesis struct {
	cluster *cluster
	parties *parties
	journal *journal.Writer[journal.Fault]
	say     func(string, ...any)

	locks   map[string]*sync.Mutex // by resource
	active  atomic.Int64
	epoch   atomic.Int64 // counts begins: whether something else began meanwhile
	watches sync.WaitGroup
	mu      sync.Mutex
	faults  []journal.Fault
}

func newNemesis(c *cluster, p *parties, say func(string, ...any)) (*nemesis, error) {
	n := &nemesis{cluster: c, parties: p, say: say, locks: map[string]*sync.Mutex{}}
	for _, k := range kinds {
		for _, r := range k.resources {
			n.locks[r] = &sync.Mutex{}
		}
	}
	var err error
	n.journal, err = journal.Create[journal.Fault](c.dir, journal.NemesisFile)
	return n, err
}

// run follows the plan until ctx ends; it returns when everything is healed and
// every progress was seen or waited for long enough.
func (n *nemesis) run(ctx context.Context, p *plan) error {
	places := make(chan struct{}, atOnce)
	var faults sync.WaitGroup
	for {
		f := p.next()
		if clock.Sleep(ctx, f.pause) != nil {
			break
		}
		places <- struct{}{}
		done := make(chan struct{})
		faults.Go(func() {
			defer func() { <-places; close(done) }()
			n.fault(context.WithoutCancel(ctx), f)
		})
		if !f.overlaps {
			<-done
		}
	}
	faults.Wait()
	n.watches.Wait()
	return n.journal.Close()
}

// fault does one fault with its healing, while it holds its resources: in
// alphabetical order, so that two never wait for each other in a circle.
func (n *nemesis) fault(ctx context.Context, f planned) {
	for _, r := range f.kind.resources {
		n.locks[r].Lock()
		defer n.locks[r].Unlock()
	}
	ctx, cancel := context.WithTimeout(ctx, healLimit)
	defer cancel()
	alone := n.active.Add(1) == 1
	epoch := n.epoch.Add(1)
	line := journal.Fault{Number: f.number, Kind: f.kind.name, Begin: time.Now()}
	if f.kind.longest > 0 {
		line.Target = fmt.Sprintf("for %s", f.length.Round(time.Millisecond))
	}
	n.say("fault %d: %s %s", f.number, line.Kind, line.Target)
	err := n.do(ctx, f)
	line.Healed = time.Now()
	n.active.Add(-1)
	if err != nil {
		line.Error = err.Error()
		n.say("fault %d could not be done: %v", f.number, err)
	}
	n.watches.Go(func() { // ends with progressLimit
		line.Progress = n.progress(f.kind.name, line.Healed)
		line.Overlaps = !alone || n.epoch.Load() != epoch
		n.journal.Write(line)
		n.mu.Lock()
		n.faults = append(n.faults, line)
		n.mu.Unlock()
	})
}

// progress is how long after a heal the next record is processed, or told where
// telling was what broke; 0 if nothing was seen for progressLimit.
func (n *nemesis) progress(kind string, healed time.Time) time.Duration {
	query := `SELECT ended_at FROM attempt WHERE ended_at > $1 AND kind = 'process' AND event = 'succeeded' ORDER BY ended_at LIMIT 1`
	switch kind {
	case killAcknowledger, zombieAcknowledger, partnerDead:
		query = `SELECT ended_at FROM attempt WHERE ended_at > $1 AND kind = 'notify' AND event = 'confirmed' ORDER BY ended_at LIMIT 1`
	}
	ctx, cancel := context.WithTimeout(context.Background(), progressLimit)
	defer cancel()
	var took time.Duration
	_ = harness.Poll(ctx, func() (bool, error) { // its end without progress is the answer 0
		var at time.Time
		if err := n.cluster.stack.Pool.QueryRow(ctx, query, healed).Scan(&at); err != nil {
			return false, nil
		}
		took = max(at.Sub(healed), time.Millisecond)
		return true, nil
	})
	return took
}

func (n *nemesis) do(ctx context.Context, f planned) error {
	c := n.cluster
	switch f.kind.name {
	case killIngest:
		return n.kill(ctx, f.length, c.of("ingest")[f.which])
	case killProcessor:
		return n.kill(ctx, f.length, c.of("processor")[f.which])
	case killAcknowledger:
		return n.kill(ctx, f.length, c.of("acknowledger")[f.which])
	case killServices:
		return n.kill(ctx, f.length, c.nodes...)
	case zombieProcessor:
		return n.freeze(ctx, f.length, c.of("processor")[f.which])
	case zombieAcknowledger:
		return n.freeze(ctx, f.length, c.of("acknowledger")[f.which])
	case freezeIngest:
		return n.freeze(ctx, f.length, c.of("ingest")[f.which])
	case rollingRestart:
		return n.roll(ctx)
	case rewindGroups:
		return n.rewind(ctx)
	case thirdPartyDead:
		return n.dead(ctx, &n.parties.thirdPartyDead, f.length)
	case partnerDead:
		return n.dead(ctx, &n.parties.partnerDead, f.length)
	}
	return n.server(ctx, f)
}

func (n *nemesis) server(ctx context.Context, f planned) error {
	c := n.cluster
	switch f.kind.name {
	case killBroker:
		if err := c.Kafka.Kill(ctx); err != nil {
			return err
		}
		_ = clock.Sleep(ctx, f.length)
		return c.Kafka.Restart(ctx)
	case killPostgres:
		if err := c.Postgres.Kill(ctx); err != nil {
			return err
		}
		_ = clock.Sleep(ctx, f.length)
		return c.Postgres.Restart(ctx)
	case freezeBroker:
		err := c.Kafka.Pause()
		_ = clock.Sleep(ctx, f.length)
		return errors.Join(err, c.Kafka.Resume())
	case freezePostgres:
		err := c.Postgres.Pause()
		_ = clock.Sleep(ctx, f.length)
		return errors.Join(err, c.Postgres.Resume())
	case wipeKafka:
		return c.Kafka.Wipe(ctx)
	case cutBackends:
		return n.cut(ctx)
	}
	return fmt.Errorf("no fault is called %q", f.kind.name)
}

func (n *nemesis) kill(ctx context.Context, down time.Duration, nodes ...*node) error {
	for _, node := range nodes {
		node.kill()
	}
	_ = clock.Sleep(ctx, down)
	return startAll(nodes)
}

func (n *nemesis) freeze(ctx context.Context, length time.Duration, node *node) error {
	err := node.signal(syscall.SIGSTOP)
	_ = clock.Sleep(ctx, length)
	return errors.Join(err, node.signal(syscall.SIGCONT))
}

// roll restarts one process after the other in good order, each once the last is ready.
func (n *nemesis) roll(ctx context.Context) error {
	for _, node := range n.cluster.nodes {
		if err := errors.Join(node.stop(), node.start()); err != nil {
			return err
		}
		// Not ready in time is no failure: the ledger may be another fault's just now.
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		_ = node.ready(short)
		cancel()
	}
	return nil
}

func (n *nemesis) rewind(ctx context.Context) error {
	consumers := n.cluster.of("processor", "acknowledger")
	err := stopAll(consumers)
	if err == nil {
		err = n.cluster.rewind(ctx)
	}
	return errors.Join(err, startAll(consumers))
}

func (n *nemesis) dead(ctx context.Context, party *atomic.Bool, length time.Duration) error {
	party.Store(true)
	_ = clock.Sleep(ctx, length)
	party.Store(false)
	return nil
}

// cut ends some of the services' connections to the ledger, in the middle of whatever they do.
func (n *nemesis) cut(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, n.cluster.Postgres.URL())
	if err != nil {
		return fmt.Errorf("cut backends: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM (
		SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'waybill-%' ORDER BY random() LIMIT $1) AS picked`, backendsCut)
	return err
}
