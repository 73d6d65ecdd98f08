package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc.
const tick = 10 * time.Millisecond

// peakMemory is the most memory a process has held so far (VmHWM), in bytes.
func peakMemory(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(raw)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("memory of process %d: no VmHWM in its status", pid)
}

// treeCPU is the CPU time of a process and its children, those that have ended too.
func treeCPU(pid int) (time.Duration, error) {
	parent, total, err := statCPU(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || parent < 0 {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		// One that has ended since is counted with its parent.
		if parent, own, err := statCPU(path); err == nil && parent == pid {
			total += own
		}
	}
	return total, nil
}

// statCPU reads a line of /proc/PID/stat: the parent, and the CPU time of the process
// and of its children that have ended.
func statCPU(path string) (parent int, total time.Duration, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	// The name stands in parentheses and may hold spaces and parentheses itself.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("%s has %d fields", path, len(fields))
	}
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", path, err)
		}
		total += time.Duration(n) * tick
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, total, err
}
