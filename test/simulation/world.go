package simulation

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"time"

	"waybill.internal/test/simulation/judge"
)

const (
	// maxEvents bounds a run: a world that never rests is a fault.
	maxEvents = 400_000
	// rest is how long the mended world may take to settle everything.
	rest = 20 * 24 * time.Hour
)

// Mutation is a rule of the model broken on purpose.
type Mutation int

// Mutations, each of which the judge must notice.
const (
	None                Mutation = iota
	FenceIgnored                 // whoever comes may claim and settle
	OffsetFirst                  // the offset is committed before the claim, and nothing looks for what was lost
	DuplicateLost                // a duplicate of a stranded record is only a duplicate
	StepApart                    // step results are written in a transaction of their own
	NewKey                       // each attempt has a new Idempotency-Key
	ClaimedBatchDropped          // the relay drops a batch whose records are being worked
	AnswerFirst                  // the sender is answered before the commit
	OldNumber                    // any confirmation closes the current outcome
	ClaimForgotten               // a claim whose commit was unknown is left to its living session
)

func (m Mutation) String() string {
	return [...]string{"none", "fence ignored", "offset first, no outbox", "duplicate does not heal", "step result apart from state",
		"new key on retry", "claimed batch dropped", "answer before commit", "old outcome number confirms", "unknown claim forgotten"}[m]
}

// Mutations lists every planted one.
func Mutations() []Mutation {
	return []Mutation{FenceIgnored, OffsetFirst, DuplicateLost, StepApart, NewKey, ClaimedBatchDropped, AnswerFirst, OldNumber, ClaimForgotten}
}

// Result of one run.
type Result struct {
	Seed        uint64
	Hash        string // sha256 over every event
	Violations  []string
	Records     int
	Events      int
	Transitions int
	Faults      map[string]int // by kind
	Reached     map[string]int // transitions by event
	Virtual     time.Duration
}

// Run runs one seed. Trace gets a line per event if it is not nil.
func Run(seed uint64, mutation Mutation, trace io.Writer) Result {
	w := newWorld(seed, mutation, trace)
	w.open()
	w.loop()
	w.judge.Recount(w.ledger.recount())
	w.judge.End()
	return Result{
		Seed: seed, Hash: hex.EncodeToString(w.hash.Sum(nil)), Violations: w.judge.Violations(), Records: len(w.ledger.rows), Events: w.events,
		Transitions: w.judge.Transitions, Faults: w.faults, Reached: w.reached, Virtual: w.now.Sub(dawn),
	}
}

var errKafkaDown = errors.New("kafka does not answer")

// dawn is when every simulation begins.
var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type world struct {
	seed     uint64
	rng      *rand.Rand
	mutation Mutation
	now      time.Time
	queue    timeline
	events   int
	hash     hash.Hash
	line     []byte
	trace    io.Writer
	judge    *judge.Judge
	faults   map[string]int
	reached  map[string]int

	ledger       *ledger
	kafka        *kafka
	processes    []*process // ingest, processors, acknowledgers
	destinations [judge.Steps]*destination
	partner      *partner
	redriver     *redriver
	senders      sender

	mended  bool // the third parties' bugs and our own
	calm    bool // the time of faults is over
	healing time.Time
}

func newWorld(seed uint64, mutation Mutation, trace io.Writer) *world {
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0x57617962696c6c)), mutation: mutation, now: dawn, hash: sha256.New(), trace: trace,
		judge: judge.New(), faults: map[string]int{}, reached: map[string]int{},
	}
	w.ledger = newLedger(w)
	w.kafka = newKafka(w)
	for i := range w.destinations {
		w.destinations[i] = newDestination(i, 1+w.rng.IntN(5))
	}
	w.partner = &partner{}
	w.redriver = newRedriver(w)
	return w
}

func (w *world) open() {
	kinds := []kind{ingest, processor, acknowledger}
	for _, k := range kinds {
		for range 1 + w.rng.IntN(2) + int(k)%2 {
			w.processes = append(w.processes, &process{world: w, id: len(w.processes), kind: k, running: true})
		}
	}
	w.kafka.rebalance()
	w.redriver.touch()
	faulty := time.Duration(2+w.rng.IntN(20)) * time.Minute
	if w.chance(0.3) {
		faulty = time.Duration(1+w.rng.IntN(20)) * time.Hour
	}
	w.healing = dawn.Add(faulty)
	w.send(faulty)
	w.startNemesis(faulty)
	w.startPeople(faulty)
	w.at(w.healing, w.heal)
}

func (w *world) loop() {
	deadline := w.healing.Add(rest)
	for w.queue.Len() > 0 && len(w.judge.Violations()) == 0 {
		e := heap.Pop(&w.queue).(event)
		if e.at.After(deadline) {
			return
		}
		if w.events++; w.events > maxEvents {
			w.note("no rest after %d events", maxEvents)
			return
		}
		w.now = e.at
		e.do()
		if w.calm && w.now.Sub(w.healing) > 2*time.Hour && w.judge.Settled() {
			return
		}
	}
}

// note is one event of the trace: it is part of the hash.
func (w *world) note(format string, args ...any) {
	w.line = fmt.Appendf(w.line[:0], "+%d ", w.now.Sub(dawn))
	w.line = fmt.Appendf(w.line, format, args...)
	w.line = append(w.line, '\n')
	w.hash.Write(w.line)
	if w.trace != nil {
		_, _ = w.trace.Write(w.line) // a trace that cannot be written is no part of the run
	}
}

func (w *world) fault(kind string) {
	w.faults[kind]++
	w.note("fault: %s", kind)
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// between draws a duration; both ends are possible.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rng.Int64N(int64(most-least)+1))
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

func (w *world) at(t time.Time, do func()) {
	if t.Before(w.now) {
		t = w.now
	}
	w.queue.made++
	heap.Push(&w.queue, event{at: t, number: w.queue.made, do: do})
}

type event struct {
	at     time.Time
	number int // events of one moment happen in the order in which they were planned
	do     func()
}

// timeline is a heap of what is to happen.
type timeline struct {
	list []event
	made int
}

func (t *timeline) Len() int { return len(t.list) }
func (t *timeline) Less(i, j int) bool {
	if c := t.list[i].at.Compare(t.list[j].at); c != 0 {
		return c < 0
	}
	return t.list[i].number < t.list[j].number
}
func (t *timeline) Swap(i, j int) { t.list[i], t.list[j] = t.list[j], t.list[i] }
func (t *timeline) Push(x any)    { t.list = append(t.list, x.(event)) }
func (t *timeline) Pop() any {
	last := t.list[len(t.list)-1]
	t.list = t.list[:len(t.list)-1]
	return last
}
