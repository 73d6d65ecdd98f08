package steps

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
)

// upsert prepares the row; the settlement writes it in its own transaction, so
// that table and record never tell two stories.
func (a *run) upsert(u *integration.Upsert) error {
	values, err := u.Row(a.env.Mapped)
	if err != nil {
		return problem("upsert", err)
	}
	row := make(map[string]any, len(values))
	var key []string
	for i, column := range u.Columns {
		row[column] = values[i]
		if slices.Contains(u.Key, column) {
			key = append(key, fmt.Sprint(values[i]))
		}
	}
	document, err := json.Marshal(row)
	if err != nil {
		return fault.Wrap(err, fault.Bug, "upsert_unwritable", "the row for %s cannot be written as JSON", u.Table)
	}
	a.upserts = append(a.upserts, ledger.Upsert{Table: u.Table, Key: u.Key, Columns: u.Columns, Row: document, Sort: strings.Join(key, "\x00")})
	return nil
}
