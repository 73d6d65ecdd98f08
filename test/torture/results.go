package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/localstack"
	"waybill.internal/test/harness"
	"waybill.internal/test/torture/checker"
)

// Results of a whole run, as results.json keeps them.
type Results struct {
	Begun    time.Time         `json:"begun"`
	Took     time.Duration     `json:"took_ns"`
	Commit   string            `json:"commit"`
	Versions map[string]string `json:"versions"`
	Cores    int               `json:"cores"`
	Torture  *Torture          `json:"torture,omitempty"`
	Wiped    *Wiped            `json:"wiped,omitempty"`
	Backlog  *Backlog          `json:"backlog,omitempty"`
	Rewound  *Rewound          `json:"rewound,omitempty"`
	Verdict  string            `json:"verdict"`
}

// violations are everything that is broken, one line each.
func (r *Results) violations() []string {
	var all []string
	add := func(phase string, report *checker.Report) {
		if report == nil {
			return
		}
		for _, f := range report.Findings {
			if f.Violations > 0 {
				all = append(all, fmt.Sprintf("%s: %s: %d times, such as: %s", phase, f.Name, f.Violations, f.Shown[0]))
			}
		}
	}
	note := func(phase, violation string) {
		if violation != "" {
			all = append(all, phase+": "+violation)
		}
	}
	if r.Torture != nil {
		add("torture", r.Torture.Report)
	}
	if r.Wiped != nil {
		add("wiped", r.Wiped.Report)
		note("wiped", r.Wiped.Violation)
	}
	if r.Backlog != nil {
		note("backlog", r.Backlog.Violation)
	}
	if r.Rewound != nil {
		note("rewound", r.Rewound.Violation)
	}
	return all
}

func (r *Results) describe() {
	r.Cores, r.Commit = runtime.NumCPU(), "unknown"
	command := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12")
	command.Dir = harness.Root()
	if out, err := command.Output(); err == nil {
		r.Commit = strings.TrimSpace(string(out))
	}
	r.Versions = map[string]string{"go": runtime.Version(), "kafka": localstack.KafkaVersion, "system": runtime.GOOS + "/" + runtime.GOARCH}
}

func (r *Results) write(dir string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.json"), append(raw, '\n'), 0o644)
}

// times are the faults of one kind, and how soon after their heals there was progress.
type times struct {
	kind          string
	faults        int
	overlapping   int
	none          int // no progress was seen
	median, worst time.Duration
}

// byKind sums up the faults; the times are of those that no other fault overlapped,
// unless all were overlapped.
func (t *Torture) byKind() []times {
	sums, alone, all := map[string]*times{}, map[string][]time.Duration{}, map[string][]time.Duration{}
	for _, f := range t.Faults {
		s := sums[f.Kind]
		if s == nil {
			s = &times{kind: f.Kind}
			sums[f.Kind] = s
		}
		s.faults++
		if f.Overlaps {
			s.overlapping++
		}
		if f.Progress == 0 {
			s.none++
			continue
		}
		all[f.Kind] = append(all[f.Kind], f.Progress)
		if !f.Overlaps {
			alone[f.Kind] = append(alone[f.Kind], f.Progress)
		}
	}
	var list []times
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		s, measured := sums[name], alone[name]
		if len(measured) == 0 {
			measured = all[name]
		}
		if slices.Sort(measured); len(measured) > 0 {
			s.median, s.worst = measured[len(measured)/2], measured[len(measured)-1]
		}
		list = append(list, *s)
	}
	slices.SortStableFunc(list, func(a, b times) int { return cmp.Compare(b.faults, a.faults) })
	return list
}

// readResults reads what an earlier run wrote.
func readResults(path string) (*Results, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s is no results.json of a run: %w", path, err)
	}
	return r, nil
}

const (
	sectionBegin = "<!-- torture:begin (written by `make torture TORTURE_ARGS=\"-report docs/reliability.md\"`) -->"
	sectionEnd   = "<!-- torture:end -->"
)

// report writes the results into their section of a document, which is made if it is missing.
func (r *Results) report(path string) error {
	section := sectionBegin + "\n\n" + r.markdown() + "\n" + sectionEnd + "\n"
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := string(old)
	if text == "" {
		text = "# Reliability\n\n"
	}
	before, rest, found := strings.Cut(text, sectionBegin)
	_, after, ended := strings.Cut(rest, sectionEnd)
	switch {
	case !found:
		text = strings.TrimRight(text, "\n") + "\n\n" + section
	case !ended:
		return fmt.Errorf("%s: the section begins and does not end: put %q behind it", path, sectionEnd)
	default:
		text = before + section + strings.TrimLeft(after, "\n")
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

func (r *Results) markdown() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## Torture\n\nReal processes, a real Postgres and a real Apache Kafka under load and faults, judged by a checker that shares no code with the product.\n\n")
	fmt.Fprintf(&b, "Commit `%s`, %s, %s, Kafka %s, %d cores, begun %s, took %s.\n\n", r.Commit, r.Versions["go"], r.Versions["system"], r.Versions["kafka"], r.Cores, r.Begun.UTC().Format("2006-01-02 15:04 UTC"), r.Took.Round(time.Second))
	fmt.Fprintf(&b, "**Verdict: %s**\n", r.Verdict)
	for _, v := range r.violations() {
		fmt.Fprintf(&b, "\n- %s", v)
	}
	if t := r.Torture; t != nil {
		t.markdown(&b)
	}
	fmt.Fprintln(&b)
	if w := r.Wiped; w != nil {
		fmt.Fprintf(&b, "\nKafka wiped under %d unfinished records: first progress after %s, all finished after %s.\n", w.Unfinished, round(w.Progress), round(w.Finished))
	}
	if k := r.Backlog; k != nil {
		fmt.Fprintf(&b, "\nA backlog of %d merely queued: %d messages on `work` when the processors started, %d afterwards (%d processed by then), %d on any retry topic.\n", k.Records, k.Before, k.After, k.Processed, k.Elsewhere)
	}
	if w := r.Rewound; w != nil {
		fmt.Fprintf(&b, "\nEvery group reset to the earliest offset after %d records: %d messages read again, %d new calls, %d new statuses, ledger changed: %t.\n", w.Records, w.Messages, w.NewCalls, w.NewTold, w.Changed)
	}
	return b.String()
}

func (t *Torture) markdown(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n\nSeed %d, %.0f minutes at %d requests/s with bursts of three times that: %d requests, %d faults. The schedule of the faults is the seed's; their interleaving is the machine's.\n", t.Seed, t.Minutes, t.Rate, t.Requests, len(t.Faults))
	fmt.Fprintf(b, "It came to rest %s after the last fault was healed.\n\n", round(t.Quiesce))
	fmt.Fprintf(b, "| fault | times | overlapping another | first progress after the heal, median | worst | none in %s |\n| --- | ---: | ---: | ---: | ---: | ---: |\n", progressLimit)
	for _, k := range t.byKind() {
		fmt.Fprintf(b, "| %s | %d | %d | %s | %s | %d |\n", k.kind, k.faults, k.overlapping, round(k.median), round(k.worst), k.none)
	}
	fmt.Fprintf(b, "\nTimes are of faults that no other one overlapped, where there are such. The goal is %s.\n", ProgressGoal)
	if t.Report == nil {
		return
	}
	fmt.Fprintf(b, "\n%d records, %d transitions, %d calls, %d effects, %d statuses told. Calls by a worker that had lost its record, under the same key and so without effect: %d.\n", t.Report.Records, t.Report.Transitions, t.Report.Calls, t.Report.Effects, t.Report.Statuses, t.Report.LateCalls)
	fmt.Fprintf(b, "\n| | invariant | looked at | violations |\n| --- | --- | ---: | ---: |\n")
	for _, f := range t.Report.Findings {
		fmt.Fprintf(b, "| %s | %s | %d | %d |\n", f.Name, f.What, f.Looked, f.Violations)
	}
}

func round(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

var uuidText = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// recordIn is the first record id in a text, "" for none.
func recordIn(text string) string { return uuidText.FindString(text) }
