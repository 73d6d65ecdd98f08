package integration_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"waybill.internal/pkg/integration"
)

const schemaFile = "../../docs/integration.schema.json"

// TestConfigSchema keeps the committed schema equal to the one the types give.
func TestConfigSchema(t *testing.T) {
	t.Parallel()
	got, err := integration.ConfigSchema()
	if err != nil {
		t.Fatal(err)
	}
	if update(t) {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/integration.schema.json is not what the types say (%v); run go test -run TestConfigSchema -update", err)
	}
}

// TestConfigSchemaAgrees holds the schema against the parser on one sample a line.
func TestConfigSchemaAgrees(t *testing.T) {
	t.Parallel()
	raw, err := integration.ConfigSchema()
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("waybill:///config", decode(t, string(raw))); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("waybill:///config")
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile(filepath.Join(exampleDir, "service-requests.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const head = "integration: x\nsources:\n  - webhook: {path: /in/x, verify: {scheme: standard-webhooks, secrets: ['${KEY}']}}\n"
	dest := head + "destinations: {crm: {url: 'https://x.example'"
	steps := dest + "}}\nprocess: {steps: ["
	samples := []struct {
		yaml  string
		valid bool
	}{
		{string(shipped), true},
		{head, true},
		{head + "lane: fast\n", true},
		{head + "lane: Fast\n", false},
		{head + "lnae: fast\n", false},
		{"integration: x\n", false},
		{"integration: x\nsources: []\n", false},
		{"integration: x\nsources: [{}]\n", false},
		{"integration: x\nsources: [{poll: {}}]\n", false},
		{"integration: 1\nsources: [{}]\n", false},
		{strings.Replace(head, "${KEY}", "plain", 1), false},
		{strings.Replace(head, "standard-webhooks", "digest", 1), false},
		{strings.Replace(head, "standard-webhooks", "stripe", 1), true},
		{strings.Replace(head, "]}}", "], tolerance: 10m}, max_body: 256KiB}", 1), true},
		{strings.Replace(head, "]}}", "]}, max_body: 1GB}", 1), false},
		{dest + ", rate: 50/s, concurrency: 7, slow_after: 1s}}\n", true},
		{dest + ", rate: 50}}\n", false},
		{dest + ", concurrency: 0}}\n", false},
		{dest + ", timeout: 10}}\n", false},
		{dest + ", timeout: ten}}\n", false},
		{dest + ", auth: {bearer: '${KEY}'}}}\n", true},
		{dest + ", auth: {}}}\n", false},
		{dest + ", auth: {bearer: '${KEY}', header: {name: a, value: '${KEY}'}}}}\n", false},
		{steps + "{map: {a: body.a, b: 1, c: true, d: [body.x], e: {f: body.g}}}, {upsert: {table: t, key: [a]}}]}\n", true},
		{steps + "{map: {}}]}\n", false},
		{steps + "{map: {a b: body.a}}]}\n", false},
		{steps + "{map: {a: body.a}}, {upsert: {table: a.b.c, key: [a]}}]}\n", false},
		{steps + "{map: {a: body.a}, custom: {name: b}}]}\n", false},
		{steps + "{custom: {name: b, with: {x: [1, {y: z}]}}}]}\n", true},
		{steps + "{call: {name: c, to: crm, path: /x, headers: {x-a: \"'b'\"}, reject: [{when: 'true', code: a, message: b}], keep: {k: response.body}}}]}\n", true},
		{steps + "{call: {name: c, to: crm, method: FETCH}}]}\n", false},
		{steps + "{call: {name: c, to: crm, path: x}}]}\n", false},
		{steps + "{call: {to: crm}}]}\n", false},
		{steps + "{lookup: {name: l, table: t, key: {a: body.a}, take: b, cache: 0s}}]}\n", true},
		{steps + "{lookup: {name: l, table: t, key: {}, take: b}}]}\n", false},
		{head + "process: {park: {resume: probe}, retry: {delays: [1s, 3s, 10s], give_up_after: 2d}}\n", true},
		{head + "process: {park: {resume: '0 3 * * *'}}\n", true},
		{head + "process: {park: {resume: daily}}\n", false},
		{head + "process: {retry: {delays: []}}\n", false},
		{head + "record: {order: none, check: ['a == b'], schema: {type: object}}\n", true},
		{head + "record: {order: sorted}\n", false},
		{head + "acknowledge: {post: {to: 'https://x.example', confirmed: 'true'}, statuses: [dead]}\n", true},
		{head + "acknowledge: {post: {to: 'https://x.example', confirmed: 'true', batch: 501}}\n", false},
		{head + "acknowledge: {post: {to: 'https://x.example'}}\n", false},
		{head + "acknowledge: {post: {to: 'https://x.example', confirmed: 'true'}, statuses: [gone]}\n", false},
		{head + "acknowledge: {}\n", false},
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x"), nil)
	if err := os.Mkdir(filepath.Join(dir, "schemas"), 0o700); err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(filepath.Join(exampleDir, "schemas/service-request.json"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "schemas/service-request.json"), record)
	for _, s := range samples {
		var value any
		if err := yaml.Unmarshal([]byte(s.yaml), &value); err != nil {
			t.Fatalf("%s: %v", s.yaml, err)
		}
		bySchema := schema.Validate(value)
		path := filepath.Join(dir, "sample.yaml")
		write(t, path, []byte(s.yaml))
		_, byParser := integration.Load(path, variables)
		if (bySchema == nil) != s.valid || (byParser == nil) != s.valid {
			t.Errorf("%s\nwant valid %v\nschema: %v\nparser: %v", s.yaml, s.valid, bySchema, byParser)
		}
	}
}
