package command

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
)

// story is everything that happened to a record, in the order of time.
type story struct {
	FoundBy string     `json:"found_by"`
	Record  recordView `json:"record"`
	Stages  []stage    `json:"stages"`

	outcome record.Outcome
	detail  []byte
}

// stage is one line of a story, with what belongs below it.
type stage struct {
	At       time.Time         `json:"at"`
	Kind     string            `json:"kind"` // arrival, revision, process, notify, act, call
	Number   int               `json:"number,omitempty"`
	Event    record.Event      `json:"event,omitempty"`
	From     string            `json:"from,omitempty"`
	To       string            `json:"to,omitempty"`
	Session  int64             `json:"session,omitempty"`
	Actor    string            `json:"actor,omitempty"`
	Class    string            `json:"class,omitempty"`
	Code     string            `json:"code,omitempty"`
	Message  string            `json:"message,omitempty"`
	WaitedMS int64             `json:"waited_ms"` // since the stage before ended
	TookMS   int64             `json:"took_ms"`
	Payload  *payloadView      `json:"payload,omitempty"`
	Calls    []interactionView `json:"calls,omitempty"`
	Steps    json.RawMessage   `json:"steps,omitempty"`

	end   time.Time
	fence int64 // of the history row
	alone bool  // an interaction that belongs to no attempt
}

type payloadView struct {
	TrackingID  record.ID       `json:"tracking_id"`
	ContentType string          `json:"content_type"`
	Bytes       int             `json:"bytes"`
	Headers     json.RawMessage `json:"headers,omitempty"`
	Body        string          `json:"body,omitempty"`
}

func storyOf(t ledger.Trace, by string) story {
	s := story{FoundBy: by, Record: viewOf(t.Record), outcome: t.Record.Outcome, detail: t.Record.Failure.Detail}
	for i, p := range t.Payloads {
		kind := "arrival"
		if i > 0 {
			kind = "revision"
		}
		headers := json.RawMessage(nil)
		if json.Valid([]byte(p.Headers)) {
			headers = json.RawMessage(p.Headers)
		}
		s.Stages = append(s.Stages, stage{At: p.ArrivedAt.UTC(), end: p.ArrivedAt, Kind: kind, Number: int(p.Revision),
			Payload: &payloadView{TrackingID: p.TrackingID, ContentType: p.ContentType, Bytes: len(p.Body), Headers: headers, Body: printable(p.Body)}})
	}
	for _, h := range t.History {
		st := stage{At: h.StartedAt.UTC(), end: h.EndedAt, fence: h.Fence, Kind: string(h.Kind), Number: h.Number, Event: h.Event, From: h.From, To: h.To,
			Session: h.Session, Actor: h.Actor, Class: h.Class, Code: h.Code, Message: h.Message, TookMS: h.EndedAt.Sub(h.StartedAt).Milliseconds()}
		if json.Valid([]byte(h.Steps)) {
			st.Steps = json.RawMessage(h.Steps)
		}
		s.Stages = append(s.Stages, st)
	}
	s.place(t.Interactions)
	// The arrival comes first: a duplicate's request may have begun before the first one's was answered.
	slices.SortStableFunc(s.Stages, func(a, b stage) int {
		return cmp.Or(compareBool(b.Kind == "arrival", a.Kind == "arrival"), a.At.Compare(b.At))
	})
	for i := 1; i < len(s.Stages); i++ {
		s.Stages[i].WaitedMS = max(0, s.Stages[i].At.Sub(last(s.Stages[:i])).Milliseconds())
	}
	return s
}

// last is when the last of the stages ended.
func last(stages []stage) time.Time {
	end := stages[0].end
	for _, st := range stages[1:] {
		if st.end.After(end) {
			end = st.end
		}
	}
	return end
}

// place puts each call below the attempt that made it, which the fence of its
// claim names. The others stand by themselves.
func (s *story) place(interactions []ledger.Interaction) {
	for _, i := range interactions {
		view := interactionViewOf(i)
		at := slices.IndexFunc(s.Stages, func(st stage) bool { return i.Fence > 0 && st.fence == i.Fence+1 })
		if at < 0 || i.Kind != "call" && i.Kind != "notify" {
			s.Stages = append(s.Stages, stage{alone: true, At: i.At.UTC(), end: i.At.Add(i.Duration), Kind: i.Kind, TookMS: i.Duration.Milliseconds(), Calls: []interactionView{view}})
			continue
		}
		s.Stages[at].Calls = append(s.Stages[at].Calls, view)
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func (s *story) hideBodies() {
	for i := range s.Stages {
		if s.Stages[i].Payload != nil {
			s.Stages[i].Payload.Body = ""
		}
		for j := range s.Stages[i].Calls {
			s.Stages[i].Calls[j].RequestBody, s.Stages[i].Calls[j].ResponseBody = "", ""
		}
	}
}

// printable is a body as text; what is no text is only named.
func printable(body []byte) string {
	if !utf8.Valid(body) {
		return fmt.Sprintf("(%d bytes that are not UTF-8)", len(body))
	}
	return string(body)
}

func (s story) write(w io.Writer, now time.Time) {
	r := s.Record
	fmt.Fprintf(w, "record       %s   (found by %s)\n", r.ID, s.FoundBy)
	fmt.Fprintf(w, "integration  %s, source %s, version %d\n", r.Integration, r.Source, r.Version)
	fmt.Fprintf(w, "key          %s   entity %s\n", console.Clean(r.Key), console.Clean(r.EntityKey))
	fmt.Fprintf(w, "state        %s since %s; %s\n", r.State, console.Duration(now.Sub(r.MovedAt)), writeOutcome(s.outcome))
	if r.Class != "" {
		fmt.Fprintf(w, "why          %s\n", why(string(r.Class), r.Code, r.Message))
		for _, line := range reasonLines(s.detail) {
			fmt.Fprintln(w, "             - "+line)
		}
	}
	fmt.Fprintln(w)
	for _, st := range s.Stages {
		st.write(w)
	}
}

func (st stage) write(w io.Writer) {
	text := ""
	switch {
	case st.alone:
		text = st.Calls[0].line()
	case st.Payload != nil:
		text = fmt.Sprintf("%s, tracking id %s", plural(int64(st.Payload.Bytes), "byte", "bytes"), st.Payload.TrackingID)
		if st.Payload.ContentType != "" {
			text = console.Clean(st.Payload.ContentType) + ", " + text
		}
	case st.isTry():
		text = fmt.Sprintf("%s → %s", st.From, st.To)
		if reason := why(st.Class, st.Code, st.Message); reason != "" {
			text += "  " + reason
		}
	default:
		text = fmt.Sprintf("%s by %s: %s → %s", st.Event, console.Clean(st.Actor), st.From, st.To)
		if st.Message != "" {
			text += "  because: " + console.Clean(st.Message)
		}
	}
	if st.isTry() {
		text += fmt.Sprintf("  (waited %s, took %s)", ms(st.WaitedMS), ms(st.TookMS))
	}
	fmt.Fprintf(w, "%s  %-10s  %s\n", st.At.Format(timeFormat), st.title(), text)
	if st.Payload != nil {
		st.Payload.write(w)
	}
	for _, c := range st.Calls {
		if !st.alone { // else it is the stage itself
			fmt.Fprintf(w, "%s%-8s %s\n", below, c.Kind, c.line())
		}
		c.writeBodies(w)
	}
	writeSteps(w, st.Steps)
}

// isTry reports whether the stage is an attempt or a try at telling the partner.
func (st stage) isTry() bool {
	return !st.alone && (st.Kind == string(ledger.ProcessHistory) || st.Kind == string(ledger.NotifyHistory))
}

func (st stage) title() string {
	switch {
	case st.isTry() && st.Kind == string(ledger.ProcessHistory):
		return fmt.Sprintf("attempt %d", st.Number)
	case st.isTry():
		return fmt.Sprintf("tell try %d", st.Number)
	default:
		return st.Kind
	}
}

const below = "                           "

func (p payloadView) write(w io.Writer) {
	var headers map[string]string
	if json.Unmarshal(p.Headers, &headers) == nil && len(headers) > 0 {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			parts = append(parts, name+": "+headers[name])
		}
		fmt.Fprintln(w, below+"headers "+console.Short(strings.Join(parts, " · "), 400))
	}
	writeBody(w, "body", p.Body)
}

// writeBody keeps line breaks, and no other control character.
func writeBody(w io.Writer, title, body string) {
	if body == "" {
		return
	}
	for i, line := range strings.Split(strings.TrimRight(body, "\n"), "\n") {
		if i > 0 {
			title = ""
		}
		fmt.Fprintf(w, "%s%-8s %s\n", below, title, console.Clean(line))
	}
}

func writeSteps(w io.Writer, document json.RawMessage) {
	var steps map[string]struct {
		Done    bool            `json:"done"`
		Unknown bool            `json:"unknown"`
		Result  json.RawMessage `json:"result"`
	}
	if json.Unmarshal(document, &steps) != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(steps)) {
		s := steps[name]
		text := "not finished"
		switch {
		case s.Done:
			text = "→ " + console.Short(string(s.Result), 120)
		case s.Unknown:
			text = "not finished; whether the third party did it is unknown"
		}
		fmt.Fprintf(w, "%sstep     %s %s\n", below, console.Clean(name), text)
	}
}

func ms(n int64) string { return console.Duration(time.Duration(n) * time.Millisecond) }
