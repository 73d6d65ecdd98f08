// Package example is what surrounds the service-request integration that is
// shipped: its two tables, and the simulated CRM and partner on loopback. The
// demo and `waybill up --with-example` use it.
package example

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/services/waybill/internal/simulated"
)

const (
	// Integration is the name in the shipped file.
	Integration = "service-requests"
	// Path is where its partner posts.
	Path = "/in/service-requests"

	stopLimit = 3 * time.Second
)

const tables = `
CREATE TABLE IF NOT EXISTS product_keys (
    client_key   text PRIMARY KEY,
    platform_key text NOT NULL
);
CREATE TABLE IF NOT EXISTS service_requests (
    request_no  text PRIMARY KEY,
    email       text        NOT NULL,
    product_key text        NOT NULL,
    opened_at   timestamptz NOT NULL,
    closed_at   timestamptz,
    quantity    integer     NOT NULL,
    note        text,
    crm_id      text        NOT NULL
);`

// Tables makes the tables of the integration in the ledger's database, and
// fills the product keys.
func Tables(ctx context.Context, postgresURL string) error {
	conn, err := pgx.Connect(ctx, postgresURL)
	if err != nil {
		return fmt.Errorf("make the example's tables: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, tables); err != nil {
		return fmt.Errorf("make the example's tables: %w", err)
	}
	for _, product := range simulated.KnownProducts() {
		if _, err := conn.Exec(ctx, `INSERT INTO product_keys VALUES ($1, $2) ON CONFLICT DO NOTHING`, product, "PK-"+product); err != nil {
			return fmt.Errorf("fill product_keys: %w", err)
		}
	}
	return nil
}

// Written counts the service requests in the table, and the rows that were read
// from files.
func Written(ctx context.Context, postgresURL string) (requests, fileRows int64, err error) {
	conn, err := pgx.Connect(ctx, postgresURL)
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		err = conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM service_requests), (SELECT coalesce(sum(rows_done), 0)::bigint FROM file)`).Scan(&requests, &fileRows)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("count what was written: %w", err)
	}
	return requests, fileRows, nil
}

// World is the third party and the partner, listening on loopback.
type World struct {
	ThirdParty *simulated.ThirdParty
	Partner    *simulated.Partner
	CRM        string // URL of the third party
	Status     string // URL of the partner's status API

	servers []*http.Server
	served  chan error // one per server
}

// StartWorld starts both on free ports. Statuses must be signed with the key.
func StartWorld(ctx context.Context, seed uint64, key string, script simulated.Script, partner simulated.PartnerScript) (*World, error) {
	w := &World{served: make(chan error, 2)}
	var err error
	if w.ThirdParty, err = simulated.NewThirdParty(simulated.ThirdPartyConfig{Seed: seed, Script: script}); err != nil {
		return nil, err
	}
	if w.Partner, err = simulated.NewPartner(simulated.PartnerConfig{Seed: seed, Keys: []string{key}, Script: partner}); err != nil {
		return nil, err
	}
	if w.CRM, err = w.serve(ctx, w.ThirdParty.Handler()); err != nil {
		return nil, err
	}
	if w.Status, err = w.serve(ctx, w.Partner.Handler()); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.Status += "/status"
	return w, nil
}

func (w *World) serve(ctx context.Context, handler http.Handler) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for the simulated parties: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	w.servers = append(w.servers, server)
	go func() { w.served <- server.Serve(listener) }() // ends by Close, which waits for it
	return "http://" + listener.Addr().String(), nil
}

// Close ends both, and what still hangs there.
func (w *World) Close() error {
	w.ThirdParty.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	var errs []error
	for _, server := range w.servers {
		if server.Shutdown(ctx) != nil {
			errs = append(errs, server.Close()) // what does not end by itself is cut
		}
		<-w.served
	}
	w.servers = nil
	return errors.Join(errs...)
}
