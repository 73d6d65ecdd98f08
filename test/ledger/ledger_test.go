// Package ledger_test runs the ledger's promises on a real Postgres.
package ledger_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"waybill.internal/pkg/ledger/ledgertest"
	"waybill.internal/pkg/localstack/stacktest"
)

func TestMain(m *testing.M) {
	status := stacktest.Main(m)
	if err := goleak.Find(stacktest.Goroutines()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func TestLedger(t *testing.T) { ledgertest.Run(t, stacktest.Postgres) }
