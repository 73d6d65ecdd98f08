package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"waybill.internal/pkg/clock"
)

// Sessions keeps a process's session alive. When it lapses (the ledger could
// not be reached, or the process was stopped), the context of everything that
// worked under it ends and a new session is opened as soon as that is possible.
type Sessions struct {
	ledger  *Ledger
	service string
	log     *zap.Logger

	mu      sync.Mutex
	current *Session
	changed chan struct{} // closed and replaced when current changes
}

// Session is a lease on what it claims. Its context ends when it has lapsed by
// our monotonic clock, which runs from before the renewal was sent: never
// later than by the ledger's.
type Session struct {
	ID  int64
	ctx context.Context

	cancel context.CancelFunc
	lapse  *time.Timer // cancels; reset by each renewal
	mu     sync.Mutex
	until  time.Time
}

// NewSessions prepares; Run opens the first session and renews.
func NewSessions(l *Ledger, service string, log *zap.Logger) *Sessions {
	return &Sessions{ledger: l, service: service, log: log, changed: make(chan struct{})}
}

// Run keeps a session until ctx ends, then closes it so that what it still
// holds is taken over at once. It returns when the session is closed.
func (s *Sessions) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		session, err := s.open(ctx)
		if err != nil {
			s.log.Warn("no session could be opened; nothing is worked until the ledger answers", zap.Error(err))
			if clock.Sleep(ctx, SessionRenewal/2) != nil {
				return nil
			}
			continue
		}
		s.set(session)
		s.renew(ctx, session)
		s.set(nil)
		s.end(ctx, session)
	}
	return nil
}

// Current waits for a live session.
func (s *Sessions) Current(ctx context.Context) (*Session, error) {
	for {
		s.mu.Lock()
		session, changed := s.current, s.changed
		s.mu.Unlock()
		if session != nil && session.Alive() {
			return session, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// Ready is an error while there is no live session.
func (s *Sessions) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || !s.current.Alive() {
		return errors.New("no live session: the ledger does not answer")
	}
	return nil
}

// End gives the session up: nothing is begun or settled under it any more, and
// what it holds is taken over when it has lapsed. Sessions opens another one.
func (s *Session) End() { s.cancel() }

// Context ends when the session has lapsed.
func (s *Session) Context() context.Context { return s.ctx }

// Alive is asked right before any write to the outside.
func (s *Session) Alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx.Err() == nil && time.Now().Before(s.until)
}

func (s *Session) extend(from time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = from.Add(SessionLapse)
	s.lapse.Reset(time.Until(s.until))
}

func (s *Sessions) set(session *Session) {
	s.mu.Lock()
	s.current = session
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

func (s *Sessions) open(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, SessionLapse/2)
	defer cancel()
	host, _ := os.Hostname()
	from := time.Now()
	var id int64
	var now time.Time
	args := pgx.NamedArgs{"service": s.service, "host": fmt.Sprintf("%s/%d", host, os.Getpid())}
	if err := s.ledger.pool.QueryRow(ctx, s.ledger.queries["open_session"], args).Scan(&id, &now); err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	s.ledger.observe(now)
	// Not a child of ctx: work under the session outlives the signal to stop, until it is drained.
	sessionCtx, end := context.WithCancel(context.WithoutCancel(ctx))
	session := &Session{ID: id, ctx: sessionCtx, cancel: end, lapse: time.AfterFunc(SessionLapse, end)}
	session.extend(from)
	return session, nil
}

// renew returns when the session has lapsed or ctx has ended.
func (s *Sessions) renew(ctx context.Context, session *Session) {
	for session.Alive() {
		if clock.Sleep(ctx, SessionRenewal) != nil || !session.Alive() {
			return
		}
		from := time.Now()
		call, cancel := context.WithTimeout(ctx, SessionRenewal)
		var now time.Time
		err := s.ledger.pool.QueryRow(call, s.ledger.queries["renew_session"], pgx.NamedArgs{"id": session.ID, "lapse": SessionLapse}).Scan(&now)
		cancel()
		switch {
		case err == nil && time.Since(from) < SessionLapse && session.Alive():
			s.ledger.observe(now)
			session.extend(from)
		case errors.Is(err, pgx.ErrNoRows):
			s.log.Warn("this session has lapsed by the ledger's clock; its records are somebody else's now", zap.Int64("session", session.ID))
			return
		case err != nil:
			s.log.Warn("the session could not be renewed", zap.Int64("session", session.ID), zap.Error(err))
		}
	}
}

// end stops the work under the session first, and then lets the ledger know.
func (s *Sessions) end(ctx context.Context, session *Session) {
	session.lapse.Stop()
	session.cancel()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), SessionRenewal)
	defer cancel()
	if _, err := s.ledger.pool.Exec(ctx, s.ledger.queries["close_session"], pgx.NamedArgs{"id": session.ID}); err != nil {
		s.log.Warn("the session could not be closed; it lapses by itself", zap.Int64("session", session.ID), zap.Error(err))
	}
}
