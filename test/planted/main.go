// Command planted plants known bugs, one by one, and shows that the tests catch
// each:
//
//	planted                 # all of them
//	planted fence_dropped   # these
//	planted -list
//
// First the catching tests must pass without a bug. Then, for each bug, each of
// its catchers must fail and say what it is there to say. The last line is
// `caught N of N`; the exit status is 1 unless all are caught and the control
// passes. Postgres is started unless WAYBILL_TEST_POSTGRES_URL names one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

const (
	statusMissed = 1
	statusUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("planted", flag.ContinueOnError)
	list := flags.Bool("list", false, "list the bugs with their catchers")
	verbose := flags.Bool("v", false, "show what a catcher says when it catches")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: planted [-v] [bug...]\n       planted -list")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return statusUsage
	}
	chosen, err := choose(flags.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "planted:", err)
		return statusUsage
	}
	if *list {
		for _, b := range chosen {
			fmt.Printf("%-24s%s\n", b.name, b.meaning)
			for _, c := range b.catchers {
				fmt.Printf("%-24s  %s -run '%s'\n", "", c.folder, c.run)
			}
		}
		return 0
	}
	ok, err := plant(ctx, chosen, *verbose)
	if err != nil {
		fmt.Fprintln(os.Stderr, "planted:", err)
	}
	if err != nil || !ok {
		return statusMissed
	}
	return 0
}

// choose gives the bugs of these names; all if there are none.
func choose(names []string) ([]bug, error) {
	all := bugs()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []bug
	for _, name := range names {
		i := slices.IndexFunc(all, func(b bug) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no bug %q; `planted -list` lists them", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
