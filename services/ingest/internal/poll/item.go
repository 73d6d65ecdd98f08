package poll

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/ingest/internal/accept"
)

const (
	// maxBody bounds one item, and one detail, in bytes.
	maxBody = 1 << 20
	// maxRaw bounds what a rejected item that is no body keeps of itself.
	maxRaw = 4 << 10
	// future is how far ahead an item's time may be and be believed.
	future      = 24 * time.Hour
	contentType = "application/json"
)

// item is one of a page, on its way to be a record.
type item struct {
	raw     json.RawMessage
	value   any
	at      time.Time // of its change; zero if it tells none
	arrival ledger.Arrival
	known   bool // its record is there and needs nothing from this arrival
}

// take makes items of a page, leaving out what is not of the run. Unless they have
// details, they are arrivals then.
func (t *turn) take(p page, tracking [16]byte) ([]item, error) {
	items := make([]item, 0, len(p.items))
	timed, older := 0, 0
	for _, raw := range p.items {
		i := item{raw: raw}
		var unreadable error
		if i.value, unreadable = decode(raw); unreadable != nil {
			t.Acceptor.Unread(t.integration, t.source, "unreadable")
			arrival, err := t.rejected(i, tracking, fault.Wrap(unreadable, fault.Data, "unreadable", "the item cannot be read: %v", unreadable))
			if err != nil {
				return nil, err
			}
			i.arrival = arrival
		}
		t.time(&i)
		if !i.at.IsZero() {
			timed++
			if i.at.Before(t.mark.Run.Since) {
				older++
			}
		}
		if !t.wanted(i) || i.value != nil && !t.config.Takes(i.value) {
			continue
		}
		if t.config.Detail == nil && i.arrival.ID == (record.ID{}) {
			if err := t.prepare(&i, i.value, i.raw, map[string]string{}, tracking); err != nil {
				return nil, err
			}
			i.value = nil // decoded, a page may be many times as large
		}
		items = append(items, i)
	}
	t.untimed(len(p.items), timed)
	if config := t.config.Since; config != nil && config.NewestFirst && len(p.items) > 0 && older == len(p.items) {
		t.pastSince = true
	}
	return items, nil
}

func decode(raw json.RawMessage) (any, error) {
	if len(raw) > maxBody {
		return nil, fmt.Errorf("it has %d bytes, at most %d are taken", len(raw), maxBody)
	}
	return integration.DecodeJSON(raw)
}

func (t *turn) time(i *item) {
	if t.config.Since == nil || t.config.Since.Field == "" || i.value == nil {
		return
	}
	if value, ok := lookUp(i.value, t.config.Since.Field); ok {
		i.at, _ = t.config.Since.Time(value)
	}
}

// untimed tells of a page without any time: the mark could never move.
func (t *turn) untimed(items, timed int) {
	if items == 0 || timed > 0 || t.config.Since == nil || t.config.Since.Field == "" {
		return
	}
	t.alert(fault.New(fault.Data, "no_time", "no item of a page has a time at %s in the format %s, so every run asks for the same again; see since.field and since.format",
		t.config.Since.Field, t.config.Since.Format), 1)
}

// wanted tells whether the item belongs to the run, and remembers its time.
func (t *turn) wanted(i item) bool {
	r := t.mark.Run
	if i.at.IsZero() {
		return true
	}
	if t.poll.Request != 0 {
		unit := t.config.Since.Unit()
		return !i.at.Before(r.Since.Truncate(unit)) && i.at.Before(r.Until.Add(unit))
	}
	if t.config.Since.NewestFirst && i.at.Before(r.Since) {
		return false
	}
	if m := t.config.Missed; m != nil {
		now := r.partnerNow()
		if i.at.After(now.Add(-m.After)) && i.at.Before(now.Add(future)) { // it may still be on its way
			if r.Held.IsZero() || i.at.Before(r.Held) {
				r.Held = i.at
			}
			return false
		}
	}
	if i.at.After(r.Seen) {
		r.Seen = i.at
	}
	return true
}

// prepare makes the arrival of an item whose body is at hand.
func (t *turn) prepare(i *item, body any, raw json.RawMessage, headers map[string]string, tracking [16]byte) error {
	arrival, err := t.Acceptor.Prepare(t.ctx, accept.Input{Entry: t.entry, Source: t.origin, Body: body, Raw: raw, ContentType: contentType,
		Headers: headers, Item: i.value, TrackingID: tracking})
	if err == nil {
		i.arrival = arrival
		return nil
	}
	if _, ours := errors.AsType[*accept.Unavailable](err); ours {
		return err
	}
	f := fault.Of(err)
	if arrival.ID == (record.ID{}) {
		i.arrival, err = t.rejected(*i, tracking, f)
		return err
	}
	arrival.Failure = accept.Failure(f) // `invalid: refuse`: nobody waits who could be told
	i.arrival = arrival
	return nil
}

// rejected makes a record of an item that cannot be one. Without an identity of
// its own it is known by its content: seen again, it is the same.
func (t *turn) rejected(i item, tracking [16]byte, f *fault.Error) (ledger.Arrival, error) {
	key, err := t.Ledger.InstallationKey(t.ctx)
	if err != nil {
		return ledger.Arrival{}, err
	}
	sum := sha256.Sum256(i.raw)
	identity := "unidentified:" + hex.EncodeToString(sum[:])
	if own, ok := t.identity(i); ok {
		identity = own
	}
	body := []byte(i.raw)
	if i.value == nil {
		if body, err = json.Marshal(struct {
			Raw string `json:"raw"`
		}{strings.ToValidUTF8(string(i.raw[:min(len(i.raw), maxRaw)]), "\uFFFD")}); err != nil {
			return ledger.Arrival{}, fmt.Errorf("keep an item that cannot be read: %w", err)
		}
	}
	return ledger.Arrival{ID: record.DeriveID(key, t.integration, identity), Integration: t.integration, Source: t.source, Key: identity, EntityKey: identity,
		Version: t.entry.Version, Failure: accept.Failure(f), AnyBody: t.entry.Copies(t.origin),
		Payload: ledger.Payload{TrackingID: tracking, ContentType: contentType, Body: body}}, nil
}

// identity is the idempotency key that the item alone gives.
func (t *turn) identity(i item) (string, bool) {
	if i.value == nil {
		return "", false
	}
	input := integration.Input{Item: i.value}
	if t.config.Detail == nil {
		input.Body = i.value
	}
	key, _, _ := t.entry.Keys(t.origin, input) // with an error of the entity key alone there is one all the same
	return key, key != ""
}
