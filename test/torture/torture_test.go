package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/test/harness"
	"waybill.internal/test/torture/checker"
	"waybill.internal/test/torture/journal"
)

// testWriter lets a run speak through the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

func TestMain(m *testing.M) { harness.Main(m) }

// TestTorture is two minutes in all: the torture with a fixed seed, and the other
// phases, small, side by side with it on servers of their own.
func TestTorture(t *testing.T) {
	t.Parallel()
	judged(t, &program{seed: 3, minutes: 1.2, rate: 60})
}

func TestPhases(t *testing.T) {
	t.Parallel()
	judged(t, &program{seed: 1, rate: 60, wipe: 2000, queue: 5000, rewind: 1000})
}

func judged(t *testing.T, p *program) {
	p.out, p.began, p.to = t.TempDir(), time.Now(), testWriter{t}
	results, err := p.all(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if results.Verdict != "ok" {
		t.Errorf("%s", strings.Join(results.violations(), "\n"))
	}
}

// TestCheckerIsIndependent: the checker and its journals import no product code.
func TestCheckerIsIndependent(t *testing.T) {
	t.Parallel()
	command := exec.Command("go", "list", "-deps", "./test/torture/checker/...")
	command.Dir = harness.Root()
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	seen := 0
	for path := range strings.FieldsSeq(string(out)) {
		switch own := strings.HasPrefix(path, "waybill.internal/test/torture/checker") || path == "waybill.internal/test/torture/journal"; {
		case own:
			seen++
		case strings.HasPrefix(path, "waybill.internal/"):
			t.Errorf("the checker imports %s: it must judge without the product's code", path)
		}
	}
	if seen < 3 {
		t.Errorf("found %d packages of the checker's own, want 3 at least:\n%s", seen, out)
	}
}

func TestPlanFollowsFromItsSeed(t *testing.T) {
	t.Parallel()
	first, second, other := newPlan(7), newPlan(7), newPlan(8)
	same, seen := true, map[string]bool{}
	quiet, overlapping := time.Duration(0), 0
	for range 300 {
		a, b, c := first.next(), second.next(), other.next()
		if a.number != b.number || a.kind.name != b.kind.name || a.pause != b.pause || a.length != b.length || a.which != b.which || a.overlaps != b.overlaps {
			t.Fatalf("one seed gave %+v and %+v", a, b)
		}
		same = same && a.kind.name == c.kind.name
		seen[a.kind.name] = true
		quiet = max(quiet, a.pause)
		if a.overlaps {
			overlapping++
		}
		if a.length < a.kind.shortest || a.length > a.kind.longest {
			t.Errorf("%s lasts %s, want %s to %s", a.kind.name, a.length, a.kind.shortest, a.kind.longest)
		}
	}
	if same {
		t.Error("two seeds gave the same faults")
	}
	if len(seen) != len(kinds) || quiet < shortestQuiet || overlapping == 0 {
		t.Errorf("300 faults are of %d kinds, overlap %d times, and leave %s in peace at most", len(seen), overlapping, quiet)
	}
}

// A kind that the nemesis does not know would be an error only after minutes.
func TestKindsTakeTheirResourcesInOrder(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		if len(k.resources) == 0 || k.weight < 1 || k.longest < k.shortest {
			t.Errorf("%s has no resources, no weight, or ends before it begins", k.name)
		}
		for i := range k.resources[1:] {
			if k.resources[i] >= k.resources[i+1] {
				t.Errorf("%s takes %q after %q: two faults could wait for each other in a circle", k.name, k.resources[i+1], k.resources[i])
			}
		}
	}
}

func TestByKindMeasuresTheFaultsThatStoodAlone(t *testing.T) {
	t.Parallel()
	run := &Torture{Faults: []journal.Fault{
		{Kind: killBroker, Progress: time.Second}, {Kind: killBroker, Progress: 3 * time.Second}, {Kind: killBroker, Progress: 2 * time.Second},
		{Kind: killBroker, Progress: 50 * time.Second, Overlaps: true}, {Kind: killBroker},
		{Kind: wipeKafka, Progress: 9 * time.Second, Overlaps: true},
	}}
	got := run.byKind()
	want := []times{
		{kind: killBroker, faults: 5, overlapping: 1, none: 1, median: 2 * time.Second, worst: 3 * time.Second},
		{kind: wipeKafka, faults: 1, overlapping: 1, median: 9 * time.Second, worst: 9 * time.Second},
	}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReportKeepsWhatStandsAroundIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reliability.md")
	results := &Results{Verdict: "ok", Torture: &Torture{Seed: 42, Report: &checker.Report{}}}
	if err := results.report(path); err != nil {
		t.Fatal(err)
	}
	before, after := "# Reliability\n\nBy hand, before.\n\n", "\nBy hand, after.\n"
	write(t, path, before+read(t, path)[len("# Reliability\n\n"):]+after)
	results.Torture.Seed = 43
	for range 2 {
		if err := results.report(path); err != nil {
			t.Fatal(err)
		}
	}
	text := read(t, path)
	if !strings.HasPrefix(text, before) || !strings.HasSuffix(text, strings.TrimLeft(after, "\n")) {
		t.Errorf("what stood around the section is gone:\n%s", text)
	}
	if strings.Count(text, sectionBegin) != 1 || strings.Count(text, "Seed 43") != 1 || strings.Contains(text, "Seed 42") {
		t.Errorf("the section was not replaced:\n%s", text)
	}
	write(t, path, "text\n"+sectionBegin+"\nno end\n")
	if err := results.report(path); err == nil {
		t.Error("a section without an end was replaced up to where?")
	}
}

func TestViolationsOfEveryPhaseCount(t *testing.T) {
	t.Parallel()
	broken := &checker.Report{Findings: []checker.Finding{{Name: "C1", Violations: 2, Shown: []string{"lost"}}}}
	results := &Results{Torture: &Torture{Report: broken}, Wiped: &Wiped{Report: broken, Violation: "no progress"}, Backlog: &Backlog{Violation: "sent twice"}, Rewound: &Rewound{Violation: "called again"}}
	if got := results.violations(); len(got) != 5 {
		t.Errorf("got %d violations, want 5: %q", len(got), got)
	}
	if got := (&Results{Torture: &Torture{}}).violations(); len(got) != 0 {
		t.Errorf("got %q, want none", got)
	}
}
