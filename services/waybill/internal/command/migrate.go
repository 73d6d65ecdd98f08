package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"waybill.internal/pkg/ledger"
)

// migrateLimit bounds one migration: it may wait for another one that runs.
const migrateLimit = 30 * time.Minute

type migrateCommand struct{}

func (migrateCommand) Help() string {
	return `May be run again at any time, and beside running services: it waits for another migration that runs.

Examples:
  WAYBILL_POSTGRES_URL=postgres://waybill:secret@db:5432/waybill waybill migrate`
}

func (migrateCommand) Run(in *invocation) error {
	config, err := in.settings()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(in.ctx, migrateLimit)
	defer cancel()
	applied, err := ledger.Migrate(ctx, config.Postgres.Reveal())
	if err != nil {
		return err
	}
	if applied == nil {
		applied = []int64{}
	}
	return in.print(map[string]any{"applied": applied}, func(w io.Writer) {
		if len(applied) == 0 {
			fmt.Fprintln(w, "The ledger's schema is up to date.")
		}
		for _, version := range applied {
			fmt.Fprintf(w, "applied migration %d\n", version)
		}
	})
}
