package cases

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"

	"waybill.internal/pkg/integration"
)

// eachLine gives every line of a suite, decoded strictly.
func eachLine(content []byte, visit func(n int, line []byte) error) error {
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, maxManifest)
	n := 0
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		n++
		if err := visit(n, lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// jsonTestSuite asks integration.DecodeJSON, by which every body is read. A text
// that must be accepted and is refused for a repeated key is our choice: different
// programs read different values in it.
func jsonTestSuite(c Case) (out []string) {
	want := map[string]int{}
	if err := json.Unmarshal(c.Expect, &want); err != nil {
		return []string{"what is expected cannot be read: " + err.Error()}
	}
	got := map[string]int{}
	err := eachLine(c.Content(), func(_ int, line []byte) error {
		var one struct {
			Name   string `json:"name"`
			Expect string `json:"expect"`
			B64    []byte `json:"b64"`
		}
		if err := strict(line, &one); err != nil {
			return err
		}
		got["lines"]++
		got[one.Expect]++
		_, err := integration.DecodeJSON(one.B64)
		switch {
		case one.Expect == "accept" && err != nil && strings.Contains(err.Error(), "is repeated"):
			c.Note("%s: refused by choice: %v", one.Name, err)
		case one.Expect == "accept" && err != nil:
			out = append(out, fmt.Sprintf("%s: refused: %v", one.Name, err))
		case one.Expect == "reject" && err == nil:
			out = append(out, one.Name+": accepted")
		case one.Expect != "accept" && one.Expect != "reject" && one.Expect != "either":
			out = append(out, fmt.Sprintf("%s: the expectation %q is not known here", one.Name, one.Expect))
		}
		return nil
	})
	if err != nil {
		out = append(out, err.Error())
	}
	c.Checked(got["lines"])
	for _, name := range sortedKeys(want) {
		differ(&out, name, got[name], want[name])
	}
	return out
}

// schemaRemotes counts the schemas that others refer to.
func schemaRemotes(c Case) (out []string) {
	var want struct {
		Lines int `json:"lines"`
	}
	if err := strict(c.Expect, &want); err != nil {
		return []string{"what is expected cannot be read: " + err.Error()}
	}
	remotes, err := remoteSchemas(c.Content())
	if err != nil {
		return []string{err.Error()}
	}
	differ(&out, "lines", len(remotes), want.Lines)
	return out
}

func remoteSchemas(content []byte) (map[string]any, error) {
	remotes := map[string]any{}
	err := eachLine(content, func(_ int, line []byte) error {
		value, err := integration.DecodeJSON(line)
		if err != nil {
			return err
		}
		remote, _ := value.(map[string]any)
		uri, _ := remote["uri"].(string)
		if uri == "" {
			return errors.New("a remote schema without uri")
		}
		remotes[uri] = remote["schema"]
		return nil
	})
	return remotes, err
}

// schemaGroup is one schema with bodies that it accepts or not.
type schemaGroup struct {
	File        string
	Description string
	Schema      any
	Tests       []any
}

// schemaSuite asks the schemas by which records are validated. References to other
// addresses are answered from the file of remotes beside it; nothing is fetched.
func schemaSuite(c Case) (out []string) {
	var want struct {
		Groups int `json:"groups"`
		Tests  int `json:"tests"`
	}
	if err := strict(c.Expect, &want); err != nil {
		return []string{"what is expected cannot be read: " + err.Error()}
	}
	content, err := c.Sibling(path.Join(path.Dir(c.File), "jsonschema-remotes.ndjson"))
	if err != nil {
		return []string{"the schemas it refers to are not there: " + err.Error()}
	}
	remotes, err := remoteSchemas(content)
	if err != nil {
		return []string{"the schemas it refers to: " + err.Error()}
	}
	groups, tests := 0, 0
	err = eachLine(c.Content(), func(_ int, line []byte) error {
		value, err := integration.DecodeJSON(line)
		if err != nil {
			return err
		}
		fields, _ := value.(map[string]any)
		draft, _ := fields["draft"].(string)
		g := schemaGroup{Schema: ofDraft(fields["schema"], draft)}
		g.File, _ = fields["file"].(string)
		g.Description, _ = fields["description"].(string)
		g.Tests, _ = fields["tests"].([]any)
		groups++
		tests += len(g.Tests)
		out = append(out, g.compare(c, func(url string) (any, error) {
			if schema, ok := remotes[url]; ok {
				return ofDraft(schema, draft), nil
			}
			return nil, fmt.Errorf("%s is not there", url)
		})...)
		return nil
	})
	if err != nil {
		out = append(out, err.Error())
	}
	c.Checked(tests)
	differ(&out, "groups", groups, want.Groups)
	differ(&out, "tests", tests, want.Tests)
	return out
}

// ofDraft writes into a schema the draft that it was written for, unless it says so:
// without that it would be one of 2020-12, as a schema of an integration is.
func ofDraft(schema any, draft string) any {
	object, ok := schema.(map[string]any)
	number, old := strings.CutPrefix(draft, "draft")
	if _, said := object["$schema"]; !ok || said || !old || len(number) != 1 {
		return schema
	}
	object = maps.Clone(object)
	object["$schema"] = "http://json-schema.org/draft-0" + number + "/schema#"
	return object
}

func (g schemaGroup) compare(c Case, load func(string) (any, error)) (out []string) {
	schema, err := integration.CompileSchema(g.Schema, load)
	if err != nil {
		return []string{fmt.Sprintf("%s: %s: %v", g.File, g.Description, err)}
	}
	for _, one := range g.Tests {
		test, _ := one.(map[string]any)
		valid, ok := test["valid"].(bool)
		if !ok {
			return append(out, fmt.Sprintf("%s: %s: a test does not say whether it is valid", g.File, g.Description))
		}
		problems := schema.Validate(test["data"])
		switch {
		case (len(problems) == 0) == valid:
		case valid && onlyFormats(problems):
			c.Note("%s: %s: %v: refused by choice, since a sender that says format must keep it: %v", g.File, g.Description, test["description"], problems)
		default:
			out = append(out, fmt.Sprintf("%s: %s: %v: got %v", g.File, g.Description, test["description"], problems))
		}
	}
	return out
}

// onlyFormats says that nothing but a format was missed, which the suite takes for
// an annotation and we for a rule.
func onlyFormats(problems []integration.Problem) bool {
	for _, p := range problems {
		if !strings.HasPrefix(p.Message, "is not a valid ") {
			return false
		}
	}
	return true
}
