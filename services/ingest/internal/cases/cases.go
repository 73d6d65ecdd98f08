// Package cases runs a folder of real files, with what independent parsers and the
// providers' own libraries say of them, through the product's own verifiers and
// readers.
//
// The folder has a manifest.json that lists its files: each with its SHA-256, the
// arguments the other parser was given (spec) and its results (expect). A file is
// one case; its kind is its spec's, or, where it has none, told by its path (the
// vectors and payloads of webhooks, the suites of JSON). A file of a kind that is
// not known here is a difference, never passed over.
//
// Each file of this package is one kind; [kinds] lists them all.
package cases

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"waybill.internal/services/ingest/internal/unpack"
)

const (
	manifestName = "manifest.json"
	maxManifest  = 64 << 20
	// maxShown bounds the differences that are printed of one file.
	maxShown = 20
)

// Case is one file of the folder.
type Case struct {
	Dir    string // of the manifest
	File   string // in the folder, with slashes
	SHA256 string
	Bytes  int64
	Spec   Spec
	Expect json.RawMessage // shape by kind; nil: nothing beyond the kind's own rules

	content []byte
	notes   *[]string
	checks  *int
}

// Spec holds the arguments of the other parser; which are set depends on the kind.
type Spec struct {
	Kind        string          `json:"kind"`
	Enc         string          `json:"enc"`
	Delim       string          `json:"delim"`
	Header      json.RawMessage `json:"header"` // row of the header from 0; null: none; left out: 0
	Quote       json.RawMessage `json:"quote"`  // null: none; left out: "
	Escape      string          `json:"escape"`
	Comment     string          `json:"comment"`
	SkipBlanks  bool            `json:"skipinitialspace"`
	SkipBlank   bool            `json:"skip_blank"`
	Compression string          `json:"compression"`
	Member      string          `json:"member"`
	FieldSep    string          `json:"fieldsep"`
	RowSep      string          `json:"rowsep"`
	Record      *string         `json:"record"`
	Entities    bool            `json:"entities"`
	Why         string          `json:"why"`
	Expect      string          `json:"expect"`
}

// Content gives the file's bytes, whose digest has been compared with the manifest's.
func (c Case) Content() []byte { return c.content }

// Sibling opens another file of the folder, such as a vector's body.
func (c Case) Sibling(name string) ([]byte, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return nil, fmt.Errorf("%q lies outside the folder", name)
	}
	return os.ReadFile(filepath.Join(c.Dir, filepath.FromSlash(name)))
}

// Note prints a line that is no difference: a choice where others differ.
func (c Case) Note(format string, args ...any) {
	*c.notes = append(*c.notes, fmt.Sprintf(format, args...))
}

// Checked says how many checks a file of many held; they are printed beside the file.
func (c Case) Checked(n int) { *c.checks += n }

// kind compares one file with what is expected of it and gives each difference.
type kind func(c Case) []string

// kinds are those of specs.
func kinds() map[string]kind {
	return map[string]kind{
		"csv":    csvFile,
		"split":  splitFile,
		"json":   jsonFile,
		"ndjson": ndjsonFile,
		"reject": hostile,
		"raw":    stored,
		"xml":    xmlFile,
		"xlsx":   xlsxFile,
		"xls":    xlsFile,
	}
}

// suites are the kinds of files without a spec, by pattern of their path.
func suites() []struct {
	pattern string
	run     kind
} {
	return []struct {
		pattern string
		run     kind
	}{
		{"json/jsontestsuite*.ndjson", jsonTestSuite},
		{"json/jsonschema-remotes*.ndjson", schemaRemotes},
		{"json/jsonschema-*.ndjson", schemaSuite},
		{"webhooks/vectors/", vectorsFile},
		{"webhooks/payloads/", payloadFile},
	}
}

func kindOf(c Case) (kind, error) {
	if c.Spec.Kind != "" {
		if run, ok := kinds()[c.Spec.Kind]; ok {
			return run, nil
		}
		return nil, fmt.Errorf("files of kind %q are not known here", c.Spec.Kind)
	}
	for _, s := range suites() {
		if ok, err := path.Match(s.pattern, c.File); err == nil && ok {
			return s.run, nil
		}
		// A pattern that ends in a slash stands for all that lies below.
		if strings.HasSuffix(s.pattern, "/") && strings.HasPrefix(c.File, s.pattern) {
			return s.run, nil
		}
	}
	return nil, fmt.Errorf("the manifest gives no kind for it, and its path tells none")
}

// Result is what became of a folder.
type Result struct {
	Passed, Total map[string]int // by the first folder of the file
	Differences   int
}

// OK says that there was something to compare and nothing differed.
func (r Result) OK() bool { return r.Differences == 0 && len(r.Total) > 0 }

// Run compares every file of the folder, prints each difference, a line
// "cases: KIND passed N of M" for each kind, and gives the sums. The error is of
// a folder that cannot be run at all.
func Run(dir string, out io.Writer) (Result, error) {
	all, err := load(dir)
	if err != nil {
		return Result{}, err
	}
	r := Result{Passed: map[string]int{}, Total: map[string]int{}}
	checks := map[string]int{}
	for _, c := range all {
		folder, _, _ := strings.Cut(c.File, "/")
		var notes []string
		n := 0
		c.notes, c.checks = &notes, &n
		differences := compare(c)
		r.Total[folder]++
		checks[folder] += n
		if len(differences) == 0 {
			r.Passed[folder]++
		}
		r.Differences += len(differences)
		for _, note := range notes {
			fmt.Fprintf(out, "note: %s: %s\n", c.File, note)
		}
		for i, d := range differences {
			if i == maxShown {
				fmt.Fprintf(out, "difference: %s: and %d more\n", c.File, len(differences)-maxShown)
				break
			}
			fmt.Fprintf(out, "difference: %s: %s\n", c.File, d)
		}
	}
	for _, folder := range sortedKeys(r.Total) {
		if checks[folder] > 0 {
			fmt.Fprintf(out, "checks: %s made %d inside files of many\n", folder, checks[folder])
		}
		fmt.Fprintf(out, "cases: %s passed %d of %d\n", folder, r.Passed[folder], r.Total[folder])
	}
	if len(all) == 0 {
		return r, fmt.Errorf("%s lists no files", filepath.Join(dir, manifestName))
	}
	return r, nil
}

// compare checks that the file is the manifest's, then what its kind compares. A
// panic of a reader is a difference of its file.
func compare(c Case) (differences []string) {
	defer func() {
		if value := recover(); value != nil {
			differences = append(differences, fmt.Sprintf("panic: %v", value))
		}
	}()
	content, err := c.Sibling(c.File)
	if err != nil {
		return []string{"it cannot be read: " + err.Error()}
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != c.SHA256 {
		return []string{fmt.Sprintf("its SHA-256 is %x, the manifest says %s", sum, c.SHA256)}
	}
	c.content = content
	run, err := kindOf(c)
	if err != nil {
		return []string{err.Error()}
	}
	if c.Spec.Compression != "" && alone(c.Spec.Kind) {
		if c.content, err = unpacked(content); err != nil {
			return []string{"it cannot be unpacked: " + err.Error()}
		}
	}
	return run(c)
}

// alone says that a kind asks its reader directly and not through package formats,
// which unpacks.
func alone(kind string) bool { return kind == "xml" || kind == "xls" || kind == "xlsx" }

// unpacked gives what is in a gzip, bzip2 or zstd file, as the product unpacks it.
func unpacked(content []byte) ([]byte, error) {
	kind, src, err := unpack.Peek(bytes.NewReader(content))
	if err != nil || kind == unpack.Plain {
		return content, err
	}
	meter := unpack.NewMeter(maxManifest)
	if kind == unpack.Zip {
		a, err := unpack.OpenZip(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return nil, err
		}
		members, err := a.Members("")
		if err != nil {
			return nil, err
		}
		r, err := members[0].Open(meter, true)
		if err != nil {
			return nil, err
		}
		defer r.Close() //nolint:errcheck // only read
		return io.ReadAll(r)
	}
	r, err := unpack.Stream(kind, src, meter, false, true)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read
	return io.ReadAll(r)
}

func load(dir string) ([]Case, error) {
	file, err := os.Open(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, fmt.Errorf("the folder of cases has no manifest (set WAYBILL_CASES): %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(file, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	if len(text) > maxManifest {
		return nil, fmt.Errorf("%s is larger than %d bytes", file.Name(), maxManifest)
	}
	var manifest struct {
		Files []struct {
			File   string          `json:"file"`
			SHA256 string          `json:"sha256"`
			Bytes  int64           `json:"bytes"`
			Spec   json.RawMessage `json:"spec"`
			Expect json.RawMessage `json:"expect"`
		} `json:"files"`
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	all := make([]Case, 0, len(manifest.Files))
	for i, f := range manifest.Files {
		if f.File == "" {
			return nil, fmt.Errorf("%s: file %d has no name", file.Name(), i+1)
		}
		c := Case{Dir: dir, File: f.File, SHA256: f.SHA256, Bytes: f.Bytes, Expect: f.Expect}
		if len(f.Spec) > 0 {
			if err := strict(f.Spec, &c.Spec); err != nil {
				return nil, fmt.Errorf("%s: spec of %s: %w", file.Name(), f.File, err)
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// strict decodes and refuses a key that nobody here looks at: it would be an
// expectation that is never compared.
func strict(raw []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(to)
}

// differ says that a value is not what is expected, if it is not.
func differ[T comparable](out *[]string, what string, got, want T) {
	if got != want {
		*out = append(*out, fmt.Sprintf("%s: got %v, want %v", what, got, want))
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
