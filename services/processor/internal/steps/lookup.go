package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maypok86/otter/v2"

	"waybill.internal/pkg/expression"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
)

const (
	maxCachedLookups = 100_000
	lookupTimeout    = 3 * time.Second
)

// Lookups reads values by key from tables of the ledger's database, and keeps
// what it found for as long as the step says. What is missing is never kept:
// it is read each time, so that a key that was just added is found.
type Lookups struct {
	pool  *pgxpool.Pool
	cache *otter.Cache[string, found]
}

type found struct {
	value any
	until time.Time
}

// NewLookups makes a cache over the pool.
func NewLookups(pool *pgxpool.Pool) (*Lookups, error) {
	cache, err := otter.New(&otter.Options[string, found]{MaximumSize: maxCachedLookups})
	if err != nil {
		return nil, fmt.Errorf("lookup cache: %w", err)
	}
	return &Lookups{pool: pool, cache: cache}, nil
}

func (a *run) lookup(ctx context.Context, s *integration.LookupStep) error {
	if kept, ok := a.saved[s.Name]; ok && kept.Done && !a.fresh() {
		return a.restore(s.Name, kept)
	}
	values, err := s.Values(a.env)
	if err != nil {
		return problem("lookup_key", err)
	}
	value, ok, err := a.runner.Lookups.get(ctx, s, values)
	switch {
	case err != nil:
		return fmt.Errorf("lookup %s: %w", s.Name, err)
	case !ok && s.Missing == "retry":
		return fault.New(fault.System, "lookup_missing", "lookup %s: %s has no row for %s yet", s.Name, s.Table, keyText(values))
	case !ok:
		return fault.New(fault.Data, "lookup_missing", "lookup %s: %s has no row for %s", s.Name, s.Table, keyText(values))
	}
	return a.keep(s.Name, saved{}, value)
}

func keyText(values map[string]any) string {
	parts := make([]string, 0, len(values))
	for _, column := range slices.Sorted(maps.Keys(values)) {
		parts = append(parts, fmt.Sprintf("%s=%v", column, values[column]))
	}
	return strings.Join(parts, ", ")
}

func (l *Lookups) get(ctx context.Context, s *integration.LookupStep, values map[string]any) (any, bool, error) {
	columns := slices.Sorted(maps.Keys(values))
	key := strings.Builder{}
	fmt.Fprintf(&key, "%s\x00%s", s.Table, s.Take)
	args := make([]any, len(columns))
	where := make([]string, len(columns))
	for i, column := range columns {
		text, err := expression.Text(values[column])
		if err != nil {
			return nil, false, fault.Wrap(err, fault.Data, "lookup_key", "the key column %s", column)
		}
		args[i] = text // as text, the server reads it as the column's type
		where[i] = fmt.Sprintf("%s = $%d", pgx.Identifier{column}.Sanitize(), i+1)
		fmt.Fprintf(&key, "\x00%s\x00%s", column, text)
	}
	now := time.Now()
	if kept, ok := l.cache.GetIfPresent(key.String()); ok && now.Before(kept.until) {
		return kept.value, true, nil
	}
	query := fmt.Sprintf("SELECT to_jsonb(%s)::text FROM %s WHERE %s LIMIT 1", pgx.Identifier{s.Take}.Sanitize(),
		pgx.Identifier(strings.Split(s.Table, ".")).Sanitize(), strings.Join(where, " AND "))
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var document *string
	err := l.pool.QueryRow(ctx, query, args...).Scan(&document)
	if errors.Is(err, pgx.ErrNoRows) || (err == nil && document == nil) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value, err := integration.DecodeJSON([]byte(*document))
	if err == nil && s.Cache > 0 {
		l.cache.Set(key.String(), found{value: value, until: now.Add(s.Cache)})
	}
	return value, err == nil, err
}
