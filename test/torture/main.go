// Command torture runs Waybill as its users do, three services as processes of
// their own on a real Postgres and a real Apache Kafka, and breaks things under
// load: processes and servers are killed, frozen, wiped and rewound, the third
// party and the partner misbehave. When everything is healed and has come to rest,
// the checker, a program that shares no code with the product, judges by the
// journals of all sides and by the ledger.
//
//	go run ./test/torture -seed 1 -minutes 10 [-rate 200] [-out DIR] [-report docs/reliability.md]
//	go run ./test/torture -results DIR/results.json -report docs/reliability.md
//	go run ./test/torture -minutes 0 -wiped 50000 -backlog 1000000 -rewound 5000
//
// -minutes 0 leaves the torture itself out; -wiped, -backlog and -rewound add
// their phases, with so many records each. The schedule of the faults follows from
// the seed, their interleaving with the load does not. The exit status is 0, 1
// with a violation, 2 if the run itself failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"waybill.internal/test/harness"
)

// limits of the flags.
const (
	maxMinutes = 24 * 60
	maxRate    = 5000
	maxRecords = 2_000_000
)

// program is a run with its settings.
type program struct {
	seed    uint64
	minutes float64
	rate    int
	out     string
	checker string // the checker's binary
	wipe    int
	queue   int
	rewind  int

	began time.Time
	mu    sync.Mutex
	to    io.Writer
}

func main() { os.Exit(run()) }

func run() int {
	defer harness.Clean()
	p := &program{to: os.Stdout, began: time.Now()}
	var report, earlier string
	flag.StringVar(&earlier, "results", "", "results.json of an earlier run: nothing is run, -report is written from it")
	flag.Uint64Var(&p.seed, "seed", 1, "decides the faults, the load and how the parties behave")
	flag.Float64Var(&p.minutes, "minutes", 10, "how long faults happen; 0: only the other phases")
	flag.IntVar(&p.rate, "rate", 200, "requests a second, with bursts of three times that")
	flag.StringVar(&p.out, "out", "", "a folder for journals, results.json and the story of what is broken; empty: a new temporary one")
	flag.StringVar(&report, "report", "", "a document whose section about torture is written anew")
	flag.IntVar(&p.wipe, "wiped", 0, "records that are unfinished when Kafka is wiped; 0: not done")
	flag.IntVar(&p.queue, "backlog", 0, "records that are queued before processors start; 0: not done")
	flag.IntVar(&p.rewind, "rewound", 0, "records that are finished before every group is rewound; 0: not done")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var results *Results
	var err error
	if earlier != "" {
		results, err = readResults(earlier)
	} else {
		results, err = p.all(ctx)
	}
	if err == nil && report != "" {
		err = results.report(report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 2
	}
	if earlier == "" {
		p.say("results in %s", p.out)
	}
	if results.Verdict != "ok" {
		return 1
	}
	return 0
}

func (p *program) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.to, "%7.1fs  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

func (p *program) validate() error {
	switch {
	case p.minutes < 0 || p.minutes > maxMinutes:
		return fmt.Errorf("-minutes is %g; give 0 to %d", p.minutes, maxMinutes)
	case p.rate < 1 || p.rate > maxRate:
		return fmt.Errorf("-rate is %d; give 1 to %d", p.rate, maxRate)
	case min(p.wipe, p.queue, p.rewind) < 0 || max(p.wipe, p.queue, p.rewind) > maxRecords:
		return fmt.Errorf("-wiped, -backlog and -rewound take 0 to %d", maxRecords)
	case flag.NArg() > 0:
		return fmt.Errorf("%q is no flag", flag.Arg(0))
	}
	return nil
}

// all runs the phases, one after the other, on servers of their own.
func (p *program) all(ctx context.Context) (*Results, error) {
	err := p.validate()
	if err == nil && p.out == "" {
		p.out, err = os.MkdirTemp("", "waybill-torture-out-")
	}
	if err == nil {
		p.checker, err = buildChecker(ctx, p.out)
	}
	if err != nil {
		return nil, err
	}
	r := &Results{Begun: p.began}
	r.describe()
	servers, err := harness.StartServers(ctx, connections)
	if err != nil {
		return nil, err
	}
	err = errors.Join(p.phases(ctx, servers, r), servers.Stop(stopLimit))
	r.Took, r.Verdict = time.Since(p.began), "ok"
	if len(r.violations()) > 0 {
		r.Verdict = "VIOLATION"
	}
	if err != nil {
		r.Verdict = "not finished: " + err.Error()
	}
	if err := errors.Join(err, r.write(p.out)); err != nil {
		return nil, err
	}
	p.summary(r)
	return r, nil
}

func (p *program) phases(ctx context.Context, s *harness.Servers, r *Results) error {
	var err error
	if p.minutes > 0 {
		if r.Torture, err = p.torture(ctx, s, time.Duration(p.minutes*float64(time.Minute))); err != nil {
			return err
		}
	}
	if p.rewind > 0 {
		if r.Rewound, err = p.rewound(ctx, s, p.rewind); err != nil {
			return err
		}
	}
	if p.queue > 0 {
		if r.Backlog, err = p.backlog(ctx, s, p.queue); err != nil {
			return err
		}
	}
	if p.wipe > 0 {
		r.Wiped, err = p.wiped(ctx, s, p.wipe)
	}
	return err
}

func (p *program) summary(r *Results) {
	if r.Torture != nil {
		for _, k := range r.Torture.byKind() {
			p.say("%-48s %3d times, first progress after %s, at worst %s, none %d times", k.kind, k.faults, round(k.median), round(k.worst), k.none)
		}
	}
	for _, v := range r.violations() {
		p.say("%s", v)
	}
	p.say("%s", r.Verdict)
}

// buildChecker builds the checker into a folder: it judges as a program of its own.
func buildChecker(ctx context.Context, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "checker")
	command := exec.CommandContext(ctx, "go", "build", "-o", path, "./test/torture/checker/cmd/checker")
	command.Dir = harness.Root()
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the checker: %w\n%s", err, out)
	}
	return path, nil
}
