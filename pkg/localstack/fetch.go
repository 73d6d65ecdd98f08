package localstack

import (
	"context"
	"fmt"
)

// Fetch makes sure that everything StartPostgres and StartKafka need is on this
// machine: it checks Java, and fetches Kafka's jars and, where none is installed,
// a Postgres into the cache. What is there already costs next to nothing.
func Fetch(ctx context.Context) error {
	if _, err := findJava(ctx); err != nil {
		return err
	}
	if _, err := FetchKafka(ctx); err != nil {
		return err
	}
	runAs, err := unprivileged()
	if err != nil {
		return err
	}
	if _, err := postgresBinaries(ctx, runAs); err != nil {
		return fmt.Errorf("find postgres: %w", err)
	}
	return nil
}
