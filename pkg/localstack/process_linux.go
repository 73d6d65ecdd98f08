package localstack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// childAttributes puts the child into a process group of its own (a Ctrl-C at the
// terminal is ours to pass on) and ties its life to ours.
func childAttributes(cred *syscall.Credential, onExit syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Setpgid: true, Pdeathsig: onExit}
}

// descendants lists the children of pid, their children and so on, but not pid.
func descendants(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	childrenOf := make(map[int][]int)
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if parent, err := parentOf(child); err == nil {
			childrenOf[parent] = append(childrenOf[parent], child)
		}
	}
	var found []int
	for queue := childrenOf[pid]; len(queue) > 0; queue = queue[1:] {
		found = append(found, queue[0])
		queue = append(queue, childrenOf[queue[0]]...)
	}
	return found, nil
}

// parentOf reads the fourth field of /proc/PID/stat. The second, the name, may
// hold spaces and brackets, so the count begins after its last bracket.
func parentOf(pid int) (int, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0, fmt.Errorf("process %d: unreadable stat", pid)
	}
	return strconv.Atoi(fields[1])
}

// serves tells whether process pid is a postmaster of the data directory: it runs
// with that directory as its working directory. A zombie does not.
func serves(pid int, data string) bool {
	cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if errors.Is(err, fs.ErrPermission) {
		return true // another user's process: leave the judgement to Postgres
	}
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(data)
	return err == nil && cwd == real
}
