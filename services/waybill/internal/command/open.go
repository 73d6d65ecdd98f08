package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
)

// openLimit bounds the first contact with the ledger.
const openLimit = 10 * time.Second

// book is the ledger with the integrations that it keeps.
type book struct {
	*ledger.Ledger
	catalog *catalog.Catalog
	// incomplete says which integrations could not be read: what they decide
	// about their records is not known then.
	incomplete error
}

// settings reads the same variables as the services do.
func (in *invocation) settings() (backbone.Config, error) {
	s := daemon.NewSettings(in.Lookup)
	config := backbone.Load(s)
	return config, s.Err()
}

// open connects to the ledger and takes the integrations from it: an operator's
// machine has no files.
func (in *invocation) open() (*book, error) {
	config, err := in.settings()
	if err != nil {
		return nil, err
	}
	return openBook(in.ctx, config.Postgres.Reveal(), in.Lookup)
}

func openBook(ctx context.Context, url string, lookup daemon.Lookup) (*book, error) {
	known := catalog.New(integration.Lookup(lookup))
	l, err := ledger.Open(ctx, url, ledger.Options{Terms: known.Terms, MaxConns: 4, Name: "waybill-command"})
	if err != nil {
		return nil, failure{exitUsage, fmt.Errorf("WAYBILL_POSTGRES_URL: %w", err)}
	}
	b := &book{Ledger: l, catalog: known}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	if err := l.Ready(ctx); err != nil {
		l.Close()
		if errors.Is(err, ledger.ErrSchema) {
			return nil, problem(err)
		}
		return nil, unreachable(fmt.Errorf("%w; is WAYBILL_POSTGRES_URL right, and Postgres up? waybill doctor says more", err))
	}
	b.incomplete = known.LoadLedger(ctx, l)
	return b, nil
}

// openToRead warns where openToAct refuses.
func (in *invocation) openToRead() (*book, error) {
	b, err := in.open()
	if err == nil && b.incomplete != nil {
		in.warn("not every integration can be read here: %v", b.incomplete)
	}
	return b, err
}

// openToAct needs every integration: what is done to a record follows from its
// integration (its lane, whom to tell).
func (in *invocation) openToAct() (*book, error) {
	b, err := in.open()
	if err != nil {
		return nil, err
	}
	if b.incomplete != nil {
		b.Close()
		return nil, usage("nothing was done, because what to do follows from the integrations and not every one can be read here: %w; set the variables that it needs", b.incomplete)
	}
	return b, nil
}
