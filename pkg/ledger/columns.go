package ledger

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

type pgconnTag = pgconn.CommandTag

// columns are the arrays of move_records: one place per moved record.
type columns struct {
	ids                                 []pgtype.UUID
	fromStates                          []string
	fromFences                          []int64
	states                              []string
	fences                              []int64
	attempts, losses                    []int32
	sessions                            []int64
	batches                             []pgtype.UUID
	versions                            []int64
	revisions                           []int32
	classes, codes, messages            []string
	details                             []pgtype.Text
	outcomes                            []int32
	outcomeStates                       []string
	outcomeTries                        []int32
	outcomeSinces, sinces, movedAtTimes []pgtype.Timestamptz
}

func newColumns(n int) *columns {
	return &columns{
		ids: make([]pgtype.UUID, 0, n), fromStates: make([]string, 0, n), fromFences: make([]int64, 0, n),
		states: make([]string, 0, n), fences: make([]int64, 0, n), attempts: make([]int32, 0, n), losses: make([]int32, 0, n),
		sessions: make([]int64, 0, n), batches: make([]pgtype.UUID, 0, n), versions: make([]int64, 0, n), revisions: make([]int32, 0, n),
		classes: make([]string, 0, n), codes: make([]string, 0, n), messages: make([]string, 0, n), details: make([]pgtype.Text, 0, n),
		outcomes: make([]int32, 0, n), outcomeStates: make([]string, 0, n), outcomeTries: make([]int32, 0, n),
		outcomeSinces: make([]pgtype.Timestamptz, 0, n), sinces: make([]pgtype.Timestamptz, 0, n), movedAtTimes: make([]pgtype.Timestamptz, 0, n),
	}
}

func (c *columns) add(from, to record.Record, batch [16]byte) {
	c.ids = append(c.ids, pgtype.UUID{Bytes: to.ID, Valid: true})
	c.fromStates = append(c.fromStates, string(from.State))
	c.fromFences = append(c.fromFences, from.Fence)
	c.states = append(c.states, string(to.State))
	c.fences = append(c.fences, to.Fence)
	c.attempts = append(c.attempts, int32(to.Attempt))
	c.losses = append(c.losses, int32(to.Losses))
	c.sessions = append(c.sessions, to.Session)
	c.batches = append(c.batches, nullUUID(batch))
	c.versions = append(c.versions, to.Version)
	c.revisions = append(c.revisions, to.Revision)
	c.classes = append(c.classes, string(to.Failure.Class))
	c.codes = append(c.codes, to.Failure.Code)
	c.messages = append(c.messages, cleanText(to.Failure.Message, maxMessageBytes))
	c.details = append(c.details, nullText(to.Failure.Detail))
	c.outcomes = append(c.outcomes, int32(to.Outcome.Number))
	c.outcomeStates = append(c.outcomeStates, string(to.Outcome.State))
	c.outcomeTries = append(c.outcomeTries, int32(to.Outcome.Try))
	c.outcomeSinces = append(c.outcomeSinces, nullTime(to.Outcome.Since))
	c.sinces = append(c.sinces, nullTime(to.Since))
	c.movedAtTimes = append(c.movedAtTimes, nullTime(to.MovedAt))
}

func (c *columns) args() pgx.NamedArgs {
	return pgx.NamedArgs{
		"ids": c.ids, "from_states": c.fromStates, "from_fences": c.fromFences, "states": c.states, "fences": c.fences,
		"attempts": c.attempts, "losses": c.losses, "sessions": c.sessions, "batches": c.batches, "versions": c.versions, "revisions": c.revisions,
		"classes": c.classes, "codes": c.codes, "messages": c.messages, "details": c.details,
		"outcomes": c.outcomes, "outcome_states": c.outcomeStates, "outcome_tries": c.outcomeTries, "outcome_sinces": c.outcomeSinces,
		"sinces": c.sinces, "moved_ats": c.movedAtTimes,
	}
}

// historyColumns are the arrays of insert_attempts.
type historyColumns struct {
	days                             []int32
	seqs, fences, sessions           []int64
	kinds, events, fromStates        []string
	toStates, actors, classes, codes []string
	messages                         []string
	numbers                          []int32
	steps                            []pgtype.Text
	startedAt, endedAt               []time.Time
}

func newHistoryColumns(int) *historyColumns { return &historyColumns{} }

func (h *historyColumns) add(mv move) {
	number, from, to := mv.to.Attempt, string(mv.from.State), string(mv.to.State)
	failure := mv.to.Failure
	switch mv.history.Kind {
	case ProcessHistory:
		number = mv.from.Attempt
	case NotifyHistory:
		number, from, to = mv.to.Outcome.Try, string(mv.from.Outcome.State), string(mv.to.Outcome.State)
		failure = mv.history.Failure
	}
	if mv.history.Kind == ActHistory {
		failure = mv.history.Failure
	}
	started := mv.history.StartedAt
	if started.IsZero() {
		started = mv.from.MovedAt
	}
	h.days = append(h.days, mv.to.Day)
	h.seqs = append(h.seqs, mv.to.Seq)
	h.fences = append(h.fences, mv.to.Fence)
	h.kinds = append(h.kinds, string(mv.history.Kind))
	h.numbers = append(h.numbers, int32(number))
	h.events = append(h.events, string(mv.event))
	h.fromStates = append(h.fromStates, from)
	h.toStates = append(h.toStates, to)
	h.sessions = append(h.sessions, mv.from.Session)
	h.actors = append(h.actors, mv.history.Actor)
	h.classes = append(h.classes, string(failure.Class))
	h.codes = append(h.codes, failure.Code)
	h.messages = append(h.messages, cleanText(failure.Message, maxMessageBytes))
	h.steps = append(h.steps, nullText(mv.history.Steps))
	h.startedAt = append(h.startedAt, started)
	h.endedAt = append(h.endedAt, mv.to.MovedAt)
}

func (h *historyColumns) args() pgx.NamedArgs {
	return pgx.NamedArgs{
		"days": h.days, "seqs": h.seqs, "fences": h.fences, "kinds": h.kinds, "numbers": h.numbers, "events": h.events,
		"from_states": h.fromStates, "to_states": h.toStates, "sessions": h.sessions, "actors": h.actors, "classes": h.classes,
		"codes": h.codes, "messages": h.messages, "steps": h.steps, "started_ats": h.startedAt, "ended_ats": h.endedAt,
	}
}

// alike gives the first value for all if they are equal: such a column costs little on
// its way and in the statement, and those of a file are mostly such.
func alike[T comparable](column []T) []T {
	for i := range column {
		if column[i] != column[0] {
			return column
		}
	}
	return column[:min(1, len(column))]
}

// cleanText makes s fit for a text column: valid UTF-8, no NUL, at most limit bytes.
func cleanText(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if len(s) > 0 && s[len(s)-1] >= utf8.RuneSelf {
			s = s[:len(s)-1] // the first byte of a rune that the limit cut
		}
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ReplaceAll(s, "\x00", "")
}
