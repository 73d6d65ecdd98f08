package ledger

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed queries.sql
var queriesSQL string

// parseQueries splits queries.sql at its "-- name:" lines.
func parseQueries(text string) (map[string]string, error) {
	queries := make(map[string]string)
	for i, part := range strings.Split("\n"+text, "\n-- name: ") {
		if i == 0 {
			continue // the file's heading
		}
		name, body, ok := strings.Cut(part, "\n")
		if !ok || queries[name] != "" {
			return nil, fmt.Errorf("queries.sql: statement %q is empty or there twice", name)
		}
		queries[strings.TrimSpace(name)] = strings.TrimSuffix(strings.TrimSpace(body), ";")
	}
	return queries, nil
}
