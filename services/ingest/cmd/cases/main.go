// Command cases runs a folder of real files with known results through the
// product's own verifiers and readers; it fails on any difference.
package main

import (
	"os"

	"waybill.internal/services/ingest/internal/cases"
)

func main() { os.Exit(cases.Main(os.Args[1:], os.Getenv("WAYBILL_CASES"), os.Stdout, os.Stderr)) }
