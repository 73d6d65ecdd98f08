package file

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/services/ingest/internal/accept"
)

// The waits between two tries of a chunk double from firstWait to maxWait; they
// end with the session, which lapses if the ledger does not answer.
const (
	firstWait = 100 * time.Millisecond
	maxWait   = 2 * time.Second
)

// commit accepts the rows, in order. A row that the ledger's tables refuse is
// found by halving and becomes a rejected record; the depth is bounded by chunkRows.
func (r *reading) commit(items []item) error {
	err := r.store(items)
	if !ledger.DataFault(err) {
		return err
	}
	if len(items) > 1 {
		half := len(items) / 2
		if err := r.commit(items[:half]); err != nil {
			return err
		}
		return r.commit(items[half:])
	}
	refused := items[0]
	f := fault.New(fault.Data, "unstorable", "%s", ledger.DataFaultText(err))
	instead, prepared := r.rejected(r.ctx, refused.number, refused.line, refused.arrival.Payload.Body, f)
	if prepared != nil {
		return prepared
	}
	instead.mark = refused.mark
	instead.arrival.EntityKey, instead.arrival.Content = known(refused.arrival, instead.arrival)
	if err = r.store([]item{instead}); ledger.DataFault(err) {
		return fault.Wrap(err, fault.Data, "unstorable", "row %d at line %d cannot be kept, not even as a rejected record: %s", refused.number, refused.line, ledger.DataFaultText(err))
	}
	return err
}

// known keeps what a rejected row is about: a snapshot that has it does not delete it.
func known(refused, instead ledger.Arrival) (string, *[32]byte) {
	if refused.Content == nil {
		return instead.EntityKey, nil
	}
	return refused.EntityKey, refused.Content
}

// attempt is a transaction that accepts rows and moves the mark behind the last one.
type attempt struct {
	items    []item
	arrivals []ledger.Arrival
	offset   int64         // bytes of the file read for it
	inserted chan struct{} // closed when the next chunk may begin
	ended    chan struct{} // closed when the rest may be read
	receipts []ledger.Receipt
	batches  []ledger.Batch
	repeated bool // its rows went in once more, perhaps behind those of the next chunk
	err      error
}

// errBehind undoes a chunk whose predecessor was not committed for certain, or not before it.
var errBehind = errors.New("the chunk before was not committed")

// start begins a transaction; it ends after the one before, if there is one, and only
// if that was committed. It ends within callTimeout.
func (r *reading) start(items []item, before *attempt) *attempt {
	a := &attempt{items: items, arrivals: make([]ledger.Arrival, len(items)), offset: r.file.BytesDone, inserted: make(chan struct{}), ended: make(chan struct{})}
	for i := range items {
		a.arrivals[i] = items[i].arrival
	}
	go r.attempt(a, before, r.file)
	return a
}

func (r *reading) attempt(a, before *attempt, f ledger.File) {
	in := sync.OnceFunc(func() { close(a.inserted) })
	inserts := 0
	defer close(a.ended)
	defer in()
	defer r.recovered(&a.err)
	ctx, cancel := context.WithTimeout(r.session.Context(), callTimeout)
	defer cancel()
	end := a.items[len(a.items)-1].mark
	a.receipts, a.batches, a.err = r.Ledger.AcceptRowsBehind(ctx, r.session.ID, f, end, int64(end.Rows), a.arrivals, func() error {
		in()
		inserts++
		a.repeated = inserts > 1
		if before != nil {
			select {
			case <-before.ended:
			case <-ctx.Done():
				return ctx.Err()
			}
			if before.err != nil || before.repeated {
				return errBehind
			}
		}
		return r.unchanged() // asked by one attempt after the other
	})
}

// unchanged is nil unless the file is another one by now.
func (r *reading) unchanged() error {
	changed, err := r.drop.changed(r.ctx, r.begun.Hash)
	if err == nil && changed {
		err = errChanged
	}
	return err
}

// begin accepts a chunk while the one before is still being committed, and returns
// when that one has ended. What goes wrong with either is put right alone, in order.
func (r *reading) begin(c chunk) error {
	if len(c.items) == 0 {
		return nil
	}
	before := r.underWay
	if before != nil {
		<-before.inserted
	}
	if before != nil && r.oneByOne {
		if err := r.settle(); err != nil {
			return err
		}
		before = nil
	}
	r.file.BytesDone = c.offset
	a := r.start(c.items, before)
	r.underWay = a
	if before == nil {
		return nil
	}
	if err := r.settled(before); err != nil {
		<-a.ended // undone
		r.underWay = nil
		return err
	}
	return nil
}

// settle waits until no chunk is under way.
func (r *reading) settle() error {
	a := r.underWay
	r.underWay = nil
	if a == nil {
		return nil
	}
	return r.settled(a)
}

// settled makes a chunk that was begun one that is accepted, or says why it is not.
func (r *reading) settled(a *attempt) error {
	wait := firstWait
	stored, err := r.taken(a, &wait)
	if stored || err != nil && !ledger.DataFault(err) {
		return err
	}
	r.file.BytesDone = a.offset
	return r.commit(a.items)
}

// taken waits for the end of a transaction. One whose end is not known is looked up
// in the ledger before it is tried again: the file's row is locked while it is under
// way, so the answer is final.
func (r *reading) taken(a *attempt, wait *time.Duration) (stored bool, err error) {
	<-a.ended
	switch _, ours := errors.AsType[*fault.Error](a.err); {
	case a.err == nil:
		r.publish(a.batches, a.arrivals)
		r.file.Rows = int64(a.items[len(a.items)-1].mark.Rows)
		r.tell(a.arrivals, a.receipts)
		return true, nil
	case errors.Is(a.err, errBehind):
		return false, nil
	case errors.Is(a.err, ledger.ErrFileLost) || errors.Is(a.err, errChanged) || ledger.DataFault(a.err) || ours:
		return false, a.err
	}
	r.log.Warn("rows could not be accepted; they are tried again", zap.Int("rows", len(a.items)), zap.Duration("wait", *wait), zap.Error(a.err))
	return r.lookUp(a.items[len(a.items)-1].mark.Rows, wait)
}

// store accepts the rows and moves the mark behind the last one.
func (r *reading) store(items []item) error {
	wait := firstWait
	for {
		if stored, err := r.taken(r.start(items, nil), &wait); stored || err != nil {
			return err
		}
	}
}

// publish lets the messages of a chunk leave while the next one is committed. One
// goroutine at a time does that, so chunks leave in their order; run waits for the
// last one. What it does not get done, the relay does.
func (r *reading) publish(batches []ledger.Batch, arrivals []ledger.Arrival) {
	r.published()
	done := make(chan struct{})
	r.publishing = done
	go func() {
		defer close(done)
		var err error
		defer r.recovered(&err)
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		accept.Publish(ctx, r.Publisher, r.log, batches, arrivals)
	}()
}

// published waits until the messages of the last chunk have left.
func (r *reading) published() {
	if r.publishing != nil {
		<-r.publishing
	}
}

// lookUp waits until the ledger says whether the rows up to end were stored.
func (r *reading) lookUp(end int, wait *time.Duration) (stored bool, err error) {
	for {
		if clock.Sleep(r.ctx, *wait) != nil {
			return false, r.ctx.Err()
		}
		*wait = min(2**wait, maxWait)
		if !r.session.Alive() {
			return false, errSessionEnded
		}
		f, err := r.claim(r.ctx, r.session, r.drop, r.file.Hash)
		f.BytesDone = r.file.BytesDone
		switch {
		case err != nil:
			r.log.Warn("the ledger could not say how far the file is", zap.Error(err))
		case !f.Mine:
			return false, ledger.ErrFileLost
		case f.Rows == int64(end):
			// What the lost answer held, the relay publishes.
			r.count("received", int(f.Received-r.file.Received))
			r.count("duplicate", int(f.Duplicates-r.file.Duplicates))
			r.file = f
			return true, nil
		case f.Rows == r.file.Rows:
			return false, nil
		default:
			return false, fmt.Errorf("file %d stands at row %d, this session had left it at %d: %w", f.ID, f.Rows, r.file.Rows, ledger.ErrFileLost)
		}
	}
}

// tell counts what became of the rows and raises what a person should know.
func (r *reading) tell(arrivals []ledger.Arrival, receipts []ledger.Receipt) {
	var received, duplicates, refused, rejected, unchanged int
	news := accept.NewNews(r.integration, r.source)
	for i, receipt := range receipts {
		f := arrivals[i].Failure
		switch {
		case receipt.Unchanged:
			unchanged++
			r.file.Unchanged++
			continue
		case receipt.Refused:
			refused++
			r.file.Duplicates++
		case receipt.Duplicate:
			duplicates++
			r.file.Duplicates++
		default:
			received++
			r.file.Received++
		}
		if r.file.Snapshot && arrivals[i].Content == nil {
			r.file.Unidentified++
		}
		if receipt.Conflict {
			news.Conflict(receipt.Record, "a known idempotency key came with another body")
		}
		if f == nil || receipt.Duplicate {
			continue
		}
		rejected++
		news.Rejected(receipt.Record, f)
	}
	news.Tell(r.Alert)
	r.count("received", received)
	r.count("duplicate", duplicates+unchanged)
	r.count("refused", refused)
	r.log.Debug("rows were accepted", zap.Int("received", received), zap.Int("rejected", rejected), zap.Int("duplicates", duplicates), zap.Int("refused", refused))
}

func (r *reading) count(answer string, rows int) {
	if rows > 0 {
		r.Count(r.integration, r.source, answer, rows)
	}
}
