package demo

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
)

// parties are what the generated integration talks to.
type parties struct {
	crm, status string // URLs
	drop        string // folder of dropped files; "" for no file source
}

// generate writes the shipped integration into dir with the demo's times and
// addresses, and its schema beside it.
func generate(shipped, dir string, p parties) error {
	source, err := os.ReadFile(shipped)
	if err != nil {
		return fmt.Errorf("read the integration that is shown: %w; run this in the repository, or name the file with --integration", err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(source, &document); err != nil {
		return fmt.Errorf("read %s: %w", shipped, err)
	}
	if err := adapt(document, p); err != nil {
		return fmt.Errorf("%s: %w", shipped, err)
	}
	out, err := yaml.Marshal(document)
	if err != nil {
		return fmt.Errorf("write the demo's integration: %w", err)
	}
	if err := copySchema(document, filepath.Dir(shipped), dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(shipped)), bytes.TrimLeft(out, "\n"), 0o600)
}

func adapt(document map[string]any, p parties) error {
	sources, ok := document["sources"].([]any)
	if !ok {
		return fmt.Errorf("sources: not a list")
	}
	kept := sources[:0]
	for _, one := range sources {
		source, ok := one.(map[string]any)
		if !ok {
			return fmt.Errorf("sources: not a list of sources")
		}
		if file, ok := source["file"].(map[string]any); ok {
			if p.drop == "" {
				continue
			}
			file["from"] = filepath.Join(p.drop, "*.csv")
		}
		kept = append(kept, source)
	}
	document["sources"] = kept
	for _, change := range []struct {
		path  []string
		value any
	}{
		{[]string{"destinations", "crm", "url"}, p.crm},
		{[]string{"destinations", "crm", "allow_private"}, true},
		{[]string{"destinations", "crm", "timeout"}, "2s"},
		{[]string{"destinations", "crm", "concurrency"}, 32},
		{[]string{"process", "retry"}, map[string]any{"delays": []string{"1s", "3s", "10s"}, "attempts": 4, "give_up_after": "10m"}},
		{[]string{"acknowledge", "post", "to"}, p.status},
		{[]string{"acknowledge", "post", "allow_private"}, true},
		{[]string{"acknowledge", "post", "batch"}, 100},
		{[]string{"acknowledge", "post", "every"}, "500ms"},
		{[]string{"acknowledge", "post", "retry"}, map[string]any{"first": "1s", "max": "3s", "give_up_after": "10m"}},
	} {
		if err := set(document, change.value, change.path...); err != nil {
			return err
		}
	}
	return nil
}

func set(document map[string]any, value any, path ...string) error {
	for i, name := range path[:len(path)-1] {
		inner, ok := document[name].(map[string]any)
		if !ok {
			return fmt.Errorf("%v is not there: the demo needs it", path[:i+1])
		}
		document = inner
	}
	document[path[len(path)-1]] = value
	return nil
}

func copySchema(document map[string]any, from, to string) error {
	record, ok := document["record"].(map[string]any)
	if !ok {
		return nil
	}
	name, ok := record["schema"].(string)
	if !ok { // written out in the file itself
		return nil
	}
	schema, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	target := filepath.Join(to, name)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("copy the schema: %w", err)
	}
	return os.WriteFile(target, schema, 0o600)
}
