// Package command is the command `waybill`: one file per command.
//
// Every command prints for people, or with --json one JSON document (tail: one
// per line) on standard output; what went wrong goes to standard error and says
// what to do about it.
//
// # Exit codes
//
//	0    done, and nothing is wrong
//	1    a problem was found: not balanced, not found, refused, failed again
//	2    the command line or the settings are wrong
//	3    the ledger, Kafka or the address given cannot be reached
//	130  interrupted
//
// Settings come from the same WAYBILL_ variables as the services'.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/term"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/waybill/internal/console"
)

// The exit codes of the package comment.
const (
	exitProblem     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitInterrupted = 130
)

// Surroundings are what a command sees of the process it runs in.
type Surroundings struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Lookup   daemon.Lookup
	Now      func() time.Time
	Terminal bool // standard output is one: progress may be redrawn
	Ask      bool // standard input is one: a person can be asked
}

type commands struct {
	JSON bool `help:"Print JSON instead of text." name:"json"`

	Up       upCommand       `cmd:"" help:"Run everything in one process, with a Postgres and a Kafka of its own."`
	Demo     demoCommand     `cmd:"" help:"Show the whole way of 10,000 records through a bad day."`
	Check    checkCommand    `cmd:"" help:"Check integration files and say what they do."`
	Send     sendCommand     `cmd:"" help:"Post signed webhooks, from files or generated."`
	Trigger  triggerCommand  `cmd:"" help:"Post a provider's event, really signed."`
	Listen   listenCommand   `cmd:"" help:"Receive webhooks on this machine, verify and forward them."`
	Simulate simulateCommand `cmd:"" help:"Run a misbehaving third party or partner."`
	Receipt  receiptCommand  `cmd:"" help:"Show the receipt of a record."`
	Trace    traceCommand    `cmd:"" help:"Tell the whole story of one record or request."`
	Tail     tailCommand     `cmd:"" help:"Show what happens to records."`
	Audit    auditCommand    `cmd:"" help:"Prove that nothing is lost."`
	Dead     deadCommand     `cmd:"" help:"List, show, requeue or discard what waits for a person."`
	File     fileCommand     `cmd:"" help:"Pull, list or show the files that partners leave."`
	Poll     pollCommand     `cmd:"" help:"List polled sources, and poll one now or for a range."`
	Source   sourceCommand   `cmd:"" help:"List, test, pause and resume sources."`
	Migrate  migrateCommand  `cmd:"" help:"Bring the ledger's schema up to date."`
	Doctor   doctorCommand   `cmd:"" help:"Look for what is wrong with the installation."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// invocation is one run of one command.
type invocation struct {
	Surroundings
	ctx  context.Context //nolint:containedctx // lives exactly as long as the one call it is made for
	json bool
}

// Process is the main function: it returns the exit code.
func Process() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal stops with care; a second one ends the process as usual.
	context.AfterFunc(ctx, stop)
	return Main(ctx, os.Args[1:], Surroundings{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Lookup: os.LookupEnv, Now: time.Now,
		Terminal: term.IsTerminal(int(os.Stdout.Fd())), Ask: term.IsTerminal(int(os.Stdin.Fd()))})
}

// Main runs one command line and returns the exit code. ctx ending interrupts it.
func Main(ctx context.Context, args []string, around Surroundings) (code int) {
	defer func() {
		if left, ok := recover().(parserExit); ok {
			code = int(left)
		}
	}()
	var all commands
	parser, err := kong.New(&all, kong.Name("waybill"), kong.Description(description), kong.Writers(around.Stdout, around.Stderr),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Exit(func(code int) { panic(parserExit(code)) }))
	if err != nil {
		fmt.Fprintln(around.Stderr, "waybill: the commands are declared wrongly:", err)
		return exitUsage
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(around.Stderr, "waybill: %s; see waybill --help\n", console.CleanLines(err.Error()))
		return exitUsage
	}
	err = parsed.Run(&invocation{Surroundings: around, ctx: ctx, json: all.JSON})
	if err == nil {
		return 0
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(around.Stderr, "waybill: %s\n", console.CleanLines(telemetry.Scrub(text)))
	}
	return exitCode(ctx, err)
}

// parserExit leaves kong, which ends the process itself after --help.
type parserExit int

const description = `Waybill moves records between other people's systems and yours, and can prove that it lost none.

New here: waybill demo. Then: waybill up, waybill send, waybill trace ID, waybill audit.
Exit codes: 0 fine, 1 a problem was found, 2 usage or settings, 3 cannot reach the ledger, Kafka or an address.`

// failure is an error that knows its exit code.
type failure struct {
	code int
	err  error
}

func (f failure) Error() string {
	if f.err == nil {
		return "" // all was said on standard output
	}
	return f.err.Error()
}

func (f failure) Unwrap() error { return f.err }

// problem is exit code 1; with a nil error nothing more is printed.
func problem(err error) error { return failure{exitProblem, err} }

func usage(format string, args ...any) error { return failure{exitUsage, fmt.Errorf(format, args...)} }

func unreachable(err error) error { return failure{exitUnreachable, err} }

func exitCode(ctx context.Context, err error) int {
	var own failure
	var settings *daemon.ConfigError
	var mistakes integration.Mistakes
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &settings), errors.As(err, &mistakes):
		return exitUsage
	case errors.As(err, &connect):
		return exitUnreachable
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return exitInterrupted
	default:
		return exitProblem
	}
}

type versionCommand struct{}

func (versionCommand) Run(in *invocation) error {
	version := "dev"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	return in.print(map[string]string{"version": version}, func(w io.Writer) { fmt.Fprintln(w, "waybill", version) })
}
