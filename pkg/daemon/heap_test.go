package daemon

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// paced: a process paces itself once, however often its tests run.
var paced sync.Once

// Not parallel: the limit is the whole process'.
func TestPaceGarbage(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	await := func(what string, holds func(limit int64) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !holds(debug.SetMemoryLimit(-1)); runtime.GC() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the limit is %d MiB", what, debug.SetMemoryLimit(-1)>>20)
			}
		}
	}
	paced.Do(paceGarbage)
	t.Cleanup(func() { debug.SetMemoryLimit(math.MaxInt64) })
	await("little lives", func(limit int64) bool { return limit == smallHeap })
	held := make([]byte, 200<<20)
	await("much lives", func(limit int64) bool { return limit >= 2*int64(len(held)) && limit < 3*int64(len(held)) })
	debug.SetMemoryLimit(300 << 20)
	await("somebody else has set less", func(limit int64) bool { return limit == 300<<20 })
	runtime.KeepAlive(held)
	held = nil
	await("little lives again", func(limit int64) bool { return limit == smallHeap })
}
