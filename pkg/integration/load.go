package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Bounds of files read by Load and LoadDir.
const (
	maxYAML  = 256 << 10 // bytes of an integration file
	maxFile  = 1 << 20   // bytes of a schema
	maxFiles = 1000      // integrations in a directory
)

// Load reads one integration file. Variables in addresses are replaced; secrets
// must be set but are not read into the result. A file that is wrong gives
// Mistakes: everything wrong with it, with places; a file that cannot be read, another error.
func Load(path string, lookup Lookup) (*Integration, error) {
	source, err := readBounded(path, maxYAML)
	if err != nil {
		return nil, err
	}
	out := newMistakes(path, source)
	dir := filepath.Dir(path)
	d := &decoder{out: out, lookup: lookup, patterns: patterns(), secrets: true,
		schemas: func(file string) (any, error) { return readSchema(dir, file) },
		files:   func(file string, limit int64) ([]byte, error) { return readBeside(dir, "the file", file, limit) }}
	root := parseYAML(source, out)
	if root == nil {
		return nil, out.err()
	}
	in, err := build(d, root)
	if err != nil {
		return nil, err
	}
	in.file = path
	return in, nil
}

// LoadDir loads every *.yaml and *.yml file of a directory, in the order of
// names. Integrations that are right are returned even when others are not; the
// error then is Mistakes of all files. Names and webhook paths must be unique.
func LoadDir(dir string, lookup Lookup) ([]*Integration, error) {
	listed, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the integrations: %w", err)
	}
	var all []*Integration
	var wrong Mistakes
	names, paths := map[string]string{}, map[string]string{}
	for _, file := range listed {
		if ext := filepath.Ext(file.Name()); file.IsDir() || ext != ".yaml" && ext != ".yml" {
			continue
		}
		if len(all) >= maxFiles {
			return nil, fmt.Errorf("load the integrations of %s: more than %d files; split the directory", dir, maxFiles)
		}
		path := filepath.Join(dir, file.Name())
		in, err := Load(path, lookup)
		if mistakes, ok := err.(Mistakes); ok {
			wrong = append(wrong, mistakes...)
			continue
		}
		if err != nil {
			wrong = append(wrong, Mistake{File: path, Message: err.Error()})
			continue
		}
		clashes := in.clashes(names, paths)
		wrong = append(wrong, clashes...)
		if len(clashes) == 0 {
			all = append(all, in)
		}
	}
	if len(wrong) > 0 {
		return all, wrong
	}
	return all, nil
}

// clashes claims the name and the webhook paths of in among those of other files.
func (in *Integration) clashes(names, paths map[string]string) Mistakes {
	var out Mistakes
	claim := func(taken map[string]string, what, where string) {
		if other, ok := taken[what]; ok {
			out = append(out, Mistake{File: in.file, Line: 1, Column: 1, Path: where,
				Message: fmt.Sprintf("%q is taken by %s; choose another", what, other)})
		}
	}
	claim(names, in.Name, "integration")
	for i, s := range in.Sources {
		if s.Webhook != nil {
			claim(paths, s.Webhook.Path, fmt.Sprintf("sources[%d].webhook.path", i))
		}
	}
	if len(out) > 0 {
		return out
	}
	names[in.Name] = in.file
	for _, s := range in.Sources {
		if s.Webhook != nil {
			paths[s.Webhook.Path] = in.file
		}
	}
	return nil
}

// FromDocument makes the integration of a stored Document again, with the same
// behaviour and hash. Secrets that are not set (any more) show at use.
func FromDocument(document []byte, lookup Lookup) (*Integration, error) {
	if len(document) > 4*maxFile {
		return nil, fmt.Errorf("read a stored integration: it has %d bytes; the limit is %d", len(document), 4*maxFile)
	}
	value, err := DecodeJSON(document)
	if err != nil {
		return nil, fmt.Errorf("read a stored integration: %w", err)
	}
	out := newMistakes("stored integration", nil)
	return build(&decoder{out: out, lookup: lookup, patterns: patterns()}, nodeOf(value))
}

// build decodes, checks and compiles; any mistake fails it.
func build(d *decoder, root *node) (*Integration, error) {
	in := &Integration{}
	d.object(root, "", reflect.ValueOf(in).Elem())
	if root.kind != objectNode {
		return nil, d.out.err()
	}
	b := &builder{out: d.out, in: in, lookup: d.lookup}
	b.run()
	if err := d.out.err(); err != nil {
		return nil, err
	}
	return in, in.seal()
}

func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("read %s: it must be a file of at most %d bytes", path, limit)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the file: %w", err)
	}
	return source, nil
}

// readSchema reads a schema file in or below the directory of the integration.
func readSchema(dir, file string) (any, error) {
	raw, err := readBeside(dir, "the schema", file, maxFile)
	if err != nil {
		return nil, err
	}
	value, err := DecodeJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("the schema %s is not JSON: %w", file, err)
	}
	return value, nil
}

// readBeside reads a file in or below the directory of the integration; what says what it is, for errors.
func readBeside(dir, what, file string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of the integration: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(filepath.FromSlash(file))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %s; name a file in or below the directory of this one", what, lastWords(err))
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s %s must be a file of at most %d bytes", what, file, limit)
	}
	raw, err := root.ReadFile(filepath.FromSlash(file))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %s", what, lastWords(err))
	}
	return raw, nil
}

// lastWords drops the name of the system call from an error of package os.
func lastWords(err error) string {
	text := err.Error()
	if _, rest, ok := strings.Cut(text, " "); ok {
		return rest
	}
	return text
}

// Source finds a source by its name.
func (in *Integration) Source(name string) (*Source, bool) {
	i := slices.IndexFunc(in.Sources, func(s Source) bool { return s.Name == name })
	if i < 0 {
		return nil, false
	}
	return &in.Sources[i], true
}
