// Package journal is what a torture run writes down, one JSON object a line, and
// what the checker judges by: what each sender meant and was told, what the third
// party and the partner saw, what was broken, and what the topics held.
//
//	sender.jsonl      Sent      an intent before each request, its answer after it
//	files.jsonl       Dropped   each file before it was left in the watched directory
//	thirdparty.jsonl  Called    each request that the third party saw
//	partner.jsonl     Told      each status that the partner saw
//	nemesis.jsonl     Fault     each fault, when it was healed
//	topics.jsonl      Message   what the topics held at the end
//	crashes.jsonl     Crash     each process that ended by itself
//
// It imports the standard library only: neither side borrows words or code from
// the product that is judged.
package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Names of the journals in a run's folder.
const (
	SenderFile     = "sender.jsonl"
	FilesFile      = "files.jsonl"
	ThirdPartyFile = "thirdparty.jsonl"
	PartnerFile    = "partner.jsonl"
	NemesisFile    = "nemesis.jsonl"
	TopicsFile     = "topics.jsonl"
	CrashesFile    = "crashes.jsonl"
)

// Fate is what must become of an event, if it is accepted at all.
type Fate string

const (
	Processed Fate = "processed" // valid: one effect, one row, one confirmed status
	Invalid   Fate = "invalid"   // rejected when it is accepted: never worked, never called
	Unknown   Fate = "unknown"   // rejected at its lookup: worked, never called
	Refused   Fate = "refused"   // the third party refuses it: called, never executed, never written
	Dead      Fate = "dead"      // its mapping cannot work: called, never written, waits for a person
	Corrected Fate = "corrected" // invalid first, then sent again with a body that is valid
	NoRecord  Fate = "no-record" // unauthenticated or unreadable: never a record
)

// Phases of a request.
const (
	Intent = "intent"
	Answer = "answer"
)

// Sent is one line of the sender: before a request, and after it.
type Sent struct {
	At        time.Time `json:"at"`
	Phase     string    `json:"phase"`
	Event     string    `json:"event"` // the idempotency key
	RequestNo string    `json:"request_no"`
	Fate      Fate      `json:"fate"`
	Product   string    `json:"product,omitempty"`
	Corrected bool      `json:"corrected,omitempty"` // this request carries the corrected body
	Status    int       `json:"status,omitempty"`    // 0: no answer
	Receipt   string    `json:"receipt,omitempty"`
	Duplicate bool      `json:"duplicate,omitempty"`
	Code      string    `json:"code,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// Row is one line of a dropped file.
type Row struct {
	Number    int    `json:"number"` // from 1
	Line      int    `json:"line"`   // the header is line 1
	RequestNo string `json:"request_no"`
	Product   string `json:"product,omitempty"`
	Fate      Fate   `json:"fate"`
}

// Dropped is one file.
type Dropped struct {
	Name string `json:"name"`
	Hash string `json:"hash"` // SHA-256, hexadecimal
	Rows []Row  `json:"rows"`
}

// Called is one request as the third party saw it.
type Called struct {
	At        time.Time `json:"at"`
	Key       string    `json:"key"`
	RequestNo string    `json:"request_no"`
	BodyHash  string    `json:"body_hash"`
	Status    int       `json:"status"` // as shown; 0: cut
	Executed  bool      `json:"executed"`
}

// Told is one status as the partner saw it.
type Told struct {
	ID        string `json:"id"`
	Outcome   int    `json:"outcome"`
	State     string `json:"state"`
	Key       string `json:"key"`
	Confirmed bool   `json:"confirmed"`
	Signed    bool   `json:"signed"`
}

// Fault is one thing that the nemesis did.
type Fault struct {
	Number   int           `json:"number"`
	Kind     string        `json:"kind"`
	Target   string        `json:"target,omitempty"`
	Begin    time.Time     `json:"begin"`
	Healed   time.Time     `json:"healed"`
	Progress time.Duration `json:"progress_ns"` // from the heal to the first new progress; 0: none was seen
	Overlaps bool          `json:"overlaps"`    // another fault was under way meanwhile
	Error    string        `json:"error,omitempty"`
}

// Message is one message of a topic.
type Message struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Key       string `json:"key"`
	Record    string `json:"record"`
}

// Crash is a process that ended although nobody had ended it.
type Crash struct {
	At      time.Time `json:"at"`
	Process string    `json:"process"`
	Error   string    `json:"error"`
	Log     string    `json:"log"` // its end
}

// Writer appends lines to one journal; any goroutine may. Every line is handed to
// the system before Write returns.
type Writer[T any] struct {
	mu   sync.Mutex
	file *os.File
	err  error // the first one
}

// Create makes an empty journal in a folder.
func Create[T any](dir, name string) (*Writer[T], error) {
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	return &Writer[T]{file: file}, nil
}

// Write appends one line; the first error is kept for Close.
func (w *Writer[T]) Write(line T) {
	raw, err := json.Marshal(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		_, err = w.file.Write(append(raw, '\n'))
	}
	if w.err == nil {
		w.err = err
	}
}

// Close gives the first error of any Write.
func (w *Writer[T]) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(w.err, w.file.Close()); err != nil {
		return fmt.Errorf("journal %s: %w", w.file.Name(), err)
	}
	return nil
}

// WriteAll writes a whole journal at once.
func WriteAll[T any](dir, name string, lines []T) error {
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("create journal: %w", err)
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	encoder := json.NewEncoder(buffered)
	for _, line := range lines {
		if err = encoder.Encode(line); err != nil {
			break
		}
	}
	if err = errors.Join(err, buffered.Flush(), file.Close()); err != nil {
		return fmt.Errorf("journal %s: %w", file.Name(), err)
	}
	return nil
}

// MaxLine bounds one line of a journal: the largest is a file of many rows.
const MaxLine = 64 << 20

// Read calls each for every line, in order. A journal that does not exist has none.
func Read[T any](dir, name string, each func(T)) error {
	file, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 0, 1<<16), MaxLine)
	for n := 1; scanner.Scan(); n++ {
		var line T
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return fmt.Errorf("journal %s, line %d: %w", name, n, err)
		}
		each(line)
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("journal %s: %w", name, err)
	}
	return nil
}
