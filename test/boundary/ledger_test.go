package boundary

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
)

// The only statements that assign a record's state: what they write was decided
// by the state machine.
var stateWriters = map[string]bool{"accept": true, "accept_new": true, "move_records": true} //nolint:gochecknoglobals // a table

var (
	statementName = regexp.MustCompile(`(?m)^-- name: (\w+)\s*$`)
	sqlComment    = regexp.MustCompile(`(?m)--.*$`)
	writesRecords = regexp.MustCompile(`(?i)\b(?:update\s+(?:only\s+)?|insert\s+into\s+|merge\s+into\s+|copy\s+)(?:\w+\.)?"?record"?\b`)
)

// sqlProblems looks at the statements of a .sql file by name; statements before
// the first name are "".
func sqlProblems(name, text string) []string {
	var problems []string
	at, statement := 0, ""
	marks := append(statementName.FindAllStringSubmatchIndex(text, -1), []int{len(text), len(text), 0, 0})
	for _, m := range marks {
		body := sqlComment.ReplaceAllString(text[at:m[0]], "")
		if writesRecords.MatchString(body) && !stateWriters[statement] {
			problems = append(problems, fmt.Sprintf("%s: statement %q writes to record: only accept, accept_new and move_records assign a state, by the state machine", name, statement))
		}
		at, statement = m[1], text[m[2]:m[3]]
	}
	return problems
}

func TestOnlyTheStateMachineAssignsAState(t *testing.T) {
	t.Parallel()
	writers := 0
	for name, text := range read(t).text {
		switch {
		case path.Ext(name) == ".sql":
			for _, p := range sqlProblems(name, text) {
				t.Error(p)
			}
			writers += len(writesRecords.FindAllString(sqlComment.ReplaceAllString(text, ""), -1))
		case path.Ext(name) == ".go" && !strings.HasPrefix(name, "test/") && !strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(path.Dir(name), "test"):
			for line := range strings.Lines(text) {
				if code, _, _ := strings.Cut(line, "//"); writesRecords.MatchString(code) {
					t.Errorf("%s writes to record in Go text: statements live in pkg/ledger/queries.sql: %s", name, strings.TrimSpace(line))
				}
			}
		}
	}
	if writers != len(stateWriters) {
		t.Errorf("%d statements write to record, want %d: does this test still read them?", writers, len(stateWriters))
	}
}

func TestStateBreaches(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"-- name: move_records\nUPDATE record r SET state = x.state":                                          0,
		"-- name: accept\nINSERT INTO record (id) VALUES (1);\n-- name: other\nSELECT 1":                      0,
		"-- name: finish\nUPDATE record SET state = 'processed'":                                              1,
		"-- name: finish\nWITH x AS (\n  update only public.record\n  set state = 'dead') SELECT 1":           1,
		"-- name: copy_in\nINSERT\n  INTO \"record\" SELECT 1":                                                1,
		"UPDATE record SET state = 'dead';":                                                                   1,
		"-- name: fine\n-- never UPDATE record here\nUPDATE record_mark SET x = 1; UPDATE outbox SET due = 1": 0,
	} {
		if got := sqlProblems("x.sql", text); len(got) != want {
			t.Errorf("%q: want %d problems, got %q", text, want, got)
		}
	}
}
