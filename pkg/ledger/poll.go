package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Poll is a polled source that this session holds, and what it has to do: its
// regular run, or a range that a person asked for.
type Poll struct {
	Integration, Source string
	Mark                []byte    // JSON: where to begin or to go on, as AcceptPolled or EndPoll left it
	Failures            int       // in a row
	Now                 time.Time // by the ledger's clock, when it was taken
	// Request is the id of the range; 0: this is the regular run.
	Request      int64
	Since, Until time.Time // of the range
}

// Polled is what one transaction of a run brought, beside its records.
type Polled struct {
	Mark  any  // where to go on; marshalled as JSON
	Begin bool // the run's first: what is counted of the one before ends
	Pages int
	Items int
	Known int // items that needed no arrival, because their records are known; counted as duplicates
}

// PollEnd is how a run, or the part of it that was worked, ended.
type PollEnd struct {
	Mark     any           // nil: as it stands
	Wait     time.Duration // until it is taken up again
	Failures int           // in a row; 0 when it went well
	Error    string        // of a failure
	Reached  time.Time     // what changed before it is known; zero: as it was
	Ended    bool          // the run is over, rather than gone on with later
	Failed   bool          // of a request: it is given up
	// Interaction is the request that failed, kept so that it can be read; nil: none.
	Interaction *Interaction
}

// ErrPollLost says that the source is another session's now: stop polling it.
var ErrPollLost = errors.New("the source is polled by another session now")

// EnsurePoll makes a source known; its first run is due at once.
func (l *Ledger) EnsurePoll(ctx context.Context, integration, source string) error {
	return l.execute(ctx, "make the poll "+integration+"/"+source+" known", "ensure_poll", pgx.NamedArgs{"integration": integration, "source": source})
}

// TakePoll leases the source to the session if something of it is due and no
// other live session has it; false otherwise. The regular run comes before
// requests, unless rangeFirst, and these in their order.
func (l *Ledger) TakePoll(ctx context.Context, session int64, integration, source string, rangeFirst bool) (Poll, bool, error) {
	p := Poll{Integration: integration, Source: source}
	args := pgx.NamedArgs{"integration": integration, "source": source, "session": session, "lapse": SessionLapse}
	act := fmt.Sprintf("take the poll %s/%s", integration, source)
	var mark string
	var due bool
	err := repeat(act, func() error {
		return l.pool.QueryRow(ctx, l.queries["take_poll"], args).Scan(&mark, &p.Failures, &due, &p.Now)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	l.observe(p.Now)
	if !due || rangeFirst { // the lease keeps others from its requests
		err = l.pool.QueryRow(ctx, l.queries["open_poll_request"], args).Scan(&p.Request, &p.Since, &p.Until, &mark, &p.Failures)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		if !due { // it ended meanwhile
			return p, false, l.execute(ctx, act, "free_poll", args)
		}
		err = nil
	}
	p.Mark = []byte(mark)
	return p, err == nil, err
}

// AcceptPolled accepts items of a page and moves the mark in the same
// transaction, so that a crash goes on exactly there. ErrPollLost says that
// nothing happened, because the source is another session's.
func (l *Ledger) AcceptPolled(ctx context.Context, session int64, p Poll, polled Polled, arrivals []Arrival) ([]Receipt, []Batch, error) {
	act := fmt.Sprintf("accept %d items of %s/%s", len(arrivals), p.Integration, p.Source)
	if err := bounded(act, len(arrivals)); err != nil {
		return nil, nil, err
	}
	document, err := json.Marshal(polled.Mark)
	if err != nil {
		return nil, nil, fmt.Errorf("mark of poll %s/%s: %w", p.Integration, p.Source, err)
	}
	receipts := make([]Receipt, len(arrivals))
	var batches []Batch
	err = l.transact(ctx, act, func(tx pgx.Tx) error {
		clear(receipts)
		batches = nil
		if err := l.holdPoll(ctx, tx, session, p); err != nil {
			return err
		}
		if len(arrivals) > 0 {
			if batches, err = l.insertAndHeal(ctx, tx, session, arrivals, receipts); err != nil {
				return err
			}
		}
		if tracked(arrivals) {
			if err := l.keepLatest(ctx, tx, arrivals, receipts, File{}); err != nil {
				return err
			}
		}
		return l.movePoll(ctx, tx, p, polled, document, receipts)
	})
	if err != nil {
		return nil, nil, splitOnDataFault(err)
	}
	return receipts, batches, nil
}

// holdPoll locks the source's row: who takes it over waits until the transaction has ended.
func (l *Ledger) holdPoll(ctx context.Context, tx pgx.Tx, session int64, p Poll) error {
	var now time.Time
	err := tx.QueryRow(ctx, l.queries["hold_poll"], pgx.NamedArgs{"integration": p.Integration, "source": p.Source, "session": session}).Scan(&now)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrPollLost
	}
	return err
}

func (l *Ledger) movePoll(ctx context.Context, tx pgx.Tx, p Poll, polled Polled, mark []byte, receipts []Receipt) error {
	args := pgx.NamedArgs{"mark": string(mark), "pages": polled.Pages, "items": polled.Items}
	received, rejected, duplicates := countRows(receipts)
	args["received"], args["rejected"], args["duplicates"] = received, rejected, duplicates+int64(polled.Known)
	query := "move_poll"
	if p.Request != 0 {
		query, args["id"] = "move_poll_request", p.Request
	} else {
		args["integration"], args["source"], args["begin"], args["taken"] = p.Integration, p.Source, polled.Begin, p.Now
	}
	tag, err := tx.Exec(ctx, l.queries[query], args)
	if err == nil && tag.RowsAffected() != 1 {
		return ErrPollLost
	}
	return err
}

// EndPoll gives the source back and says when it is taken up again: at once if
// HurryPoll was called after the run had begun, for it may have read too early what
// the person waits for. After a request's part the regular run's own time stands as
// it was.
func (l *Ledger) EndPoll(ctx context.Context, session int64, p Poll, end PollEnd) error {
	act := "end the poll " + p.Integration + "/" + p.Source
	mark := pgtype.Text{}
	if end.Mark != nil {
		document, err := json.Marshal(end.Mark)
		if err != nil {
			return fmt.Errorf("%s: its mark: %w", act, err)
		}
		mark = nullText(document)
	}
	args := pgx.NamedArgs{"integration": p.Integration, "source": p.Source, "session": session, "mark": mark, "wait": max(end.Wait, 0),
		"failures": end.Failures, "error": cleanText(end.Error, maxMessageBytes), "reached": nullTime(end.Reached), "ended": end.Ended, "id": p.Request}
	return l.transact(ctx, act, func(tx pgx.Tx) error {
		if err := l.holdPoll(ctx, tx, session, p); err != nil {
			return err
		}
		b := &pgx.Batch{}
		if p.Request == 0 {
			b.Queue(l.queries["end_poll"], args)
		} else {
			args["state"] = end.state()
			b.Queue(l.queries["end_poll_request"], args)
			b.Queue(l.queries["free_poll"], args)
		}
		if end.Interaction != nil {
			seen := &interactionColumns{}
			seen.add(*end.Interaction)
			seen.queue(l, b)
		}
		return tx.SendBatch(ctx, b).Close()
	})
}

func (e PollEnd) state() string {
	switch {
	case e.Failed:
		return "failed"
	case e.Ended:
		return "done"
	}
	return "open"
}

// RequestPoll asks for a range to be polled once, by whichever ingest takes it
// up; a zero until is now. It returns the request's id.
func (l *Ledger) RequestPoll(ctx context.Context, integration, source string, since, until time.Time, actor string) (int64, error) {
	var id int64
	args := pgx.NamedArgs{"integration": integration, "source": source, "since": since, "until": nullTime(until), "actor": cleanText(actor, 200)}
	if err := l.pool.QueryRow(ctx, l.queries["request_poll"], args).Scan(&id); err != nil {
		return 0, fmt.Errorf("ledger: request a poll of %s/%s: %w", integration, source, err)
	}
	return id, nil
}

// HurryPoll makes the regular run due now, once more if one is under way; it returns
// the ledger's time, or ErrNotFound when no ingest has ever had this source.
func (l *Ledger) HurryPoll(ctx context.Context, integration, source string) (time.Time, error) {
	var now time.Time
	err := l.pool.QueryRow(ctx, l.queries["hurry_poll"], pgx.NamedArgs{"integration": integration, "source": source}).Scan(&now)
	if errors.Is(err, pgx.ErrNoRows) {
		return now, fmt.Errorf("poll %s/%s: %w", integration, source, ErrNotFound)
	}
	return now, err
}

// PollRequest is a range that was asked for, and how far it is.
type PollRequest struct {
	ID                                   int64
	Integration, Source                  string
	Since, Until                         time.Time
	Actor                                string
	State                                string // open, done or failed
	Failures                             int    // in a row
	Error                                string // of the last try
	RequestedAt                          time.Time
	StartedAt, EndedAt                   *time.Time
	NextAt                               time.Time
	Pages                                int64
	Items, Received, Rejected, Duplicate int64 // the rejected are among the received
}

// PollRequest reads a request, or ErrNotFound.
func (l *Ledger) PollRequest(ctx context.Context, id int64) (PollRequest, error) {
	found, err := collect(ctx, l, "poll_request_by_id", pgx.NamedArgs{"id": id}, pgx.RowToStructByPos[PollRequest])
	if err != nil {
		return PollRequest{}, err
	}
	if len(found) == 0 {
		return PollRequest{}, fmt.Errorf("poll request %d: %w", id, ErrNotFound)
	}
	return found[0], nil
}

// PollStory is what the ledger keeps about a polled source: its last run, or
// the one under way, and what comes next.
type PollStory struct {
	Integration, Source                  string
	Running                              bool // a live session polls it now
	NextAt                               time.Time
	Failures                             int        // in a row
	Error                                string     // of the last try
	Reached                              *time.Time // what changed before it is known; nil before a run has ended
	StartedAt, EndedAt                   *time.Time
	Pages                                int64
	Items, Received, Rejected, Duplicate int64
	Requests                             int64 // ranges that wait or are under way
}

// Polls lists every polled source that an ingest has had, by name.
func (l *Ledger) Polls(ctx context.Context) ([]PollStory, error) {
	return collect(ctx, l, "polls", pgx.NamedArgs{"lapse": SessionLapse}, pgx.RowToStructByPos[PollStory])
}
