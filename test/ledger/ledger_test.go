// Package ledger_test runs the ledger's promises on a real Postgres.
package ledger_test

import (
	"testing"

	"waybill.internal/pkg/ledger/ledgertest"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

func TestLedger(t *testing.T) { ledgertest.Run(t, stacktest.Postgres) }
