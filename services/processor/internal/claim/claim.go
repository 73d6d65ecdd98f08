// Package claim takes a batch of messages so that only one worker acts on each
// record. An offset may be committed once the claim of its message is: from
// then on the ledger's lease holds the record, not the topic.
package claim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/groupcommit"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
)

// claimLimit bounds one claim; it is shorter than a session without a renewal.
const claimLimit = 5 * time.Second

// gather is the least time between the starts of two claims, and how long a call that
// found no room gathers it: no sender waits for a claim, and one for each partition
// and each record that ends would cost the most.
const gather = 10 * time.Millisecond

// linger is how long a claim waits for those of the other partitions that one poll brought.
const linger = 2 * time.Millisecond

// sessionWait is how long a claim waits for the next session when the one it was
// asked under has lapsed meanwhile.
const sessionWait = time.Second

// maxClaimed bounds the records of one claim, and so its locks.
const maxClaimed = 1000

// sleepSlice is how long a wait for a due time goes on before it is reckoned again:
// the ledger's clock may have been set, and our estimate of it with it.
const sleepSlice = 5 * time.Second

// Claimed is a record that this process holds, with what its message carried.
type Claimed struct {
	Record  record.Record
	Session *ledger.Session
	Payload ledger.Payload
	// ByReference: the message named the payload, which is read from the ledger.
	ByReference bool
	Origin      stream.Message // where the message came from, without its content
}

// Shares are how many records of each kind are in flight at most: retries never
// take the place of fresh work, nor a backfill that of either.
type Shares struct{ New, Retry, Replay int64 }

// Config of a Claimer.
type Config struct {
	Ledger   *ledger.Ledger
	Sessions *ledger.Sessions
	Shares   Shares
	// Version is the current version of an integration, to pin at a first attempt; 0: keep the record's.
	Version func(integration string) int64
	// Quarantine keeps a message that is not ours before its offset moves.
	Quarantine func(ctx context.Context, m stream.Message, reason error) error
	// Work does one attempt. Its context ends when the session lapses or the drain is over.
	Work func(ctx context.Context, c Claimed)
	Log  *zap.Logger
}

// Claimer hands claimed records to workers, one goroutine each, bounded by the shares.
type Claimer struct {
	Config
	shares  map[kind]*semaphore.Weighted
	claims  *groupcommit.Group[[]ledger.Ref, []held]
	workers sync.WaitGroup
	stop    context.Context // ends when the drain is over
	cut     context.CancelFunc
}

type kind string

const (
	newWork kind = "work"
	retries kind = "retry"
	replays kind = "replay"
)

// New makes a claimer; Drain ends it.
func New(config Config) (*Claimer, error) {
	stop, cut := context.WithCancel(context.Background())
	c := &Claimer{Config: config, stop: stop, cut: cut, shares: map[kind]*semaphore.Weighted{
		newWork: semaphore.NewWeighted(max(1, config.Shares.New)),
		retries: semaphore.NewWeighted(max(1, config.Shares.Retry)),
		replays: semaphore.NewWeighted(max(1, config.Shares.Replay)),
	}}
	inFlight := int(config.Shares.New + config.Shares.Retry + config.Shares.Replay)
	var err error
	c.claims, err = groupcommit.New(groupcommit.Config[[]ledger.Ref, []held]{
		// What is counted instead of bytes is records; each has its place already, so that the queue is never full.
		Commit: groupcommit.Lists(c.commit), Size: func(refs []ledger.Ref) int { return len(refs) }, MaxBytes: maxClaimed,
		QueueItems: inFlight + 3, QueueBytes: max(inFlight+3, maxClaimed), Interval: gather, LowInterval: gather, Linger: linger,
		CommitTimeout: 2 * claimLimit, // the commit has its own bound
	})
	return c, err
}

func kindOf(topic string) kind {
	switch {
	case strings.HasSuffix(topic, ".work"):
		return newWork
	case strings.HasSuffix(topic, ".replay"):
		return replays
	default:
		return retries
	}
}

// Handle claims the head of a partition: the messages that are due and for
// which there is room. It returns how many are done with. It is what the
// consumer calls, one call at a time per partition.
func (c *Claimer) Handle(ctx context.Context, messages []stream.Message) (int, error) {
	c.workers.Add(1) // Drain also waits for a call that was left behind, and may still start workers
	defer c.workers.Done()
	room := c.shares[kindOf(messages[0].Topic)]
	envelopes, n, err := c.read(ctx, messages, room)
	if err != nil || len(envelopes) == 0 {
		return n, err
	}
	got, err := c.claim(ctx, envelopes)
	if err != nil {
		room.Release(int64(len(envelopes)))
		return 0, err
	}
	for i, r := range got {
		if r.Fence == 0 { // stale: claimed, settled or requeued by somebody since
			room.Release(1)
			continue
		}
		c.start(room, envelopes[i], r)
	}
	if planted.HighestOffset { // the offset of the last that was fetched
		n = len(messages)
	}
	return n, nil
}

// read decodes the head of the partition that is due and finds room, which the
// caller has to give back; with an error nothing is held. It waits only while it
// holds nothing: for the first message's due time, for room, and for the quarantine
// that takes a message which is not ours.
func (c *Claimer) read(ctx context.Context, messages []stream.Message, room *semaphore.Weighted) ([]envelope, int, error) {
	var list []envelope
	for i, m := range messages {
		if len(list) > 0 && !room.TryAcquire(1) { // it comes again, and is decoded then
			return list, i, nil
		}
		e, err := stream.DecodeRecord(m)
		early := err == nil && e.DueAt.After(c.Ledger.Now())
		if len(list) > 0 && (early || err != nil) {
			room.Release(1)
			return list, i, nil // these first; it comes again at the head
		}
		switch {
		case err != nil:
			if err := c.Quarantine(ctx, m, err); err != nil {
				return nil, i, fmt.Errorf("quarantine %s/%d@%d: %w", m.Topic, m.Partition, m.Offset, err)
			}
			continue
		case early:
			if err := sleepUntil(ctx, e.DueAt, c.Ledger.Now); err != nil {
				return nil, i, err
			}
		}
		if len(list) == 0 {
			if err := c.enter(ctx, room); err != nil {
				return nil, i, err
			}
		}
		m.Key, m.Value, m.Headers = nil, nil, nil
		list = append(list, envelope{Record: e, origin: m})
	}
	return list, len(messages), nil
}

// enter takes the first place. Where none is free, one is waited for, and then a
// little longer for more: a claim for each record that ends would cost the most.
func (c *Claimer) enter(ctx context.Context, room *semaphore.Weighted) error {
	if room.TryAcquire(1) {
		return nil
	}
	if err := room.Acquire(ctx, 1); err != nil {
		return err
	}
	if err := clock.Sleep(ctx, gather); err != nil {
		room.Release(1)
		return err
	}
	return nil
}

type envelope struct {
	stream.Record
	origin stream.Message
}

// sleepUntil returns when now, asked every sleepSlice, has reached due.
func sleepUntil(ctx context.Context, due time.Time, now func() time.Time) error {
	for {
		wait := due.Sub(now())
		if wait <= 0 {
			return nil
		}
		if clock.Sleep(ctx, min(wait, sleepSlice)) != nil {
			return ctx.Err()
		}
	}
}

// held is a claimed record, with who holds it.
type held struct {
	record.Record
	session *ledger.Session
}

// claim claims together with the calls for other partitions. It does not end with
// ctx, which a rebalance ends: cut off in the middle of its commit, a claim would
// leave us not knowing what we hold.
func (c *Claimer) claim(ctx context.Context, envelopes []envelope) ([]held, error) {
	if _, err := c.Sessions.Current(ctx); err != nil { // as long as it takes: commit waits only sessionWait
		return nil, err
	}
	refs := make([]ledger.Ref, len(envelopes))
	for i, e := range envelopes {
		refs[i] = ledger.Ref{ID: e.ID, Fence: e.Fence, Version: c.Version(e.Integration)}
	}
	return c.claims.Do(context.WithoutCancel(ctx), refs)
}

func (c *Claimer) commit(ctx context.Context, refs []ledger.Ref) ([]held, error) {
	wait, cancel := context.WithTimeout(ctx, sessionWait)
	defer cancel()
	session, err := c.Sessions.Current(wait)
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithTimeout(session.Context(), claimLimit)
	defer cancel()
	records, err := c.Ledger.Claim(ctx, session.ID, refs)
	if errors.Is(err, ledger.ErrUnknown) {
		// Perhaps these records are ours and we would never know: with the session they lapse,
		// and the re-driver gives them to somebody who does.
		session.End()
	}
	claimed := make([]held, len(records))
	for i, r := range records {
		claimed[i] = held{r, session}
	}
	return claimed, err
}

func (c *Claimer) start(room *semaphore.Weighted, e envelope, r held) {
	ctx, cancel := context.WithCancel(r.session.Context())
	unhook := context.AfterFunc(c.stop, cancel)
	c.workers.Go(func() {
		defer room.Release(1)
		defer cancel()
		defer unhook()
		c.Work(ctx, Claimed{Record: r.Record, Session: r.session, ByReference: e.ByReference, Origin: e.origin, Payload: ledger.Payload{
			ContentType: e.ContentType, Headers: e.Headers, Body: e.Body, Revision: e.Revision, TrackingID: e.TrackingID,
		}})
	})
}

// Drain waits for the workers; when ctx ends first it cuts them short, and they
// give back what they have not begun.
func (c *Claimer) Drain(ctx context.Context) error {
	err := c.claims.Close(ctx)
	done := make(chan struct{})
	go func() {
		c.workers.Wait()
		close(done)
	}()
	select {
	case <-done:
		return err
	case <-ctx.Done():
		c.cut()
		<-done // workers return when their context has ended: every wait of theirs heeds it
		return ctx.Err()
	}
}
