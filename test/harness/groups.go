package harness

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// Rewind commits the earliest offset of every partition for a group without members.
func Rewind(ctx context.Context, broker, group, prefix string, topics []string) error {
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	request := &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{}}
	for _, name := range topics {
		topic := prefix + "." + name
		starts, _, err := offsets(ctx, client, topic)
		if err != nil {
			return err
		}
		for partition, offset := range starts {
			request.Topics[topic] = append(request.Topics[topic], kafka.OffsetCommit{Partition: partition, Offset: offset})
		}
	}
	answer, err := client.OffsetCommit(ctx, request)
	if err != nil {
		return fmt.Errorf("rewind group %s: %w", group, err)
	}
	for topic, partitions := range answer.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return fmt.Errorf("rewind group %s, %s[%d]: %w", group, topic, p.Partition, p.Error)
			}
		}
	}
	return nil
}

// offsets gives the first and the end offset of each partition.
func offsets(ctx context.Context, client *kafka.Client, topic string) (starts, ends map[int]int64, err error) {
	meta, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, nil, err
	}
	starts, ends = map[int]int64{}, map[int]int64{}
	for _, t := range meta.Topics {
		if t.Error != nil {
			return nil, nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		var requests []kafka.OffsetRequest
		for _, p := range t.Partitions {
			requests = append(requests, kafka.FirstOffsetOf(p.ID), kafka.LastOffsetOf(p.ID))
		}
		answer, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}})
		if err != nil {
			return nil, nil, err
		}
		for _, p := range answer.Topics[topic] {
			starts[p.Partition], ends[p.Partition] = p.FirstOffset, p.LastOffset
		}
	}
	return starts, ends, nil
}

// AwaitCaughtUp waits until a group has committed the end of every partition.
func AwaitCaughtUp(ctx context.Context, broker, group, topic string) error {
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	return Poll(ctx, func() (bool, error) {
		_, ends, err := offsets(ctx, client, topic)
		if err != nil {
			return false, nil // a broker that just came up answers so for a moment
		}
		var partitions []int
		for p := range ends {
			partitions = append(partitions, p)
		}
		answer, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: partitions}})
		if err != nil {
			return false, nil
		}
		for _, p := range answer.Topics[topic] {
			if p.CommittedOffset < ends[p.Partition] {
				return false, nil
			}
		}
		return len(answer.Topics[topic]) == len(ends) && len(ends) > 0, nil
	})
}
