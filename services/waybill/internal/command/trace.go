package command

import (
	"io"
)

type traceCommand struct {
	ID          string `arg:"" name:"id" help:"A record id, a tracking id or an idempotency key."`
	Integration string `help:"Look an idempotency key up in this integration only."`
	Payload     bool   `help:"Print bodies too."`
}

func (traceCommand) Help() string {
	return `One line per stage, in the order of time, with how long it waited and how long it took: arrival, each attempt with
its calls and step results, retries, each try at telling the partner, and what people did. A refused request has no
record: its tracking id shows what it sent and why it was refused. A file's tracking id shows how far it was read.

Examples:
  waybill trace 3f0e8a52-6c1d-8e4b-9a77-0d2f5b1c9e10
  waybill trace order-4711 --integration orders --payload`
}

func (c traceCommand) Run(in *invocation) error {
	b, err := in.openToRead()
	if err != nil {
		return err
	}
	defer b.Close()
	f, err := in.find(b, c.ID, c.Integration)
	if err != nil {
		return err
	}
	if f.interaction != nil {
		view := interactionViewOf(*f.interaction)
		document := view
		if !c.Payload { // the text still takes the reasons out of the answer
			document.RequestBody, document.ResponseBody = "", ""
		}
		return in.print(map[string]any{"found_by": f.by, "interaction": document}, func(w io.Writer) { view.writeAlone(w, c.Payload) })
	}
	if f.file != nil {
		view := fileViewOf(*f.file)
		return in.print(map[string]any{"found_by": f.by, "file": view}, func(w io.Writer) { view.write(w, b.Now()) })
	}
	t, err := b.Trace(in.ctx, f.record.ID)
	if err != nil {
		return err
	}
	view := storyOf(t, f.by)
	if !c.Payload {
		view.hideBodies()
	}
	return in.print(view, func(w io.Writer) { view.write(w, b.Now()) })
}
