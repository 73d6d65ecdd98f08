package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Go's own rule, collecting when the heap has twice the size of what lives, has a
// process that holds little collect many times a second, for a fifth of its CPU. A
// binary collects at four times that size instead, within a soft limit that follows
// what lives: a small heap may grow to smallHeap, and a large one is let grow as
// Go's own rule would, with spareHeap for stacks and the rest of the runtime.
const (
	collectAt = 300 // GOGC
	smallHeap = 64 << 20
	spareHeap = 16 << 20
)

// paceGarbage begins to pace this process' collections, unless GOGC or GOMEMLIMIT in
// the environment do.
func paceGarbage() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(collectAt)
		pace(&pacer{most: debug.SetMemoryLimit(-1)})
	}
}

// pacer is what is known from one collection to the next.
type pacer struct {
	most  int64 // what somebody else has set
	limit int64 // what was set here
}

// pace sets the limit by what lives now, and again after the next collection, which
// frees the mark. That this may come late is safe: the limit is too low then, and
// garbage is collected too often for a moment.
func pace(p *pacer) {
	if set := debug.SetMemoryLimit(-1); set != p.limit {
		p.most = set
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	p.limit = min(p.most, max(smallHeap, 2*int64(live[0].Value.Uint64())+spareHeap))
	debug.SetMemoryLimit(p.limit)
	mark := new([64]byte)
	runtime.AddCleanup(mark, pace, p)
}
