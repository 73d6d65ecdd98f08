package poll

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/record"
)

const (
	// maxFailedDetails is how many details in a row may fail before the others of
	// the page wait for the next turn.
	maxFailedDetails = 3
	// stubborn is how many turns the details of one page may fail, while others of it
	// are answered, before their items are rejected; hopeless, while no other is asked
	// for. A list that fails does not count: that is nothing that an item did.
	stubborn = 5
	hopeless = 20
)

// complete makes arrivals of the items. With an error, the items that it gives
// are right all the same, and the others wait for the next turn.
func (t *turn) complete(items []item, tracking [16]byte) ([]item, error) {
	if t.config.Detail == nil {
		return items, nil
	}
	if err := t.recognise(items); err != nil {
		return nil, err
	}
	return t.details(items, tracking)
}

// recognise finds the items whose records are there: they need no detail. A
// rejected one is asked for again: its cause may be gone.
func (t *turn) recognise(items []item) error {
	key, err := t.Ledger.InstallationKey(t.ctx)
	if err != nil {
		return err
	}
	ids := make([]record.ID, len(items))
	for k, i := range items {
		if identity, ok := t.identity(i); ok {
			ids[k] = record.DeriveID(key, t.integration, identity)
		}
	}
	found := map[record.ID]record.Record{}
	for begin := 0; begin < len(ids); begin += chunkItems {
		some, err := t.Ledger.Records(t.ctx, ids[begin:min(begin+chunkItems, len(ids))])
		if err != nil {
			return err
		}
		for id, r := range some {
			found[id] = r
		}
	}
	for k, id := range ids {
		r, ok := found[id]
		items[k].known = ok && r.State != record.Rejected
	}
	return nil
}

func (t *turn) details(items []item, tracking [16]byte) ([]item, error) {
	ready := make([]item, 0, len(items))
	var trouble error
	var unanswered []item
	row, answers := 0, 0
	for _, i := range items {
		if i.known || i.arrival.ID != (record.ID{}) {
			ready = append(ready, i)
			continue
		}
		if row >= maxFailedDetails {
			return ready, trouble
		}
		if err := t.over(); err != nil { // what is left of the page is not asked for: its mark must not move
			return ready, errors.Join(trouble, err)
		}
		err := t.detail(&i, tracking)
		f, isAnswer := err.(*failed) //nolint:errorlint // detail gives it unwrapped
		switch {
		case err == nil:
			ready, row, answers = append(ready, i), 0, answers+1
			continue
		case isAnswer && f.status >= http.StatusInternalServerError:
			unanswered = append(unanswered, i)
		case isAnswer && f.status > 0: // a limit, or our credentials: the others would meet the same
			return ready, err
		}
		trouble = err
		row++
	}
	if len(unanswered) == 0 {
		return ready, trouble
	}
	n := t.mark.Run.Unanswered
	t.mark.Run.Unanswered++
	if !(answers > 0 && n >= stubborn || n >= hopeless) {
		return ready, trouble
	}
	for _, i := range unanswered {
		arrival, err := t.rejected(i, tracking, fault.New(fault.Data, "no_detail", "its detail could not be had in %d tries: %v", n+1, trouble))
		if err != nil {
			return ready, err
		}
		i.arrival = arrival
		ready = append(ready, i)
	}
	return ready, nil
}

// detail asks for the item's body. An item whose detail is not there, or cannot
// be used, is a rejected record; it is asked for again while it is listed.
func (t *turn) detail(i *item, tracking [16]byte) error {
	reject := func(f *fault.Error) (err error) {
		i.arrival, err = t.rejected(*i, tracking, f)
		return err
	}
	rendered, err := t.config.DetailRequest(i.value)
	if err != nil {
		return reject(fault.Wrap(err, fault.Data, "no_detail", "%v", err))
	}
	answer, err := t.ask(t.ctx, t.config, rendered)
	if f, ok := err.(*failed); ok && f.fault.Class == fault.Data { //nolint:errorlint // ask gives it unwrapped
		return reject(fault.New(fault.Data, "no_detail", "its detail could not be had: answered %d", f.status))
	}
	if err != nil {
		return err
	}
	raw, ok := find(answer.Body, t.config.Detail.Body)
	if !json.Valid(answer.Body) {
		return &failed{fault: fault.New(fault.System, "bad_detail", "the detail of an item is no JSON, or was cut off (%d bytes)", len(answer.Body)), seen: &answer.seen, status: http.StatusBadGateway}
	}
	if !ok {
		return reject(fault.New(fault.Data, "no_detail", "its detail has nothing at %s", t.config.Detail.Body))
	}
	body, err := decode(raw)
	if err != nil {
		return reject(fault.Wrap(err, fault.Data, "unreadable", "its detail cannot be read: %v", err))
	}
	headers := map[string]string{}
	if t.config.Detail.Headers != "" {
		given, _ := find(answer.Body, t.config.Detail.Headers)
		headers = headersOf(given)
	}
	return t.prepare(i, body, raw, headers, answer.tracking)
}

// headersOf reads an object of texts, or of lists of texts, as a webhook's
// headers are kept: small letters, secrets left out, bounded.
func headersOf(raw json.RawMessage) map[string]string {
	header := http.Header{}
	value, err := integration.DecodeJSON(raw)
	object, ok := value.(map[string]any)
	if err != nil || !ok {
		return map[string]string{}
	}
	for name, given := range object {
		list, isList := given.([]any)
		if !isList {
			list = []any{given}
		}
		for _, one := range list {
			header.Add(name, fmt.Sprint(one))
		}
	}
	out := map[string]string{}
	for name, value := range egress.RedactHeader(header) {
		out[strings.ToLower(name)] = value
	}
	return out
}
