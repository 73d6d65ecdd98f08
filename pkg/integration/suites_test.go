package integration

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waybill.internal/pkg/testmaterial"
)

// casesFile opens a file of the test material.
func casesFile(t *testing.T, name string) *os.File {
	t.Helper()
	file, err := os.Open(filepath.Join(testmaterial.Folder(t), name))
	if err != nil {
		t.Fatalf("the test material is not there (set %s): %v", testmaterial.Variable, err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func eachLine(t *testing.T, name string, visit func(line []byte)) {
	t.Helper()
	lines := bufio.NewScanner(casesFile(t, name))
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		visit(lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestJSONTestSuite(t *testing.T) {
	t.Parallel()
	// Accepted by the RFC and refused by us on purpose; see DecodeJSON.
	policy := []string{"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}
	count := map[string]int{}
	eachLine(t, "json/jsontestsuite.ndjson", func(line []byte) {
		var c struct{ Name, Expect, B64 string }
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(c.B64)
		if err != nil {
			t.Fatal(err)
		}
		value, err := DecodeJSON(raw)
		count[c.Expect]++
		var syntax *SyntaxError
		if err != nil && (!errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1) {
			t.Errorf("%s: %v has no place", c.Name, err)
		}
		switch {
		case slices.Contains(policy, c.Name):
			if err == nil {
				t.Errorf("%s: accepted", c.Name)
			}
		case c.Expect == "accept" && err != nil, c.Expect == "reject" && err == nil:
			t.Errorf("%s: %v, want %s", c.Name, err, c.Expect)
		case c.Expect == "accept":
			var want any
			again, _ := json.Marshal(value)
			decoder := json.NewDecoder(strings.NewReader(string(raw)))
			if err := decoder.Decode(&want); err != nil {
				t.Fatal(err)
			}
			expect, _ := json.Marshal(want)
			var got any
			if err := json.Unmarshal(again, &got); err != nil {
				t.Fatal(err)
			}
			if back, _ := json.Marshal(got); string(back) != strings.ReplaceAll(string(expect), "-0]", "0]") {
				t.Errorf("%s: %s, want %s", c.Name, back, expect)
			}
		}
	})
	if count["accept"] < 40 || count["reject"] < 90 {
		t.Errorf("only %v", count)
	}
}

type remotes map[string]any

func (r remotes) Load(url string) (any, error) {
	if value, ok := r[url]; ok {
		return value, nil
	}
	return nil, fmt.Errorf("%s is not there", url)
}

func TestJSONSchemaSuite(t *testing.T) {
	t.Parallel()
	loader := remotes{}
	eachLine(t, "json/jsonschema-remotes.ndjson", func(line []byte) {
		var remote map[string]any
		value, err := DecodeJSON(line)
		if err != nil {
			t.Fatal(err)
		}
		remote = value.(map[string]any)
		url, _ := remote["uri"].(string)
		if url == "" {
			t.Fatalf("a remote without uri: %.200s", line)
		}
		loader[url] = remote["schema"]
	})
	// Formats are annotations to the suite and assertions to us: a sender that says
	// email must send one.
	asserted, total := 0, 0
	eachLine(t, "json/jsonschema-draft2020-12.ndjson", func(line []byte) {
		value, err := DecodeJSON(line)
		if err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		group := value.(map[string]any)
		compiled, err := compileSchema(group["schema"], loader)
		if err != nil {
			t.Errorf("%v: %v: %v", group["file"], group["description"], err)
			return
		}
		schema := Schema{value: group["schema"], compiled: compiled}
		for _, one := range group["tests"].([]any) {
			test := one.(map[string]any)
			problems := schema.validate(test["data"])
			total++
			if (len(problems) == 0) == test["valid"] {
				continue
			}
			if group["file"] == "format.json" && strings.HasPrefix(problems[0].Message, "is not a valid ") {
				asserted++
				continue
			}
			t.Errorf("%v: %v: %v: %v", group["file"], group["description"], test["description"], problems)
		}
	})
	if total < 1290 {
		t.Errorf("only %d tests", total)
	}
	t.Logf("%d tests, %d of format.json differ because formats are asserted", total, asserted)
}

func TestDecodeJSONPlaces(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       "line 1, column 1: the JSON ends",
		"{\"a\": 1,\n \"ä\": x}": "line 2, column 7: 'x' where a value",
		"{\"a\":1, \"a\":2}":     "line 1, column 9: the key \"a\" is repeated",
		"[1] 2":                  "line 1, column 5: something follows",
		"\"\xff\"":               "column 2: byte 0xff is not UTF-8",
		"\"\\ud800\"":            "half of a surrogate",
		"\ufeff{}":               "line 1, column 1",
		strings.Repeat("[", 65):  "column 65: nested more than 64",
		"1e400":                  "out of range",
		"1e99999999999999999999": "out of range",
		strings.Repeat("9", 401): "out of range",
		"[1,]":                   "where a value should follow",
		"tru":                    "did you mean true",
	} {
		_, err := DecodeJSON([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]any{
		"9223372036854775807": 9223372036854775807, "9223372036854775808": json.Number("9223372036854775808"), "-0": 0,
		"0.1": 0.1, "1.0": 1.0, "0.1234567890123456789": json.Number("0.1234567890123456789"), "1E2": 100.0, "\"\\u00e4\\ud83d\\ude00\\n\"": "ä😀\n",
	} {
		if got, err := DecodeJSON([]byte(text)); err != nil || got != want {
			t.Errorf("%s = %v (%T), %v", text, got, got, err)
		}
	}
	if _, err := DecodeJSON([]byte(strings.Repeat("[", 64) + strings.Repeat("]", 64))); err != nil {
		t.Error(err)
	}
}
