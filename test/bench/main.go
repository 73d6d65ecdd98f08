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
	"slices"
	"strings"
	"syscall"

	"waybill.internal/test/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if setting := os.Getenv(pipeVariable); setting != "" {
		err = runPipe(ctx, setting)
	} else {
		err = bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// options of one run.
type options struct {
	repetitions int
	burst       int
	scenarios   []string
	compare     string // folder
	compareEnv  []string
	results     string
	report      string
	profiles    string
}

// variant is one set of binaries with settings.
type variant struct {
	name     string
	binaries string // folder
	env      map[string]string
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.repetitions, "repetitions", 3, "how often each scenario is measured, 1 to 50")
	flags.IntVar(&o.burst, "burst", 20_000, "records of a burst, 1,000 to 1,000,000")
	chosen := flags.String("scenarios", "", "the scenarios to run, separated by commas; empty: all, and the bare pipe")
	flags.StringVar(&o.compare, "compare", "", "a checkout, or a folder of binaries, to measure in turn with this one")
	settings := flags.String("compare-env", "", "settings (A=1,B=2) to measure in turn with the default ones")
	flags.StringVar(&o.results, "results", "results.json", "where every sample is written; empty: nowhere")
	flags.StringVar(&o.report, "report", "", "a Markdown file whose generated section is written again")
	flags.StringVar(&o.profiles, "profile", "", "a folder for CPU profiles of the services in each scenario; they cost CPU themselves")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: everything is given by flags, see -h", flags.Arg(0))
	}
	if o.repetitions < 1 || o.repetitions > 50 || o.burst < 1000 || o.burst > 1_000_000 {
		return o, errors.New("-repetitions must be 1 to 50 and -burst 1,000 to 1,000,000")
	}
	o.scenarios, o.compareEnv = split(*chosen), split(*settings)
	for _, setting := range o.compareEnv {
		if name, _, ok := strings.Cut(setting, "="); !ok || name == "" {
			return o, fmt.Errorf("-compare-env: %q is not NAME=value", setting)
		}
	}
	return o, checkScenarios(o.scenarios, o.burst)
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func checkScenarios(chosen []string, burst int) error {
	known := []string{"pipe"}
	for _, s := range scenarios(burst) {
		known = append(known, s.name)
	}
	for _, name := range chosen {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

func (o options) wants(scenario string) bool {
	return len(o.scenarios) == 0 || slices.Contains(o.scenarios, scenario)
}

// variants builds what is to be measured.
func (o options) variants() ([]variant, error) {
	own, err := harness.Build("")
	if err != nil {
		return nil, err
	}
	list := []variant{{name: "this", binaries: own}}
	if o.compare == "" && len(o.compareEnv) == 0 {
		return list, nil
	}
	other := variant{name: "other", binaries: own, env: map[string]string{}}
	if o.compare != "" {
		if other.binaries, err = binaries(o.compare); err != nil {
			return nil, err
		}
	}
	for _, setting := range o.compareEnv {
		name, value, _ := strings.Cut(setting, "=")
		other.env[name] = value
	}
	return append(list, other), nil
}

// binaries gives a folder of binaries: dir itself, or what is built from it if it is a checkout.
func binaries(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "go.work")); err != nil {
		if _, err := os.Stat(filepath.Join(dir, "ingest")); err != nil {
			return "", fmt.Errorf("%s is neither a checkout (no go.work) nor a folder of binaries (no ingest)", dir)
		}
		return dir, nil
	}
	out, err := os.MkdirTemp("", "waybill-bench-")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-o", out}
	for _, name := range append(services[:], "waybill") {
		args = append(args, "./services/"+name+"/cmd/"+name)
	}
	command := exec.Command("go", args...)
	command.Dir = dir
	if text, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", dir, err, text)
	}
	return out, nil
}

func bench(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	defer harness.Clean()
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	variants, err := o.variants()
	if err != nil {
		return err
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	s, err := harness.StartServers(ctx, connections)
	if err != nil {
		return err
	}
	r := &run{options: o, servers: s, progress: stderr}
	err = errors.Join(r.all(ctx, variants), s.Stop(stopLimit))
	if err != nil { // what was measured until then is worth seeing, but is no result
		r.report, r.results = "", ""
	}
	return errors.Join(err, r.publish(stdout))
}
