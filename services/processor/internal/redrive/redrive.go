// Package redrive sends out again what was lost on the way: batches whose
// process died before it published them, messages that Kafka lost, records
// whose worker's session lapsed, and waits in the ledger that are over.
//
// Any number of replicas may run it: each step takes rows with SKIP LOCKED and
// moves records under their fences, so two of them share the work.
//
// A backlog is never sent twice: a batch is looked into only once the group's
// committed offsets have passed its messages, or the topic proves shorter.
package redrive

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/stream"
)

const (
	// Interval between two rounds.
	Interval = time.Second
	// roundTimeout bounds one round.
	roundTimeout = 30 * time.Second

	relayAtOnce   = 50   // batches taken in one transaction
	releaseAtOnce = 500  // waiting rows released in one transaction
	stepsPerRound = 40   // transactions of one kind in one round
	pageSize      = 1000 // published batches read at once
	pagesPerRound = 50   // pages looked through in one round
	passedAtOnce  = 10   // batches looked into in one transaction
	// absentRounds is how often in a row a topic must be missing, or shorter than it
	// was, before it counts as wiped: one answer of a broker that starts may be wrong.
	absentRounds = 2
	// clockMargin is how wrong our estimate of the ledger's clock may be.
	clockMargin = time.Second
	// abandonedAfter is how long a batch must have been due on a topic that nobody
	// reads before its records go out to the topic of today. Processors of an older
	// version, which may read it still, are given this long to do so.
	abandonedAfter = 2 * time.Minute
	// lookTimeout bounds the questions to Kafka, so that a round has time for the rest.
	lookTimeout = 10 * time.Second
	// stepsBlind is stepsPerRound while Kafka cannot be asked: it may still take messages.
	stepsBlind = 1
)

// Kafka is what the re-driver asks of the brokers. With stream.TopicErrors come
// the offsets of the topics that could be read.
type Kafka interface {
	// Committed offsets of a group by topic and partition; unknown topics are absent.
	Committed(ctx context.Context, group string, topics []string) (stream.Offsets, error)
	// Ends are the topics' end offsets; unknown topics are absent.
	Ends(ctx context.Context, topics []string) (stream.Offsets, error)
	// Starts are the topics' first offsets; unknown topics are absent.
	Starts(ctx context.Context, topics []string) (stream.Offsets, error)
}

// Config of a Redriver.
type Config struct {
	Ledger    *ledger.Ledger
	Publisher *outbox.Publisher
	Sessions  *ledger.Sessions
	Kafka     Kafka
	Prefix    string
	// Groups maps a consumer group to the topics it reads, without the prefix.
	Groups map[string][]string
	// Known says whether the topic, without the prefix, is one that this installation
	// still reads, here or elsewhere. Nil: every topic is.
	Known func(topic string) bool
	Log   *zap.Logger
	// Observe is told how many records of a kind were sent out again: relayed, released, lost, taken_over.
	Observe func(kind string, records int)
}

// Redriver runs rounds until its context ends.
type Redriver struct {
	Config
	upSince time.Time // since when every round has found the ledger up
	cursor  ledger.BatchID
	suspect map[string]int // rounds in a row in which a topic looked wiped
	seen    map[string][]int64
}

// New makes a Redriver.
func New(c Config) *Redriver {
	if c.Known == nil {
		c.Known = func(string) bool { return true }
	}
	return &Redriver{Config: c, suspect: map[string]int{}, seen: map[string][]int64{}}
}

// Run makes a round every Interval until ctx ends. A round that fails is
// logged, and the next one goes on.
func (r *Redriver) Run(ctx context.Context) error {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.Log.Warn("a round of the re-driver failed; the next one goes on", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (r *Redriver) round(ctx context.Context) error {
	session, err := r.Sessions.Current(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	if err := r.Ledger.Ready(ctx); err != nil {
		r.upSince = time.Time{}
		return err
	}
	if r.upSince.IsZero() {
		r.upSince = time.Now()
	}
	err = r.release(ctx, session.ID)
	positions, kafkaErr := r.positions(ctx)
	if kafkaErr != nil { // nothing can be judged now, but perhaps published
		return errors.Join(err, kafkaErr, r.relay(ctx, session.ID, stepsBlind))
	}
	return errors.Join(err, positions.unread(), r.relay(ctx, session.ID, stepsPerRound), r.lost(ctx, session.ID, positions))
}

// relay publishes batches whose process did not.
func (r *Redriver) relay(ctx context.Context, session int64, steps int) error {
	for range steps {
		batches, err := r.Ledger.TakeUnpublished(ctx, session, relayAtOnce)
		if err != nil {
			return err
		}
		var empty []ledger.BatchID
		full := batches[:0]
		for _, b := range batches {
			if len(b.Items) == 0 {
				empty = append(empty, b.ID)
				continue
			}
			full = append(full, b)
			r.Observe("relayed", len(b.Items))
		}
		if len(empty) > 0 {
			if err := r.Ledger.DropBatches(ctx, empty); err != nil {
				return err
			}
		}
		if err := r.Publisher.EnqueueStored(ctx, full); err != nil {
			return err
		}
		if len(full)+len(empty) < relayAtOnce {
			return nil
		}
	}
	return nil
}

// release puts back on a topic what has waited long enough in the ledger.
func (r *Redriver) release(ctx context.Context, session int64) error {
	for range stepsPerRound {
		batches, err := r.Ledger.Release(ctx, session, releaseAtOnce)
		if err != nil {
			return err
		}
		released := 0
		for _, b := range batches {
			released += len(b.Items)
		}
		r.Observe("released", released)
		if err := r.Publisher.EnqueueStored(ctx, batches); err != nil {
			return err
		}
		if released < releaseAtOnce/2 {
			return nil
		}
	}
	return nil
}

// lost looks into the batches that have been consumed, or are gone.
func (r *Redriver) lost(ctx context.Context, session int64, p positions) error {
	takeover := time.Since(r.upSince) >= ledger.SessionLapse
	for range pagesPerRound {
		page, err := r.Ledger.PublishedAfter(ctx, r.cursor, pageSize)
		if err != nil {
			return err
		}
		var ids []ledger.BatchID
		for _, b := range page {
			r.cursor = b.ID
			if p.passed(b, r.Known) {
				ids = append(ids, b.ID)
			}
		}
		if err := r.lookInto(ctx, session, ids, takeover); err != nil {
			return err
		}
		if len(page) < pageSize {
			r.cursor = ledger.BatchID{}
			return nil
		}
	}
	return nil
}

func (r *Redriver) lookInto(ctx context.Context, session int64, ids []ledger.BatchID, takeover bool) error {
	for start := 0; start < len(ids); start += passedAtOnce {
		part := ids[start:min(start+passedAtOnce, len(ids))]
		batches, lost, err := r.Ledger.Passed(ctx, session, part, takeover)
		if err != nil {
			return err
		}
		if len(lost) > 0 {
			r.Observe("lost", len(lost))
			r.Log.Info("records were lost on the way and go out again", zap.Int("records", len(lost)), zap.Stringer("first", lost[0].ID))
		}
		if err := r.Publisher.EnqueueStored(ctx, batches); err != nil {
			return err
		}
	}
	return nil
}
