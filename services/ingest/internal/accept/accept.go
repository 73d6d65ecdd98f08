// Package accept checks, identifies, de-duplicates and stores what arrived, or
// refuses it with a reason. Every source ends here.
//
// Rows of concurrent arrivals share one transaction. An arrival that was told
// "accepted" is committed; whatever else happens is our fault and answered so.
package accept

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/groupcommit"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/record"
)

const (
	maxItems      = 500
	maxBytes      = 4 << 20
	queueItems    = 8000
	queueBytes    = 32 << 20
	commitTimeout = 2 * time.Second
	perItemBytes  = 1000
)

// Acceptor stores arrivals of every source. It is safe for concurrent use.
type Acceptor struct {
	ledger    *ledger.Ledger
	sessions  *ledger.Sessions
	publisher *outbox.Publisher
	log       *zap.Logger
	arrivals  *groupcommit.Group[handed, stored]
	refusals  *groupcommit.Group[ledger.Interaction, struct{}]
	seen      Seen
}

// Seen is told of every arrival that base validation judged: its body, nil if it
// could not be read as one, and what is wrong with it. It must not wait, nor keep the body.
type Seen func(integration, source string, body any, problems []integration.Problem)

// Tell names who is told of arrivals; it is called before the first one.
func (a *Acceptor) Tell(seen Seen) { a.seen = seen }

// Unread tells of an arrival that could not be read as a body.
func (a *Acceptor) Unread(from, source, code string) {
	a.seen(from, source, nil, []integration.Problem{{Code: code}})
}

// New starts an acceptor; Close flushes and stops it.
func New(l *ledger.Ledger, s *ledger.Sessions, p *outbox.Publisher, log *zap.Logger) (*Acceptor, error) {
	a := &Acceptor{ledger: l, sessions: s, publisher: p, log: log, seen: func(string, string, any, []integration.Problem) {}}
	var err error
	a.arrivals, err = groupcommit.New(groupcommit.Config[handed, stored]{
		Commit: inLine(a.commit), Size: func(h handed) int { return arrivalSize(h.arrival) },
		MaxItems: maxItems, MaxBytes: maxBytes, QueueItems: queueItems, QueueBytes: queueBytes, CommitTimeout: commitTimeout,
	})
	if err != nil {
		return nil, err
	}
	a.refusals, err = groupcommit.New(groupcommit.Config[ledger.Interaction, struct{}]{
		Commit: a.refuse, Size: interactionSize,
		MaxItems: maxItems, MaxBytes: maxBytes, QueueItems: queueItems, QueueBytes: queueBytes, CommitTimeout: commitTimeout,
	})
	return a, err
}

func arrivalSize(a ledger.Arrival) int {
	n := perItemBytes + len(a.Payload.Body)
	for name, value := range a.Payload.Headers {
		n += len(name) + len(value)
	}
	if a.Failure != nil {
		n += len(a.Failure.Detail)
	}
	return n
}

func interactionSize(i ledger.Interaction) int {
	return perItemBytes + len(i.RequestHeader) + len(i.RequestBody) + len(i.ResponseHeader) + len(i.ResponseBody)
}

// Close commits what waits.
func (a *Acceptor) Close(ctx context.Context) error {
	return errors.Join(a.arrivals.Close(ctx), a.refusals.Close(ctx))
}

func (a *Acceptor) commit(ctx context.Context, arrivals []ledger.Arrival) ([]ledger.Receipt, error) {
	session, err := a.sessions.Current(ctx)
	if err != nil {
		return nil, fmt.Errorf("no session: %w", err)
	}
	receipts, batches, err := a.ledger.Accept(ctx, session.ID, arrivals)
	if err != nil {
		return nil, err
	}
	Publish(ctx, a.publisher, a.log, batches, arrivals)
	return receipts, nil
}

// Publish sends out what accepting the arrivals caused: from memory, but for
// records that a duplicate re-drove, which go out as they were accepted once.
func Publish(ctx context.Context, p *outbox.Publisher, log *zap.Logger, batches []ledger.Batch, arrivals []ledger.Arrival) {
	for _, b := range batches {
		if !b.Stored {
			p.Enqueue([]ledger.Batch{b}, func(i ledger.Item) outbox.Source { return outbox.Source{Payload: arrivals[i.Index].Payload} })
			continue
		}
		if err := p.EnqueueStored(ctx, []ledger.Batch{b}); err != nil {
			log.Warn("what a duplicate re-drove could not be read; the relay sends it out", zap.Error(err))
		}
	}
}

func (a *Acceptor) refuse(ctx context.Context, refused []ledger.Interaction) ([]struct{}, error) {
	return make([]struct{}, len(refused)), a.ledger.Refuse(ctx, refused)
}

// Unavailable is our own fault: nothing is known to be stored, send it again.
type Unavailable struct{ Err error }

func (u *Unavailable) Error() string {
	return "the record could not be stored now, send it again: " + u.Err.Error()
}

// Unwrap gives the cause, for the log: the sender sees none of it.
func (u *Unavailable) Unwrap() error { return u.Err }

// Accept stores one arrival and returns its receipt once it is durable. An
// error is *Unavailable, or a *fault.Error of class data if the ledger refused
// the arrival's values.
func (a *Acceptor) Accept(ctx context.Context, arrival ledger.Arrival) (ledger.Receipt, error) {
	if planted.AnswerBeforeCommit { // the commit will surely come
		r := record.Record{ID: arrival.ID, Integration: arrival.Integration, State: record.Queued, Fence: 1, AcceptedAt: a.ledger.Now()}
		return ledger.Receipt{Record: r}, a.arrivals.Submit(handed{arrival: arrival}, func(stored, error) {})
	}
	got, err := a.arrivals.Do(ctx, handed{arrival: arrival})
	return got.receipt, told(err)
}

// told makes of a commit's error what Accept promises.
func told(err error) error {
	switch {
	case err == nil:
		return nil
	case ledger.DataFault(err):
		return fault.Wrap(err, fault.Data, "unstorable", "%s", ledger.DataFaultText(err))
	default:
		return &Unavailable{err}
	}
}

// Refuse keeps a refused request, in a row of its own; the error is *Unavailable.
func (a *Acceptor) Refuse(ctx context.Context, i ledger.Interaction) error {
	if _, err := a.refusals.Do(ctx, i); err != nil {
		return &Unavailable{err}
	}
	return nil
}

// Input is what a source read: a decoded body with its raw bytes.
type Input struct {
	Entry       catalog.Entry
	Source      *integration.Source
	Body        any // as integration.DecodeJSON gives it
	Raw         []byte
	ContentType string
	Headers     map[string]string // lower-case names, redacted: what is kept
	// KeyHeaders are what keys are made of, nothing redacted; nil: Headers.
	KeyHeaders map[string]string
	FileHash   string
	Row        int64
	Item       any    // of a poll, as the list gives it
	EventID    string // the sender's own identity of the event: the default idempotency key
	// SpareKey is the idempotency key of what has none, or whose key cannot be evaluated: it
	// becomes a rejected record rather than being refused. "": it is refused.
	SpareKey   string
	TrackingID [16]byte
	// Request of a duplicate is asked for while the commit is under way. Nil: none is kept.
	Request func() ledger.Interaction
}

// Prepare identifies and validates. The error is a *fault.Error: class data
// when the sender must change something (there is no key, or what is invalid is
// refused), class bug when an expression of the integration failed, which is
// our own fault and loses nothing if the sender tries again.
func (a *Acceptor) Prepare(ctx context.Context, in Input) (ledger.Arrival, error) {
	key, err := a.ledger.InstallationKey(ctx)
	if err != nil {
		return ledger.Arrival{}, &Unavailable{err}
	}
	if in.KeyHeaders == nil {
		in.KeyHeaders = in.Headers
	}
	idempotencyKey, entityKey, err := in.Entry.Keys(in.Source, integration.Input{Body: in.Body, Headers: in.KeyHeaders, FileHash: in.FileHash, Row: in.Row, Item: in.Item, EventID: in.EventID})
	problems := in.Entry.Validate(in.Body)
	if err != nil {
		problem, ok := errors.AsType[integration.Problem](err)
		if !ok {
			return ledger.Arrival{}, fault.Wrap(err, fault.Bug, "unidentified", "%v", err)
		}
		problems = append([]integration.Problem{problem}, problems...)
		if idempotencyKey == "" {
			idempotencyKey = in.SpareKey
		}
		if idempotencyKey == "" { // without an identity it cannot be a record
			a.seen(in.Entry.Name, in.Source.Name, in.Body, problems)
			f := Invalid(problems)
			f.Code = "unidentified"
			return ledger.Arrival{}, f
		}
		entityKey = idempotencyKey
	}
	if planted.ContentAsKey {
		idempotencyKey = fmt.Sprintf("%x", sha256.Sum256(in.Raw))
	}
	arrival := ledger.Arrival{
		ID: record.DeriveID(key, in.Entry.Name, idempotencyKey), Integration: in.Entry.Name, Source: in.Source.Name,
		Key: idempotencyKey, EntityKey: entityKey, Version: in.Entry.Version, Request: in.Request,
		RefuseConflict: in.Entry.ConflictPolicy(in.Source) == "refuse", AnyBody: in.Entry.Copies(in.Source),
		Payload: ledger.Payload{TrackingID: in.TrackingID, ContentType: in.ContentType, Headers: in.Headers, Body: in.Raw},
	}
	if err == nil && in.Entry.TracksEntities() {
		content, err := integration.ContentHash(in.Body)
		if err != nil {
			return ledger.Arrival{}, fault.Wrap(err, fault.Bug, "uncanonical", "hash the body: %v", err)
		}
		arrival.Content = &content
	}
	a.seen(in.Entry.Name, in.Source.Name, in.Body, problems)
	if len(problems) == 0 {
		return arrival, nil
	}
	f := Invalid(problems)
	if f.Class == fault.Data && in.Entry.InvalidPolicy(in.Source) == "refuse" {
		return arrival, f
	}
	arrival.Failure = Failure(f)
	return arrival, nil
}

// Invalid is the failure of base validation, with all reasons at once.
func Invalid(problems []integration.Problem) *fault.Error {
	f := fault.New(fault.Data, "invalid", "%d reasons, the first: %s", len(problems), problems[0].Error())
	if len(problems) == 1 {
		f.Message = problems[0].Error()
	}
	for _, p := range problems {
		if p.Bug() {
			f.Class, f.Code = fault.Bug, "expression"
		}
		f.Detail = append(f.Detail, fault.Problem{Pointer: p.Pointer, Code: p.Code, Message: p.Message})
	}
	return f
}

// Failure is a fault as the ledger keeps it.
func Failure(f *fault.Error) *record.Failure {
	detail, err := json.Marshal(f.Detail)
	if err != nil || len(f.Detail) == 0 {
		detail = nil
	}
	return &record.Failure{Class: f.Class, Code: f.Code, Message: f.Message, Detail: detail}
}
