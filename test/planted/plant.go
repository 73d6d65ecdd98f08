package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"waybill.internal/pkg/localstack"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/pkg/planted"
)

const (
	// runLimit bounds one run of a test binary; its own time-out is a little shorter.
	runLimit   = 5 * time.Minute
	buildLimit = 15 * time.Minute
	stopLimit  = time.Minute
	// tailBytes of a run's output are shown when it did not do what it should.
	tailBytes = 4000
)

// field is where bugs are planted: test binaries with all plants in them.
type field struct {
	root     string
	dir      string            // of the binaries
	binaries map[string]string // by folder
	env      []string
	verbose  bool
}

// plant is the whole run; true: all bugs are caught, and the control passes.
func plant(ctx context.Context, chosen []bug, verbose bool) (ok bool, err error) {
	_, file, _, _ := runtime.Caller(0)
	f := &field{root: filepath.Dir(filepath.Dir(filepath.Dir(file))), binaries: map[string]string{}, verbose: verbose}
	if f.dir, err = os.MkdirTemp("", "waybill-planted-"); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(f.dir)) }()
	stop, err := f.servers(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	patterns := control(chosen)
	for _, folder := range sorted(patterns) {
		if err := f.build(ctx, folder); err != nil {
			return false, err
		}
	}
	healthy := true
	for _, folder := range sorted(patterns) {
		if !f.passes(ctx, folder, patterns[folder]) {
			healthy = false
		}
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	caught := 0
	for _, b := range chosen {
		if f.catches(ctx, b) {
			caught++
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	if !healthy {
		fmt.Println("the control failed: tests that fail without a bug catch nothing")
	}
	fmt.Printf("caught %d of %d\n", caught, len(chosen))
	return healthy && caught == len(chosen), nil
}

// servers starts a Postgres for all runs, unless one is there.
func (f *field) servers(ctx context.Context) (stop func() error, err error) {
	f.env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, planted.Variable+"=") })
	if os.Getenv(stacktest.EnvPostgresURL) != "" {
		return func() error { return nil }, nil
	}
	pg, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{Durable: true, MaxConnections: stacktest.MaxConnections})
	if err != nil {
		return nil, err
	}
	f.env = append(f.env, stacktest.EnvPostgresURL+"="+pg.URL())
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		return pg.Stop(ctx)
	}, nil
}

// control gives the patterns of each folder, each once: all of them must pass
// without a bug.
func control(chosen []bug) map[string][]string {
	patterns := map[string][]string{}
	for _, b := range chosen {
		for _, c := range b.catchers {
			if !slices.Contains(patterns[c.folder], c.run) {
				patterns[c.folder] = append(patterns[c.folder], c.run)
			}
		}
	}
	return patterns
}

func sorted(patterns map[string][]string) []string {
	list := make([]string, 0, len(patterns))
	for folder := range patterns {
		list = append(list, folder)
	}
	slices.Sort(list)
	return list
}

// build makes a folder's test binary with every plant in it.
func (f *field) build(ctx context.Context, folder string) error {
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	begin := time.Now()
	binary := filepath.Join(f.dir, strings.ReplaceAll(strings.TrimPrefix(folder, "./"), "/", "-")+".test")
	command := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "planted", "-o", binary, folder)
	command.Dir = f.root
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tests of %s: %w\n%s", folder, err, out)
	}
	f.binaries[folder] = binary
	fmt.Printf("built   %s (%s)\n", folder, short(begin))
	return nil
}

// run runs tests with a bug; "" is none. It returns what they print, with
// whether they failed. An error says that they could not be run to their end.
func (f *field) run(ctx context.Context, folder, pattern, bug string) (output string, failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	command := exec.CommandContext(ctx, f.binaries[folder], "-test.v", "-test.count=1", "-test.timeout="+(runLimit-10*time.Second).String(), "-test.run="+pattern)
	command.Dir = filepath.Join(f.root, folder)
	command.Env = append(slices.Clone(f.env), planted.Variable+"="+bug)
	// A signal to stop ends the tests in order: they have servers of their own.
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopLimit
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); exited && ctx.Err() == nil {
		return out.String(), true, nil
	}
	return out.String(), false, errors.Join(err, ctx.Err())
}

// passes runs a folder's catchers without a bug.
func (f *field) passes(ctx context.Context, folder string, patterns []string) bool {
	ok := true
	for _, pattern := range patterns {
		begin := time.Now()
		out, failed, err := f.run(ctx, folder, pattern, "")
		// A pattern that no test matches passes, too, and proves nothing.
		if passed := err == nil && !failed && strings.Contains(out, "--- PASS: "); !passed {
			ok = false
			fmt.Printf("CONTROL FAILED  %s -run '%s': %v\n%s\n", folder, pattern, err, tail(out))
			continue
		}
		fmt.Printf("passes  %s -run '%s' (%s)\n", folder, pattern, short(begin))
	}
	return ok
}

// catches plants one bug before each of its catchers.
func (f *field) catches(ctx context.Context, b bug) bool {
	ok := true
	for _, c := range b.catchers {
		begin := time.Now()
		out, failed, err := f.run(ctx, c.folder, c.run, b.name)
		where := fmt.Sprintf("%s -run '%s'", c.folder, c.run)
		switch {
		case err != nil:
			fmt.Printf("MISSED  %s: %s did not come to its end: %v\n%s\n", b.name, where, err, tail(out))
			ok = false
		case !failed:
			fmt.Printf("MISSED  %s: %s passes with it\n", b.name, where)
			ok = false
		case !strings.Contains(out, c.says):
			fmt.Printf("MISSED  %s: %s fails for another reason: it does not say %q\n%s\n", b.name, where, c.says, tail(out))
			ok = false
		default:
			fmt.Printf("caught  %-24s%s (%s)\n", b.name, where, short(begin))
			if f.verbose {
				fmt.Println(said(out, c.says))
			}
		}
	}
	return ok
}

// said is the line that holds the words.
func said(out, words string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, words) {
			return "        " + strings.TrimSpace(line)
		}
	}
	return ""
}

func tail(out string) string { return out[max(0, len(out)-tailBytes):] }

func short(begin time.Time) string { return time.Since(begin).Round(100 * time.Millisecond).String() }
