package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// seconds of CPU of a process, "" for all of them.
func (s Sample) seconds(process string) float64 {
	if process != "" {
		return s.CPU[process]
	}
	total := 0.0
	for _, cpu := range s.CPU {
		total += cpu
	}
	return total
}

// perRecord is µs of CPU, as counted.
func (s Sample) perRecord(process string) float64 {
	if s.Records == 0 {
		return 0
	}
	return s.seconds(process) / float64(s.Records) * 1e6
}

// share of the whole machine, in percent.
func (s Sample) share(process string) float64 {
	if s.Seconds == 0 {
		return 0
	}
	return s.seconds(process) / s.Seconds / float64(runtime.NumCPU()) * 100
}

// of gives one figure of every repetition of a scenario.
func (r *run) of(scenario, variant string, figure func(Sample) float64) Spread {
	var values []float64
	for _, s := range r.samples {
		if s.Scenario == scenario && s.Variant == variant {
			values = append(values, figure(s))
		}
	}
	return spread(values)
}

// normal scales CPU to the run's median host speed.
func (r *run) normal(figure func(Sample) float64) func(Sample) float64 {
	var all []float64
	for _, s := range r.samples {
		all = append(all, s.Calibration)
	}
	usual := spread(all).Median
	return func(s Sample) float64 {
		if s.Calibration == 0 {
			return figure(s)
		}
		return figure(s) * usual / s.Calibration
	}
}

func (r *run) variants() []string {
	var names []string
	for _, s := range r.samples {
		if s.Variant != pipeName && !slices.Contains(names, s.Variant) {
			names = append(names, s.Variant)
		}
	}
	slices.Sort(names)
	slices.Reverse(names) // "this" before "other"
	return names
}

// Summary is the last line of the output. Percentages are of the whole machine.
type Summary struct {
	CPU          map[string]float64 `json:"cpu_us_per_record"` // with "total"; at the burst, host speed as counted
	Accepted     float64            `json:"accepted_per_s"`
	Finished     float64            `json:"finished_per_s"`
	P50          float64            `json:"receipt_p50_ms"` // at half of the maximum rate
	P99          float64            `json:"receipt_p99_ms"`
	RSS          map[string]float64 `json:"rss_mib"`
	PipeRatio    float64            `json:"ratio_to_bare_pipe"` // finished records/s
	CPUAt500     float64            `json:"cpu_percent_at_500"`
	P99At1500    float64            `json:"receipt_p99_ms_at_1500"`
	CPUIdle      float64            `json:"cpu_percent_idle"`
	HOTShare     float64            `json:"hot_update_share"`
	WALPerRecord float64            `json:"wal_bytes_per_record"`
	Cores        int                `json:"cores"`
}

func (r *run) summary() Summary {
	median := func(scenario string, figure func(Sample) float64) float64 {
		return r.of(scenario, "this", figure).Median
	}
	s := Summary{CPU: map[string]float64{}, RSS: map[string]float64{}, Cores: runtime.NumCPU(), HOTShare: spread(r.hot["this"]).Median}
	s.CPU["total"] = round(median("burst", func(s Sample) float64 { return s.perRecord("") }))
	for _, p := range processes {
		s.CPU[p] = round(median("burst", func(s Sample) float64 { return s.perRecord(p) }))
	}
	for service, values := range r.peak["this"] {
		s.RSS[service] = round(spread(values).Max)
	}
	s.Accepted, s.Finished = round(median("burst", accepted)), round(median("burst", finished))
	s.P50, s.P99 = round(median("half", p50)), round(median("half", p99))
	if pipe := r.of("pipe", pipeName, finished).Median; pipe > 0 {
		s.PipeRatio = float64(int(s.Finished/pipe*100)) / 100
	}
	whole := func(s Sample) float64 { return s.share("") }
	s.CPUAt500, s.CPUIdle, s.P99At1500 = round(median("rate-500", whole)), round(median("idle", whole)), round(median("rate-1500", p99))
	s.WALPerRecord = round(median("burst", walPerRecord))
	return s
}

func accepted(s Sample) float64 { return s.AcceptedPS }
func finished(s Sample) float64 { return s.FinishedPS }
func p50(s Sample) float64      { return s.P50 }
func p99(s Sample) float64      { return s.P99 }
func drained(s Sample) float64  { return s.DrainRatio }
func walPerRecord(s Sample) float64 {
	return float64(s.WAL) / float64(max(s.Records, 1))
}

func round(v float64) float64 { return float64(int64(v*10+0.5)) / 10 }

// row of the report: a figure of a scenario, in whose repetitions it is comparable.
type row struct {
	scenario, figure string
	normal           bool // CPU: scaled to equal host speed
	value            func(Sample) float64
}

func (r *run) rows() []row {
	var rows []row
	for _, s := range scenarios(r.burst) {
		if !r.wants(s.name) {
			continue
		}
		if s.name == "idle" || strings.HasPrefix(s.name, "rate-") {
			rows = append(rows, row{s.name, "CPU, % of the machine", true, func(s Sample) float64 { return s.share("") }})
			for _, p := range processes {
				rows = append(rows, row{s.name, "… " + p, true, func(s Sample) float64 { return s.share(p) }})
			}
		} else {
			rows = append(rows, row{s.name, "CPU, µs a record", true, func(s Sample) float64 { return s.perRecord("") }})
			for _, p := range processes {
				rows = append(rows, row{s.name, "… " + p, true, func(s Sample) float64 { return s.perRecord(p) }})
			}
		}
		if s.name == "idle" {
			continue
		}
		rows = append(rows, row{s.name, "WAL, bytes a record", false, walPerRecord})
		if s.name == "drain" {
			rows = append(rows, row{s.name, "finished/s", false, finished}, row{s.name, "drained/s per accepted/s", false, drained})
			continue
		}
		rows = append(rows, row{s.name, "accepted/s", false, accepted}, row{s.name, "finished/s", false, finished},
			row{s.name, "receipt p50, ms", false, p50}, row{s.name, "receipt p99, ms", false, p99})
	}
	return rows
}

// line is one row with the spread of every variant.
type line struct {
	row
	spreads []Spread
}

func (r *run) lines() []line {
	var lines []line
	for _, w := range r.rows() {
		value := w.value
		if w.normal {
			value = r.normal(w.value)
		}
		l := line{row: w}
		for _, v := range r.variants() {
			l.spreads = append(l.spreads, r.of(w.scenario, v, value))
		}
		lines = append(lines, l)
	}
	if pipe := r.of("pipe", pipeName, finished); pipe.Median > 0 {
		none := make([]Spread, len(r.variants()))
		for _, w := range []row{{pipeName, "CPU, µs a record", true, func(s Sample) float64 { return s.perRecord("") }}, {pipeName, "finished/s", false, finished}} {
			value := w.value
			if w.normal {
				value = r.normal(w.value)
			}
			spreads := slices.Clone(none)
			spreads[0] = r.of("pipe", pipeName, value)
			lines = append(lines, line{w, spreads})
		}
	}
	return append(lines, r.wholeRun()...)
}

// wholeRun is what is known of a repetition only at its end.
func (r *run) wholeRun() []line {
	hot := line{row: row{scenario: "whole run", figure: "HOT share of record updates, %"}}
	for _, v := range r.variants() {
		s := spread(r.hot[v])
		hot.spreads = append(hot.spreads, Spread{s.Min * 100, s.Median * 100, s.Max * 100})
	}
	lines := []line{hot}
	for _, service := range services {
		peak := line{row: row{scenario: "whole run", figure: "peak memory of " + service + ", MiB"}}
		for _, v := range r.variants() {
			peak.spreads = append(peak.spreads, spread(r.peak[v][service]))
		}
		lines = append(lines, peak)
	}
	return lines
}

func (s Spread) String() string {
	return fmt.Sprintf("%s / %s / %s", short(s.Min), short(s.Median), short(s.Max))
}

func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// cells of a line: scenario, figure, each variant, and the ratio of the second to the first.
func (l line) cells() []string {
	cells := []string{l.scenario, l.figure}
	for _, s := range l.spreads {
		if s == (Spread{}) {
			cells = append(cells, "-")
			continue
		}
		cells = append(cells, s.String())
	}
	if len(l.spreads) == 2 {
		ratio := "-"
		if a, b := l.spreads[0].Median, l.spreads[1].Median; a > 0 && b > 0 {
			ratio = fmt.Sprintf("%.3f", b/a)
		}
		cells = append(cells, ratio)
	}
	return cells
}

func (r *run) header() []string {
	header := []string{"scenario", "figure"}
	for _, v := range r.variants() {
		header = append(header, v+": min / median / max")
	}
	if len(r.variants()) == 2 {
		header = append(header, "other / this")
	}
	return header
}

// publish writes the table, the samples, the report's section, and last the summary.
func (r *run) publish(stdout io.Writer) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(r.header(), "\t"))
	for _, l := range r.lines() {
		fmt.Fprintln(w, strings.Join(l.cells(), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "host speed: the fixed work cost %s ms of CPU; CPU figures are scaled to its median\n", r.calibrations())
	if r.results != "" {
		raw, err := json.MarshalIndent(map[string]any{"samples": r.samples, "hot_update_share": r.hot, "peak_rss_mib": r.peak, "summary": r.summary()}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(r.results, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	if r.report != "" {
		if err := r.writeReport(); err != nil {
			return err
		}
	}
	last, err := json.Marshal(r.summary())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s\n", last)
	return err
}

func (r *run) calibrations() Spread {
	var all []float64
	for _, s := range r.samples {
		all = append(all, s.Calibration)
	}
	return spread(all)
}

// Section marks of a report; what stands outside them is written by people.
const (
	sectionBegin = "<!-- begin: written by `make bench` -->"
	sectionEnd   = "<!-- end -->"
)

func (r *run) writeReport() error {
	raw, err := os.ReadFile(r.report)
	if err != nil {
		return fmt.Errorf("the report must be there already, with its marks: %w", err)
	}
	text, err := replaceSection(string(raw), r.section())
	if err != nil {
		return fmt.Errorf("%s: %w", r.report, err)
	}
	return os.WriteFile(r.report, []byte(text), 0o644)
}

func replaceSection(text, section string) (string, error) {
	head, rest, begins := strings.Cut(text, sectionBegin)
	_, tail, ends := strings.Cut(rest, sectionEnd)
	if !begins || !ends {
		return "", fmt.Errorf("the marks %q and %q are not both there, in this order", sectionBegin, sectionEnd)
	}
	return head + sectionBegin + "\n" + section + sectionEnd + tail, nil
}

func (r *run) section() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n%d cores, %s, %s/%s, %d repetitions, a burst of %d records. Host speed: the fixed work cost %s ms of CPU (min / median / max).\n\n",
		runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, r.repetitions, r.burst, r.calibrations())
	header := r.header()
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat(" --- |", len(header)))
	for _, l := range r.lines() {
		fmt.Fprintf(b, "| %s |\n", strings.Join(l.cells(), " | "))
	}
	raw, err := json.Marshal(r.summary())
	if err == nil { // numbers and strings always marshal
		fmt.Fprintf(b, "\n```json\n%s\n```\n\n", raw)
	}
	for _, s := range scenarios(r.burst) {
		if r.wants(s.name) {
			fmt.Fprintf(b, "- `%s`: %s.\n", s.name, s.says)
		}
	}
	return b.String()
}
