package localstack_test

import (
	"context"
	"testing"

	"waybill.internal/pkg/localstack"
)

func TestResolveTakesTheEnvironment(t *testing.T) {
	t.Setenv(localstack.EnvPostgresURL, "postgres://somewhere/db")
	t.Setenv(localstack.EnvKafkaBrokers, "one:9092,two:9092")
	s, err := localstack.Resolve(t.Context(), localstack.ResolveOptions{})
	must(t, err)
	if s.PostgresURL != "postgres://somewhere/db" || s.KafkaBrokers != "one:9092,two:9092" ||
		s.PostgresOrigin != localstack.FromEnvironment || s.KafkaOrigin != localstack.FromEnvironment {
		t.Errorf("got %+v", s)
	}
	must(t, s.Stop(t.Context()))
}

// Without Docker on the PATH the parts are native, and keep their data.
func TestResolveNative(t *testing.T) {
	for _, name := range []string{localstack.EnvPostgresURL, localstack.EnvKafkaBrokers} {
		t.Setenv(name, "")
	}
	t.Setenv("PATH", t.TempDir())
	opts := localstack.ResolveOptions{Dir: openTempDir(t)}
	s, err := localstack.Resolve(t.Context(), opts)
	must(t, err)
	if s.PostgresOrigin != localstack.FromNative || s.KafkaOrigin != localstack.FromEmbedded {
		t.Errorf("got Postgres from %s and Kafka from %s", s.PostgresOrigin, s.KafkaOrigin)
	}
	_, err = query(t.Context(), s.PostgresURL, "create table kept as select 'a row' as what")
	must(t, err)
	must(t, createTopic(t.Context(), s.KafkaBrokers, "kept"))
	must(t, write(t.Context(), s.KafkaBrokers, "kept", "a message"))
	must(t, s.Stop(t.Context()))
	must(t, s.Stop(t.Context())) // again is fine

	s, err = localstack.Resolve(t.Context(), opts)
	must(t, err)
	defer s.Stop(context.Background())
	wantQuery(t, s.PostgresURL, "select what from kept", "a row")
	must(t, wantFirst(t.Context(), s.KafkaBrokers, "kept", "a message"))
}
