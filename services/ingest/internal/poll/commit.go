package poll

import (
	"context"
	"errors"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/services/ingest/internal/accept"
)

const (
	// chunkItems and chunkBytes bound what one transaction accepts.
	chunkItems = 1000
	chunkBytes = 4 << 20
	// callTimeout bounds one transaction of the ledger.
	callTimeout = 10 * time.Second
)

// commit accepts the items in pieces, in order. The last piece, which may be
// empty, moves the mark to after; until then it stands where the page begins.
func (t *turn) commit(items []item, after func() mark, pages int) error {
	for begin := 0; ; {
		end, bytes := begin, 0
		for end < len(items) && end-begin < chunkItems && (end == begin || bytes+len(items[end].arrival.Payload.Body) <= chunkBytes) {
			bytes += len(items[end].arrival.Payload.Body)
			end++
		}
		polled := ledger.Polled{Items: end - begin, Begin: !t.kept && t.fresh}
		last := end == len(items)
		if last {
			polled.Pages = pages
		}
		if err := t.split(items[begin:end], polled, last, after); err != nil {
			return err
		}
		if last {
			return nil
		}
		begin = end
	}
}

// split halves what the ledger's tables refuse until the item is found, which
// becomes a rejected record; the depth is bounded by chunkItems.
func (t *turn) split(items []item, polled ledger.Polled, last bool, after func() mark) error {
	err := t.store(items, polled, last, after)
	if !ledger.DataFault(err) || len(items) == 0 {
		return err
	}
	if len(items) > 1 {
		half := len(items) / 2
		if err := t.split(items[:half], ledger.Polled{Items: half, Begin: polled.Begin}, false, after); err != nil {
			return err
		}
		polled.Items, polled.Begin = len(items)-half, false
		return t.split(items[half:], polled, last, after)
	}
	refused := items[0]
	tracking := refused.arrival.Payload.TrackingID
	refused.value = nil // what it holds cannot be kept as it is
	arrival, prepared := t.rejected(refused, tracking, fault.New(fault.Data, "unstorable", "%s", ledger.DataFaultText(err)))
	if prepared != nil {
		return prepared
	}
	refused.arrival = arrival
	if err = t.store([]item{refused}, polled, last, after); ledger.DataFault(err) {
		return fault.Wrap(err, fault.Data, "unstorable", "an item cannot be kept, not even as a rejected record: %s", ledger.DataFaultText(err))
	}
	return err
}

// store is one transaction. After an error nobody knows whether it happened:
// the turn ends, and the next one begins from what the ledger says.
func (t *turn) store(items []item, polled ledger.Polled, last bool, after func() mark) error {
	if !t.session.Alive() {
		return errSessionEnded
	}
	arrivals := make([]ledger.Arrival, 0, len(items))
	times := make([]time.Time, 0, len(items))
	for _, i := range items {
		if i.known {
			polled.Known++
			continue
		}
		arrivals, times = append(arrivals, i.arrival), append(times, i.at)
	}
	polled.Mark = t.at
	if last {
		polled.Mark = after()
	}
	ctx, cancel := context.WithTimeout(t.session.Context(), callTimeout)
	defer cancel()
	receipts, batches, err := t.Ledger.AcceptPolled(ctx, t.session.ID, t.poll, polled, arrivals)
	if err != nil {
		return err
	}
	t.kept = true
	accept.Publish(ctx, t.Publisher, t.Log, batches, arrivals)
	t.tell(arrivals, times, receipts)
	t.count("duplicate", polled.Known)
	return nil
}

// tell counts what became of the items and raises what a person should know.
func (t *turn) tell(arrivals []ledger.Arrival, times []time.Time, receipts []ledger.Receipt) {
	counts := map[string]int{}
	news := accept.NewNews(t.integration, t.source)
	for k, receipt := range receipts {
		f := arrivals[k].Failure
		if receipt.Conflict {
			news.Conflict(receipt.Record, "a known idempotency key came with another body: put what tells an item's version into idempotency_key")
		}
		switch {
		case receipt.Refused:
			counts["refused"]++
			continue
		case receipt.Duplicate:
			counts["duplicate"]++
			continue
		}
		counts["received"]++
		t.received++
		if at := times[k]; at.IsZero() || at.Before(t.mark.Run.partnerNow()) { // later ones change no place of others
			t.mark.Run.Fresh++
		}
		if f == nil {
			continue
		}
		news.Rejected(receipt.Record, f)
	}
	news.Tell(t.Alert)
	for answer, n := range counts {
		t.count(answer, n)
	}
	if t.config.Missed != nil && counts["received"] > 0 {
		t.missed(arrivals, receipts, counts["received"])
	}
}

func (t *turn) missed(arrivals []ledger.Arrival, receipts []ledger.Receipt, n int) {
	t.mark.Run.Missed += n
	t.Missed(t.integration, t.config.Missed.Webhook, n)
	for k := range arrivals {
		if !receipts[k].Duplicate && len(t.missing) < accept.MaxSamples {
			t.missing = append(t.missing, receipts[k].Record.ID.String())
		}
	}
}

func (t *turn) count(answer string, n int) {
	if n > 0 {
		t.Count(t.integration, t.source, answer, n)
	}
}

// errSessionEnded: the ledger did not answer for so long that the source may be another session's.
var errSessionEnded = errors.New("the session ended before the turn did; it is gone on with under the next one")
