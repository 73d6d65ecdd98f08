package http_test

import (
	"bytes"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"waybill.internal/pkg/record"
	"waybill.internal/services/ingest/openapi"
)

// contract is the OpenAPI document, and which of its answers were seen.
type contract struct {
	document map[string]any
	compiler *jsonschema.Compiler

	mu   sync.Mutex
	seen map[string]bool // "POST /in/{source} 202"
}

const base = "waybill:///openapi.json"

func newContract(t *testing.T) *contract {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(openapi.Document()))
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{document: value.(map[string]any), compiler: jsonschema.NewCompiler(), seen: map[string]bool{}}
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource(base, value); err != nil {
		t.Fatal(err)
	}
	return c
}

func at(value any, path ...string) any {
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

// resolve follows a $ref and gives the pointer of what is found.
func (c *contract) resolve(value any, pointer string) (any, string) {
	ref, ok := at(value, "$ref").(string)
	if !ok {
		return value, pointer
	}
	path := strings.Split(strings.TrimPrefix(ref, "#/"), "/")
	return at(c.document, path...), strings.TrimPrefix(ref, "#")
}

func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
}

// path finds the template of a request's path.
func (c *contract) path(path string) string {
	paths := at(c.document, "paths").(map[string]any)
	if _, literal := paths[path]; literal {
		return path
	}
	for template := range paths {
		form := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), `[^/]+`)
		if regexp.MustCompile("^" + form + "$").MatchString(path) {
			return template
		}
	}
	return ""
}

// check holds an answer against the document. What the document does not
// describe (a path of nobody, a method that a path does not have) is a problem
// all the same.
func (c *contract) check(t *testing.T, r *http.Request, resp *http.Response, body []byte) {
	t.Helper()
	template, method := c.path(r.URL.Path), strings.ToLower(r.Method)
	where := fmt.Sprintf("%s %s: %d", r.Method, r.URL.Path, resp.StatusCode)
	if method == "head" {
		method = "get"
	}
	operation := at(c.document, "paths", template, method)
	if operation == nil {
		c.fits(t, where, "/components/schemas/Problem", body)
		return
	}
	pointer := "/paths/" + escape(template) + "/" + method + "/responses/" + fmt.Sprint(resp.StatusCode)
	declared, pointer := c.resolve(at(operation, "responses", fmt.Sprint(resp.StatusCode)), pointer)
	if declared == nil {
		t.Errorf("%s is not in the document: %s", where, body)
		return
	}
	c.mu.Lock()
	c.seen[fmt.Sprintf("%s %s %d", strings.ToUpper(method), template, resp.StatusCode)] = true
	c.mu.Unlock()
	headers, _ := at(declared, "headers").(map[string]any)
	for name, h := range headers {
		header, _ := c.resolve(h, "")
		if at(header, "required") == true && resp.Header.Get(name) == "" {
			t.Errorf("%s: the header %s is missing", where, name)
		}
	}
	if at(declared, "content") == nil {
		if len(body) > 0 {
			t.Errorf("%s: the document knows of no body: %s", where, body)
		}
		return
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	content := at(declared, "content", kind)
	if err != nil || content == nil {
		t.Errorf("%s: the Content-Type %q is not in the document", where, resp.Header.Get("Content-Type"))
		return
	}
	if strings.HasSuffix(kind, "json") && r.Method != http.MethodHead {
		c.fits(t, where, pointer+"/content/"+escape(kind)+"/schema", body)
	}
}

func (c *contract) fits(t *testing.T, where, pointer string, body []byte) {
	t.Helper()
	c.mu.Lock()
	schema, err := c.compiler.Compile(base + "#" + pointer)
	c.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		t.Errorf("%s does not fit the document: %v\n%s", where, err, body)
	}
}

// all lists every answer that the document describes.
func (c *contract) all() (list []string) {
	for path, item := range at(c.document, "paths").(map[string]any) {
		for method, operation := range item.(map[string]any) {
			responses, _ := at(operation, "responses").(map[string]any)
			for status := range responses {
				list = append(list, strings.ToUpper(method)+" "+path+" "+status)
			}
		}
	}
	slices.Sort(list)
	return list
}

// TestDocumentsWords: the document's words are the product's.
func TestDocumentsWords(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	compare := func(what string, enum any, want []string) {
		var got []string
		for _, v := range enum.([]any) {
			got = append(got, v.(string))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the document has %v, want %v", what, got, want)
		}
	}
	var states, outcomes []string
	for _, s := range record.States() {
		states = append(states, string(s))
	}
	for _, s := range record.OutcomeStates() {
		if s != record.NoOutcome {
			outcomes = append(outcomes, string(s))
		}
	}
	schemas := at(c.document, "components", "schemas")
	compare("states", at(schemas, "State", "enum"), states)
	compare("outcomes", at(schemas, "Receipt", "properties", "outcome", "properties", "state", "enum"), outcomes)
	for name := range maps.Keys(schemas.(map[string]any)) {
		if _, err := c.compiler.Compile(base + "#/components/schemas/" + name); err != nil {
			t.Error(err)
		}
	}
}

// TestContract gives every answer that the document describes, at least once;
// what was answered and is not described has failed on the way.
func TestContract(t *testing.T) {
	t.Parallel()
	w := newDoor(t)
	for _, group := range []func(*door){sendEvents, sendBatches, sendForms, sendWrong, sendTooMuch, greet, sendProviders, ask, fail} {
		group(w)
	}
	for _, each := range w.contract.all() {
		if !w.contract.seen[each] {
			t.Errorf("%s is in the document, and was never answered", each)
		}
	}
}
