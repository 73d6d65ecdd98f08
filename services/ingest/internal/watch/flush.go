package watch

import (
	"context"
	"maps"
	"strings"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/provider"
)

// FlushNow notes in the ledger what was seen since the last time. What it could not
// note is kept for the next time.
func (w *Watch) FlushNow(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !w.ready {
		if err := w.Ledger.RegisterSources(call, w.names, w.kinds); err != nil {
			return err
		}
		w.ready = true
	}
	uses := w.newUses()
	taken := map[*source]taking{}
	var notes []ledger.SourceNote
	for _, name := range w.names {
		s := w.sources[name]
		t := s.take()
		w.addUses(s, &t.note, uses)
		if t.empty() {
			continue
		}
		taken[s] = t
		notes = append(notes, t.noteWith(w.Ledger.Now()))
	}
	if len(notes) == 0 {
		return nil
	}
	for begin := 0; begin < len(notes); begin += ledger.MaxBatch {
		part := notes[begin:min(begin+ledger.MaxBatch, len(notes))]
		if err := w.Ledger.NoteSources(call, part); err != nil {
			for _, n := range notes[begin:] {
				s := w.sources[n.SourceName]
				s.give(taken[s])
			}
			return err
		}
	}
	w.noted = uses
	return nil
}

// newUses are the uses of secrets as they are now.
func (w *Watch) newUses() map[provider.Use]bool {
	uses := map[provider.Use]bool{}
	for _, u := range w.Uses() {
		uses[u] = true
	}
	return uses
}

// addUses puts the uses that the ledger does not have yet into the note; a request
// that proves who sent it is a sign of life.
func (w *Watch) addUses(s *source, note *ledger.SourceNote, uses map[provider.Use]bool) {
	for u := range uses {
		integration, name, _ := strings.Cut(u.Source, "/")
		if w.noted[u] || (ledger.SourceName{Integration: integration, Source: name}) != s.name || u.Index >= len(s.secrets) {
			continue
		}
		if note.Secrets == nil {
			note.Secrets = map[string]time.Time{}
		}
		variable := s.secrets[u.Index]
		note.Secrets[variable] = latest(ptr(note.Secrets[variable]), &u.At)
		note.Verified = latest(&note.Verified, &u.At)
		note.Heard = latest(&note.Heard, &u.At)
	}
}

func ptr[T any](v T) *T { return &v }

// taking is what one source saw between two notes.
type taking struct {
	note    ledger.SourceNote
	seen    fields
	sampled int
}

func (t taking) empty() bool {
	n := t.note
	return n.Heard.IsZero() && n.Arrivals+n.Unproven == 0 && len(n.Secrets) == 0
}

func (t taking) noteWith(now time.Time) ledger.SourceNote {
	n, seen := t.note, t.seen
	if n.Arrivals > 0 {
		n.Fields = func(kept []byte) []byte { return readFields(kept).add(seen, now.Unix(), int64(Recent/time.Second)) }
	}
	return n
}

func (s *source) take() taking {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := taking{s.note, s.seen, s.sampled}
	s.note, s.seen, s.sampled = ledger.SourceNote{SourceName: s.name}, fields{}, 0
	return t
}

// give puts back what could not be noted; the uses of secrets are found again.
func (s *source) give(t taking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note.Heard = latest(&s.note.Heard, &t.note.Heard)
	s.note.Arrivals += t.note.Arrivals
	s.note.Rejected += t.note.Rejected
	s.note.Unproven += t.note.Unproven
	s.sampled += t.sampled
	t.seen.Usual.Names, t.seen.Now.Fields.Names = maps.Clone(t.seen.Usual.Names), maps.Clone(t.seen.Now.Fields.Names)
	s.seen.Usual.merge(t.seen.Usual)
	s.seen.Now.merge(t.seen.Now)
}
