package integration_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"waybill.internal/pkg/integration"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const exampleDir = "../../deploy/integrations"

func variables(name string) (string, bool) {
	value, ok := map[string]string{"KEY": "whsec_a2V5", "BRAND_SECRET": "whsec_topsecret", "BRAND_SECRET_OLD": "whsec_oldsecret",
		"CRM_TOKEN": "tokensecret", "CRM_URL": "https://crm.example/api/"}[name]
	return value, ok
}

func update(t *testing.T) bool {
	t.Helper()
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

var _ = flag.Bool("update", false, "write the golden files again")

// TestBroken holds the whole text of every mistake: testdata/broken.txt.
func TestBroken(t *testing.T) {
	t.Parallel()
	const golden = "testdata/broken.txt"
	raw, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	broken, err := os.ReadFile("testdata/broken.json")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "broken.json"), broken)
	var out strings.Builder
	stories := strings.Split("\n"+string(raw), "\n=== ")[1:]
	for _, story := range stories {
		head, want, ok := strings.Cut(story+"\n", "\n----\n")
		name, source, also := strings.Cut(head, "\n")
		if !ok || !also {
			if name, source = strings.TrimSpace(head), ""; !ok {
				t.Fatalf("%s: no ---- line", name)
			}
		}
		path := filepath.Join(dir, "orders.yaml")
		write(t, path, []byte(source+"\n"))
		_, err := integration.Load(path, variables)
		if err == nil {
			t.Errorf("%s: no mistake found", name)
			continue
		}
		var mistakes integration.Mistakes
		if !errors.As(err, &mistakes) {
			t.Errorf("%s: %T is not Mistakes", name, err)
		}
		got := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
		if strings.TrimSpace(got) != strings.TrimSpace(want) && !update(t) {
			t.Errorf("%s:\ngot:\n%s\nwant:\n%s", name, got, want)
		}
		fmt.Fprintf(&out, "=== %s\n%s\n----\n%s\n\n", name, source, got)
	}
	if len(stories) < 30 {
		t.Errorf("only %d stories", len(stories))
	}
	if update(t) {
		write(t, golden, []byte(out.String()))
	}
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func example(tb testing.TB) *integration.Integration {
	tb.Helper()
	in, err := integration.Load(filepath.Join(exampleDir, "service-requests.yaml"), variables)
	if err != nil {
		tb.Fatal(err)
	}
	return in
}

func load(tb testing.TB, source string) *integration.Integration {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		tb.Fatal(err)
	}
	in, err := integration.Load(path, variables)
	if err != nil {
		tb.Fatal(err)
	}
	return in
}

func decode(tb testing.TB, text string) any {
	tb.Helper()
	value, err := integration.DecodeJSON([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return value
}

func TestExample(t *testing.T) {
	t.Parallel()
	all, err := integration.LoadDir(exampleDir, variables)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d, %v", len(all), err)
	}
	in := all[0]
	if in.Lane != "main" || len(in.Sources) != 2 || in.Sources[1].File.Match != "*.csv" || in.Sources[1].File.From != "var/drop" {
		t.Errorf("%+v", in.Sources)
	}
	if in.Acknowledge.Post.Batch != 50 || len(in.Acknowledge.Statuses) != 5 || in.Process.Share.New != 60 || in.Process.MaxInFlight != 200 {
		t.Errorf("defaults: %+v %+v", in.Acknowledge, in.Process)
	}
	if got := in.Destinations["crm"].URL; got != "https://crm.example/api" {
		t.Error(got)
	}
	src, _ := in.Source("webhook")
	good := decode(t, `{"request_no":"R1","email":"A@b.example","product":"P","opened_at":"2026-01-01T10:00:00+02:00","closed_at":"2026-01-01T08:30:00Z","quantity":2}`)
	if problems := in.Validate(good); len(problems) != 0 {
		t.Error(problems)
	}
	id, entity, err := in.Keys(src, integration.Input{Body: good, EventID: "msg_1"})
	if id != "msg_1" || entity != "R1" || err != nil {
		t.Error(id, entity, err)
	}
	shops, _ := in.Source("shops")
	if id, _, err = in.Keys(shops, integration.Input{Body: good, FileHash: "abc", Row: 7}); id != "abc:7" || err != nil {
		t.Error(id, err)
	}
	bad := decode(t, `{"request_no":"R 1","email":"x","opened_at":"2026-01-01T10:00:00Z","closed_at":"2026-01-01T11:30:00+02:00","quantity":0,"nte":1}`)
	got, _ := json.Marshal(in.Validate(bad))
	want := `[{"pointer":"/email","code":"schema","message":"is not a valid email"},{"pointer":"/nte","code":"schema","message":"is not a field of the schema"},{"pointer":"/product","code":"schema","message":"is missing"},{"pointer":"/quantity","code":"schema","message":"must be at least 1"},{"pointer":"/request_no","code":"schema","message":"must match ^[A-Za-z0-9._-]+$"},{"pointer":"/closed_at","code":"check","message":"the check does not hold: closed_at == nil || closed_at == '' || closed_at \u003e= opened_at"}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestExampleSteps(t *testing.T) {
	t.Parallel()
	in := example(t)
	steps := in.Process.Steps
	env := integration.Env{
		Body:   decode(t, `{"request_no":"R1","email":"A@b.example","product":"P","opened_at":"2026-01-01T10:00:00Z","quantity":"12"}`),
		Record: integration.RecordView{ID: "rec-1"}, Steps: map[string]any{},
	}
	key, err := steps[0].Lookup.Values(env)
	if err != nil || key["client_key"] != "P" {
		t.Fatal(key, err)
	}
	env.Steps["platform_key"] = "PK-9"
	request, err := steps[1].Call.Request(env)
	want := `{"email":"a@b.example","note":"","opened_at":"2026-01-01T10:00:00Z","product":"PK-9","quantity":12,"reference":"rec-1","request_no":"R1"}`
	if err != nil || request.URL != "https://crm.example/api/requests" || string(request.Body) != want || request.Method != "POST" {
		t.Errorf("%+v %s %v", request, request.Body, err)
	}
	for status, want := range map[int]integration.Ruling{201: integration.Accepted, 422: integration.Rejected, 503: integration.Unclear, 302: integration.Unclear} {
		verdict, kept, err := steps[1].Call.Judge(env, integration.Response{Status: status, Body: decode(t, `{"id":9007199254740993}`)})
		if err != nil || verdict.Ruling != want {
			t.Errorf("%d: %v, %v", status, verdict, err)
		}
		if want == integration.Accepted && kept["crm_id"] != 9007199254740993 {
			t.Errorf("kept %v", kept)
		}
	}
	env.Steps["crm"] = map[string]any{"crm_id": "c1"}
	mapped, problems := steps[2].Map.Eval(env)
	if len(problems) != 0 || mapped["product_key"] != "PK-9" || mapped["closed_at"] != nil || mapped["quantity"] != 12 {
		t.Error(mapped, problems)
	}
	row, err := steps[3].Upsert.Row(mapped)
	if err != nil || len(row) != 8 || strings.Join(steps[3].Upsert.Columns, " ") != "closed_at crm_id email note opened_at product_key quantity request_no" {
		t.Error(row, err)
	}
	if _, err := steps[3].Upsert.Row(map[string]any{}); err == nil {
		t.Error("a row without its key was accepted")
	}
}

func TestConfirmed(t *testing.T) {
	t.Parallel()
	in := example(t)
	for _, c := range []struct {
		status int
		body   string
		want   bool
		fails  bool
	}{
		{200, `{"confirmed":[{"id":"a","outcome":1}]}`, true, false},
		{200, `{"confirmed":[{"id":"a","outcome":2}]}`, false, false},
		{302, `{"confirmed":[{"id":"a","outcome":1}]}`, false, false},
		{200, `{}`, false, false},
		{200, `{"confirmed":"a"}`, false, true},
		{200, `{"confirmed":[7]}`, false, true},
	} {
		got, err := in.Acknowledge.Confirmed(integration.Response{Status: c.status, Body: decode(t, c.body)}, integration.Item{ID: "a", Outcome: 1})
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%d %s: %v, %v", c.status, c.body, got, err)
		}
	}
}

func TestKeyProblems(t *testing.T) {
	t.Parallel()
	in := load(t, `integration: x
sources:
  - webhook: {path: /in/x, verify: {scheme: api-key, secrets: ["${KEY}"]}}
record: {idempotency_key: body.id, entity_key: body.e.x}
`)
	for body, code := range map[string]string{
		`{}`:                integration.CodeKey,
		`{"id":""}`:         integration.CodeKey,
		`{"id":[1]}`:        integration.CodeKey,
		`{"id":"a\u0000b"}`: integration.CodeKey,
		`{"id":1}`:          integration.CodeKey,
		`{"id":1,"e":"x"}`:  integration.CodeExpression,
		`{"id":"` + strings.Repeat("x", 513) + `"}`: integration.CodeKey,
		`[1]`:   integration.CodeExpression,
		`"txt"`: integration.CodeExpression,
	} {
		_, _, err := in.Keys(&in.Sources[0], integration.Input{Body: decode(t, body)})
		var problem integration.Problem
		if !errors.As(err, &problem) || problem.Code != code {
			t.Errorf("%.40s: %v, want code %s", body, err, code)
		}
	}
	id, entity, err := in.Keys(&in.Sources[0], integration.Input{Body: decode(t, `{"id":123456789012345678901,"e":{"x":true}}`)})
	if id != "123456789012345678901" || entity != "true" || err != nil {
		t.Error(id, entity, err)
	}
}

func TestCheckThatFails(t *testing.T) {
	t.Parallel()
	in := load(t, `integration: x
sources:
  - webhook: {path: /in/x, verify: {scheme: standard-webhooks, secrets: ["${KEY}"]}}
record: {check: ["a > b", "c == nil || c"]}
`)
	problems := in.Validate(decode(t, `{"a":1,"c":false}`))
	if len(problems) != 2 || !problems[0].Bug() || problems[1].Code != integration.CodeCheck || problems[1].Pointer != "/c" {
		t.Error(problems)
	}
	if problems := in.Validate(decode(t, `[1]`)); len(problems) != 1 {
		t.Error(problems)
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	in := example(t)
	core, logs := observer.New(zapcore.DebugLevel)
	secret := in.Sources[0].Webhook.Verify.Secrets[0]
	zap.New(core).Info("x", zap.Any("secret", secret), zap.Any("integration", in), zap.Stringer("s", secret), zap.Reflect("r", in.Sources))
	encoded, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{}).EncodeEntry(logs.All()[0].Entry, logs.All()[0].Context)
	if err != nil {
		t.Fatal(err)
	}
	marshalled, _ := json.Marshal(in)
	for _, text := range []string{encoded.String(), string(marshalled), fmt.Sprintf("%v %+v %#v %s %q %x", secret, secret, secret, secret, secret, secret),
		fmt.Sprintf("%+v", in.Destinations), string(in.Document())} {
		for _, value := range []string{"topsecret", "oldsecret", "tokensecret"} {
			if strings.Contains(text, value) {
				t.Errorf("%q shows in %s", value, text)
			}
		}
	}
	if value, err := secret.Reveal(); value != "whsec_topsecret" || err != nil {
		t.Error(value, err)
	}
}

func TestSecretFromFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	write(t, file, []byte("from-file\n"))
	yaml := "integration: x\nsources:\n  - webhook: {path: /in/x, verify: {scheme: standard-webhooks, secrets: ['${S}']}}\n"
	path := filepath.Join(t.TempDir(), "x.yaml")
	write(t, path, []byte(yaml))
	in, err := integration.Load(path, func(name string) (string, bool) { return file, name == "S_FILE" })
	if err != nil {
		t.Fatal(err)
	}
	secret := in.Sources[0].Webhook.Verify.Secrets[0]
	if value, err := secret.Reveal(); value != "from-file" || err != nil {
		t.Error(value, err)
	}
	write(t, file, nil)
	if _, err := secret.Reveal(); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Error(err)
	}
}

func TestLoadDirClashes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	yaml := "integration: x\nsources:\n  - webhook: {path: /in/x, verify: {scheme: standard-webhooks, secrets: ['${KEY}']}}\n"
	write(t, filepath.Join(dir, "a.yaml"), []byte(yaml))
	write(t, filepath.Join(dir, "b.yaml"), []byte(yaml))
	write(t, filepath.Join(dir, "c.yaml"), []byte("nonsense: 1"))
	all, err := integration.LoadDir(dir, variables)
	var mistakes integration.Mistakes
	if len(all) != 1 || !errors.As(err, &mistakes) || len(mistakes) != 5 {
		t.Errorf("%d, %v", len(all), err)
	}
}
