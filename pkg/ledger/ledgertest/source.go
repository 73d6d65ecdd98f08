package ledgertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"waybill.internal/pkg/ledger"
)

func sourcePromises() []promise {
	return []promise{
		{name: "what processes see of a source adds up", test: sourceNotes},
		{name: "one process judges a source at a time", test: sourceJudged},
		{name: "old minutes become what is usual", test: sourceFolded},
		{name: "a pause is kept with who and why", test: sourcePaused},
	}
}

func orders() ledger.SourceName { return ledger.SourceName{Integration: shop, Source: "orders"} }

func windows() ledger.SourceWindows {
	return ledger.SourceWindows{Recent: 10 * time.Minute, Burst: 5 * time.Minute}
}

func (f *fixture) register() {
	f.Helper()
	f.must(f.l.RegisterSources(f.Context(), []ledger.SourceName{orders()}, []string{"webhook"}))
}

// judged gives the states that a judge sees, and lets it change them.
func (f *fixture) judged(w ledger.SourceWindows, judge func(*ledger.SourceState)) (seen []ledger.SourceState) {
	f.Helper()
	f.must(f.l.JudgeSources(f.Context(), []ledger.SourceName{orders(), {Integration: shop, Source: "nowhere"}}, w, func(s *ledger.SourceState) {
		seen = append(seen, *s)
		judge(s)
	}))
	return seen
}

func nothing(*ledger.SourceState) {}

func sourceNotes(f *fixture) {
	f.register()
	f.register() // again changes nothing
	early, late := time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Truncate(time.Second)
	note := ledger.SourceNote{SourceName: orders(), Heard: late, Verified: early, Arrivals: 5, Rejected: 2, Unproven: 3,
		Secrets: map[string]time.Time{"NEW": late, "OLD": early}, Fields: func(kept []byte) []byte { return fmt.Appendf(nil, `{"n":%d}`, len(kept)) }}
	f.must(f.l.NoteSources(f.Context(), []ledger.SourceNote{note, {SourceName: ledger.SourceName{Integration: mute, Source: "unknown"}, Arrivals: 9}}))
	note.Heard, note.Secrets, note.Fields = early, map[string]time.Time{"NEW": early, "OLD": late}, nil
	f.must(f.l.NoteSources(f.Context(), []ledger.SourceNote{note}))
	s := f.judged(windows(), nothing)
	if len(s) != 1 {
		f.Fatalf("%d sources judged, want 1", len(s))
	}
	f.expect("heard, the later one", s[0].HeardAt.Equal(late), true)
	f.expect("uses, the later ones", say(s[0].Secrets["NEW"].Equal(late), s[0].Secrets["OLD"].Equal(late)), "true true")
	f.expect("counts", say(s[0].Arrivals, s[0].Rejected, s[0].Unproven, s[0].UsualArrivals), "10 4 6 0")
	f.expect("fields", string(s[0].Fields), `{"n":2}`)
	// A secret that fits takes the ground from what failed before it.
	f.must(f.l.NoteSources(f.Context(), []ledger.SourceNote{{SourceName: orders(), Verified: time.Now()}}))
	f.expect("unproven since a secret fitted", f.judged(windows(), nothing)[0].Unproven, int64(0))
	list, err := f.l.SourceStories(f.Context())
	f.must(err)
	f.expect("the story", say(len(list), list[0].SourceName, list[0].Kind, list[0].Arrivals, list[0].Rejected), "1 shop/orders webhook 10 4")
}

func sourceJudged(f *fixture) {
	f.register()
	other := f.named("second")
	w := windows()
	w.Every = time.Hour
	var told atomic.Int32
	var both sync.WaitGroup
	for _, l := range []*ledger.Ledger{f.l, other, f.l, other} {
		both.Go(func() {
			err := l.JudgeSources(context.WithoutCancel(f.Context()), []ledger.SourceName{orders()}, w, func(s *ledger.SourceState) {
				told.Add(1)
				s.SilentSince, s.Told = &s.Now, "nothing came"
			})
			if err != nil {
				f.Error(err)
			}
		})
	}
	both.Wait()
	f.expect("told", told.Load(), int32(1))
	f.exec(`UPDATE source SET checked_at = now() - interval '2 hours'`)
	s := f.judged(w, func(s *ledger.SourceState) { s.SilentSince = nil })
	f.expect("it is known that it was told", len(s) == 1 && s[0].SilentSince != nil, true)
	f.expect("kept", one[string](f, `SELECT told || (alerted_at IS NOT NULL)::text || (silent_since IS NULL)::text FROM source`), "nothing cametruetrue")
}

func sourceFolded(f *fixture) {
	f.register()
	f.exec(`INSERT INTO source_minute (integration, source, minute, arrivals, rejected) VALUES ('shop', 'orders', now() - interval '2 hours', 100, 4), ('shop', 'orders', now() - interval '30 minutes', 50, 1), ('shop', 'orders', now() - interval '1 minute', 7, 6)`)
	for range 2 {
		s := f.judged(windows(), nothing)[0]
		if s.UsualArrivals == 50 { // the first judgement folds behind itself
			continue
		}
		f.expect("now and usually", say(s.Arrivals, s.Rejected, s.UsualArrivals, s.UsualRejected), "7 6 150 5")
	}
	f.expect("minutes left", one[int](f, `SELECT count(*) FROM source_minute`), 2)
	f.exec(`UPDATE source SET drift_since = now()`)
	f.exec(`INSERT INTO source_minute (integration, source, minute, arrivals, rejected) VALUES ('shop', 'orders', now() - interval '3 hours', 1000, 1000)`)
	f.judged(windows(), nothing)
	f.expect("what came in another format is not usual", one[float64](f, `SELECT usual_rejected FROM source`), 4.0)
}

func sourcePaused(f *fixture) {
	f.register()
	change := func(act func(context.Context, ledger.SourceName, string, string) (bool, error), why string, want bool) {
		f.Helper()
		changed, err := act(f.Context(), orders(), "kim", why)
		f.must(err)
		f.expect(why, changed, want)
	}
	change(f.l.ResumeSource, "not paused", false)
	f.exec(`UPDATE source SET silent_since = now()`)
	change(f.l.PauseSource, "their system is being moved", true)
	change(f.l.PauseSource, "again", false)
	paused, err := f.l.PausedSources(f.Context())
	f.must(err)
	f.expect("paused", say(len(paused), paused[0].SourceName, paused[0].By, paused[0].Why), "1 shop/orders kim their system is being moved")
	f.expect("a paused source is not silent", f.judged(windows(), nothing)[0].SilentSince == nil, true)
	change(f.l.ResumeSource, "moved", true)
	paused, err = f.l.PausedSources(f.Context())
	f.must(err)
	f.expect("paused afterwards", len(paused), 0)
	f.expect("resumed", f.judged(windows(), nothing)[0].ResumedAt != nil, true)
	acts, err := f.l.SourceActs(f.Context(), orders(), 10)
	f.must(err)
	f.expect("acts", say(len(acts), acts[0].Act, acts[0].Actor, acts[0].Why, acts[1].Act, acts[1].Why), "2 resume kim moved pause their system is being moved")
	// One that no ingest has had yet can be paused before it is taken into service.
	if _, err := f.l.PauseSource(f.Context(), ledger.SourceName{Integration: shop, Source: "later"}, "kim", "not yet"); err != nil {
		f.Error(err)
	}
}
