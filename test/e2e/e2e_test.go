// Package e2e holds one test per promise, on the three binaries as processes of
// their own with a real Postgres and a real Apache Kafka.
package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/test/harness"
)

func TestMain(m *testing.M) {
	status := stacktest.Main(m)
	harness.Clean()
	os.Exit(status)
}

// start prepares a stack on shared servers, of which schema and topics are the test's own.
func start(t *testing.T, o harness.Options) (*harness.Stack, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	if o.Postgres == "" {
		o.Postgres = stacktest.Postgres(t)
	}
	if o.Kafka == "" {
		o.Kafka, o.Prefix = stacktest.Kafka(t)
	}
	s, err := harness.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	t.Cleanup(func() { s.LogOnFailure(t) })
	return s, ctx
}
