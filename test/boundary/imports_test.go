package boundary

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

const (
	kafkaLibrary    = "github.com/segmentio/kafka-go"
	postgresLibrary = "github.com/jackc/pgx/v5"
	postgresErrors  = postgresLibrary + "/pgconn"
	alertLibrary    = "github.com/getsentry/sentry-go"
)

// library is one that only some folders or files may import, each for a reason.
type library struct {
	path string
	may  map[string]string // folder or file -> reason
}

var libraries = []library{ //nolint:gochecknoglobals // a table
	{kafkaLibrary, map[string]string{
		"pkg/stream":     "it is the Kafka edge",
		"pkg/localstack": "it waits for the broker that it starts",
		"test":           "tests read topics as an outsider",
	}},
	{postgresErrors, map[string]string{
		"pkg/fault":                         "it classifies SQL states, once for all",
		"services/waybill/internal/command": "it tells an unreachable ledger from a problem",
	}},
	{postgresLibrary, map[string]string{
		"pkg/ledger":                        "it is the Postgres edge",
		"pkg/localstack":                    "it waits for the server that it starts",
		"services/processor/internal/steps": "lookups read the tables of an integration",
		"services/processor/build.go":       "it opens the lookups' pool",
		"services/waybill/internal/example": "it makes the tables of the sample integration",
		// doctor looks at a database that may not be a ledger yet.
		"services/waybill/internal/command/doctorledger.go": "it asks the server itself",
		"test": "tests look into the ledger as an outsider",
	}},
	{alertLibrary, map[string]string{"pkg/telemetry": "it is the alert edge"}},
}

func matches(imported, path string) bool {
	return imported == path || strings.HasPrefix(imported, path+"/")
}

func (s source) allowed(may map[string]string) bool {
	for place := range may {
		if s.path == place || s.in(place) {
			return true
		}
	}
	return false
}

// refused gives the places that may import a library where this file may not.
func (s source) refused(imported string) []string {
	var places []string
	for _, l := range libraries {
		if !matches(imported, l.path) {
			continue
		}
		if s.allowed(l.may) {
			return nil
		}
		places = slices.AppendSeq(places, maps.Keys(l.may))
	}
	slices.Sort(places)
	return places
}

// unit is the part of the repository that a file belongs to: services/NAME, pkg, proto or test.
func (s source) unit() string {
	parts := strings.SplitN(s.path, "/", 3)
	if parts[0] == "services" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

func importProblems(s source) []string {
	var problems []string
	say := func(imported, why string) {
		problems = append(problems, fmt.Sprintf("%s imports %s: %s", s.path, imported, why))
	}
	for _, imported := range s.imports {
		own, ours := strings.CutPrefix(imported, module)
		unit := s.unit()
		switch {
		case strings.HasPrefix(own, "services/") && unit == "test":
		case strings.HasPrefix(own, "services/") && !matches(own, unit) && unit != "services/waybill":
			say(imported, "a service never imports another; what two of them need goes to pkg")
		case ours && matches(own, "test") && unit != "test":
			say(imported, "only test/ imports test/")
		case ours && unit == "proto" && !matches(own, "proto"):
			say(imported, "contracts stand alone")
		case s.folder() == "pkg/record" && !s.test() && strings.Contains(strings.Split(imported, "/")[0], "."):
			say(imported, "the words import the standard library only")
		case s.in("test/simulation/judge") && ours && !matches(own, "test/simulation/judge"):
			say(imported, "a judge that shares code with the product shares its mistakes")
		case (s.in("test/torture/checker") || s.in("test/torture/journal")) && ours && !matches(own, "test/torture"):
			say(imported, "a checker that shares code with the product shares its mistakes")
		case s.in("test/harness") && ours && !matches(own, "test/harness") && !matches(own, "pkg/localstack"):
			say(imported, "the harness sees the product from outside only")
		}
		if s.test() {
			continue // a test may look behind an edge
		}
		if places := s.refused(imported); places != nil {
			say(imported, "only "+strings.Join(places, ", ")+" may")
		}
	}
	return problems
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, s := range read(t).code {
		for _, p := range importProblems(s) {
			t.Error(p)
		}
	}
}

func TestImportBreaches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, imported, want string }{
		{"services/ingest/build.go", module + "services/processor", "never imports another"},
		{"services/waybill/internal/command/up.go", module + "services/processor", ""},
		{"services/ingest/cmd/ingest/main.go", module + "services/ingest", ""},
		{"pkg/daemon/main.go", module + "services/ingest", "never imports another"},
		{"pkg/daemon/main.go", module + "test/harness", "only test/ imports test/"},
		{"test/e2e/e2e_test.go", module + "services/ingest", ""},
		{"proto/doc.go", module + "pkg/record", "contracts stand alone"},
		{"pkg/record/step.go", "github.com/google/uuid", "standard library only"},
		{"pkg/record/step.go", module + "pkg/fault", "standard library only"},
		{"pkg/record/step.go", "encoding/json", ""},
		{"pkg/record/step_test.go", "pgregory.net/rapid", ""},
		{"test/simulation/judge/judge.go", module + "pkg/record", "shares its mistakes"},
		{"test/torture/checker/check.go", module + "pkg/record", "shares its mistakes"},
		{"test/torture/checker/check.go", module + "test/torture/journal", ""},
		{"test/torture/journal/journal.go", module + "pkg/record", "shares its mistakes"},
		{"test/harness/harness.go", module + "pkg/ledger", "from outside only"},
		{"test/harness/harness.go", module + "pkg/localstack/stacktest", ""},
		{"pkg/outbox/outbox.go", kafkaLibrary, "only pkg/localstack, pkg/stream, test may"},
		{"pkg/stream/streamtest/link.go", kafkaLibrary + "/protocol", ""},
		{"services/ingest/build.go", postgresLibrary + "/pgxpool", "may"},
		{"services/processor/config.go", postgresLibrary + "/pgxpool", "may"},
		{"services/processor/build.go", postgresLibrary + "/pgxpool", ""},
		{"services/ingest/build.go", postgresErrors, "may"},
		{"pkg/fault/of.go", postgresErrors, ""},
		{"pkg/fault/of.go", postgresLibrary, "may"},
		{"pkg/daemon/main.go", alertLibrary, "only pkg/telemetry may"},
		{"pkg/telemetry/sentry.go", alertLibrary, ""},
	} {
		got := strings.Join(importProblems(planted(t, c.file, fmt.Sprintf("package p\nimport %q\n", c.imported))), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s: want %q, got %q", c.file, c.imported, c.want, got)
		}
	}
}

// few are packages in pkg that fewer than two binaries reach, each for a reason.
var few = map[string]string{ //nolint:gochecknoglobals // a table
	"pkg/localstack":           "`waybill up` and the tests; its own module, so that services stay light",
	"pkg/localstack/cmd/stack": "a program of its own, for test runs",
	"pkg/localstack/stacktest": "for tests",
	"pkg/ledger/ledgertest":    "the ledger's promises as a suite",
	"pkg/stream/streamtest":    "the Kafka edge's promises as a suite",
	"pkg/testmaterial":         "for tests",
}

// reached gives, for each folder, the services whose code reaches it.
func reached(code []source) map[string]map[string]bool {
	edges := map[string]map[string]bool{}
	for _, s := range code {
		if s.test() {
			continue
		}
		if edges[s.folder()] == nil {
			edges[s.folder()] = map[string]bool{}
		}
		for _, imported := range s.imports {
			if own, ours := strings.CutPrefix(imported, module); ours {
				edges[s.folder()][own] = true
			}
		}
	}
	users := map[string]map[string]bool{}
	var visit func(service, folder string)
	visit = func(service, folder string) {
		if users[folder][service] {
			return
		}
		if users[folder] == nil {
			users[folder] = map[string]bool{}
		}
		users[folder][service] = true
		for next := range edges[folder] {
			// `waybill up` composes the services: what it reaches through them is not its own use.
			if !strings.HasPrefix(next, "services/") || matches(next, service) {
				visit(service, next)
			}
		}
	}
	for folder := range edges {
		if parts := strings.Split(folder, "/"); parts[0] == "services" {
			visit(strings.Join(parts[:2], "/"), folder)
		}
	}
	return users
}

func TestSharedIsShared(t *testing.T) {
	t.Parallel()
	r := read(t)
	users := reached(r.code)
	seen := map[string]bool{}
	for _, s := range r.code {
		folder := s.folder()
		if !s.in("pkg") || s.test() || seen[folder] {
			continue
		}
		seen[folder] = true
		if by := slices.Sorted(maps.Keys(users[folder])); len(by) < 2 && few[folder] == "" {
			t.Errorf("%s is reached by %v only: move it under that service's internal, or say in this test why not", folder, by)
		}
	}
	for folder := range few {
		if !seen[folder] {
			t.Errorf("%s is excepted here and does not exist", folder)
		}
	}
}
