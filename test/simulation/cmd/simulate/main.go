// Command simulate runs many seeds of the simulation on all cores and prints
// what they went through. It ends with status 1 at the first broken promise.
//
//	go run ./simulation/cmd/simulate -seeds 1000000
//	go run ./simulation/cmd/simulate -seed 42
package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waybill.internal/test/simulation"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

func run(args []string, out io.Writer) int {
	flags := flag.NewFlagSet("simulate", flag.ContinueOnError)
	flags.SetOutput(out)
	seeds := flags.Uint64("seeds", 10_000, "how many seeds to run")
	from := flags.Uint64("from", 1, "the first seed")
	one := flags.Uint64("seed", 0, "run this seed alone and print its trace")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	t := &total{faults: map[string]int{}, events: map[string]int{}}
	if *one != 0 {
		t.add(simulation.Run(*one, simulation.None, out))
	} else {
		t.runAll(*from, *seeds, out)
	}
	t.print(out)
	if len(t.failed) > 0 {
		return 1
	}
	return 0
}

// total sums what the runs report.
type total struct {
	mu                 sync.Mutex
	seeds, transitions uint64
	records            uint64
	virtual            float64 // seconds: a time.Duration ends after 292 years
	faults, events     map[string]int
	failed             []simulation.Result
}

func (t *total) add(r simulation.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seeds++
	t.transitions += uint64(r.Transitions)
	t.records += uint64(r.Records)
	t.virtual += r.Virtual.Seconds()
	for k, n := range r.Faults {
		t.faults[k] += n
	}
	for k, n := range r.Reached {
		t.events[k] += n
	}
	if len(r.Violations) > 0 {
		t.failed = append(t.failed, r)
	}
}

// runAll stops at the first seed that fails. One goroutine per core; each ends
// when no seed is left.
func (t *total) runAll(from, seeds uint64, out io.Writer) {
	var next, stop atomic.Uint64
	next.Store(from)
	stop.Store(from + seeds)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1) - 1; seed < stop.Load(); seed = next.Add(1) - 1 {
				r := simulation.Run(seed, simulation.None, nil)
				t.add(r)
				if len(r.Violations) > 0 {
					stop.Store(0)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		workers.Wait()
		close(done)
	}()
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			t.mu.Lock()
			fmt.Fprintf(out, "%d of %d seeds\n", t.seeds, seeds)
			t.mu.Unlock()
		}
	}
}

func (t *total) print(out io.Writer) {
	fmt.Fprintf(out, "%d seeds, %d records, %d transitions, %.1f virtual years\n", t.seeds, t.records, t.transitions, t.virtual/(365.25*24*3600))
	counts(out, "faults", t.faults)
	counts(out, "events", t.events)
	for _, r := range t.failed {
		fmt.Fprintf(out, "seed %d FAILED:\n  %s\nrepeat it with: go run ./simulation/cmd/simulate -seed %d\n", r.Seed, strings.Join(r.Violations, "\n  "), r.Seed)
	}
	if len(t.failed) == 0 {
		fmt.Fprintln(out, "no promise broken")
	}
}

func counts(out io.Writer, title string, m map[string]int) {
	fmt.Fprintf(out, "%s:\n", title)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(out, "  %-32s %d\n", k, m[k])
	}
}
