package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Kinds of faults. Each ends healed.
const (
	killIngest         = "kill -9 ingest"
	killProcessor      = "kill -9 processor"
	killAcknowledger   = "kill -9 acknowledger"
	killServices       = "kill -9 all services"
	killBroker         = "kill -9 broker"
	killPostgres       = "kill postgres (immediate)"
	zombieProcessor    = "zombie processor (SIGSTOP past its session)"
	zombieAcknowledger = "zombie acknowledger (SIGSTOP past its session)"
	freezeIngest       = "freeze ingest (SIGSTOP)"
	freezePostgres     = "freeze postgres (SIGSTOP)"
	freezeBroker       = "freeze broker (SIGSTOP)"
	rollingRestart     = "rolling restart (SIGTERM)"
	wipeKafka          = "wipe kafka"
	rewindGroups       = "rewind every group to the earliest offset"
	thirdPartyDead     = "third party dead"
	partnerDead        = "partner dead"
	cutBackends        = "cut postgres backends"
)

// kinds are drawn from with these weights; a kind's resources are what no second
// fault may touch meanwhile, and its length is how long the fault lasts.
var kinds = []kind{
	{killIngest, 12, []string{"ingest"}, 0, 4 * time.Second},
	{killProcessor, 14, []string{"processor"}, 0, 4 * time.Second},
	{killAcknowledger, 12, []string{"acknowledger"}, 0, 4 * time.Second},
	{killServices, 4, []string{"acknowledger", "ingest", "processor"}, 0, 3 * time.Second},
	{killBroker, 7, []string{"kafka"}, 0, 3 * time.Second},
	{killPostgres, 8, []string{"postgres"}, 0, 3 * time.Second},
	{zombieProcessor, 8, []string{"processor"}, 10 * time.Second, 15 * time.Second},
	{zombieAcknowledger, 6, []string{"acknowledger"}, 10 * time.Second, 15 * time.Second},
	{freezeIngest, 5, []string{"ingest"}, time.Second, 6 * time.Second},
	{freezePostgres, 7, []string{"postgres"}, 3 * time.Second, 8 * time.Second},
	{freezeBroker, 6, []string{"kafka"}, 3 * time.Second, 10 * time.Second},
	{rollingRestart, 4, []string{"acknowledger", "ingest", "processor"}, 0, 0},
	{wipeKafka, 4, []string{"kafka"}, 0, 0},
	{rewindGroups, 4, []string{"acknowledger", "kafka", "processor"}, 0, 0},
	{thirdPartyDead, 6, []string{"third party"}, 4 * time.Second, 10 * time.Second},
	{partnerDead, 6, []string{"partner"}, 4 * time.Second, 10 * time.Second},
	{cutBackends, 8, []string{"postgres"}, 0, 0},
}

type kind struct {
	name      string
	weight    int
	resources []string
	shortest  time.Duration
	longest   time.Duration
}

// planned is one fault of the schedule.
type planned struct {
	number   int
	kind     kind
	pause    time.Duration // before it
	length   time.Duration
	which    int  // of two like processes
	overlaps bool // the next one does not wait for its end
}

const (
	shortestPause = time.Second
	longestPause  = 5 * time.Second
	// quiet is how long nothing happens, one time in quietOneIn.
	shortestQuiet = 6 * time.Second
	longestQuiet  = 14 * time.Second
	quietOneIn    = 4
	overlapOneIn  = 3
)

// plan gives the faults of a seed, without an end: the same seed gives the same
// faults in the same order, however long the run. The first ones are one of each
// kind, so that a short run sees most of them.
type plan struct {
	random *rand.Rand
	first  []int
	number int
}

func newPlan(seed uint64) *plan {
	p := &plan{random: rand.New(rand.NewPCG(seed, 2))}
	p.first = p.random.Perm(len(kinds))
	return p
}

func (p *plan) next() planned {
	f := planned{number: p.number + 1, which: p.random.IntN(2), overlaps: p.random.IntN(overlapOneIn) == 0}
	f.pause = p.between(shortestPause, longestPause)
	if p.number > 0 && p.random.IntN(quietOneIn) == 0 {
		f.pause = p.between(shortestQuiet, longestQuiet)
	}
	drawn := p.draw()
	if p.number < len(p.first) {
		drawn = p.first[p.number]
	}
	f.kind = kinds[drawn]
	f.length = p.between(f.kind.shortest, f.kind.longest)
	p.number++
	return f
}

func (p *plan) between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(p.random.Int64N(int64(most-least)))
}

func (p *plan) draw() int {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	roll := p.random.IntN(total)
	return slices.IndexFunc(kinds, func(k kind) bool {
		roll -= k.weight
		return roll < 0
	})
}
