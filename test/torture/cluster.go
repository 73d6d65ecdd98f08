package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"waybill.internal/pkg/localstack"
	"waybill.internal/test/harness"
	"waybill.internal/test/torture/journal"
)

const (
	// stopLimit is how long a process may take to end in good order.
	stopLimit = 60 * time.Second
	// readyLimit is how long everything may take to be ready.
	readyLimit = 90 * time.Second
	// logBytes bounds what is kept of the log of a process that ended by itself.
	logBytes = 8 << 10
	// connections is the most that Postgres takes.
	connections = 200
)

// cluster is the three services as processes, and everything around them.
type cluster struct {
	*harness.Servers
	stack   *harness.Stack
	name    string
	nodes   []*node
	drop    string
	dir     string // of the journals
	crashes *journal.Writer[journal.Crash]
}

// newCluster prepares the processes of a phase; none runs yet.
func newCluster(ctx context.Context, s *harness.Servers, name, dir string) (*cluster, error) {
	c := &cluster{Servers: s, name: name, dir: dir}
	address, err := harness.MakeSchema(ctx, s.Postgres.URL(), name)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "waybill-torture-")
	if err != nil {
		return nil, err
	}
	c.drop = filepath.Join(work, "drop")
	if err = errors.Join(os.MkdirAll(c.drop, 0o755), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	if c.crashes, err = journal.Create[journal.Crash](dir, journal.CrashesFile); err != nil {
		return nil, err
	}
	c.stack, err = harness.New(ctx, harness.Options{Postgres: address, Kafka: s.Kafka.Addr(), Prefix: name, Dir: work, Integration: integrationOf(c.drop),
		Env: map[string]string{"WAYBILL_KAFKA_PARTITIONS": "2", "WAYBILL_INGEST_DROP": c.drop}})
	if err != nil {
		return nil, err
	}
	for _, service := range []string{"ingest", "processor", "acknowledger"} {
		for i := range 2 {
			n, err := newNode(c, service, i+1)
			if err != nil {
				return nil, err
			}
			c.nodes = append(c.nodes, n)
		}
	}
	return c, nil
}

func (c *cluster) close() error {
	for _, n := range c.nodes {
		n.kill()
	}
	for _, n := range c.nodes {
		for _, release := range n.release {
			release()
		}
	}
	c.stack.Close()
	return c.crashes.Close()
}

// of lists the nodes of some services.
func (c *cluster) of(services ...string) []*node {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return !slices.Contains(services, n.service) })
}

func startAll(nodes []*node) error {
	for _, n := range nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	return nil
}

// stopAll ends the nodes in good order, at the same time.
func stopAll(nodes []*node) error {
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { errs[i] = n.stop() })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (c *cluster) awaitReady(ctx context.Context, nodes []*node) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for _, n := range nodes {
		if err := n.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// groups are the consumer groups and the topics that each reads.
func (c *cluster) groups() map[string][]string {
	return map[string][]string{c.name + ".main": workTopics(), c.name + ".acknowledger": {"result"}}
}

// rewind sets every group to the earliest offset. Its members must be gone; one
// that was killed counts as gone only after its session, so it is tried again.
func (c *cluster) rewind(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 45*time.Second)
	defer cancel()
	for group, topics := range c.groups() {
		var last error
		if err := harness.Poll(ctx, func() (bool, error) {
			last = harness.Rewind(ctx, c.Kafka.Addr(), group, c.name, topics)
			return last == nil, nil
		}); err != nil {
			return errors.Join(err, last)
		}
	}
	return nil
}

// node is one process that is started, ended and started again.
type node struct {
	cluster *cluster
	service string
	number  int
	admin   string
	http    string // of ingest
	release []func()

	mu   sync.Mutex
	proc *harness.Proc
	done bool // nobody starts it again
	ours bool // its end is wanted
}

func newNode(c *cluster, service string, number int) (*node, error) {
	n := &node{cluster: c, service: service, number: number}
	var err error
	if n.admin, err = n.reserve(); err == nil && service == "ingest" {
		n.http, err = n.reserve()
	}
	return n, err
}

// reserve gives an address that is free again whenever the node has been killed,
// and stays its own until the cluster is closed.
func (n *node) reserve() (string, error) {
	address, release, err := localstack.ReservePort()
	if err != nil {
		return "", err
	}
	n.release = append(n.release, release)
	return address, nil
}

func (n *node) String() string { return fmt.Sprintf("%s-%d", n.service, n.number) }

func (n *node) start() error {
	more := []string{"WAYBILL_ADMIN_ADDRESS=" + n.admin}
	if n.http != "" {
		more = append(more, "WAYBILL_INGEST_ADDRESS="+n.http)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done || n.proc != nil && !n.ours {
		return nil // it runs: whoever watches it was quicker
	}
	proc, err := n.cluster.stack.Start(n.service, more...)
	if err != nil {
		return fmt.Errorf("start %s: %w", n, err)
	}
	n.proc, n.ours = proc, false
	go n.watch(proc) // ends with the process
	return nil
}

// watch notes a process that ended although nobody had ended it, and starts the next.
func (n *node) watch(proc *harness.Proc) {
	<-proc.Done()
	n.mu.Lock()
	ours := n.ours || n.proc != proc
	if !ours {
		n.ours = true
	}
	n.mu.Unlock()
	if ours {
		return
	}
	text := proc.Log()
	n.cluster.crashes.Write(journal.Crash{At: time.Now(), Process: n.String(), Error: "see its log", Log: text[max(0, len(text)-logBytes):]})
	time.AfterFunc(time.Second, func() { _ = n.start() }) // as whoever runs it in production would
}

// current marks the running process as being ended by us.
func (n *node) current(ending bool) *harness.Proc {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ending {
		n.ours = true
	}
	return n.proc
}

func (n *node) kill() {
	if p := n.current(true); p != nil {
		p.Kill()
	}
}

func (n *node) stop() error {
	p := n.current(true)
	if p == nil {
		return nil
	}
	if err := p.Stop(stopLimit); err != nil {
		text := p.Log()
		n.cluster.crashes.Write(journal.Crash{At: time.Now(), Process: n.String(), Error: "SIGTERM: " + err.Error(), Log: text[max(0, len(text)-logBytes):]})
		p.Kill()
		return fmt.Errorf("stop %s: %w", n, err)
	}
	return nil
}

func (n *node) signal(sig syscall.Signal) error {
	p := n.current(false)
	if p == nil {
		return nil
	}
	return p.Signal(sig)
}

func (n *node) ready(ctx context.Context) error {
	last := "no answer"
	err := harness.Poll(ctx, func() (bool, error) {
		status, body := get(ctx, "http://"+n.admin+"/readyz")
		if body != "" {
			last = body
		}
		return status == 200, nil
	})
	if err != nil {
		return fmt.Errorf("%s is not ready: %w; %s", n, err, last)
	}
	return nil
}
