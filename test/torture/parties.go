package main

import (
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"waybill.internal/test/harness"
	"waybill.internal/test/torture/journal"
)

// refusedPrefix begins the request numbers that the third party refuses.
const refusedPrefix = "REF"

// parties are how the third party and the partner behave: by seed, request and
// turn, never by the order in which requests happen to come.
type parties struct {
	seed           uint64
	thirdPartyDead atomic.Bool
	partnerDead    atomic.Bool
	kind           atomic.Bool // the run is over: everybody behaves
	posts          atomic.Uint64
}

// misbehaving bounds how often one request is treated badly, so that its retries
// stay within the short delays.
const misbehaving = 3

func (p *parties) thirdParty(requestNo string, nth int) harness.Behaviour {
	if p.thirdPartyDead.Load() {
		return harness.Behaviour{Reset: true}
	}
	if strings.HasPrefix(requestNo, refusedPrefix) {
		return harness.Behaviour{Status: http.StatusUnprocessableEntity}
	}
	if p.kind.Load() || nth > misbehaving {
		return harness.Behaviour{}
	}
	switch roll := p.draw(requestNo, nth) % 1000; {
	case roll < 20: // did it, and said it failed
		return harness.Behaviour{Status: http.StatusInternalServerError, Execute: true}
	case roll < 40:
		return harness.Behaviour{Status: http.StatusServiceUnavailable, RetryAfter: strconv.Itoa(1 + int(roll%2))}
	case roll < 55: // did it, and was gone before it could say so
		return harness.Behaviour{Reset: true, Execute: true}
	case roll < 65:
		return harness.Behaviour{Reset: true}
	case roll < 70: // it does it, later than anybody waits
		return harness.Behaviour{Delay: 3 * time.Second}
	case roll < 80: // not JSON, although it worked
		return harness.Behaviour{Status: http.StatusBadGateway, Body: "<html>bad gateway</html>"}
	case roll < 180:
		return harness.Behaviour{Delay: time.Duration(roll) * time.Millisecond}
	}
	return harness.Behaviour{}
}

// partner refuses, redirects, lies about somebody else's record, or says nothing
// that can be read.
func (p *parties) partner(int) harness.Behaviour {
	if p.partnerDead.Load() {
		return harness.Behaviour{Reset: true}
	}
	if p.kind.Load() {
		return harness.Behaviour{}
	}
	switch roll := p.draw("post", int(p.posts.Add(1))) % 100; {
	case roll < 4:
		return harness.Behaviour{Status: http.StatusServiceUnavailable, RetryAfter: "1"}
	case roll < 6:
		return harness.Behaviour{Status: http.StatusFound}
	case roll < 8:
		return harness.Behaviour{Body: `{"confirmed":[{"id":"00000000-0000-8000-8000-000000000000","outcome":1}]}`}
	case roll < 10:
		return harness.Behaviour{Body: "thank you"}
	case roll < 12:
		return harness.Behaviour{Reset: true}
	}
	return harness.Behaviour{}
}

// skip leaves some statuses unconfirmed, at random: each comes again.
func (p *parties) skip(harness.Told) bool {
	return !p.kind.Load() && rand.IntN(100) < 2
}

func (p *parties) draw(what string, nth int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(what + "/" + strconv.Itoa(nth))) // never fails
	return rand.New(rand.NewPCG(p.seed, h.Sum64())).Uint64()
}

// writeParties writes down what the two of them saw.
func (c *cluster) writeParties() error {
	var calls []journal.Called
	for _, call := range c.stack.ThirdParty.Calls() {
		calls = append(calls, journal.Called{At: call.ReceivedAt, Key: call.Key, RequestNo: call.RequestNo, BodyHash: call.BodyHash, Status: call.Status, Executed: call.Executed})
	}
	if err := journal.WriteAll(c.dir, journal.ThirdPartyFile, calls); err != nil {
		return err
	}
	var told []journal.Told
	for _, t := range c.stack.Partner.Told() {
		told = append(told, journal.Told{ID: t.ID, Outcome: t.Outcome, State: t.State, Key: t.IdempotencyKey, Confirmed: t.Confirmed, Signed: t.Signed})
	}
	return journal.WriteAll(c.dir, journal.PartnerFile, told)
}
