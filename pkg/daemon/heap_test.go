package daemon

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// paced: a process is paced once, however often its tests run.
var paced sync.Once

// collect waits until the limit was set twice by what lives now.
func collect(t *testing.T) (limit int64) {
	t.Helper()
	rounds := func() int {
		memory.Lock()
		defer memory.Unlock()
		return memory.rounds
	}
	deadline := time.Now().Add(30 * time.Second)
	for before := rounds(); rounds() < before+2; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("no collection sets the limit")
		}
	}
	return debug.SetMemoryLimit(-1)
}

// Not parallel: the limit is the whole process'.
func TestPaceGarbage(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	paced.Do(paceGarbage)
	t.Cleanup(func() { LimitMemory(math.MaxInt64) })
	if limit := collect(t); limit != smallHeap {
		t.Errorf("little lives: the limit is %d MiB", limit>>20)
	}
	held := make([]byte, 200<<20)
	if limit := collect(t); limit < 2*int64(len(held)) || limit > 3*int64(len(held)) {
		t.Errorf("200 MiB live: the limit is %d MiB", limit>>20)
	}
	for _, most := range []int64{300 << 20, smallHeap} {
		LimitMemory(most)
		if limit := collect(t); limit != most {
			t.Errorf("200 MiB live, and the limit of %d MiB became %d", most>>20, limit>>20)
		}
	}
	runtime.KeepAlive(held)
	LimitMemory(math.MaxInt64)
	held = nil
	if limit := collect(t); limit != smallHeap {
		t.Errorf("little lives again: the limit is %d MiB", limit>>20)
	}
}

// Many goroutines with deep stacks and little heap are no reason to collect all the time.
func TestPaceWithDeepStacks(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	paced.Do(paceGarbage)
	release := make(chan struct{})
	var all, deep sync.WaitGroup
	for range 3000 {
		deep.Add(1)
		all.Go(func() { descend(64, deep.Done, release) })
	}
	deep.Wait()
	var before, after runtime.MemStats
	limit := collect(t)
	runtime.ReadMemStats(&before)
	close(release)
	all.Wait()
	runtime.ReadMemStats(&after)
	if stacks := int64(before.StackInuse); stacks < 32<<20 || limit < stacks+int64(before.HeapAlloc) {
		t.Errorf("stacks of %d MiB and a heap of %d MiB have a limit of %d MiB", stacks>>20, before.HeapAlloc>>20, limit>>20)
	}
	if n := after.NumGC - before.NumGC; n > 5 {
		t.Errorf("%d collections while goroutines only ended", n)
	}
}

//go:noinline
func descend(depth int, arrived func(), release <-chan struct{}) byte {
	var frame [256]byte
	if depth == 0 {
		arrived()
		<-release
		return frame[0]
	}
	frame[depth] = descend(depth-1, arrived, release)
	return frame[depth%8]
}
