package main

import (
	"bytes"
	"strings"
	"testing"

	"waybill.internal/pkg/localstack/stacktest"
)

func TestRunGivesServersAndForwardsTheStatus(t *testing.T) {
	t.Setenv(stacktest.EnvPostgresURL, "") // or nothing would be started here
	t.Setenv(stacktest.EnvKafka, "elsewhere:9092")
	var stderr bytes.Buffer
	script := `case $WAYBILL_TEST_POSTGRES_URL in postgres://*) test "$WAYBILL_TEST_KAFKA" = elsewhere:9092 && exit 7;; esac; exit 1`
	if status := run(t.Context(), []string{"run", "--", "sh", "-c", script}, &stderr); status != 7 {
		t.Errorf("status %d, want the command's 7; %s", status, &stderr)
	}
	if status := run(t.Context(), []string{"run", "--kafka=false", "--", "sh", "-c", "kill -KILL $$"}, &stderr); status != 137 {
		t.Errorf("status %d, want 137 for SIGKILL; %s", status, &stderr)
	}
	if status := run(t.Context(), []string{"run", "--", "/no/such/command"}, &stderr); status != statusFailed {
		t.Errorf("status %d, want %d for a command that is not there", status, statusFailed)
	}
}

func TestRunRefusesBadUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"start"}, {"run"}, {"run", "--no-such-flag"}} {
		var stderr bytes.Buffer
		if status := run(t.Context(), args, &stderr); status != statusUsage {
			t.Errorf("%q: status %d, want %d", args, status, statusUsage)
		}
		if !strings.Contains(stderr.String(), "usage: stack run") {
			t.Errorf("%q: no usage in %q", args, &stderr)
		}
	}
}
