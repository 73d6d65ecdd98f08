package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpreadAndQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}}, {[]float64{4}, Spread{4, 4, 4}}, {[]float64{9, 1, 2}, Spread{1, 2, 9}}, {[]float64{4, 2}, Spread{2, 3, 4}},
	} {
		if got := spread(c.values); got != c.want {
			t.Errorf("spread(%v) = %v, want %v", c.values, got, c.want)
		}
	}
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1)*time.Millisecond)
	}
	slices.Reverse(hundred)
	for q, want := range map[float64]float64{0.5: 50, 0.99: 99, 1: 100, 0: 1} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile %v is %v ms, want %v", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
}

func TestReplaceSection(t *testing.T) {
	t.Parallel()
	text := "above\n" + sectionBegin + "\nold\n" + sectionEnd + "\nbelow\n"
	got, err := replaceSection(text, "new\n")
	if want := "above\n" + sectionBegin + "\nnew\n" + sectionEnd + "\nbelow\n"; err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"", sectionBegin, sectionEnd + sectionBegin} {
		if _, err := replaceSection(bad, "new"); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}

func TestReportHasItsMarks(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replaceSection(string(raw), ""); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"-burst 5", "-repetitions 0", "-scenarios bursts", "-compare-env GOGC", "stray", "-nothing"} {
		if _, err := parse(strings.Fields(bad), io.Discard); err == nil {
			t.Errorf("%s: taken", bad)
		}
	}
	o, err := parse(strings.Fields("-scenarios burst,idle -compare-env GOGC=200,A=b=c"), io.Discard)
	if err != nil || !o.wants("idle") || o.wants("drain") || len(o.compareEnv) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	for _, size := range []int{smallBody, bigBody} {
		e := event("s1", 12, size)
		if !json.Valid(e.Body) || len(e.Body) > size || len(e.Body) < size-10 {
			t.Errorf("a body of %d bytes for %d, valid %v", len(e.Body), size, json.Valid(e.Body))
		}
	}
}

// The last line is one JSON object, ratios compare medians, and CPU is scaled
// to equal host speed: the second repetition ran at half the speed.
func TestPublish(t *testing.T) {
	t.Parallel()
	r := &run{options: options{repetitions: 2, burst: 1000, scenarios: []string{"burst", "pipe"}},
		hot: map[string][]float64{"this": {0.9}, "other": {0.5}}, peak: map[string]map[string][]float64{"this": {"ingest": {50, 60}}}}
	for i, slow := range []float64{1, 2} {
		for variant, cpu := range map[string]float64{"this": 0.4, "other": 0.6} {
			r.samples = append(r.samples, Sample{Scenario: "burst", Variant: variant, Repetition: i + 1, Records: 1000, Seconds: 1,
				CPU: map[string]float64{"ingest": cpu * slow}, Calibration: 20 * slow, AcceptedPS: 1000, FinishedPS: 900, WAL: 4_000_000})
		}
		r.samples = append(r.samples, Sample{Scenario: "pipe", Variant: pipeName, Records: 1000, Seconds: 1, FinishedPS: 1800, Calibration: 20 * slow})
	}
	var out bytes.Buffer
	if err := r.publish(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var s Summary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatalf("the last line is no JSON: %v", err)
	}
	if s.PipeRatio != 0.5 || s.CPU["total"] != 600 || s.RSS["ingest"] != 60 || s.WALPerRecord != 4000 || s.HOTShare != 0.9 {
		t.Errorf("summary %+v", s)
	}
	table := strings.Join(strings.Fields(out.String()), " ")
	if want := "burst CPU, µs a record 600 / 600 / 600 900 / 900 / 900 1.500"; !strings.Contains(table, want) {
		t.Errorf("the table has no %q:\n%s", want, out.String())
	}
}
