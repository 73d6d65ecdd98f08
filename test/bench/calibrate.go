package main

import (
	"crypto/sha256"
	"runtime"
	"syscall"
	"time"
)

const (
	calibrationBlock  = 64 << 10
	calibrationRounds = 600
)

// calibrate does a fixed amount of work on one thread and says how much CPU
// time it cost. A shared machine costs more for the same work when its
// neighbours fill the caches and the sibling threads; what was measured beside
// it is scaled by this.
func calibrate() (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	block := make([]byte, calibrationBlock)
	before, err := threadCPU()
	if err != nil {
		return 0, err
	}
	for range calibrationRounds {
		sum := sha256.Sum256(block)
		copy(block, sum[:]) // the next round depends on this one: nothing can be left out
	}
	after, err := threadCPU()
	return after - before, err
}

const rusageThread = 1 // RUSAGE_THREAD: of the calling thread only

func threadCPU() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
