package simulation_test

import (
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/test/simulation"
)

var (
	seeds = flag.Uint64("seeds", 2500, "how many seeds TestSeeds runs")
	one   = flag.Uint64("seed", 0, "run this seed alone and print its trace")
)

// everyKind is what must have happened at least once over all seeds, so that a
// fault that no longer strikes does not pass for one that does no harm.
var everyKind = []string{
	"transaction rolled back", "commit unknown", "message doubled", "stale commit", "worker killed by its record", "zombie turned away",
	"breaker opened", "503", "did it, said it failed", "old number confirmed", "duplicate healed", "lost", "send_lost", "redriven",
	"crash", "stop in order", "stopped and resumed", "kafka down", "ledger down", "third party dead", "third party slow", "third party 5xx",
	"third party liar", "partner silent", "kafka wiped", "message lost", "group rewound", "retention gap", "robbed of its batch", "robbed of its waiting row",
}

var everyEvent = []string{
	"accepted", "invalid", "claimed", "overtaken", "behind", "isolated", "succeeded", "refused", "failed", "lost", "given_back", "redriven", "due", "released",
	"held", "discard", "requeued", "replayed", "revived", "sent", "confirmed", "unconfirmed", "send_lost", "send_requeued",
}

func repeat(seed uint64) string {
	return fmt.Sprintf("repeat it with: go test ./simulation -run TestSeeds -seed %d", seed)
}

// Seeds that failed once: 30192 let a process that stops give back what an earlier
// session of its own held.
func TestSeedsThatFailed(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{30192} {
		report(t, simulation.Run(seed, simulation.None, nil))
	}
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	if *one != 0 {
		r := simulation.Run(*one, simulation.None, os.Stdout)
		report(t, r)
		return
	}
	faults, events := map[string]int{}, map[string]int{}
	transitions := 0
	for seed := uint64(1); seed <= *seeds; seed++ {
		r := simulation.Run(seed, simulation.None, nil)
		report(t, r)
		for k, n := range r.Faults {
			faults[k] += n
		}
		for k, n := range r.Reached {
			events[k] += n
		}
		transitions += r.Transitions
		if seed%20 == 0 {
			if again := simulation.Run(seed, simulation.None, nil); again.Hash != r.Hash {
				t.Fatalf("seed %d: trace %s, then %s: %s", seed, r.Hash, again.Hash, repeat(seed))
			}
		}
	}
	t.Logf("%d seeds, %d transitions", *seeds, transitions)
	if *seeds < 1000 {
		return
	}
	for _, k := range everyKind {
		if faults[k] == 0 {
			t.Errorf("fault %q never struck", k)
		}
	}
	for _, e := range everyEvent {
		if events[e] == 0 {
			t.Errorf("event %q never happened", e)
		}
	}
}

func report(t *testing.T, r simulation.Result) {
	t.Helper()
	if len(r.Violations) > 0 {
		t.Fatalf("seed %d after %d events:\n  %s\n%s", r.Seed, r.Events, strings.Join(r.Violations, "\n  "), repeat(r.Seed))
	}
}

// A mutation of the model that the judge does not notice would make every
// green run above worthless.
func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	const within = 200
	for _, m := range simulation.Mutations() {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= within; seed++ {
				if r := simulation.Run(seed, m, nil); len(r.Violations) > 0 {
					t.Logf("seed %d: %s", seed, r.Violations[0])
					return
				}
			}
			t.Errorf("not caught within %d seeds", within)
		})
	}
}

// The judge must not agree with the code because it is the code.
func TestJudgeIsIndependent(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("judge", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no judge: %v", err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, ".") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}
