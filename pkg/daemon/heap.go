package daemon

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Go's own rule, collecting when the heap has twice the size of what lives, has a
// process that holds little collect many times a second, for a fifth of its CPU. A
// binary collects at four times that size instead, within a soft limit that follows
// what lives: a small heap may grow to smallHeap, and a large one is let grow as
// Go's own rule would, stacks included, with spareHeap for the rest of the runtime.
const (
	collectAt = 300 // GOGC
	smallHeap = 64 << 20
	spareHeap = 12 << 20
)

// memory is the one soft limit that a process has.
var memory = struct {
	sync.Mutex
	most   int64 // what LimitMemory was given
	paced  bool
	rounds int // of pace, for the test
}{most: math.MaxInt64}

// LimitMemory bounds this process' memory in bytes, softly: near the bound garbage
// is collected more often. It may be called at any time; the last call counts.
func LimitMemory(most int64) {
	memory.Lock()
	defer memory.Unlock()
	memory.most = most
	if memory.paced {
		setLimit()
	} else {
		debug.SetMemoryLimit(most)
	}
}

// paceGarbage begins to pace this process' collections, unless GOGC or GOMEMLIMIT in
// the environment do. Once is enough.
func paceGarbage() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	memory.Lock()
	memory.paced = true
	memory.Unlock()
	debug.SetGCPercent(collectAt)
	pace(0)
}

// pace sets the limit by what lives now, and again after the next collection, which
// frees the mark. That this may come late is safe: the limit is too low then, and
// garbage is collected too often for a moment.
func pace(int) {
	memory.Lock()
	setLimit()
	memory.rounds++
	memory.Unlock()
	mark := new([64]byte)
	runtime.AddCleanup(mark, pace, 0)
}

// setLimit is called with memory locked.
func setLimit() {
	lives := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(lives)
	limit := 2*int64(lives[0].Value.Uint64()+lives[1].Value.Uint64()) + spareHeap
	debug.SetMemoryLimit(min(memory.most, max(smallHeap, limit)))
}
