package harness

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, line string
		want       stat
		fails      bool
	}{
		{"plain", "7 (kafka) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 30 20 20 0 1 0 99", stat{3, 2 * time.Second, 500 * time.Millisecond}, false},
		{"a name that looks like fields", "7 (a) R 9 (b) S 3 7 7 0 -1 4194560 1 2 3 4 1 0 0 0 20 0", stat{3, 10 * time.Millisecond, 0}, false},
		{"no name", "7 S 3", stat{}, true},
		{"cut", "7 (x) S 3 7 7", stat{}, true},
		{"no number", "7 (x) S 3 7 7 0 -1 4194560 1 2 3 4 x 0 0 0 20", stat{}, true},
		{"empty", "", stat{}, true},
	} {
		got, err := parseStat(c.line)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

// A child's CPU counts while it runs and after it has ended.
func TestTreeCPU(t *testing.T) {
	t.Parallel()
	child := exec.Command("sh", "-c", "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo done; read line")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	own, err := readStat(child.Process.Pid)
	if err != nil || own.own == 0 || own.parent != os.Getpid() {
		t.Errorf("a child that worked: %+v, %v", own, err)
	}
	whole, err := TreeCPU(os.Getpid())
	if err != nil || whole < own.own {
		t.Errorf("the tree has %s, %v; the child alone %s", whole, err, own.own)
	}
	if rss, err := PeakMemory(child.Process.Pid); err != nil || rss == 0 {
		t.Errorf("peak memory %d, %v", rss, err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	_ = child.Wait() // read fails at the end of its input
	after, err := TreeCPU(os.Getpid())
	if err != nil || after < own.own {
		t.Errorf("after the child's end the tree has %s, %v; the child had %s", after, err, own.own)
	}
	if _, err := readStat(child.Process.Pid); err == nil {
		t.Error("a process that is gone has a CPU time")
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	peak, err := PeakMemory(os.Getpid())
	if err != nil || peak < 1<<20 {
		t.Errorf("%d bytes, %v", peak, err)
	}
	if cpu, err := TreeCPU(os.Getpid()); err != nil || cpu < 0 {
		t.Errorf("%v, %v", cpu, err)
	}
	if _, err := TreeCPU(1 << 30); err == nil {
		t.Error("a process that is not there has a CPU time")
	}
}
