package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// Dump reads every message of a topic from its first offset to its present end.
func Dump(ctx context.Context, broker, topic string) ([]kafka.Message, error) {
	conn, err := kafka.DialContext(ctx, "tcp", broker)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	partitions, err := conn.ReadPartitions(topic)
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", topic, err)
	}
	var all []kafka.Message
	for _, p := range partitions {
		messages, err := dumpPartition(ctx, broker, topic, p.ID)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", topic, p.ID, err)
		}
		all = append(all, messages...)
	}
	return all, nil
}

func dumpPartition(ctx context.Context, broker, topic string, partition int) ([]kafka.Message, error) {
	conn, err := kafka.DialLeader(ctx, "tcp", broker, topic, partition)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	first, last, err := conn.ReadOffsets()
	if err != nil || first == last {
		return nil, err
	}
	if _, err := conn.Seek(first, kafka.SeekAbsolute); err != nil {
		return nil, err
	}
	var messages []kafka.Message
	for next := first; next < last; {
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return nil, err
		}
		batch := conn.ReadBatch(1, 8<<20)
		for {
			m, err := batch.ReadMessage()
			if err != nil {
				break
			}
			m.Topic, m.Partition = topic, partition
			messages = append(messages, m)
			next = m.Offset + 1
		}
		if err := batch.Close(); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

// Header of a message, "" for none.
func Header(m kafka.Message, name string) string {
	for _, h := range m.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
