package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

const (
	// EnvPostgresURL and EnvKafkaBrokers name the variables that Resolve looks
	// at first: a Postgres URL, and host:port of one broker or several with
	// commas between.
	EnvPostgresURL  = "WAYBILL_POSTGRES_URL"
	EnvKafkaBrokers = "WAYBILL_KAFKA_BROKERS"
)

// Origin says where a part of a [Stack] comes from.
type Origin string

// The origins, in the order in which Resolve tries them.
const (
	FromEnvironment Origin = "environment"
	FromDocker      Origin = "docker"
	FromNative      Origin = "native"   // Postgres: a process of its own
	FromEmbedded    Origin = "embedded" // Kafka: inside this process
)

// ResolveOptions say where a Stack keeps what it starts.
type ResolveOptions struct {
	// Dir keeps data between runs; each part has a folder of its own in it.
	// Empty means temporary folders, deleted by Stop.
	Dir string
	// Log hears where the parts come from. Nil: nobody does.
	Log *zap.Logger
}

// Stack is a Postgres and a Kafka to work with.
type Stack struct {
	PostgresURL    string
	KafkaBrokers   string // host:port, several with commas between
	PostgresOrigin Origin
	KafkaOrigin    Origin

	stops []func(context.Context) error
}

// Resolve gives `waybill up` its Postgres and Kafka: each from the environment if
// it is named there, else from Docker if `docker info` answers, else native (the
// embedded broker for Kafka). A Docker that answers but cannot start a container
// (no way to an image, say) is passed over with a warning. When Resolve fails
// nothing is left running.
func Resolve(ctx context.Context, opts ResolveOptions) (*Stack, error) {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	s := &Stack{PostgresURL: os.Getenv(EnvPostgresURL), KafkaBrokers: os.Getenv(EnvKafkaBrokers)}
	s.PostgresOrigin, s.KafkaOrigin = FromEnvironment, FromEnvironment
	docker := (s.PostgresURL == "" || s.KafkaBrokers == "") && dockerAnswers(ctx)
	if s.PostgresURL == "" {
		if err := s.addPostgres(ctx, opts, docker); err != nil {
			return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
	}
	if s.KafkaBrokers == "" {
		if err := s.addKafka(ctx, opts, docker); err != nil {
			return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
	}
	opts.Log.Info("stack ready",
		zap.String("postgres", string(s.PostgresOrigin)),
		zap.String("kafka", string(s.KafkaOrigin)),
		zap.String("brokers", s.KafkaBrokers))
	return s, nil
}

// Stop ends what Resolve started, the last first. It may be called again.
func (s *Stack) Stop(ctx context.Context) error {
	var errs []error
	for _, stop := range slices.Backward(s.stops) {
		errs = append(errs, stop(ctx))
	}
	s.stops = nil
	return errors.Join(errs...)
}

func (s *Stack) addPostgres(ctx context.Context, opts ResolveOptions, docker bool) error {
	if docker {
		url, stop, err := startDockerPostgres(ctx, partDir(opts.Dir, "docker-postgres"))
		if err == nil {
			s.PostgresURL, s.PostgresOrigin, s.stops = url, FromDocker, append(s.stops, stop)
			return nil
		}
		opts.Log.Warn("docker answers but gives no Postgres: starting a native one", zap.Error(err))
	}
	pg, err := StartPostgres(ctx, PostgresOptions{Dir: partDir(opts.Dir, "postgres"), Durable: true})
	if err != nil {
		return fmt.Errorf("%w (or set %s to the URL of one)", err, EnvPostgresURL)
	}
	s.PostgresURL, s.PostgresOrigin, s.stops = pg.URL(), FromNative, append(s.stops, pg.Stop)
	return nil
}

func (s *Stack) addKafka(ctx context.Context, opts ResolveOptions, docker bool) error {
	if docker {
		addr, stop, err := startDockerKafka(ctx, partDir(opts.Dir, "docker-kafka"))
		if err == nil {
			s.KafkaBrokers, s.KafkaOrigin, s.stops = addr, FromDocker, append(s.stops, stop)
			return nil
		}
		opts.Log.Warn("docker answers but gives no Kafka: starting the embedded one", zap.Error(err))
	}
	broker, err := StartEmbeddedKafka(ctx, partDir(opts.Dir, "embedded-kafka"), 0)
	if err != nil {
		return fmt.Errorf("%w (or set %s to the address of one)", err, EnvKafkaBrokers)
	}
	stop := func(context.Context) error { return broker.Stop() }
	s.KafkaBrokers, s.KafkaOrigin, s.stops = broker.Addr(), FromEmbedded, append(s.stops, stop)
	return nil
}

func partDir(dir, part string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, part)
}

// awaitPostgres returns when the server at url answers a query.
func awaitPostgres(ctx context.Context, url string) error {
	return poll(ctx, postgresStartLimit, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, connectLimit)
		defer cancel()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		return errors.Join(conn.Ping(ctx), conn.Close(ctx))
	})
}

// awaitKafka returns when the broker at addr answers metadata requests.
func awaitKafka(ctx context.Context, addr string) error {
	return poll(ctx, kafkaStartLimit, func(ctx context.Context) error { return answers(ctx, addr) })
}

// poll asks until there is no error, for at most limit.
func poll(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", errors.Join(ctx.Err(), err))
		}
	}
}
