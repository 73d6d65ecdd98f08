// Command verdict reads `go test -json` and says how it went.
//
//	go test -json work | go run ./test/verdict [-no-skips] [-may-skip package.Test]...
//
// It prints each package's result line as it comes, the whole output of a test
// that failed and the name of each test that skipped, and ends with one line:
//
//	1234 passed, 0 failed, 1 skipped
//
// The exit status is 1 when a test or a build failed, when a package did not
// finish, when nothing was tested at all, and, with -no-skips, when a test
// skipped that no -may-skip names; it is 2 when the command line is wrong.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

const (
	statusFailed = 1
	statusUsage  = 2
)

func main() {
	// Ctrl-C reaches go test as well: its last lines are read to the end.
	signal.Ignore(os.Interrupt)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, in io.Reader, out, stderr io.Writer) int {
	flags := flag.NewFlagSet("verdict", flag.ContinueOnError)
	flags.SetOutput(stderr)
	noSkips := flags.Bool("no-skips", false, "fail when a test skips")
	may := map[string]bool{}
	flags.Func("may-skip", "a test that may skip all the same: import path, a dot, the test's name", func(name string) error {
		may[name] = true
		return nil
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return statusUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "verdict: unexpected argument %q; the events are read from standard input\n", flags.Arg(0))
		return statusUsage
	}
	t := newTally(out)
	if err := t.read(in); err != nil {
		fmt.Fprintln(stderr, "verdict: read the test events:", err)
		return statusFailed
	}
	if !t.close(*noSkips, may) {
		return statusFailed
	}
	return 0
}
