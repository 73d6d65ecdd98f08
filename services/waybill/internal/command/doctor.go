package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
)

// doctorLimit bounds the whole examination.
const doctorLimit = time.Minute

type doctorCommand struct{}

func (doctorCommand) Help() string {
	return `Looks at the ledger (schema, durability, clock, sessions, outbox, what waits for a person) and at Kafka (topics,
replication, lag), and says what to do about what is wrong. Exits with 3 if one of them cannot be reached, with 1 if
something is wrong. With WAYBILL_ENVIRONMENT=production the embedded test broker is something wrong.

Examples:
  waybill doctor
  waybill doctor --json | jq '.findings[] | select(.level != "ok")'`
}

// level of a finding.
type level string

const (
	fine    level = "ok"
	warning level = "warning"
	wrong   level = "problem"
	silent  level = "unreachable"
)

// finding is one thing that was looked at.
type finding struct {
	Level level  `json:"level"`
	What  string `json:"what"`
	Said  string `json:"said"`
	Do    string `json:"do,omitempty"`
}

// examination collects findings.
type examination struct {
	in       *invocation
	ctx      context.Context //nolint:containedctx // lives exactly as long as the one call it is made for
	config   backbone.Config
	catalog  *catalog.Catalog
	findings []finding
}

func (e *examination) find(l level, what, do, format string, args ...any) {
	if l == fine {
		do = ""
	}
	e.findings = append(e.findings, finding{Level: l, What: what, Said: fmt.Sprintf(format, args...), Do: do})
}

func (doctorCommand) Run(in *invocation) error {
	config, err := in.settings()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(in.ctx, doctorLimit)
	defer cancel()
	e := &examination{in: in, ctx: ctx, config: config, catalog: catalog.New(integration.Lookup(in.Lookup))}
	e.ledger()
	e.kafka()
	if err := in.print(map[string]any{"findings": e.findings}, e.write); err != nil {
		return err
	}
	worst := 0
	for _, f := range e.findings {
		switch f.Level {
		case silent:
			worst = exitUnreachable
		case wrong:
			worst = max(worst, exitProblem)
		}
	}
	if worst != 0 {
		return failure{code: worst}
	}
	return nil
}

func (e *examination) write(w io.Writer) {
	count := map[level]int64{}
	for _, f := range e.findings {
		count[f.Level]++
		fmt.Fprintf(w, "%-11s  %-22s  %s\n", f.Level, f.What, f.Said)
		if f.Do != "" {
			fmt.Fprintf(w, "%-11s  %-22s  → %s\n", "", "", f.Do)
		}
	}
	fmt.Fprintf(w, "\n%d ok, %s, %s\n", count[fine], plural(count[warning], "warning", "warnings"), plural(count[wrong]+count[silent], "problem", "problems"))
}

// production reports whether this is said to be one.
func (e *examination) production() bool {
	environment, _ := e.in.Lookup("WAYBILL_ENVIRONMENT")
	return environment == "production"
}
