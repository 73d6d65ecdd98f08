package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"waybill.internal/pkg/integration"
)

func same(t rapid.TB, in *integration.Integration) {
	t.Helper()
	again, err := integration.FromDocument(in.Document(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, in.Document())
	}
	if !bytes.Equal(again.Document(), in.Document()) || again.Hash() != in.Hash() || len(in.Hash()) != 64 {
		t.Fatalf("differs:\n%s\n%s", in.Document(), again.Document())
	}
}

func TestDocumentOfExample(t *testing.T) {
	t.Parallel()
	in := example(t)
	same(t, in)
	again, err := integration.FromDocument(in.Document(), variables)
	if err != nil {
		t.Fatal(err)
	}
	if again.Process.Steps[1].Call.CallTimeout() != in.Process.Steps[1].Call.CallTimeout() ||
		!reflect.DeepEqual(again.Acknowledge.Post.Retry, in.Acknowledge.Post.Retry) {
		t.Error("defaults differ")
	}
	body := decode(t, `{"request_no":"R 1","opened_at":"x"}`)
	if !reflect.DeepEqual(again.Validate(body), in.Validate(body)) {
		t.Error("validation differs")
	}
	if secret, err := again.Sources[0].Webhook.Verify.Secrets[1].Reveal(); err != nil || secret != "whsec_oldsecret" {
		t.Error(secret, err)
	}
}

// TestDocumentRoundTrip makes integrations of random settings: the document gives the
// same integration back, and the layout of the YAML does not matter.
func TestDocumentRoundTrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		number := func(name string, low, high int) int { return rapid.IntRange(low, high).Draw(t, name) }
		expr := rapid.SampledFrom([]string{"body.a", "'x<&>\\'y'", "body.n + 1", "true", "{a: [1]}", "headers['x'] ?? nil"})
		text := rapid.StringMatching(`[ -~äß😀]{1,20}`)
		fields := map[string]any{}
		for i := range number("fields", 1, 6) {
			fields[fmt.Sprintf("f%d", i)] = rapid.OneOf(rapid.Map(expr, func(s string) any { return s }),
				rapid.Map(expr, func(s string) any { return map[string]any{"in": s, "list": []any{s, 7, nil}} })).Draw(t, "field")
		}
		config := map[string]any{
			"integration": rapid.StringMatching(`[a-z][a-z0-9-]{0,10}`).Draw(t, "name"),
			"sources": []any{map[string]any{"webhook": map[string]any{"path": "/in/x", "max_body": number("size", 1, 1<<20),
				"verify": map[string]any{"scheme": "hmac", "header": "X-Sig", "prefix": text.Draw(t, "prefix"), "secrets": []any{"${KEY}"}}}}},
			"record": map[string]any{"idempotency_key": expr.Draw(t, "key"), "schema": map[string]any{"type": "object", "title": text.Draw(t, "title"),
				"maxProperties": number("most", 0, 1<<60)}},
			"destinations": map[string]any{"crm": map[string]any{"url": "https://x.example/a", "rate": fmt.Sprintf("%d/m", number("rate", 1, 999)),
				"timeout": fmt.Sprintf("%dms", number("timeout", 10, 60000))}},
			"process": map[string]any{"share": map[string]any{"new": number("new", 0, 9), "retry": 1},
				"steps": []any{map[string]any{"call": map[string]any{"name": "c", "to": "crm", "path": "/{body.a}", "body": fields}},
					map[string]any{"map": fields}, map[string]any{"custom": map[string]any{"name": "go", "with": map[string]any{"t": text.Draw(t, "with")}}}}},
		}
		tight, _ := json.Marshal(config)
		wide, _ := json.MarshalIndent(config, "", "    ")
		first := loadFile(t, filepath.Join(dir, "a.yaml"), tight)
		second := loadFile(t, filepath.Join(dir, "b.yaml"), append([]byte("# a comment\n"), wide...))
		same(t, first)
		if first.Hash() != second.Hash() {
			t.Fatalf("layout changes the hash:\n%s\n%s", first.Document(), second.Document())
		}
	})
}

func loadFile(t rapid.TB, path string, raw []byte) *integration.Integration {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := integration.Load(path, variables)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	return in
}

func TestFromDocumentRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{`:                   "ends where",
		`[]`:                  "this is a list",
		`{"integration":"x"}`: "sources: the key is missing",
		`{"integration":"x","sources":[{}],"record":{"schema":"a.json"}}`: "must be inlined",
	} {
		if _, err := integration.FromDocument([]byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestRequestIsDeterministic(t *testing.T) {
	t.Parallel()
	in := example(t)
	env := integration.Env{Body: decode(t, `{"quantity":1}`), Steps: map[string]any{"platform_key": "k"}}
	first, err := in.Process.Steps[1].Call.Request(env)
	for range 50 {
		again, err2 := in.Process.Steps[1].Call.Request(env)
		if err != nil || err2 != nil || !reflect.DeepEqual(first, again) {
			t.Fatal(err, err2, first, again)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"\u00e4\n",null,true]}`, `[`, `"\ud83d\ude00"`, `-0.0`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		value, err := integration.DecodeJSON(raw)
		if err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("accepted what is no JSON: %q", raw)
		}
		again, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		back, err := integration.DecodeJSON(again)
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if twice, err := json.Marshal(back); err != nil || !bytes.Equal(twice, again) {
			t.Fatalf("%q: %s, %s, %v", raw, again, twice, err)
		}
	})
}

func FuzzLoad(f *testing.F) {
	seed, err := os.ReadFile(filepath.Join(exampleDir, "service-requests.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("integration: x\nsources: [{}]\n"))
	path := filepath.Join(f.TempDir(), "x.yaml")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := integration.Load(path, variables)
		if err == nil {
			same(t, in)
		}
	})
}

func BenchmarkValidateAndMap(b *testing.B) {
	in := example(b)
	body := decode(b, `{"request_no":"R1","email":"a@b.example","product":"P","opened_at":"2026-01-01T10:00:00+02:00","closed_at":"2026-01-01T08:30:00Z","quantity":2}`)
	env := integration.Env{Body: body, Steps: map[string]any{"platform_key": "k", "crm": map[string]any{"crm_id": "c"}}}
	b.ReportAllocs()
	for b.Loop() {
		if problems := in.Validate(body); len(problems) > 0 {
			b.Fatal(problems)
		}
		if _, problems := in.Process.Steps[2].Map.Eval(env); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
