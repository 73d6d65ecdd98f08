package harness

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/pkg/localstack"
)

// Servers are one durable Postgres and one Kafka of a program's own: nobody else's
// work is counted, and nobody else is hit when they are killed.
type Servers struct {
	Postgres *localstack.Postgres
	Kafka    *localstack.Kafka
}

// StartServers starts both; connections is the most that the Postgres takes.
func StartServers(ctx context.Context, connections int) (*Servers, error) {
	pg, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{Durable: true, MaxConnections: connections})
	if err != nil {
		return nil, err
	}
	kafka, err := localstack.StartKafka(ctx, localstack.KafkaOptions{})
	if err != nil {
		return nil, errors.Join(err, pg.Stop(context.WithoutCancel(ctx)))
	}
	return &Servers{pg, kafka}, nil
}

// Stop ends both, within a time that is theirs together.
func (s *Servers) Stop(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return errors.Join(s.Kafka.Stop(ctx), s.Postgres.Stop(ctx))
}

// MakeSchema makes a schema and gives the URL whose search path leads to it.
func MakeSchema(ctx context.Context, server, name string) (string, error) {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("make schema %s: %w", name, err)
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", errors.New("the server's URL cannot be read") // its text shows the password
	}
	query := u.Query()
	query.Set("options", "-csearch_path="+name)
	u.RawQuery = query.Encode()
	return u.String(), nil
}
