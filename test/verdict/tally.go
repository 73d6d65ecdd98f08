package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

const (
	// maxLine bounds one event: go test cuts a test's output into lines.
	maxLine = 8 << 20
	// maxKept bounds the output that is kept of one test or package, in bytes;
	// beyond it the oldest half goes.
	maxKept = 512 << 10
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Output     string
}

// name is a test or, without Test, a package.
type name struct{ pkg, test string }

func (n name) String() string { return n.pkg + "." + n.test }

// tally counts events. Output is kept only until its test has passed.
type tally struct {
	out                    io.Writer
	kept                   map[name]*kept
	open                   map[string]bool // packages that started and have not ended
	builds                 map[string]*kept
	failedIn               map[string]bool // packages with a failed test
	passed, failed, broken int             // broken counts builds, and packages that failed or did not end
	skipped                []name
}

func newTally(out io.Writer) *tally {
	return &tally{out: out, kept: map[name]*kept{}, open: map[string]bool{}, builds: map[string]*kept{}, failedIn: map[string]bool{}}
}

// kept is the newest output of something, bounded.
type kept struct {
	text []byte
	cut  bool
}

func (k *kept) add(s string) {
	k.text = append(k.text, s...)
	if len(k.text) > maxKept {
		k.text, k.cut = slices.Clone(k.text[len(k.text)-maxKept/2:]), true
	}
}

func (k *kept) String() string {
	if k.cut {
		return "(the beginning is left out)\n" + string(k.text)
	}
	return string(k.text)
}

func (t *tally) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(t.out, lines.Text()) // what tools print beside the events
			continue
		}
		t.take(e)
	}
	return lines.Err()
}

func (t *tally) take(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "start":
		t.open[e.Package] = true
	case "output":
		t.output(n, e.Output)
	case "build-output":
		keep(t.builds, e.ImportPath).add(e.Output)
	case "build-fail":
		t.broken++
		fmt.Fprintf(t.out, "BUILD FAILED %s\n%s", e.ImportPath, keep(t.builds, e.ImportPath))
		delete(t.builds, e.ImportPath)
	case "pass", "skip", "fail":
		t.end(n, e.Action)
	}
}

func keep[K comparable](m map[K]*kept, key K) *kept {
	if m[key] == nil {
		m[key] = &kept{}
	}
	return m[key]
}

// output shows a package's own result line at once and keeps the rest.
func (t *tally) output(n name, text string) {
	if n.test == "" && (strings.HasPrefix(text, "ok  \t") || strings.HasPrefix(text, "FAIL\t") || strings.HasPrefix(text, "?   \t")) {
		fmt.Fprint(t.out, text)
		return
	}
	keep(t.kept, n).add(text)
}

func (t *tally) end(n name, action string) {
	switch {
	case n.test == "":
		delete(t.open, n.pkg)
		if action == "fail" {
			t.breakDown(n)
		}
	case action == "pass":
		t.passed++
	case action == "skip":
		t.skipped = append(t.skipped, n)
		fmt.Fprintf(t.out, "SKIPPED %s\n", n)
		t.show(n)
	case action == "fail":
		t.fail(n)
		fmt.Fprintf(t.out, "FAILED %s\n", n)
		t.show(n)
	}
	delete(t.kept, n)
}

func (t *tally) show(n name) {
	if k := t.kept[n]; k != nil {
		fmt.Fprint(t.out, k)
	}
}

// unfinished shows the output of tests that a panic or a time-out cut off: they
// get no result of their own.
func (t *tally) unfinished(pkg string) {
	var cut []name
	for n := range t.kept {
		if n.pkg == pkg && n.test != "" {
			cut = append(cut, n)
		}
	}
	slices.SortFunc(cut, func(a, b name) int { return strings.Compare(a.test, b.test) })
	for _, n := range cut {
		fmt.Fprintf(t.out, "CUT OFF %s\n", n)
		t.show(n)
		t.fail(n)
		delete(t.kept, n)
	}
}

func (t *tally) fail(n name) {
	t.failed++
	t.failedIn[n.pkg] = true
}

// breakDown is for a package that failed or did not end; one without a failed
// test (a build, a leak, an exit) counts as a failure itself.
func (t *tally) breakDown(n name) {
	t.broken++
	t.show(n)
	t.unfinished(n.pkg)
	if !t.failedIn[n.pkg] {
		t.fail(n)
	}
}

// close prints the last lines and says whether all is well.
func (t *tally) close(noSkips bool, may map[string]bool) bool {
	for _, pkg := range slices.Sorted(maps.Keys(t.open)) {
		fmt.Fprintf(t.out, "NOT FINISHED %s\n", pkg)
		t.breakDown(name{pkg: pkg})
	}
	for _, n := range t.skipped {
		if noSkips && !may[n.String()] {
			fmt.Fprintf(t.out, "NO TEST MAY SKIP HERE: %s\n", n)
			t.failed++
		}
	}
	if t.passed+t.failed+t.broken == 0 {
		fmt.Fprintln(t.out, "NOTHING WAS TESTED")
		return false
	}
	if t.broken > 0 {
		fmt.Fprintf(t.out, "%d packages or builds failed\n", t.broken)
	}
	fmt.Fprintf(t.out, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, len(t.skipped))
	return t.failed == 0 && t.broken == 0
}
