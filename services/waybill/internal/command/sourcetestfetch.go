package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/stream"
	"waybill.internal/services/ingest"
	"waybill.internal/services/waybill/internal/console"
)

// fileTestView is what a file source would take.
type fileTestView struct {
	Source string      `json:"source"`
	Place  string      `json:"place"`
	Files  []fileFound `json:"files"` // the first of them
	Found  int         `json:"found"`
	More   bool        `json:"more,omitempty"` // than were looked at
	Read   string      `json:"read,omitempty"`
	Rows   []triedView `json:"rows"`
	Error  string      `json:"error,omitempty"`
}

type fileFound struct {
	Name  string    `json:"name"`
	Bytes int64     `json:"bytes"`
	At    time.Time `json:"changed_at,omitzero"`
}

func (c sourceTestCommand) file(ctx context.Context, in *invocation, e catalog.Entry, s *integration.Source) error {
	root, _ := in.Lookup("WAYBILL_INGEST_DROP")
	trial, err := ingest.TryFile(ctx, e, s, ingest.FileTryWhere{Root: cmp.Or(root, "."), Local: c.File, Rows: tried})
	if err != nil {
		return wayOut(fmt.Errorf("look for files of %s in %s: %w", c.Source, trial.Place, err))
	}
	view := fileTestView{Source: c.Source, Place: trial.Place, Files: []fileFound{}, Found: len(trial.Files), More: trial.More, Read: trial.Read, Rows: []triedView{}, Error: trial.Error}
	for _, f := range trial.Files[:min(tried, len(trial.Files))] {
		view.Files = append(view.Files, fileFound{f.Name, f.Size, f.At.UTC()})
	}
	bad := trial.Error != ""
	for _, r := range trial.Rows {
		row := triedView{Row: r.Number, Line: r.Line, Key: r.Key, Entity: r.Entity, Body: r.Body, Problems: problemTexts(r.Problem, r.BodyProblems)}
		bad = bad || len(row.Problems) > 0
		view.Rows = append(view.Rows, row)
	}
	if err := in.print(view, view.write); err != nil || !bad {
		return err
	}
	return problem(nil)
}

func (v fileTestView) write(w io.Writer) {
	switch {
	case v.Found > 0:
		fmt.Fprintf(w, "%s in %s would be taken, if whole:\n", plural(int64(v.Found), "file", "files"), v.Place)
		for _, f := range v.Files {
			fmt.Fprintf(w, "  %s  %s\n", console.Clean(f.Name), plural(f.Bytes, "byte", "bytes"))
		}
		if v.Found > len(v.Files) {
			fmt.Fprintf(w, "  … and %d more\n", v.Found-len(v.Files))
		}
	case v.Read == "":
		fmt.Fprintf(w, "%s can be looked into; nothing there would be taken.\n", v.Place)
	}
	if v.Read != "" {
		fmt.Fprintf(w, "The first rows of %s:\n", console.Clean(v.Read))
		writeTried(w, v.Rows)
	}
	if v.Error != "" {
		fmt.Fprintln(w, "It cannot be read on:", console.Clean(v.Error))
	}
	fmt.Fprintln(w, "Nothing was taken.")
}

// pollTestView is what one request of a poll brought.
type pollTestView struct {
	Source string      `json:"source"`
	URL    string      `json:"url"`
	Status int         `json:"status"`
	Found  int         `json:"found"` // items of the first page
	More   bool        `json:"more"`  // there is a next page
	Items  []triedView `json:"items"`
	Note   string      `json:"note,omitempty"`
}

func (c sourceTestCommand) poll(ctx context.Context, in *invocation, b *book, e catalog.Entry, s *integration.Source) error {
	trial, err := ingest.TryPoll(ctx, b.Ledger, e, s, tried)
	if err != nil {
		return wayOut(fmt.Errorf("poll %s at %s: %w", c.Source, trial.URL, err))
	}
	view := pollTestView{Source: c.Source, URL: trial.URL, Status: trial.Status, Found: trial.Items, More: trial.More, Items: []triedView{}}
	bad := false
	for _, i := range trial.First {
		body, err := json.Marshal(i.Value)
		if err != nil || i.Value == nil {
			body = nil
		}
		item := triedView{Key: i.Key, Entity: i.Entity, LeftOut: !i.Taken, Body: body, Problems: problemTexts(i.Problem, i.BodyProblems)}
		bad = bad || (i.Taken && len(item.Problems) > 0)
		view.Items = append(view.Items, item)
		if i.NeedsDetail {
			view.Note = "each record is the detail of an item, which was not asked for: it is not validated, and keys made of it are not shown"
		}
	}
	if err := in.print(view, view.write); err != nil || !bad {
		return err
	}
	return problem(nil)
}

func (v pollTestView) write(w io.Writer) {
	more := "no further page"
	if v.More {
		more = "and there is a next page"
	}
	fmt.Fprintf(w, "%s answers %d: %s, %s\n", console.Clean(v.URL), v.Status, plural(int64(v.Found), "item", "items"), more)
	writeTried(w, v.Items)
	if v.Note != "" {
		fmt.Fprintln(w, v.Note)
	}
	fmt.Fprintln(w, "No record was made.")
}

func (c sourceTestCommand) kafka(ctx context.Context, in *invocation, s *integration.Source) error {
	config, err := in.settings()
	if err != nil {
		return err
	}
	config.Kafka.ClientID = "waybill-command"
	factory, err := stream.NewFactory(config.Kafka)
	if err != nil {
		return usage("%w", err)
	}
	lag, err := ingest.TryTopic(ctx, factory, s)
	if err != nil {
		return unreachable(fmt.Errorf("look at topic %s for group %s: %w", s.Kafka.Topic, s.Kafka.Group, err))
	}
	view := map[string]any{"source": c.Source, "topic": s.Kafka.Topic, "group": s.Kafka.Group, "lag": lag}
	return in.print(view, func(w io.Writer) {
		fmt.Fprintf(w, "Topic %s can be read; the group %s is %s behind. No message was taken.\n", s.Kafka.Topic, s.Kafka.Group, plural(lag, "message", "messages"))
	})
}
