package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"waybill.internal/pkg/clock"
)

const (
	ensureBackoffLeast = 100 * time.Millisecond
	ensureBackoffMost  = 2 * time.Second
	// ensureTry bounds one try, so that a broker that hangs is asked again.
	ensureTry = 15 * time.Second
)

// Ensure creates the topics that do not exist, with the configured partitions,
// replication and min.insync.replicas, and waits until the cluster knows them all.
// It tries again while brokers come up, until ctx ends; an answer that will not
// change (a name Kafka refuses, no permission) ends it at once. Topics that exist
// are left as they are.
func (f *Factory) Ensure(ctx context.Context, topics ...string) error {
	transport := f.transport()
	defer transport.CloseIdleConnections()
	for n := 1; ; n++ {
		err := f.ensureOnce(ctx, transport, topics)
		if err == nil {
			return nil
		}
		if permanent(err) {
			return fmt.Errorf("ensure topics: %w", err)
		}
		if clock.Sleep(ctx, backoff(n, ensureBackoffLeast, ensureBackoffMost)) != nil {
			return fmt.Errorf("ensure topics: %w (last: %w)", ctx.Err(), err)
		}
	}
}

func (f *Factory) ensureOnce(ctx context.Context, transport *kafka.Transport, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, ensureTry)
	defer cancel()
	missing, err := f.missing(ctx, transport, topics)
	if err != nil || len(missing) == 0 {
		return err
	}
	request := &kafka.CreateTopicsRequest{Addr: f.address()}
	for _, topic := range missing {
		if err := checkTopic(topic); err != nil {
			return err
		}
		request.Topics = append(request.Topics, f.topicConfig(topic))
	}
	client := &kafka.Client{Addr: f.address(), Transport: transport}
	res, err := client.CreateTopics(ctx, request)
	if err != nil {
		return fmt.Errorf("create %d topics: %w", len(missing), err)
	}
	for _, topic := range missing {
		if err := res.Errors[topic]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
	}
	if missing, err = f.missing(ctx, transport, topics); err == nil && len(missing) > 0 {
		return fmt.Errorf("topic %s is created, but not all brokers know it yet", missing[0])
	}
	return err
}

func (f *Factory) missing(ctx context.Context, transport *kafka.Transport, topics []string) ([]string, error) {
	known, err := readCluster(ctx, transport, f.address(), topics, true)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, topic := range topics {
		if len(known.leaders[topic]) == 0 {
			missing = append(missing, topic)
		}
	}
	return missing, nil
}

func (f *Factory) topicConfig(topic string) kafka.TopicConfig {
	return kafka.TopicConfig{
		Topic: topic, NumPartitions: f.config.Partitions, ReplicationFactor: f.config.Replication,
		ConfigEntries: []kafka.ConfigEntry{
			{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(f.topics.retention(topic).Milliseconds(), 10)},
			{ConfigName: "min.insync.replicas", ConfigValue: strconv.Itoa(f.config.MinInsync)},
			{ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(topicMaxMessageBytes)},
			{ConfigName: "cleanup.policy", ConfigValue: "delete"},
		},
	}
}

// checkTopic says what Kafka would, with the reason.
func checkTopic(topic string) error {
	rest := topic
	for len(rest) > maxNameBytes && len(topic) <= 249 { // checkName's bound is for a part
		if err := checkName(rest[:maxNameBytes]); err != nil {
			return fmt.Errorf("topic name %q %w: %w", topic, err, kafka.InvalidTopic)
		}
		rest = rest[maxNameBytes:]
	}
	if err := checkName(rest); err != nil {
		return fmt.Errorf("topic name %q %w: %w", topic, err, kafka.InvalidTopic)
	}
	return nil
}
