package ledgertest

import (
	"context"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
)

const patience = 30 * time.Second // how long a test waits for what must happen

func sessionPromises() []promise {
	return []promise{
		{name: "a session is renewed, replaced when it lapsed, and closed", test: sessionLife},
		{name: "old sessions are forgotten", test: sessionsDropped},
	}
}

// until asks again and again; the ledger's own pace decides how long it takes.
func (f *fixture) until(what string, done func() bool) {
	f.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			f.Fatalf("%s did not happen within %s", what, patience)
		}
	}
}

func sessionLife(f *fixture) {
	ctx, stop := context.WithCancel(f.Context())
	defer stop()
	sessions := ledger.NewSessions(f.l, "test", zap.NewNop())
	if sessions.Ready() == nil {
		f.Error("ready without a session")
	}
	ended := make(chan error, 1)
	go func() { ended <- sessions.Run(ctx) }()
	first, err := sessions.Current(ctx)
	f.must(err)
	f.must(sessions.Ready())
	f.expect("alive", first.Alive(), true)
	if skew := f.l.Skew(); skew.Abs() > time.Minute {
		f.Errorf("the ledger's clock is off by %s", skew)
	}
	opened := one[time.Time](f, `SELECT renewed_at FROM session WHERE id = $1`, first.ID)
	f.until("a renewal", func() bool {
		return one[time.Time](f, `SELECT renewed_at FROM session WHERE id = $1`, first.ID).After(opened)
	})
	f.lapse(first.ID)
	select {
	case <-first.Context().Done():
	case <-time.After(patience):
		f.Fatal("the context of a lapsed session did not end")
	}
	f.expect("alive after its lapse", first.Alive(), false)
	second, err := sessions.Current(ctx)
	f.must(err)
	f.expect("a new session", second.ID != first.ID, true)
	stop()
	f.must(<-ended)
	f.expect("work under a closed session", second.Context().Err(), context.Canceled)
	f.expect("closed in the ledger", one[bool](f, `SELECT renewed_at = 'epoch' FROM session WHERE id = $1`, second.ID), true)
	if sessions.Ready() == nil {
		f.Error("ready after the end")
	}
	if _, err := sessions.Current(ctx); err == nil {
		f.Error("a session after the end")
	}
}

func sessionsDropped(f *fixture) {
	live, old := f.session(), f.session()
	f.exec(`UPDATE session SET renewed_at = now() - interval '2 days' WHERE id = $1`, old)
	f.must(f.l.DropSessions(f.Context()))
	f.expect("sessions", one[int64](f, `SELECT id FROM session`), live)
}
