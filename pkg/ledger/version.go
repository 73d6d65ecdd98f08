package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Version is one content of an integration file that was accepted here.
type Version struct {
	Integration string
	ID          int64
	Document    []byte
}

// Register keeps a version of an integration and makes it the current one.
// The same content gets the same id.
func (l *Ledger) Register(ctx context.Context, integration, hash string, document []byte) (int64, error) {
	var id int64
	err := l.transact(ctx, "register a version of "+integration, func(tx pgx.Tx) error {
		args := pgx.NamedArgs{"integration": integration, "hash": hash, "document": string(document)}
		return tx.QueryRow(ctx, l.queries["register_version"], args).Scan(&id)
	})
	return id, err
}

// Version reads one version, or ErrNotFound.
func (l *Ledger) Version(ctx context.Context, id int64) (Version, error) {
	v := Version{ID: id}
	var document string
	err := l.pool.QueryRow(ctx, l.queries["version_document"], pgx.NamedArgs{"id": id}).Scan(&v.Integration, &document)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, fmt.Errorf("integration version %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return v, fmt.Errorf("ledger: read integration version %d: %w", id, err)
	}
	v.Document = []byte(document)
	return v, nil
}

// CurrentVersions lists every integration's current version.
func (l *Ledger) CurrentVersions(ctx context.Context) ([]Version, error) {
	return collect(ctx, l, "current_versions", nil, func(c pgx.CollectableRow) (Version, error) {
		var v Version
		var document string
		err := c.Scan(&v.Integration, &v.ID, &document)
		v.Document = []byte(document)
		return v, err
	})
}
