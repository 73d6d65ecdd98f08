package webhook

import (
	"context"
	"encoding/json"
	"net/http"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/provider"
)

const (
	// chunkItems bounds the items of a batch that wait for their commit at once, so that one
	// batch does not fill the queue of all.
	chunkItems = 1000
	// refusalsAtOnce bounds the refused items of a batch that are kept at once.
	refusalsAtOnce = 100
)

// Batch answers a batch: one Item for each element, in their order.
type Batch struct {
	Items []Item `json:"items"`
}

// Item is what became of one element: a receipt, or a problem.
type Item struct {
	Index   int              `json:"index"` // from 0
	Status  int              `json:"status"`
	Receipt *Receipt         `json:"receipt,omitempty"`
	Problem *problemDocument `json:"problem,omitempty"`
}

// batch makes a record of each item, in their order, and answers each on its
// own. What is ours to repeat makes the whole answer a 503: who sends the batch
// again gets the first receipts of what was stored.
func (x *exchange) batch(items []item) {
	if most := x.source.Webhook.MaxItems; len(items) > most {
		x.refuse(http.StatusRequestEntityTooLarge, fault.New(fault.Data, "too_many_items", "the batch has more than %d items; send it in parts", most))
		return
	}
	if len(items) == 0 && !x.note(http.StatusMultiStatus, x.integration(), "") {
		return // it brought nothing that would carry its tracking id
	}
	ctx, cancel := x.within(batchTimeout)
	defer cancel()
	answer := Batch{Items: make([]Item, len(items))}
	for start := 0; start < len(items); start += chunkItems {
		end := min(start+chunkItems, len(items))
		if !x.chunk(ctx, items[start:end], answer.Items[start:end], start) {
			x.giveUp(answer.Items[end:], end)
			break
		}
	}
	x.keepRefused(ctx, items, answer.Items)
	status := http.StatusMultiStatus
	for i := range answer.Items {
		if answer.Items[i].Status == http.StatusServiceUnavailable {
			status = http.StatusServiceUnavailable
			x.w.Header().Set("Retry-After", retryAfter)
			break
		}
	}
	x.answer(status, answer)
}

// chunk accepts some items. False: one of them failed by our own fault, and to go
// on would let later ones overtake it.
func (x *exchange) chunk(ctx context.Context, items []item, answers []Item, first int) bool {
	arrivals, places := make([]ledger.Arrival, 0, len(items)), make([]int, 0, len(items))
	var broken error // a fault of ours
	goOn := true
	for i, each := range items {
		answers[i].Index = first + i
		arrival, err := x.prepare(ctx, each, x.itemID(each, first+i), "")
		if err != nil && !x.itemRefused(&answers[i], err) {
			broken = err
			if goOn = x.alone(err); !goOn {
				x.giveUp(answers[i:], first+i)
				break
			}
			x.itemUnavailable(&answers[i])
		}
		if err == nil {
			arrivals, places = append(arrivals, arrival), append(places, i)
		}
	}
	receipts, failures := x.acceptor.AcceptAll(ctx, arrivals)
	for n, i := range places {
		if failures[n] != nil {
			if !x.itemRefused(&answers[i], failures[n]) {
				broken, goOn = failures[n], false
				x.itemUnavailable(&answers[i])
			}
			continue
		}
		x.noticed(arrivals[n], receipts[n])
		status, refused := told(receipts[n])
		answers[i].Status = status
		if refused != nil {
			answers[i].Problem = x.document(status, *refused)
			continue
		}
		receipt := receiptOf(receipts[n])
		answers[i].Receipt = &receipt
	}
	if broken != nil {
		x.log.Warn("items of a batch could not be stored; their sender was told to try again", zap.String("tracking_id", x.tracking.String()),
			zap.String("integration", x.entry.Name), zap.Int("items", len(items)), zap.Int("from", first), zap.Error(broken))
	}
	return goOn
}

// alone tells whether a fault of ours stops none of the items behind: the
// integration's expression fails on this one, and nobody asked for an order.
func (x *exchange) alone(err error) bool {
	_, ours := judge(err)
	return ours != nil && x.entry.Record.Order == "none"
}

// itemID is the sender's identity of an item: its own, where the provider gives
// each one, else the request's with the item's number, which is the same when
// the request is repeated.
func (x *exchange) itemID(i item, index int) string {
	return provider.ItemEventID(provider.Scheme(x.source.Webhook.Verify.Scheme), x.eventID, index, i.raw)
}

// itemRefused answers an item that its sender must change; false: the fault is
// ours, and it is not answered yet.
func (x *exchange) itemRefused(answer *Item, err error) bool {
	status, ours := judge(err)
	if ours != nil {
		x.alert("integration", x.entry.Name, ours, x.tracking.String())
	}
	if status == http.StatusServiceUnavailable {
		return false
	}
	p := explain(err)
	answer.Status, answer.Problem = status, x.document(status, p)
	return true
}

func (x *exchange) itemUnavailable(answer *Item) {
	x.count(x.entry.Name, x.source.Name, "unavailable")
	answer.Status = http.StatusServiceUnavailable
	answer.Problem = x.document(answer.Status, problemDocument{Code: "unavailable", Detail: "the item could not be stored now; send the batch again"})
}

// giveUp answers items that were not tried.
func (x *exchange) giveUp(answers []Item, first int) {
	for i := range answers {
		answers[i].Index = first + i
		x.itemUnavailable(&answers[i])
	}
}

// keepRefused keeps each item that became no record, in a row of its own. One
// that cannot be kept is ours to repeat: it would be counted nowhere.
func (x *exchange) keepRefused(ctx context.Context, items []item, answers []Item) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(refusalsAtOnce)
	for i := range answers {
		answer := &answers[i]
		if answer.Problem == nil || answer.Status == http.StatusServiceUnavailable || answer.Status == http.StatusConflict {
			continue // a conflict is in the ledger already
		}
		group.Go(func() error { // ends with the request
			kept, err := json.Marshal(answer.Problem)
			if err != nil {
				kept = nil
			}
			if err := x.acceptor.Refuse(ctx, x.interaction(items[answer.Index].raw, answer.Status, string(kept))); err != nil {
				x.itemUnavailable(answer)
				return nil
			}
			x.count(x.entry.Name, x.source.Name, "refused")
			return nil
		})
	}
	_ = group.Wait() // each says in its answer what became of it
}
