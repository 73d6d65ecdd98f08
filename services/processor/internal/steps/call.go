package steps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/planted"
)

// Destinations makes calls under each destination's limits.
type Destinations interface {
	// Do sends the request to a destination of the integration. Waiting for a
	// place under the limits counts towards ctx, not towards timeout.
	Do(ctx context.Context, in *integration.Integration, name string, timeout time.Duration, r egress.Request) (egress.Response, egress.Interaction, error)
}

// call makes one request, unless an earlier attempt committed its result.
func (a *run) call(ctx context.Context, c *integration.Call) error {
	rendered, err := c.Request(a.env)
	if err != nil {
		return problem("request", err)
	}
	kept, hash := a.saved[c.Name], requestHash(rendered)
	same := kept.Request == hash && !a.Replay
	if kept.Done && same {
		return a.restore(c.Name, kept)
	}
	firstTry := !(same && kept.Unknown)
	next := saved{Try: max(kept.Try, 1), Request: hash}
	if kept.Try > 0 && !same {
		next.Try++ // another request needs another key: the third party would answer with the first one's result
	}
	rendered.Header.Set("Idempotency-Key", IdempotencyKey(a.Record.ID.String(), c.Name, next.Try))
	if planted.NewKeyPerRetry {
		rendered.Header.Set("Idempotency-Key", fmt.Sprintf("%s-%s-attempt-%d", a.Record.ID, c.Name, a.Record.Attempt))
	}
	if !a.Alive() {
		return fault.New(fault.System, "session_lapsed", "the session lapsed before call %s of record %s", c.Name, a.Record.ID)
	}
	at := time.Now()
	response, seen, err := a.runner.Destinations.Do(ctx, a.Integration, c.To, c.CallTimeout(),
		egress.Request{Method: rendered.Method, URL: rendered.URL, Header: rendered.Header, Body: rendered.Body})
	if seen.TrackingID != [16]byte{} {
		a.interactions = append(a.interactions, ledger.CallInteraction("call", seen, at))
	}
	if err != nil {
		next.Unknown = kept.Unknown && same || mayHaveExecuted(err)
		a.saved[c.Name] = next
		return fmt.Errorf("call %s: %w", c.Name, err)
	}
	return a.judge(c, next, response, firstTry, at)
}

func mayHaveExecuted(err error) bool {
	e, ok := errors.AsType[*egress.Error](err)
	return ok && e.MayHaveExecuted()
}

// IdempotencyKey is stable over all automatic retries of a record's step; only
// a requeue that changed the request, or a replay, raises try.
func IdempotencyKey(recordID, step string, try int) string {
	if try > 1 {
		return fmt.Sprintf("%s-%s-%d", recordID, step, try)
	}
	return recordID + "-" + step
}

func requestHash(r integration.Rendered) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", r.Method, r.URL)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(h, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
	}
	fmt.Fprintf(h, "\n%s", r.Body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// judge decides what the answer means.
func (a *run) judge(c *integration.Call, next saved, response egress.Response, firstTry bool, at time.Time) error {
	verdict, kept, err := c.Judge(a.env, integration.ResponseOf(response.Status, response.Header, response.Body))
	if err != nil {
		next.Unknown = true
		a.saved[c.Name] = next
		return problem("judge", err)
	}
	switch verdict.Ruling {
	case integration.Accepted:
		return a.keep(c.Name, next, kept)
	case integration.Rejected:
		a.saved[c.Name] = next
		return fault.New(fault.Data, verdict.Code, "%s", verdict.Message)
	}
	f := fault.FromHTTP(response.Status, response.Header, firstTry, at)
	switch {
	case f == nil:
		next.Unknown = true
		a.saved[c.Name] = next
		return fault.New(fault.System, "not_accepted", "call %s: status %d, but the answer does not fulfil accept", c.Name, response.Status)
	case f.OwnDuplicate():
		return a.keep(c.Name, next, map[string]any{})
	}
	next.Unknown = response.Status >= 500
	a.saved[c.Name] = next
	return fmt.Errorf("call %s: %w", c.Name, f)
}
