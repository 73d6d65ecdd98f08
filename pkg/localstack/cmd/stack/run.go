package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"waybill.internal/pkg/localstack"
	"waybill.internal/pkg/localstack/stacktest"
)

const (
	statusFailed = 1
	statusUsage  = 2
	// signalStatus is added to a signal's number, as shells do.
	signalStatus = 128
	// graceLimit is how long the command may take to end after a signal.
	graceLimit = 30 * time.Second
	stopLimit  = time.Minute
	usage      = "usage: stack run [--kafka=false] -- command args...\n       stack fetch\n"
)

// run is the command without the process around it; ctx ends with a signal.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return statusUsage
	}
	switch args[0] {
	case "run":
		return runWith(ctx, args[1:], stderr)
	case "fetch":
		if err := localstack.Fetch(ctx); err != nil {
			return fail(stderr, err)
		}
		return 0
	default:
		fmt.Fprintf(stderr, "stack: no command %q\n%s", args[0], usage)
		return statusUsage
	}
}

func fail(stderr io.Writer, err error) int {
	fmt.Fprintln(stderr, "stack:", err)
	return statusFailed
}

func runWith(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("stack run", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	withKafka := flags.Bool("kafka", true, "start an Apache Kafka too")
	if err := flags.Parse(args); err != nil {
		return statusUsage
	}
	if flags.NArg() == 0 {
		fmt.Fprintf(stderr, "stack: no command to run\n%s", usage)
		return statusUsage
	}
	s, err := startServers(ctx, *withKafka)
	if err != nil {
		return fail(stderr, err)
	}
	status, runErr := runCommand(ctx, flags.Args(), s.env)
	stopCtx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	if err := errors.Join(runErr, s.stop(stopCtx)); err != nil {
		return max(status, fail(stderr, err))
	}
	return status
}

// servers are what was started here, with what the command is told of it.
type servers struct {
	env      []string
	postgres *localstack.Postgres // nil: not ours
	kafka    *localstack.Kafka    // nil: not ours
}

// startServers starts both at the same time; the slower one is Kafka.
func startServers(ctx context.Context, withKafka bool) (*servers, error) {
	s := &servers{}
	var postgresErr, kafkaErr error
	var both sync.WaitGroup
	if os.Getenv(stacktest.EnvPostgresURL) == "" {
		both.Go(func() {
			s.postgres, postgresErr = localstack.StartPostgres(ctx, localstack.PostgresOptions{
				Durable: true, MaxConnections: stacktest.MaxConnections,
			})
		})
	}
	if withKafka && os.Getenv(stacktest.EnvKafka) == "" {
		both.Go(func() { s.kafka, kafkaErr = localstack.StartKafka(ctx, localstack.KafkaOptions{}) })
	}
	both.Wait()
	if err := errors.Join(postgresErr, kafkaErr); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		return nil, errors.Join(err, s.stop(stopCtx))
	}
	if s.postgres != nil {
		s.env = append(s.env, stacktest.EnvPostgresURL+"="+s.postgres.URL())
	}
	if s.kafka != nil {
		s.env = append(s.env, stacktest.EnvKafka+"="+s.kafka.Addr())
	}
	return s, nil
}

func (s *servers) stop(ctx context.Context) error {
	var err error
	if s.kafka != nil {
		err = s.kafka.Stop(ctx)
	}
	if s.postgres != nil {
		err = errors.Join(err, s.postgres.Stop(ctx))
	}
	return err
}

// runCommand gives the command's exit status. When ctx ends the command gets
// SIGTERM, and SIGKILL if it does not heed that within graceLimit.
func runCommand(ctx context.Context, args, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = graceLimit
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return statusFailed, fmt.Errorf("run %s: %w", args[0], err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signalStatus + int(status.Signal()), nil
	}
	if ctx.Err() != nil && cmd.ProcessState.Success() { // it heeded the signal, but the run is not whole
		return signalStatus + int(syscall.SIGTERM), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
