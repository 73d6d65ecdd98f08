// Command checker judges a torture run by its journals and its ledger:
//
//	checker -journals run/journals -postgres postgres://… [-json report.json]
//
// It prints one line per invariant and ends with ok or VIOLATION; the exit status
// is 0, 1 with a violation, 2 if something could not be read.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"waybill.internal/test/torture/checker"
)

func main() { os.Exit(run()) }

func run() int {
	dir := flag.String("journals", "", "the folder with the journals")
	postgres := flag.String("postgres", "", "the ledger's URL; its search path leads to the tables")
	out := flag.String("json", "", "a file for the report as JSON")
	flag.Parse()
	if *dir == "" || *postgres == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "checker: give -journals DIR and -postgres URL, and nothing else")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	report, err := checker.Check(ctx, *dir, *postgres)
	if err == nil && *out != "" {
		err = write(*out, report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "checker:", err)
		return 2
	}
	report.Print(os.Stdout)
	if !report.OK() {
		return 1
	}
	return 0
}

func write(path string, report *checker.Report) error {
	raw, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
