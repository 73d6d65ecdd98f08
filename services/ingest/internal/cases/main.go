package cases

import (
	"flag"
	"fmt"
	"io"
)

// Exit codes of the program.
const (
	exitDiffers = 1
	exitUsage   = 2
)

// Main is the program: it runs the folder of its argument, or of the environment,
// and gives the exit code: 0 when nothing differs.
func Main(args []string, folder string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("cases", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprintln(errs, "usage: cases [folder]   (without it: the folder in WAYBILL_CASES)")
	}
	if err := flags.Parse(args); err != nil || flags.NArg() > 1 {
		flags.Usage()
		return exitUsage
	}
	if flags.NArg() == 1 {
		folder = flags.Arg(0)
	}
	if folder == "" {
		flags.Usage()
		return exitUsage
	}
	r, err := Run(folder, out)
	if err != nil {
		fmt.Fprintln(errs, "cases:", err)
		return exitDiffers
	}
	if !r.OK() {
		fmt.Fprintf(errs, "cases: %d differences\n", r.Differences)
		return exitDiffers
	}
	return 0
}
