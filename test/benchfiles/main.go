package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"waybill.internal/test/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if task := os.Getenv(plainVariable); task != "" {
		err = runPlain(task, os.Stdout)
	} else {
		err = bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "benchfiles:", err)
		stop()
		os.Exit(1)
	}
}

func allFormats() []string { return []string{"csv", "xml", "ndjson", "xlsx"} }

// options of one run.
type options struct {
	size        int64 // of CSV, XML and NDJSON, in bytes
	formats     []string
	repetitions int
	embedded    bool   // Kafka in this process
	profiles    string // folder
	dir         string // for the files
}

// xlsxSize is the size of the spreadsheet: 100 MiB beside 1 GiB.
func (o options) xlsxSize() int64 { return o.size / 1024 * 100 }

const (
	minSize = 1 << 20
	maxSize = 16 << 30
)

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{size: 1 << 30, formats: allFormats()}
	flags := flag.NewFlagSet("benchfiles", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("size", "of the CSV, XML and NDJSON files, such as 64MiB (default 1GiB); the XLSX has a tenth", func(s string) (err error) {
		o.size, err = parseSize(s)
		return err
	})
	flags.Func("formats", "those to measure, separated by commas (default "+strings.Join(o.formats, ",")+")", func(s string) error {
		o.formats = strings.Split(s, ",")
		for _, f := range o.formats {
			if !slices.Contains(allFormats(), f) {
				return fmt.Errorf("there is no format %q; there are %s", f, strings.Join(allFormats(), ", "))
			}
		}
		return nil
	})
	flags.IntVar(&o.repetitions, "repetitions", 1, "how often each format is measured, 1 to 20; the median counts")
	flags.BoolVar(&o.embedded, "embedded-kafka", false, "a Kafka within this process, which keeps every message in memory: for small files")
	flags.StringVar(&o.profiles, "profile", "", "a folder for a CPU profile of ingest per format; it costs CPU itself")
	flags.StringVar(&o.dir, "dir", "", "where the generated files go while they are measured (default: the temporary folder)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: everything is given by flags, see -h", flags.Arg(0))
	}
	if o.repetitions < 1 || o.repetitions > 20 {
		return o, errors.New("-repetitions must be 1 to 20")
	}
	return o, nil
}

func parseSize(s string) (int64, error) {
	for _, unit := range []struct {
		name  string
		shift uint
	}{{"GiB", 30}, {"MiB", 20}} {
		if number, ok := strings.CutSuffix(s, unit.name); ok {
			n, err := strconv.ParseInt(number, 10, 32)
			if err != nil || n<<unit.shift < minSize || n<<unit.shift > maxSize {
				break
			}
			return n << unit.shift, nil
		}
	}
	return 0, fmt.Errorf("%q is no size; write one from 1MiB to 16GiB", s)
}

// bench measures every format and prints the table and the JSON object.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	defer harness.Clean()
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "waybill-benchfiles-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := startServers(ctx, o.embedded)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	var all []Result
	for _, format := range o.formats {
		var list []Result
		for i := range o.repetitions {
			r := runner{options: o, servers: s, dir: filepath.Join(dir, format), name: fmt.Sprintf("%s%d", format, i), progress: stderr}
			result, err := r.measure(ctx, format)
			if err != nil {
				return fmt.Errorf("%s: %w", format, err)
			}
			list = append(list, result)
		}
		all = append(all, median(list))
	}
	table(stdout, all)
	return json.NewEncoder(stdout).Encode(struct {
		Bench   string   `json:"bench"`
		Results []Result `json:"results"`
	}{"files", all})
}

// median gives the repetition in the middle by its share of COPY.
func median(list []Result) Result {
	slices.SortFunc(list, func(a, b Result) int {
		switch {
		case a.OfCopy < b.OfCopy:
			return -1
		case a.OfCopy > b.OfCopy:
			return 1
		}
		return 0
	})
	return list[len(list)/2]
}

func table(w io.Writer, all []Result) {
	fmt.Fprintln(w, "| format | MiB | rows | into the ledger, rows/s | of COPY | COPY, rows/s | of COPY of its own rows | COPY of its own rows, rows/s | plain reader, rows/s | ingest, peak MiB | plain, peak MiB | ingest, µs CPU a row | Postgres, µs CPU a row |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, r := range all {
		fmt.Fprintf(w, "| %s | %.0f | %d | %.0f | %.2f | %.0f | %.2f | %.0f | %.0f | %.0f | %.0f | %.1f | %.1f |\n", r.Format, r.MiB, r.Rows, r.RowsPS, r.OfCopy, r.CopyPS, r.OfOwnCopy, r.OwnCopyPS, r.PlainPS,
			r.PeakMiB, r.PlainPeakMiB, r.IngestCPU, r.PostgresCPU)
	}
}
