package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"waybill.internal/pkg/filereport"
	"waybill.internal/pkg/ledger"
	"waybill.internal/services/waybill/internal/console"
)

type fileCommand struct {
	Pull filePullCommand `cmd:"" help:"Look for files at once, and wait until they are read."`
	List fileListCommand `cmd:"" help:"List files, the newest first."`
	Show fileShowCommand `cmd:"" help:"Show one file: how far it is read, what became of its rows, which were rejected."`
}

// fileView is a dropped file and how far it was read.
type fileView struct {
	ID             int64      `json:"id,omitempty"`
	Name           string     `json:"name"`
	Integration    string     `json:"integration"`
	Source         string     `json:"source"`
	Bytes          int64      `json:"bytes"`
	SHA256         string     `json:"sha256,omitempty"`
	State          string     `json:"state"` // reading, done or failed
	Percent        *float64   `json:"percent,omitempty"`
	RowsPerSecond  *float64   `json:"rows_per_second,omitempty"` // of the session that reads it, or read it last
	Rows           int64      `json:"rows"`                      // read and committed
	Received       int64      `json:"received"`
	Rejected       int64      `json:"rejected"` // of the received
	Duplicates     int64      `json:"duplicates"`
	Unchanged      int64      `json:"unchanged,omitempty"`
	Deleted        int64      `json:"deleted,omitempty"`
	DeletesRefused int64      `json:"deletes_refused,omitempty"`
	DeletesAllowed string     `json:"deletes_allowed_by,omitempty"`
	Sightings      int        `json:"sightings,omitempty"`
	LastName       string     `json:"last_name,omitempty"` // if it came again under another name
	Occurrence     int        `json:"occurrence,omitempty"`
	Previous       int64      `json:"previous,omitempty"` // the file of the same name and other content before it
	Error          string     `json:"error,omitempty"`
	Report         string     `json:"report,omitempty"` // due or delivered
	ReportError    string     `json:"report_error,omitempty"`
	TrackingID     string     `json:"tracking_id,omitempty"`
	StartedAt      time.Time  `json:"started_at"`
	EndedAt        *time.Time `json:"ended_at,omitempty"`

	tries int
}

func fileViewOf(f ledger.FileStory) fileView {
	v := fileView{ID: f.ID, Name: f.Name, Integration: f.Integration, Source: f.Source, Bytes: f.Size, SHA256: f.Hash, State: f.State, Rows: f.Rows,
		Received: f.Received, Rejected: f.Rejected, Duplicates: f.Duplicates, Unchanged: f.Unchanged, Deleted: f.Deleted, DeletesRefused: f.DeletesRefused, DeletesAllowed: f.DeletesAllowed,
		Occurrence: f.Occurrence, Previous: f.Previous, Error: f.Error, Report: f.Report, ReportError: f.ReportError, TrackingID: f.TrackingID, StartedAt: f.StartedAt.UTC(), tries: f.ReportTry}
	if f.Sightings > 1 {
		v.Sightings = f.Sightings
	}
	if f.LastName != f.Name {
		v.LastName = f.LastName
	}
	if f.State != "reading" && f.EndedAt != nil { // read again after it failed, it keeps the time of the failure
		end := f.EndedAt.UTC()
		v.EndedAt = &end
	}
	if f.Size > 0 && f.BytesDone > 0 {
		percent := float64(min(f.BytesDone, f.Size)) * 100 / float64(f.Size)
		v.Percent = &percent
	}
	if took := f.MovedAt.Sub(f.BegunAt).Seconds(); took > 0 && f.Rows > f.BegunRows {
		rate := float64(f.Rows-f.BegunRows) / took
		v.RowsPerSecond = &rate
	}
	return v
}

// progress is how far it is, in a few words.
func (v fileView) progress() string {
	text := plural(v.Rows, "row", "rows")
	if v.State == "reading" && v.Percent != nil {
		text = fmt.Sprintf("%.0f %%, %s", *v.Percent, text)
	}
	if v.RowsPerSecond != nil {
		text += fmt.Sprintf(", %s a second", console.Count(int64(*v.RowsPerSecond)))
	}
	return text
}

func (v fileView) write(w io.Writer, now time.Time) {
	fmt.Fprintf(w, "file         %s   %s (found by tracking id)\n", console.Clean(v.Name), plural(v.Bytes, "byte", "bytes"))
	v.writeRest(w, now)
}

func (v fileView) writeRest(w io.Writer, now time.Time) {
	fmt.Fprintf(w, "integration  %s, source %s\n", v.Integration, v.Source)
	fmt.Fprintf(w, "began        %s, %s ago\n", v.StartedAt.Format(timeFormat), console.Duration(now.Sub(v.StartedAt)))
	state := v.State
	if v.EndedAt != nil {
		state += fmt.Sprintf(" at %s, %s ago", v.EndedAt.Format(timeFormat), console.Duration(now.Sub(*v.EndedAt)))
	} else if v.ID > 0 {
		state += ": " + v.progress()
	}
	fmt.Fprintf(w, "state        %s\n", state)
	fmt.Fprintf(w, "rows         %s read: %s received (%s of them rejected), %s\n", console.Count(v.Rows), console.Count(v.Received),
		console.Count(v.Rejected), plural(v.Duplicates, "duplicate", "duplicates"))
	if v.Unchanged+v.Deleted+v.DeletesRefused > 0 {
		fmt.Fprintf(w, "entities     %s unchanged, %s", plural(v.Unchanged, "row", "rows"), plural(v.Deleted, "deletion", "deletions"))
		if v.DeletesRefused > 0 {
			fmt.Fprintf(w, ", %s refused", plural(v.DeletesRefused, "deletion", "deletions"))
		}
		fmt.Fprintln(w)
	}
	v.writeSeen(w)
	if v.Error != "" {
		fmt.Fprintf(w, "why          %s\n", console.Clean(v.Error))
	}
	switch {
	case v.State == "failed" && v.DeletesRefused > 0:
		fmt.Fprintf(w, "\nIts rows are kept and nothing was deleted. If the deletions are right: waybill file pull --allow-deletes %d\n", v.ID)
	case v.State == "failed":
		fmt.Fprintln(w, "\nIts rows so far are kept. Unchanged and dropped again, it is gone on with; a corrected file is another file, read from its beginning.")
	}
}

// writeSeen says how often the file came, what it replaces and whether its report has gone out.
func (v fileView) writeSeen(w io.Writer) {
	if v.Sightings > 1 {
		fmt.Fprintf(w, "seen         %s", times(v.Sightings))
		if v.LastName != "" {
			fmt.Fprintf(w, ", last as %s", console.Clean(v.LastName))
		}
		fmt.Fprintln(w)
	}
	if v.Occurrence > 1 {
		fmt.Fprintf(w, "occurrence   %d: these bytes came before, and other files in between\n", v.Occurrence)
	}
	if v.Previous > 0 {
		fmt.Fprintf(w, "before       file %d had this name and another content\n", v.Previous)
	}
	switch {
	case v.Report == "due" && v.ReportError != "":
		fmt.Fprintf(w, "report       not delivered yet, tried %s: %s\n", times(v.tries), console.Clean(v.ReportError))
	case v.Report != "":
		fmt.Fprintf(w, "report       %s\n", v.Report)
	}
}

type fileListCommand struct {
	Integration string `help:"Only of this integration."`
	Source      string `help:"Only of this source."`
	State       string `enum:",reading,done,failed" default:"" help:"Only in this state: reading, done or failed."`
	Limit       int    `default:"20" help:"Files to show."`
}

func (fileListCommand) Help() string {
	return `Examples:
  waybill file list
  waybill file list --integration orders --state failed --json`
}

func (c fileListCommand) Run(in *invocation) error {
	if c.Limit < 1 || c.Limit > maxListed {
		return usage("--limit must lie between 1 and %d", maxListed)
	}
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	files, err := b.Files(in.ctx, ledger.FileFilter{Integration: c.Integration, Source: c.Source, State: c.State}, c.Limit+1)
	if err != nil {
		return err
	}
	more := len(files) > c.Limit
	views := make([]fileView, 0, c.Limit)
	for _, f := range files[:min(len(files), c.Limit)] {
		views = append(views, fileViewOf(f))
	}
	return in.print(map[string]any{"files": views, "more": more}, func(w io.Writer) {
		if len(views) == 0 {
			fmt.Fprintln(w, "There is no such file.")
			return
		}
		writeFiles(w, views, b.Now())
		if more {
			fmt.Fprintln(w, "  … and more: raise --limit or filter")
		}
		fmt.Fprintln(w, "\nwaybill file show ID says more.")
	})
}

func writeFiles(w io.Writer, views []fileView, now time.Time) {
	table := console.NewTable(">file", "integration", "source", "name", "state", ">rows", ">rejected", ">began", "what")
	for _, v := range views {
		what := console.Short(console.Clean(v.Error), 80)
		if v.State == "reading" {
			what = v.progress()
		}
		table.Row(v.ID, v.Integration, v.Source, console.Short(console.Clean(v.Name), 40), v.State, console.Count(v.Rows), console.Count(v.Rejected),
			console.Duration(now.Sub(v.StartedAt))+" ago", what)
	}
	table.Write(w, "  ")
}

type fileShowCommand struct {
	ID     int64  `arg:"" name:"id" help:"The number of the file, as waybill file list prints it."`
	Limit  int    `default:"20" help:"Rejected rows to show; --report writes them all."`
	Report string `enum:",csv,json" default:"" help:"Write the report on the file instead, as csv or json."`
}

func (fileShowCommand) Help() string {
	return `Examples:
  waybill file show 12
  waybill file show 12 --report csv > orders.report.csv`
}

// rejectedView is one rejected row.
type rejectedView struct {
	Row     int64    `json:"row"`
	Line    int64    `json:"line"`
	Record  string   `json:"record"`
	Code    string   `json:"code"`
	Reasons []string `json:"reasons"`
}

func (c fileShowCommand) Run(in *invocation) error {
	if c.Limit < 0 || c.Limit > maxListed {
		return usage("--limit must lie between 0 and %d", maxListed)
	}
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	f, err := b.FileByID(in.ctx, c.ID)
	if errors.Is(err, ledger.ErrNotFound) {
		return problem(fmt.Errorf("there is no file %d; waybill file list names them", c.ID))
	}
	if err != nil {
		return err
	}
	if c.Report != "" {
		return filereport.Write(in.ctx, in.Stdout, c.Report, f, filereport.Options{Rows: func(ctx context.Context, after int64, limit int) ([]ledger.RejectedRow, error) {
			return b.RejectedRows(ctx, c.ID, after, limit)
		}})
	}
	rows, err := b.RejectedRows(in.ctx, c.ID, 0, c.Limit+1)
	if err != nil {
		return err
	}
	more := len(rows) > c.Limit
	rejected := make([]rejectedView, 0, c.Limit)
	for _, r := range rows[:min(len(rows), c.Limit)] {
		reasons := reasonLines(r.Detail)
		if len(reasons) == 0 {
			reasons = []string{console.Clean(r.Message)}
		}
		rejected = append(rejected, rejectedView{r.Number, r.Line, r.Record.String(), r.Code, reasons})
	}
	view := fileViewOf(f)
	return in.print(map[string]any{"file": view, "rejected": rejected, "more": more}, func(w io.Writer) { c.write(w, view, rejected, more, b.Now()) })
}

func (c fileShowCommand) write(w io.Writer, v fileView, rejected []rejectedView, more bool, now time.Time) {
	fmt.Fprintf(w, "file         %d: %s   %s\n", v.ID, console.Clean(v.Name), plural(v.Bytes, "byte", "bytes"))
	v.writeRest(w, now)
	fmt.Fprintf(w, "content      sha256 %s\nrecords      tracking id %s\n", v.SHA256, v.TrackingID)
	if len(rejected) == 0 {
		return
	}
	fmt.Fprintln(w, "\nRejected rows:")
	for _, r := range rejected {
		for _, reason := range r.Reasons {
			fmt.Fprintf(w, "  row %-8d %s  %s\n", r.Row, r.Record, console.Short(reason, 160))
		}
	}
	if more {
		fmt.Fprintf(w, "  … and more: raise --limit, or waybill file show %d --report csv\n", v.ID)
	}
}
