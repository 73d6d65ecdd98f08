package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"waybill.internal/pkg/integration"
)

type checkCommand struct {
	Paths []string `arg:"" optional:"" name:"path" help:"Integration files or folders of them; the default is WAYBILL_INTEGRATIONS."`
}

func (checkCommand) Help() string {
	return `Reads integration files as the services do and reports every mistake with file, line and column. Variables and secrets
that the files name must be set, as for the services. Exits with 1 when there is a mistake.

Examples:
  waybill check
  waybill check deploy/integrations/service-requests.yaml`
}

// mistakeView is one mistake.
type mistakeView struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

// meaning says what an integration does.
type meaning struct {
	Name string   `json:"integration"`
	File string   `json:"file"`
	Hash string   `json:"version_hash"`
	Does []string `json:"does"`
}

func (c checkCommand) Run(in *invocation) error {
	if len(c.Paths) == 0 {
		dir, _ := in.Lookup("WAYBILL_INTEGRATIONS")
		c.Paths = []string{cmp.Or(dir, "deploy/integrations")}
	}
	var wrong integration.Mistakes
	meanings := []meaning{}
	for _, path := range c.Paths {
		list, mistakes, err := load(path, integration.Lookup(in.Lookup))
		if err != nil {
			return usage("check %s: %w; give integration files or folders of them", path, err)
		}
		wrong = append(wrong, mistakes...)
		for _, i := range list {
			meanings = append(meanings, meaningOf(i))
		}
	}
	views := make([]mistakeView, len(wrong))
	for i, m := range wrong {
		views[i] = mistakeView{m.File, m.Line, m.Column, m.Path, m.Message}
	}
	err := in.print(map[string]any{"integrations": meanings, "mistakes": views}, func(w io.Writer) { writeCheck(w, meanings, wrong) })
	if err == nil && len(wrong) > 0 {
		err = problem(nil)
	}
	if err == nil && len(meanings) == 0 {
		err = problem(fmt.Errorf("no integration was found in %s: files end in .yaml or .yml", strings.Join(c.Paths, ", ")))
	}
	return err
}

func load(path string, lookup integration.Lookup) ([]*integration.Integration, integration.Mistakes, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	var list []*integration.Integration
	if info.IsDir() {
		list, err = integration.LoadDir(path, lookup)
	} else if one, loadErr := integration.Load(path, lookup); loadErr != nil {
		err = loadErr
	} else {
		list = append(list, one)
	}
	if mistakes, ok := errors.AsType[integration.Mistakes](err); ok {
		return list, mistakes, nil
	}
	return list, nil, err
}

func writeCheck(w io.Writer, meanings []meaning, wrong integration.Mistakes) {
	for _, m := range meanings {
		fmt.Fprintf(w, "%s  (%s) is right:\n", m.Name, m.File)
		for _, line := range m.Does {
			fmt.Fprintln(w, "  "+line)
		}
	}
	for _, m := range wrong {
		fmt.Fprintln(w, m.Error())
	}
	if len(wrong) > 0 {
		fmt.Fprintf(w, "\n%s in all.\n", plural(int64(len(wrong)), "mistake", "mistakes"))
	}
}

// meaningOf says in five lines what an integration does.
func meaningOf(i *integration.Integration) meaning {
	m := meaning{Name: i.Name, File: i.File(), Hash: i.Hash()}
	var sources []string
	for _, s := range i.Sources {
		switch {
		case s.Webhook != nil:
			sources = append(sources, fmt.Sprintf("POST %s (%s)", s.Webhook.Path, s.Webhook.Verify.Scheme))
		case s.File != nil:
			sources = append(sources, fmt.Sprintf("files %s (%s)", s.File.From, s.File.Every))
		}
	}
	validation := fmt.Sprintf("%s against no schema", plural(int64(len(i.Record.Check)), "check", "checks"))
	if i.Record.Schema != nil {
		validation = fmt.Sprintf("a JSON Schema and %s", plural(int64(len(i.Record.Check)), "check", "checks"))
	}
	entity := "its idempotency key"
	if i.Record.EntityKey != nil {
		entity = i.Record.EntityKey.String()
	}
	r := i.Process.Retry
	m.Does = []string{
		"takes     " + strings.Join(sources, ", "),
		fmt.Sprintf("validates with %s; what is invalid: %s; order %s, entity key %s", validation, i.Record.Invalid, i.Record.Order, entity),
		"does      " + steps(i),
		fmt.Sprintf("retries   after %s, then less and less often: %d attempts or %s in all; then it is dead", durations(r), r.Attempts, r.GiveUpAfter),
		"tells     " + tells(i.Acknowledge),
	}
	return m
}

func durations(r integration.Retry) string {
	texts := make([]string, len(r.Delays))
	for i, d := range r.Delays {
		texts[i] = d.String()
	}
	return strings.Join(texts, ", ")
}

func steps(i *integration.Integration) string {
	var list []string
	for _, s := range i.Process.Steps {
		switch {
		case s.Lookup != nil:
			list = append(list, fmt.Sprintf("lookup %s in %s", strings.Join(slices.Sorted(maps.Keys(s.Lookup.Key)), ", "), s.Lookup.Table))
		case s.Call != nil:
			list = append(list, fmt.Sprintf("call %s %s of %s", s.Call.Method, s.Call.Path, i.Destinations[s.Call.To].URL))
		case s.Map != nil:
			list = append(list, fmt.Sprintf("map %s", plural(int64(len(s.Map.Fields)), "field", "fields")))
		case s.Upsert != nil:
			list = append(list, "upsert into "+s.Upsert.Table)
		case s.Custom != nil:
			list = append(list, "the Go step "+s.Custom.Name)
		}
	}
	if len(list) == 0 {
		return "nothing with a record but to keep it"
	}
	return strings.Join(list, " → ")
}

func tells(a *integration.Acknowledge) string {
	if a == nil {
		return "nobody"
	}
	return fmt.Sprintf("%s: %s, up to %d at once every %s; gives up after %s", a.Post.To, strings.Join(a.Statuses, ", "), a.Post.Batch, a.Post.Every, a.Post.Retry.GiveUpAfter)
}
