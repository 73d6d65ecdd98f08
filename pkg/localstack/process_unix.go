//go:build unix && !linux

package localstack

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"syscall"
)

// childAttributes puts the child into a process group of its own. There is no
// parent-death signal here: only Stop ends the child.
func childAttributes(cred *syscall.Credential, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Setpgid: true}
}

// descendants lists the children of pid, their children and so on, but not pid.
func descendants(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	childrenOf := make(map[int][]int)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var child, parent int
		if n, _ := fmt.Sscan(lines.Text(), &child, &parent); n == 2 {
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

// serves leaves the judgement on a living process to Postgres.
func serves(pid int, _ string) bool {
	return syscall.Kill(pid, 0) == nil
}
