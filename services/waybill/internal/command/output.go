package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
)

// timeFormat is how times are printed: UTC, as in the ledger.
const timeFormat = "2006-01-02 15:04:05.000"

// print writes the document as JSON, or lets text write it for people.
func (in *invocation) print(document any, text func(io.Writer)) error {
	if !in.json {
		text(in.Stdout)
		return nil
	}
	encoder := json.NewEncoder(in.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// warn is for what does not stop the command.
func (in *invocation) warn(format string, args ...any) {
	fmt.Fprintf(in.Stderr, "waybill: %s\n", console.CleanLines(fmt.Sprintf(format, args...)))
}

// recordView is a record as commands print it.
type recordView struct {
	ID          record.ID       `json:"id"`
	Integration string          `json:"integration"`
	Source      string          `json:"source"`
	Key         string          `json:"idempotency_key"`
	EntityKey   string          `json:"entity_key"`
	State       record.State    `json:"state"`
	Attempt     int             `json:"attempt"`
	Losses      int             `json:"losses,omitempty"`
	Version     int64           `json:"version"`
	Revision    int32           `json:"revision"`
	Class       record.Class    `json:"class,omitempty"`
	Code        string          `json:"code,omitempty"`
	Message     string          `json:"message,omitempty"`
	Reasons     json.RawMessage `json:"reasons,omitempty"`
	Outcome     outcomeView     `json:"outcome"`
	AcceptedAt  time.Time       `json:"accepted_at"`
	MovedAt     time.Time       `json:"moved_at"`
}

type outcomeView struct {
	Number int                 `json:"number"`
	State  record.OutcomeState `json:"state"`
	Try    int                 `json:"try"`
}

func viewOf(r record.Record) recordView {
	v := recordView{ID: r.ID, Integration: r.Integration, Source: r.Source, Key: r.Key, EntityKey: r.EntityKey, State: r.State,
		Attempt: r.Attempt, Losses: r.Losses, Version: r.Version, Revision: r.Revision, Class: r.Failure.Class, Code: r.Failure.Code,
		Message: r.Failure.Message, Outcome: outcomeView{r.Outcome.Number, r.Outcome.State, r.Outcome.Try},
		AcceptedAt: r.AcceptedAt.UTC(), MovedAt: r.MovedAt.UTC()}
	if json.Valid(r.Failure.Detail) {
		v.Reasons = r.Failure.Detail
	}
	return v
}

// reasonLines are the problems of a failure, one line each.
func reasonLines(detail []byte) []string {
	var problems []struct {
		Pointer string `json:"pointer"`
		Line    int    `json:"line"`
		Message string `json:"message"`
		Detail  string `json:"detail"`
	}
	if json.Unmarshal(detail, &problems) != nil {
		return nil
	}
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		text := p.Message + p.Detail
		if p.Pointer != "" {
			text = p.Pointer + ": " + text
		}
		if p.Line > 0 {
			text = fmt.Sprintf("line %d: %s", p.Line, text)
		}
		lines = append(lines, console.Clean(text))
	}
	return lines
}

// why says class, code and message of a failure in one piece.
func why(class, code, message string) string {
	parts := strings.Trim(class+"/"+code, "/")
	if message == "" {
		return parts
	}
	return strings.TrimPrefix(parts+": "+console.Clean(message), ": ")
}

// writeOutcome says how far the partner knows.
func writeOutcome(o record.Outcome) string {
	if o.State == record.NoOutcome || o.State == "" {
		return "nothing to tell the partner"
	}
	return fmt.Sprintf("outcome %d %s, told %s", o.Number, o.State, times(o.Try))
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return console.Count(n) + " " + many
}

// histogram is a count by reason, most frequent first.
func histogram(w io.Writer, reasons []ledger.Reason, now time.Time) (total int64) {
	table := console.NewTable(">count", "integration", "class", "code", ">oldest", ">newest")
	for _, r := range reasons {
		total += r.Count
		table.Row(console.Count(r.Count), r.Integration, r.Class, r.Code, console.Duration(now.Sub(r.Oldest))+" ago", console.Duration(now.Sub(r.Newest))+" ago")
	}
	table.Write(w, "  ")
	return total
}
