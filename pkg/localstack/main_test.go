package localstack_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waybill.internal/pkg/localstack"
	"waybill.internal/pkg/localstack/stacktest"
)

// orphanEnv turns the test binary into a parent that starts a server, freezes it
// and waits to be killed.
const orphanEnv = "WAYBILL_LOCALSTACK_ORPHAN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(orphanEnv); dir != "" {
		if err := orphan(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	status := stacktest.Main(m)
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func orphan(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	pg, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{Dir: dir})
	if err != nil {
		return err
	}
	if err := pg.Pause(); err != nil {
		return err
	}
	fmt.Println(pg.PID())
	<-ctx.Done()
	return errors.New("not killed")
}

const (
	testLimit    = time.Minute
	requestLimit = 10 * time.Second
	silentLimit  = 500 * time.Millisecond
	testPoll     = 20 * time.Millisecond
)

// eventually asks until there is no error.
func eventually(t *testing.T, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	tick := time.NewTicker(testPoll)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after %s still: %v", testLimit, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
