// Package stacktest gives a test its Postgres and its Kafka in one call.
//
//	func TestMain(m *testing.M) { os.Exit(stacktest.Main(m)) }
//
//	func TestAccept(t *testing.T) {
//		t.Parallel()
//		url := stacktest.Postgres(t)              // a fresh schema
//		brokers, prefix := stacktest.Kafka(t)     // real Apache Kafka, own names
//		...
//	}
//
// Shared servers come from WAYBILL_TEST_POSTGRES_URL and WAYBILL_TEST_KAFKA, which
// `stack run` sets for a whole test run, or are started at the first call in a
// test process. [Main] stops these; a process that ends without it (a panic, a
// time-out, kill -9) takes them along all the same, on Linux by the kernel's
// parent-death signal.
//
// A server started here keeps one goroutine for the life of the process. Tests
// that look for leaked goroutines pass [Goroutines] to goleak.
package stacktest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"waybill.internal/pkg/localstack"
)

const (
	// EnvPostgresURL and EnvKafka name the variables with the shared servers.
	EnvPostgresURL = "WAYBILL_TEST_POSTGRES_URL"
	EnvKafka       = "WAYBILL_TEST_KAFKA"

	// MaxConnections is what a shared Postgres allows: many packages are tested
	// at once, each test with pools of its own.
	MaxConnections = 400

	startLimit = 5 * time.Minute // a first start fetches
	stopLimit  = 30 * time.Second
	// dropLimit bounds the removal of a schema; a test that left a transaction
	// open holds it up.
	dropLimit = 20 * time.Second
)

// shared are the servers of this process. A package variable is the one place
// that all tests of a process have in common.
var shared struct {
	postgres sharedPart[*localstack.Postgres]
	kafka    sharedPart[*localstack.Kafka]
}

// sharedPart starts a server at its first use; a start that failed is not tried
// again, and every test that needs the server reports why.
type sharedPart[T any] struct {
	once   sync.Once
	server T
	err    error
	up     bool // written inside once, read by Main after the tests
}

func (s *sharedPart[T]) get(t testing.TB, start func(context.Context) (T, error)) T {
	t.Helper()
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startLimit)
		defer cancel()
		s.server, s.err = start(ctx)
		s.up = s.err == nil
	})
	if s.err != nil {
		t.Fatalf("shared server: %v", s.err)
	}
	return s.server
}

// Main runs the tests and stops the servers that they started. Its result is the
// exit status.
func Main(m *testing.M) int {
	status := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	var err error
	if shared.kafka.up {
		err = shared.kafka.server.Stop(ctx)
	}
	if shared.postgres.up {
		err = errors.Join(err, shared.postgres.server.Stop(ctx))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stop the shared servers:", err)
		return max(status, 1)
	}
	return status
}

// Goroutines are those that a server started by localstack keeps while it runs.
func Goroutines() goleak.Option {
	return goleak.IgnoreAnyFunction("waybill.internal/pkg/localstack.(*process).supervise")
}

// Postgres gives the test a schema of its own on the shared server: the URL's
// search_path holds that schema only, not public. The schema is dropped when the
// test ends; whoever still uses it then fails the test.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv(EnvPostgresURL)
	if server == "" {
		server = shared.postgres.get(t, func(ctx context.Context) (*localstack.Postgres, error) {
			return localstack.StartPostgres(ctx, localstack.PostgresOptions{Durable: true, MaxConnections: MaxConnections})
		}).URL()
	}
	schema := uniqueName(t, "_")
	if err := execute(server, "create schema "+pgx.Identifier{schema}.Sanitize()); err != nil {
		t.Fatalf("make schema %s: %v", schema, err)
	}
	t.Cleanup(func() {
		if err := execute(server, "drop schema "+pgx.Identifier{schema}.Sanitize()+" cascade"); err != nil {
			t.Errorf("drop schema %s (does a pool or transaction of this test still use it?): %v", schema, err)
		}
	})
	withSchema, err := inSchema(server, schema)
	if err != nil {
		t.Fatalf("%s: %v", EnvPostgresURL, err)
	}
	return withSchema
}

// inSchema adds the search path in the form that pgx, libpq and psql all read.
func inSchema(server, schema string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", errors.New("not a URL") // the text would show the password
	}
	query := u.Query()
	query.Set("options", strings.TrimSpace(query.Get("options")+" -csearch_path="+schema))
	// libpq takes a plus sign for itself, so a blank must be %20.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String(), nil
}

func execute(server, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), dropLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}

// Kafka gives the test the shared Apache Kafka and a prefix for the names of its
// topics and groups, which no other test has.
func Kafka(t testing.TB) (brokers, prefix string) {
	t.Helper()
	brokers = os.Getenv(EnvKafka)
	if brokers == "" {
		brokers = shared.kafka.get(t, func(ctx context.Context) (*localstack.Kafka, error) {
			return localstack.StartKafka(ctx, localstack.KafkaOptions{})
		}).Addr()
	}
	return brokers, uniqueName(t, "-")
}

// EmbeddedKafka gives the test an embedded broker of its own, in memory, stopped
// when the test ends, and a prefix as [Kafka] does.
func EmbeddedKafka(t testing.TB) (brokers, prefix string) {
	t.Helper()
	broker, err := localstack.StartEmbeddedKafka(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Stop(); err != nil {
			t.Errorf("stop embedded kafka: %v", err)
		}
	})
	return broker.Addr(), uniqueName(t, "-")
}

// OwnPostgres gives the test a durable server of its own, to kill and to pause;
// it is stopped when the test ends.
func OwnPostgres(t testing.TB) *localstack.Postgres {
	t.Helper()
	pg, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, pg.Stop)
	return pg
}

// OwnKafka gives the test an Apache Kafka of its own, to kill, pause and wipe; it
// is stopped when the test ends.
func OwnKafka(t testing.TB) *localstack.Kafka {
	t.Helper()
	k, err := localstack.StartKafka(t.Context(), localstack.KafkaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, k.Stop)
	return k
}

func stopAtEnd(t testing.TB, stop func(context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

// uniqueName makes a name from the test's own, for whoever looks at the server,
// and a random part. It is short enough for Postgres (63 bytes) and for what a
// topic's name still gets behind it.
func uniqueName(t testing.TB, separator string) string {
	const maxReadable = 30
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + ('a' - 'A')
		default:
			return -1
		}
	}, t.Name())
	return readable[:min(len(readable), maxReadable)] + separator + strings.ToLower(rand.Text()[:16])
}
