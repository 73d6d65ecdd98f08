package command

import (
	"fmt"
	"io"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/services/waybill/internal/console"
)

// fileView is a dropped file and how far it was read.
type fileView struct {
	Name        string     `json:"name"`
	Integration string     `json:"integration"`
	Source      string     `json:"source"`
	Bytes       int64      `json:"bytes"`
	State       string     `json:"state"` // reading, done or failed
	Rows        int64      `json:"rows"`  // read and committed
	Received    int64      `json:"received"`
	Rejected    int64      `json:"rejected"` // of the received
	Duplicates  int64      `json:"duplicates"`
	Error       string     `json:"error,omitempty"`
	StartedAt   time.Time  `json:"started_at"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
}

func fileViewOf(f ledger.FileStory) fileView {
	v := fileView{Name: f.Name, Integration: f.Integration, Source: f.Source, Bytes: f.Size, State: f.State, Rows: f.Rows,
		Received: f.Received, Rejected: f.Rejected, Duplicates: f.Duplicates, Error: f.Error, StartedAt: f.StartedAt.UTC()}
	if f.State != "reading" && f.EndedAt != nil { // read again after it failed, it keeps the time of the failure
		end := f.EndedAt.UTC()
		v.EndedAt = &end
	}
	return v
}

func (v fileView) write(w io.Writer, now time.Time) {
	fmt.Fprintf(w, "file         %s   %s (found by tracking id)\n", console.Clean(v.Name), plural(v.Bytes, "byte", "bytes"))
	fmt.Fprintf(w, "integration  %s, source %s\n", v.Integration, v.Source)
	fmt.Fprintf(w, "began        %s, %s ago\n", v.StartedAt.Format(timeFormat), console.Duration(now.Sub(v.StartedAt)))
	state := v.State
	if v.EndedAt != nil {
		state += fmt.Sprintf(" at %s, %s ago", v.EndedAt.Format(timeFormat), console.Duration(now.Sub(*v.EndedAt)))
	}
	fmt.Fprintf(w, "state        %s\n", state)
	fmt.Fprintf(w, "rows         %s read: %s received (%s of them rejected), %s\n", console.Count(v.Rows), console.Count(v.Received),
		console.Count(v.Rejected), plural(v.Duplicates, "duplicate", "duplicates"))
	if v.Error != "" {
		fmt.Fprintf(w, "why          %s\n", console.Clean(v.Error))
	}
	if v.State == "failed" {
		fmt.Fprintln(w, "\nIts rows so far are kept. Unchanged and dropped again, it is gone on with; a corrected file is another file, read from its beginning.")
	}
}
