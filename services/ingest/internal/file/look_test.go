package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/telemetry"
)

func fill(t *testing.T, dir, format string, n int) {
	t.Helper()
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf(format, i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestListCountsOnlyItsFiles: names that are not for us do not hide those that
// are, and no look keeps more than its bound of either.
func TestListCountsOnlyItsFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, "%d.log", maxNames+namesStep)
	fill(t, dir, ".hidden%d", maxHidden+1)
	fill(t, dir, "%d.csv", 3)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	s := &Source{Config: Config{Log: zap.NewNop()}, file: &integration.File{Match: "*.csv"}}
	look := func(wantSeen int, wantCapped bool) {
		t.Helper()
		capped, err := s.list(t.Context(), root)
		if err != nil || capped != wantCapped || len(s.seen) != wantSeen || len(s.hidden) != maxHidden {
			t.Errorf("%d seen, %d hidden, capped %t, %v; want %d, %d, %t", len(s.seen), len(s.hidden), capped, err, wantSeen, maxHidden, wantCapped)
		}
	}
	look(3, false)
	fill(t, dir, "%d.csv", maxNames)
	look(maxNames, false)
	fill(t, dir, "%d.csv", maxNames+1)
	look(maxNames, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.list(ctx, root); !errors.Is(err, context.Canceled) {
		t.Errorf("a look that was given up ends with %v", err)
	}
}

// TestStuck: full looks that take nothing are told, those that get on are not.
func TestStuck(t *testing.T) {
	t.Parallel()
	var alerts []telemetry.Problem
	s := &Source{Config: Config{Alert: func(p telemetry.Problem) { alerts = append(alerts, p) }}, integration: "orders", source: "drop"}
	looks := func(capped bool, taken, n, want int) {
		t.Helper()
		for range n {
			s.checkStuck(capped, taken)
		}
		if len(alerts) != want {
			t.Errorf("%d alerts, want %d", len(alerts), want)
		}
	}
	looks(true, 0, maxIdleLooks-1, 0)
	looks(true, 1, 1, 0)
	looks(true, 0, maxIdleLooks-1, 0)
	looks(false, 0, 2*maxIdleLooks, 0)
	looks(true, 0, maxIdleLooks, 1)
	looks(true, 0, maxIdleLooks, 2)
	if p := alerts[0]; p.Kind != telemetry.KindPart || p.Code != "directory_full" || p.Integration != "orders" || p.Where != "drop" || p.Message == "" || p.Repair == "" {
		t.Errorf("the alert is %+v", p)
	}
}
