package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
)

// The exit codes of the package comment.
const (
	ExitFailed       = 1
	ExitConfig       = 2
	ExitHung         = 3
	ExitSecondSignal = 130
)

// ExitCode translates the error of Run.
func ExitCode(err error) int {
	var config *ConfigError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &config):
		return ExitConfig
	case errors.Is(err, ErrHung):
		return ExitHung
	default:
		return ExitFailed
	}
}

// Main is a binary's main function. It does not return.
func Main[C any](spec Spec[C]) {
	paceGarbage()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	os.Exit(run(spec, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr, signals, os.Exit))
}

// run is Main with its surroundings given. exit ends the process on a second signal.
func run[C any](spec Spec[C], args []string, lookup Lookup, stdout, stderr io.Writer, signals <-chan os.Signal, exit func(int)) int {
	flags := flag.NewFlagSet(spec.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	version := flags.Bool("version", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		writeHelp(spec, stdout)
		return 0
	case err != nil || flags.NArg() > 0:
		if err == nil {
			err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
		}
		fmt.Fprintf(stderr, "%s: %v; settings come from the environment, see %s --help\n", spec.Name, err, spec.Name)
		return ExitConfig
	case *version:
		if spec.Version == "" {
			spec.Version = "dev"
		}
		fmt.Fprintf(stdout, "%s %s\n", spec.Name, spec.Version)
		return 0
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() { // ends with run
		select {
		case <-signals:
			cancel()
		case <-ended:
			return
		}
		select {
		case <-signals: // somebody is tired of waiting
		case <-ended:
			return
		}
		fmt.Fprintf(stderr, "%s: second signal, leaving at once\n", spec.Name)
		exit(ExitSecondSignal)
	}()
	err := Run(ctx, spec, lookup, LogTo(stderr))
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", spec.Name, err)
	}
	return ExitCode(err)
}

// writeHelp lists every variable by letting the loader read nothing.
func writeHelp[C any](spec Spec[C], w io.Writer) {
	s := NewSettings(func(string) (string, bool) { return "", false })
	_, _, _ = load(spec, s) // what is missing does not matter here
	fmt.Fprintf(w, "%s: %s\n\nUsage: %s [--help | --version]\n\nSettings (environment; each also as NAME_FILE, a file with the value):\n\n", spec.Name, spec.Summary, spec.Name)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range s.vars {
		def := v.def
		if def == "" {
			def = "-"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", v.name, def, v.meaning)
	}
	_ = table.Flush() // the terminal is gone if this fails
}
