package simulated

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// Journal is an append-only file of JSON lines. A nil Journal keeps nothing.
type Journal struct {
	mu    sync.Mutex
	file  *os.File
	fsync bool
}

// OpenJournal opens or makes the file. With fsync every line is on the disk
// before Write returns.
func OpenJournal(path string, fsync bool) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("simulated: open journal: %w", err)
	}
	return &Journal{file: f, fsync: fsync}, nil
}

// Write appends one value as one line.
func (j *Journal) Write(v any) error {
	if j == nil {
		return nil
	}
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("simulated: encode journal line: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	// One write per line, so that a kill leaves at most the last line cut.
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("simulated: write journal: %w", err)
	}
	if j.fsync {
		if err := j.file.Sync(); err != nil {
			return fmt.Errorf("simulated: sync journal: %w", err)
		}
	}
	return nil
}

// Close closes the file.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}
