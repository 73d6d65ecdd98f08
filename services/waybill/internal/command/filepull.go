package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/ledger"
	"waybill.internal/services/waybill/internal/console"
)

const (
	pullPoll = 300 * time.Millisecond
	// pullPatience is how long a running ingest may take to see a request.
	pullPatience = 15 * time.Second
	// maxPulled bounds the files that one pull shows.
	maxPulled = 200
)

type filePullCommand struct {
	Source       string `arg:"" optional:"" name:"integration/source" help:"Where to look, such as orders/file; a source without a name of its own is called file."`
	AllowDeletes int64  `name:"allow-deletes" placeholder:"ID" help:"Make the deletions that were refused for this file, a snapshot that failed."`
	Actor        string `help:"Who does it, for the history; the default is $USER."`
}

func (filePullCommand) Help() string {
	return `A running ingest looks at once, whatever its schedule is, also at files that failed and were left where they lie. The command waits until the files that are there have ended.

Examples:
  waybill file pull orders/file
  waybill file pull --allow-deletes 12`
}

// pullView is what became of a pull.
type pullView struct {
	Source  string     `json:"source"`
	Files   []fileView `json:"files"`
	Waiting int        `json:"waiting"` // there, but not whole, or read by another process
	Error   string     `json:"error,omitempty"`
}

func (c filePullCommand) Run(in *invocation) error {
	user, _ := in.Lookup("USER")
	actor := cmp.Or(c.Actor, user)
	if actor == "" || len(actor) > maxReason {
		return usage("say who you are with --actor, in at most %d bytes: the history keeps who did it", maxReason)
	}
	if (c.Source == "") == (c.AllowDeletes == 0) {
		return usage("name a source such as orders/file, or a file with --allow-deletes")
	}
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	var request int64
	name := c.Source
	if c.AllowDeletes > 0 {
		r, err := c.allow(in, b, actor)
		if errors.Is(err, ledger.ErrNotAllowed) {
			return problem(fmt.Errorf("the deletions of file %d cannot be made: %w; waybill file show %d says what became of it", c.AllowDeletes, err, c.AllowDeletes))
		}
		if err != nil {
			return err
		}
		request, name = r.ID, r.Integration+"/"+r.Source
	} else if request, err = c.ask(in, b, actor); err != nil {
		return err
	}
	return in.awaitPull(b, name, request)
}

// allow refuses what nobody would carry out, before it is allowed.
func (c filePullCommand) allow(in *invocation, b *book, actor string) (ledger.FileRequest, error) {
	f, err := b.FileByID(in.ctx, c.AllowDeletes)
	if errors.Is(err, ledger.ErrNotFound) {
		return ledger.FileRequest{}, problem(fmt.Errorf("there is no file %d; waybill file list names them", c.AllowDeletes))
	}
	if err != nil {
		return ledger.FileRequest{}, err
	}
	if err := b.running(in.ctx, ledger.SourceName{Integration: f.Integration, Source: f.Source}); err != nil {
		return ledger.FileRequest{}, err
	}
	return b.AllowDeletes(in.ctx, c.AllowDeletes, actor)
}

func (c filePullCommand) ask(in *invocation, b *book, actor string) (int64, error) {
	integration, source, ok := strings.Cut(c.Source, "/")
	if !ok {
		source = "file"
	}
	e, known := b.catalog.Get(integration)
	if !known {
		return 0, problem(fmt.Errorf("the ledger knows no integration %q", integration))
	}
	if s, known := e.Source(source); !known || s.File == nil {
		var names []string
		for i := range e.Sources {
			if e.Sources[i].File != nil {
				names = append(names, integration+"/"+e.Sources[i].Name)
			}
		}
		return 0, problem(fmt.Errorf("%s has no file source %q; its file sources: %s", integration, source, cmp.Or(strings.Join(names, ", "), "none")))
	}
	if err := b.running(in.ctx, ledger.SourceName{Integration: integration, Source: source}); err != nil {
		return 0, err
	}
	return b.AskFiles(in.ctx, integration, source, actor)
}

// awaitPull shows progress until the request is answered.
func (in *invocation) awaitPull(b *book, name string, request int64) error {
	progress := console.NewProgress(in.Stderr, in.Terminal, in.Now)
	defer progress.End()
	asked := in.Now()
	for {
		a, err := b.FileAnswer(in.ctx, request)
		if err != nil {
			return err
		}
		if a.EndedAt != nil {
			return in.pulled(b, name, request, a, progress)
		}
		if a.BegunAt == nil && in.Now().Sub(asked) > pullPatience {
			return unreachable(fmt.Errorf("no running ingest has taken the request for %s in %s: is ingest up, and does it have this integration? The request stays, and is answered when one comes", name, pullPatience))
		}
		if !in.json {
			line, err := in.pullLine(b, name, request, a)
			if err != nil {
				return err
			}
			progress.Show(line)
		}
		if clock.Sleep(in.ctx, pullPoll) != nil {
			return context.Cause(in.ctx)
		}
	}
}

func (in *invocation) pullLine(b *book, name string, request int64, a ledger.FileAnswer) (string, error) {
	if a.BegunAt == nil {
		return "waiting for an ingest to look into " + name, nil
	}
	files, err := b.Files(in.ctx, ledger.FileFilter{Request: request, State: "reading"}, 1)
	if err != nil || len(files) == 0 {
		return "looking into " + name, err
	}
	return fmt.Sprintf("%s: %s", console.Short(console.Clean(files[0].Name), 40), fileViewOf(files[0]).progress()), nil
}

func (in *invocation) pulled(b *book, name string, request int64, a ledger.FileAnswer, progress *console.Progress) error {
	progress.End()
	files, err := b.Files(in.ctx, ledger.FileFilter{Request: request}, maxPulled)
	if err != nil {
		return err
	}
	view := pullView{Source: name, Files: make([]fileView, 0, len(files)), Waiting: a.Waiting, Error: a.Error}
	failed := a.Error != ""
	for _, f := range files {
		view.Files = append(view.Files, fileViewOf(f))
		failed = failed || f.State == "failed"
	}
	if err := in.print(view, func(w io.Writer) { view.write(w, a, b.Now()) }); err != nil {
		return err
	}
	if failed {
		return problem(nil)
	}
	return nil
}

func (v pullView) write(w io.Writer, a ledger.FileAnswer, now time.Time) {
	switch {
	case len(v.Files) > 0:
		writeFiles(w, v.Files, now)
	case a.Found > 0:
		fmt.Fprintf(w, "%s in %s: nothing new in them.\n", plural(int64(a.Found), "file was read before", "files were read before"), v.Source)
	case v.Waiting == 0 && v.Error == "":
		fmt.Fprintf(w, "Nothing new is in %s.\n", v.Source)
	}
	if v.Waiting > 0 {
		fmt.Fprintf(w, "%s there and not taken: still being written, without a marker, or read by another process.\n", plural(int64(v.Waiting), "file is", "files are"))
	}
	if v.Error != "" {
		fmt.Fprintf(w, "It failed: %s\n", console.CleanLines(v.Error))
	}
}
