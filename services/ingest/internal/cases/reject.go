package cases

import (
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"runtime/metrics"
	"strings"
	"syscall"
	"time"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
)

// The bounds of reading a hostile file. Its time is the processor's, since other
// programs that keep the machine busy are not the reader's fault; maxWait is for
// readers that wait for nothing.
const (
	maxTime   = 5 * time.Second
	maxWait   = time.Minute
	maxMemory = 256 << 20
	lookEvery = 2 * time.Millisecond
	// readable is what the reason says of a file of which rows may be given, too.
	readable = "reads what is readable"
)

// hostile must end with a named error, within 5 s and 256 MiB; where its reason
// allows that, its rows may be read instead.
func hostile(c Case) (out []string) {
	end, out := watched(c)
	if len(out) > 0 {
		return out
	}
	switch {
	case end.named != "":
		c.Note("refused: %s", end.named)
	case end.rows == 0 && end.broken > 0:
		c.Note("none of its %d rows can be read", end.broken)
	case strings.Contains(c.Spec.Why, readable):
		c.Note("read: %d rows, %d broken", end.rows, end.broken)
	default:
		out = append(out, fmt.Sprintf("accepted with %d rows, but it must be refused: %s", end.rows, c.Spec.Why))
	}
	return out
}

// stored files have no expectation but that nothing breaks.
func stored(c Case) []string {
	end, out := watched(c)
	switch {
	case len(out) > 0:
	case end.named != "":
		c.Note("refused after %d rows: %s", end.rows, end.named)
	default:
		c.Note("read: %d rows, %d broken", end.rows, end.broken)
	}
	return out
}

// ending is how reading a file ended.
type ending struct {
	rows, broken int
	named        string // the named error; empty: it was read to its end
	unnamed      error
	panicked     any
}

// watched reads a file to its end under the bounds. A reader that does not come
// back keeps its goroutine: the program that asks ends soon.
func watched(c Case) (ending, []string) {
	f, err := formatOf(c.File)
	if err != nil {
		return ending{}, []string{err.Error()}
	}
	return watchedAs(c, f)
}

func watchedAs(c Case, f *integration.Format) (ending, []string) {
	runtime.GC()
	before, started := heap(), busy()
	done := make(chan ending, 1)
	go func() { done <- readAll(c, f) }()
	deadline := time.NewTimer(maxWait)
	defer deadline.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var most uint64
	for {
		select {
		case end := <-done:
			return end, end.differences(max(most, heap()), before)
		case <-look.C:
			if most = max(most, heap()); most > before+maxMemory {
				return ending{}, []string{fmt.Sprintf("it takes more than %d MiB", maxMemory>>20)}
			}
			if busy()-started > maxTime {
				return ending{}, []string{fmt.Sprintf("it takes more than %v", maxTime)}
			}
		case <-deadline.C:
			return ending{}, []string{fmt.Sprintf("it does not end within %v", maxWait)}
		}
	}
}

// busy is the time that the processor has given this program so far.
func busy() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0 // never: it is asked about itself
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func (e ending) differences(most, before uint64) (out []string) {
	if most > before+maxMemory {
		out = append(out, fmt.Sprintf("it takes more than %d MiB", maxMemory>>20))
	}
	if e.panicked != nil {
		out = append(out, fmt.Sprintf("panic: %v", e.panicked))
	}
	if e.unnamed != nil {
		out = append(out, "it ends with an error that has no name: "+e.unnamed.Error())
	}
	return out
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func readAll(c Case, f *integration.Format) (end ending) {
	defer func() { end.panicked = recover() }()
	r, err := c.open(f)
	if err == nil {
		defer r.Close() //nolint:errcheck // only read
	}
	for err == nil {
		_, err = r.Next()
		if _, broken := errors.AsType[*rows.RowError](err); broken {
			end.broken++
			err = nil
		} else if err == nil {
			end.rows++
		}
	}
	if e, ok := errors.AsType[*rows.FileError](err); ok {
		end.named = e.Error()
	} else if err != io.EOF {
		end.unnamed = err
	}
	return end
}

// formatOf tells a format by the end of the file's name, else by its first folder.
func formatOf(file string) (*integration.Format, error) {
	folder, _, _ := strings.Cut(file, "/")
	for _, name := range []string{strings.TrimPrefix(path.Ext(file), "."), folder} {
		switch strings.ToLower(name) {
		case "csv":
			return &integration.Format{CSV: &integration.CSV{Delimiter: "auto", Quote: `"`, Stray: "refuse", Trim: "none", Charset: "auto", Header: true}}, nil
		case "tsv", "psv", "ssv":
			return &integration.Format{CSV: &integration.CSV{Delimiter: "auto", Quote: "none", Trim: "none", Charset: "auto", Header: true}}, nil
		case "json":
			return &integration.Format{JSON: &integration.JSON{}}, nil
		case "ndjson", "jsonl":
			return &integration.Format{NDJSON: &integration.NDJSON{}}, nil
		case "xml":
			return &integration.Format{XML: &integration.XML{MaxDepth: 64}}, nil
		case "xls":
			return &integration.Format{XLS: &integration.Sheet{Merged: "first"}}, nil
		case "xlsx", "xlsm":
			return &integration.Format{XLSX: &integration.Sheet{Merged: "first"}}, nil
		}
	}
	return nil, fmt.Errorf("neither its name nor its folder tells a format")
}
