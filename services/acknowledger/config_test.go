package acknowledger_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"waybill.internal/pkg/daemon"
	"waybill.internal/services/acknowledger"
)

func TestSettingsAreRefusedAllAtOnce(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"WAYBILL_ACKNOWLEDGER_IN_FLIGHT": "1", "WAYBILL_ACKNOWLEDGER_DRAIN": "soon"}
	_, err := daemon.Start(context.Background(), acknowledger.Spec(), func(name string) (string, bool) { v, ok := vars[name]; return v, ok }, daemon.LogTo(io.Discard))
	if _, ok := errors.AsType[*daemon.ConfigError](err); !ok {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{"WAYBILL_POSTGRES_URL", "WAYBILL_ACKNOWLEDGER_IN_FLIGHT: the value cannot be used; give a whole number from 2 to 100000", "WAYBILL_ACKNOWLEDGER_DRAIN"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestMissingIntegrationsAreNamed(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"WAYBILL_POSTGRES_URL": "postgres://nobody@127.0.0.1:1/none", "WAYBILL_INTEGRATIONS": t.TempDir() + "/none", "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0"}
	_, err := daemon.Start(context.Background(), acknowledger.Spec(), func(name string) (string, bool) { v, ok := vars[name]; return v, ok }, daemon.LogTo(io.Discard))
	if err == nil || !strings.Contains(err.Error(), vars["WAYBILL_INTEGRATIONS"]) {
		t.Errorf("error is %v", err)
	}
}
