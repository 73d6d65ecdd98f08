package ledger

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed queries.sql
var queriesSQL string

// parseQueries splits queries.sql at its "-- name:" lines. A statement that begins with
// "-- with: NAME" has the one of that name, above it, as its first common table expression.
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
		body = strings.TrimSuffix(strings.TrimSpace(body), ";")
		if line, rest, _ := strings.Cut(body, "\n"); strings.HasPrefix(line, "-- with: ") {
			first, ok := queries[strings.TrimPrefix(line, "-- with: ")]
			if !ok {
				return nil, fmt.Errorf("queries.sql: statement %q has %q, and nothing of that name stands above it", name, line)
			}
			body = "WITH " + strings.TrimSpace(first) + ",\n" + rest
		}
		queries[strings.TrimSpace(name)] = body
	}
	return queries, nil
}
