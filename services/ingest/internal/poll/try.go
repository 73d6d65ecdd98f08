package poll

import (
	"context"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
)

// Trial is what one request of a poll brought; nothing of it is kept.
type Trial struct {
	URL    string // redacted
	Status int
	Items  int // of the page
	More   bool
	First  []TriedItem
}

// TriedItem is one item as a run would take it.
type TriedItem struct {
	Taken        bool // false: `where` leaves it out
	Value        any  // nil: it cannot be read
	Key, Entity  string
	NeedsDetail  bool // the record is the detail, which is not asked for
	Problem      string
	BodyProblems []integration.Problem
}

// Try asks for the page that a first run would begin with. It makes no record and
// moves no mark. The error is the partner's, with its class.
func Try(ctx context.Context, l *ledger.Ledger, e catalog.Entry, src *integration.Source, limit int) (Trial, error) {
	s, err := newSource(Config{Ledger: l, Log: zap.NewNop()}, e.Name, src)
	if err != nil {
		return Trial{}, err
	}
	defer s.client.Close()
	var m mark
	m.begin(ledger.Poll{Integration: e.Name, Source: src.Name, Now: l.Now()}, src.Poll, e.Version)
	rendered, err := render(src.Poll, m.Run)
	if err != nil {
		return Trial{}, err
	}
	trial := Trial{URL: egress.RedactURL(rendered.URL)}
	answer, err := s.ask(ctx, src.Poll, rendered)
	if f, ok := err.(*failed); ok { //nolint:errorlint // ask gives it unwrapped
		trial.Status = f.status
	}
	if err != nil {
		return trial, fault.Of(err)
	}
	trial.Status = answer.Status
	p, err := readPage(src.Poll, m.Run.Next, answer.Header, answer.Body)
	if err != nil {
		return trial, err
	}
	trial.Items, trial.More = len(p.items), !p.last
	for _, raw := range p.items[:min(limit, len(p.items))] {
		value, err := decode(raw)
		if err != nil {
			trial.First = append(trial.First, TriedItem{Taken: true, Problem: err.Error()})
			continue
		}
		trial.First = append(trial.First, tried(e, src, value))
	}
	return trial, nil
}

func tried(e catalog.Entry, src *integration.Source, value any) TriedItem {
	t := TriedItem{Taken: src.Poll.Takes(value), Value: value, NeedsDetail: src.Poll.Detail != nil}
	input := integration.Input{Item: value, Body: value, Headers: map[string]string{}}
	if t.NeedsDetail {
		input.Body = nil
	}
	var err error
	if t.Key, t.Entity, err = e.Keys(src, input); err != nil && !t.NeedsDetail {
		t.Problem = err.Error()
	}
	if !t.NeedsDetail {
		t.BodyProblems = e.Validate(value)
	}
	return t
}
