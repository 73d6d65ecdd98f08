package console

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// plainEvery is how often progress is written where a line cannot be redrawn.
const plainEvery = 3 * time.Second

// Progress shows one line that changes: redrawn in place on a terminal, a plain
// line every few seconds elsewhere. It is safe for concurrent use.
type Progress struct {
	w        io.Writer
	terminal bool
	now      func() time.Time

	mu     sync.Mutex
	width  int
	last   time.Time
	newest string // not shown yet
}

// NewProgress writes to w.
func NewProgress(w io.Writer, terminal bool, now func() time.Time) *Progress {
	return &Progress{w: w, terminal: terminal, now: now}
}

// Show shows the newest state.
func (p *Progress) Show(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprintf(p.w, "\r%-*s", p.width, line)
		p.width = max(len([]rune(line)), 1)
		return
	}
	p.newest = line
	if now := p.now(); now.Sub(p.last) >= plainEvery {
		p.last, p.newest = now, ""
		fmt.Fprintln(p.w, line)
	}
}

// Say writes a line that stays, above the changing one.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// End leaves the newest state standing.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.terminal && p.width > 0:
		fmt.Fprintln(p.w)
	case p.newest != "":
		fmt.Fprintln(p.w, p.newest)
	}
	p.width, p.newest = 0, ""
}

// clear is called with the lock held.
func (p *Progress) clear() {
	if p.terminal && p.width > 0 {
		fmt.Fprintf(p.w, "\r%-*s\r", p.width, "")
		p.width = 0
	}
}
