package record_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"waybill.internal/pkg/record"
)

// The ledger's CHECK constraints restate the words of this package. A
// migration that changes one of them comes later in the folder and wins.
func TestChecksOfTheLedger(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "ledger", "migrations", "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	slices.Sort(files)
	var sql strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sql.Write(b)
	}
	var final []record.State
	for _, s := range record.States() {
		if s.Final() {
			final = append(final, s)
		}
	}
	tests := []struct {
		name, pattern string
		want          []string
	}{
		{"record.state", `(?:CREATE|ALTER) TABLE record\b[^;]*?\bCHECK \(state IN \(([^)]*)\)\)`, texts(record.States())},
		{"record.outcome_state", `(?:CREATE|ALTER) TABLE record\b[^;]*?\bCHECK \(outcome_state IN \(([^)]*)\)\)`, texts(record.OutcomeStates())},
		{"record.class", `(?:CREATE|ALTER) TABLE record\b[^;]*?\bCHECK \(class IN \(([^)]*)\)\)`, append([]string{""}, texts(record.Classes())...)},
		{"waiting.kind", `(?:CREATE|ALTER) TABLE waiting\b[^;]*?\bCHECK \(kind IN \(([^)]*)\)\)`, texts(record.Waits())},
		{"states with an outcome", `(?:CREATE|ALTER) TABLE record\b[^;]*?\bCHECK \(outcome_state = 'none' OR state IN \(([^)]*)\)\)`, texts(final)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			found := regexp.MustCompile(tt.pattern).FindAllStringSubmatch(sql.String(), -1)
			if len(found) == 0 {
				t.Fatalf("no CHECK for %s", tt.name)
			}
			if got := literals(found[len(found)-1][1]); !slices.Equal(got, tt.want) {
				t.Errorf("the ledger says %q, this package %q", got, tt.want)
			}
		})
	}
}

func texts[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// literals are the SQL strings of a list, in order. State lists of a CHECK may
// stand on several lines; a comment between them would show up as a difference.
func literals(list string) []string {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		out = append(out, strings.Trim(strings.TrimSpace(item), "'"))
	}
	return out
}
