package command_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.internal/services/waybill/internal/command"
)

// line runs a command line without any settings but these.
func line(t *testing.T, settings map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = command.Main(t.Context(), args, command.Surroundings{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now,
		Lookup: func(name string) (string, bool) { v, ok := settings[name]; return v, ok }})
	return code, out.String(), errs.String()
}

func TestCommandLines(t *testing.T) {
	t.Parallel()
	ledger := map[string]string{"WAYBILL_POSTGRES_URL": "postgres://a:hidden@127.0.0.1:1/x", "USER": "eve"}
	for _, c := range []struct {
		args string
		code int
		says string // on either stream
	}{
		{"", 0, "Commands:"},
		{"--help", 0, "Commands:"},
		{"dead requeue --help", 0, "waybill dead requeue --all --dry-run"},
		{"adit", 2, `did you mean "audit"`},
		{"audit --grace nonsense", 2, "--grace"},
		{"audit --grace=-1s", 2, "must not be negative"},
		{"audit", 3, "does not answer"},
		{"tail --limit 0", 2, "--limit"},
		{"trace", 2, "<id>"},
		{"trace x", 3, "does not answer"},
		{"dead list --kind alive", 2, "must be one of"},
		{"dead list --limit 0", 2, "between 1 and"},
		{"dead requeue", 2, "say which records"},
		{"dead requeue x --all", 2, "cannot be combined"},
		{"dead requeue --all --rate 0", 2, "--rate"},
		{"dead requeue --all --probe-wait 0s", 2, "--no-probe"},
		{"dead requeue --all", 3, "does not answer"},
		{"dead discard --all", 2, "--reason"},
		{"dead discard --all --reason=x --kind unacknowledged", 2, "cannot be discarded"},
		{"send --url http://127.0.0.1:1/in --secret -", 2, "--count"},
		{"send --url nowhere --secret - file", 2, "--url must be"},
		{"send --url http://127.0.0.1:1/in --secret - file", 2, "the secret in -"},
		{"simulate partner --secret missing.file", 2, "--secret"},
		{"simulate third-party --script missing.file", 2, "--script"},
		{"demo --records 0", 2, "--records"},
		{"demo --json", 2, "no --json"},
		{"check missing", 2, "check missing"},
		{"version", 0, "waybill"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			code, out, errs := line(t, ledger, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(out+errs, c.says) {
				t.Errorf("waybill %s: exit code %d, want %d, and it must say %q:\n%s%s", c.args, code, c.code, c.says, out, errs)
			}
			if strings.Contains(out+errs, "hidden") {
				t.Errorf("the password is printed:\n%s%s", out, errs)
			}
		})
	}
}

func TestSettingsAreNamed(t *testing.T) {
	t.Parallel()
	code, _, errs := line(t, nil, "audit")
	if code != 2 || !strings.Contains(errs, "WAYBILL_POSTGRES_URL: is missing") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

const right = `
integration: shop
sources: [{webhook: {path: /in/shop, verify: {scheme: standard-webhooks, secrets: ["${SHOP_SECRET}"]}}}]
record: {idempotency_key: body.no}
process: {steps: [{map: {no: body.no}}, {upsert: {table: orders, key: [no]}}]}
`

func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settings := map[string]string{"SHOP_SECRET": "whsec_x"}
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := write("good.yaml", right)
	code, out, errs := line(t, settings, "check", good)
	if code != 0 || !strings.Contains(out, "POST /in/shop (standard-webhooks)") || !strings.Contains(out, "map 1 field → upsert into orders") {
		t.Errorf("exit code %d:\n%s%s", code, out, errs)
	}
	bad := write("bad.yaml", strings.Replace(right, "integration: shop", "integration: other\nlain: main", 1))
	code, out, _ = line(t, settings, "check", good, bad)
	if code != 1 || !strings.Contains(out, bad+":3:1") || !strings.Contains(out, "^") || !strings.Contains(out, "1 mistake in all") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	code, out, _ = line(t, settings, "check", "--json", bad)
	if code != 1 || !strings.Contains(out, `"line":3`) {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if code, _, errs = line(t, settings, "check", t.TempDir()); code != 1 || !strings.Contains(errs, "no integration was found") {
		t.Errorf("an empty folder: exit code %d: %s", code, errs)
	}
}

func TestErrorsReachTheTerminalClean(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "no\x1b[2Jfile"}, {"audit", "--no\x1b[2Jflag"}} {
		if code, _, errs := line(t, nil, args...); code != 2 || strings.Contains(errs, "\x1b") || !strings.Contains(errs, "no [2J") {
			t.Errorf("%q: exit code %d: %q", args, code, errs)
		}
	}
}
