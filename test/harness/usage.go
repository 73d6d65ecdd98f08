package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: the kernel's USER_HZ, which is 100 on
// every platform that Go runs Linux on.
const tick = 10 * time.Millisecond

// stat is what one line of /proc/PID/stat says of a process.
type stat struct {
	parent   int
	own      time.Duration // user and system
	children time.Duration // of children that have ended and were waited for
}

// parseStat reads a line of /proc/PID/stat. The process' name stands in
// parentheses and may hold spaces and parentheses itself.
func parseStat(line string) (stat, error) {
	_, rest, ok := strings.Cut(line, "(")
	end := strings.LastIndexByte(rest, ')')
	if !ok || end < 0 {
		return stat{}, fmt.Errorf("a stat line without a process name: %q", line)
	}
	fields := strings.Fields(rest[end+1:])
	if len(fields) < 15 { // state, ppid, …, utime, stime, cutime, cstime are the 1st, 2nd, 12th to 15th
		return stat{}, fmt.Errorf("a stat line of %d fields: %q", len(fields), line)
	}
	var n [5]int64
	for i, at := range []int{1, 11, 12, 13, 14} {
		var err error
		if n[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return stat{}, fmt.Errorf("stat line, field %d: %w", at, err)
		}
	}
	return stat{parent: int(n[0]), own: time.Duration(n[1]+n[2]) * tick, children: time.Duration(n[3]+n[4]) * tick}, nil
}

func readStat(pid int) (stat, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return parseStat(string(raw))
}

// CPU is the CPU time of a process, without its children. Like everything here
// that is read from /proc, it needs Linux.
func CPU(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	return s.own, err
}

// TreeCPU is the CPU time of a process and of all its children, of those that
// have ended too: the whole of a Postgres, given its postmaster.
func TreeCPU(pid int) (time.Duration, error) {
	root, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	total := root.own + root.children
	lines, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range lines {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since; the next reading finds it in root.children
		}
		if s, err := parseStat(string(raw)); err == nil && s.parent == pid {
			total += s.own + s.children
		}
	}
	return total, nil
}

// PeakMemory is the most memory a process has held so far, in bytes.
func PeakMemory(pid int) (int64, error) { return memory(pid, "VmHWM") }

// memory reads a figure of a process' status, in bytes.
func memory(pid int, figure string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(raw)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, figure+": %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("memory of process %d: no %s in its status", pid, figure)
}
