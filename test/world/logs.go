package world

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// shown is how much of the log a failed test prints, in bytes: its end.
const shown = 8000

// Logs keep what many write at a time: all of it, since tests count
// what has happened from the start.
type Logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write never fails.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all of it until now.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count says how often a text is there.
func (l *Logs) Count(text string) int { return strings.Count(l.String(), text) }

// Has says whether one line has all of the texts.
func (l *Logs) Has(texts ...string) bool {
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			return true
		}
	}
	return false
}

// showLogs prints the end of the log of a test that has failed.
func (w *World) showLogs() {
	if !w.Failed() {
		return
	}
	text := w.Logs.String()
	w.Logf("the log, its last %d of %d bytes:\n%s", min(shown, len(text)), len(text), text[max(0, len(text)-shown):])
}
