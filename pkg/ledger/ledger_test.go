package ledger

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSchemaVersionIsTheNewestMigration(t *testing.T) {
	t.Parallel()
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	newest := files[len(files)-1].Name() // ReadDir sorts by name
	if want := fmt.Sprintf("%05d_", schemaVersion); !strings.HasPrefix(newest, want) {
		t.Errorf("schemaVersion is %d, but the newest migration is %s", schemaVersion, newest)
	}
}

func TestEveryQueryIsNamedOnce(t *testing.T) {
	t.Parallel()
	queries, err := parseQueries(queriesSQL)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Count(queriesSQL, "\n-- name: "); len(queries) != want {
		t.Errorf("%d statements, %d names", len(queries), want)
	}
	if _, err := parseQueries("-- name: a\nSELECT 1\n-- name: a\nSELECT 2"); err == nil {
		t.Error("two statements of one name were taken")
	}
	if _, err := parseQueries("-- name: b\n-- with: a\nSELECT 1"); err == nil {
		t.Error("a statement with one that is not there was taken")
	}
}

func FuzzCleanText(f *testing.F) {
	f.Add("é\x00\xff", 2)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = min(max(limit, 0), 100)
		if got := cleanText(s, limit); !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > 3*limit {
			t.Errorf("cleanText(%q, %d) = %q", s, limit, got)
		}
	})
}
