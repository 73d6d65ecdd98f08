package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"waybill.internal/pkg/clock"
)

// Offsets gives an offset for each topic and partition.
type Offsets map[string]map[int]int64

func (o Offsets) set(topic string, partition int, offset int64) {
	if o[topic] == nil {
		o[topic] = map[int]int64{}
	}
	o[topic][partition] = offset
}

// TopicErrors says which topics could not be read, and why. What comes with it
// holds all the others, whole: a topic that is in neither does not exist.
type TopicErrors map[string]error

// Error names the first topic, in the order of their names, and counts the rest.
func (e TopicErrors) Error() string {
	names := slices.Sorted(maps.Keys(e))
	if len(names) == 0 {
		return "no topic failed"
	}
	first := fmt.Sprintf("topic %s: %v", names[0], e[names[0]])
	if len(names) == 1 {
		return first
	}
	return fmt.Sprintf("%s (and %d more topics)", first, len(names)-1)
}

// Unwrap gives every topic's error.
func (e TopicErrors) Unwrap() []error { return slices.Collect(maps.Values(e)) }

// in leaves out of offsets what failed, and is nil if nothing did.
func (e TopicErrors) in(offsets Offsets) error {
	if len(e) == 0 {
		return nil
	}
	for topic := range e {
		delete(offsets, topic)
	}
	return e
}

// Admin reads and resets offsets and looks at topics. Every call needs a context
// with a deadline: it tries once, and says what failed.
type Admin struct {
	factory   *Factory
	transport *kafka.Transport
	client    *kafka.Client
}

// NewAdmin makes an Admin; Close it when done.
func (f *Factory) NewAdmin() *Admin {
	transport := f.transport()
	return &Admin{factory: f, transport: transport, client: &kafka.Client{Addr: f.address(), Transport: transport}}
}

// Close closes its connections.
func (a *Admin) Close() { a.transport.CloseIdleConnections() }

// partitions of the topics that exist. A cached answer will do unless one is missing.
func (a *Admin) partitions(ctx context.Context, topics []string) (cluster, error) {
	known, err := readCluster(ctx, a.transport, a.factory.address(), topics, false)
	if err == nil && len(known.leaders) == len(topics) {
		return known, nil
	}
	return readCluster(ctx, a.transport, a.factory.address(), topics, true)
}

// untold are the topics that brokers know but tell nothing of now. known must be
// what partitions answered.
func (a *Admin) untold(ctx context.Context, topics []string, known cluster) (TopicErrors, error) {
	failed := TopicErrors{}
	var missing []string
	for _, topic := range topics {
		if known.leaders[topic] == nil {
			missing = append(missing, topic)
		}
	}
	if len(missing) == 0 {
		return failed, nil
	}
	meta, err := a.client.Metadata(ctx, &kafka.MetadataRequest{Topics: missing})
	if err != nil {
		return nil, err
	}
	for _, t := range meta.Topics {
		if t.Error != nil && !errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
			failed[t.Name] = t.Error
		}
	}
	return failed, nil
}

// Committed is what the group has committed. A topic that does not exist, and a
// partition nothing was committed for, is absent. With TopicErrors come the
// offsets of the topics that could be read.
func (a *Admin) Committed(ctx context.Context, group string, topics []string) (Offsets, error) {
	known, err := a.partitions(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("committed offsets of group %s: %w", group, err)
	}
	failed, err := a.untold(ctx, topics, known)
	if err != nil {
		return nil, fmt.Errorf("committed offsets of group %s: %w", group, err)
	}
	out := Offsets{}
	request := map[string][]int{}
	for topic, leaders := range known.leaders {
		for p := range leaders {
			request[topic] = append(request[topic], p)
		}
	}
	if len(request) == 0 {
		return out, failed.in(out)
	}
	res, err := a.fetchCommitted(ctx, group, request)
	if errors.Is(err, kafka.GroupIdNotFound) {
		return out, failed.in(out) // it has never committed anything
	}
	if err != nil {
		return nil, fmt.Errorf("committed offsets of group %s: %w", group, err)
	}
	for topic, partitions := range res.Topics {
		for _, p := range partitions {
			switch {
			case errors.Is(p.Error, kafka.UnknownTopicOrPartition):
			case p.Error != nil:
				failed[topic] = fmt.Errorf("committed offset of group %s for partition %d: %w", group, p.Partition, p.Error)
			case p.CommittedOffset >= 0:
				out.set(topic, p.Partition, p.CommittedOffset)
			}
		}
	}
	return out, failed.in(out)
}

// A coordinator that just moved, or whose topic is just being made, says so for a moment.
const (
	coordinatorTries = 10
	coordinatorPause = 200 * time.Millisecond
)

func (a *Admin) fetchCommitted(ctx context.Context, group string, request map[string][]int) (*kafka.OffsetFetchResponse, error) {
	for try := 1; ; try++ {
		res, err := a.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: request})
		if err == nil {
			err = res.Error
		}
		moving := errors.Is(err, kafka.NotCoordinatorForGroup) || errors.Is(err, kafka.GroupCoordinatorNotAvailable) || errors.Is(err, kafka.GroupLoadInProgress)
		if !moving || try == coordinatorTries {
			return res, err
		}
		if clock.Sleep(ctx, coordinatorPause) != nil {
			return res, err
		}
	}
}

// Ends is the offset after the last message of each partition. A topic that does
// not exist is absent; with TopicErrors come those that could be read whole.
func (a *Admin) Ends(ctx context.Context, topics []string) (Offsets, error) {
	return a.list(ctx, topics, kafka.LastOffset)
}

// Starts is the offset of the earliest message of each partition. A topic that does
// not exist is absent; with TopicErrors come those that could be read whole.
func (a *Admin) Starts(ctx context.Context, topics []string) (Offsets, error) {
	return a.list(ctx, topics, kafka.FirstOffset)
}

func (a *Admin) list(ctx context.Context, topics []string, which int64) (Offsets, error) {
	known, err := a.partitions(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("offsets of topics: %w", err)
	}
	failed, err := a.untold(ctx, topics, known)
	if err != nil {
		return nil, fmt.Errorf("offsets of topics: %w", err)
	}
	request := map[string][]kafka.OffsetRequest{}
	for topic, leaders := range known.leaders {
		if p := slices.Index(leaders, -1); p >= 0 {
			failed[topic] = fmt.Errorf("partition %d: %w", p, kafka.LeaderNotAvailable)
			continue
		}
		for p := range leaders {
			request[topic] = append(request[topic], kafka.OffsetRequest{Partition: p, Timestamp: which})
		}
	}
	out := Offsets{}
	if len(request) == 0 {
		return out, failed.in(out)
	}
	res, err := a.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: request})
	if err != nil {
		return nil, fmt.Errorf("offsets of topics: %w", err)
	}
	for topic, partitions := range res.Topics {
		for _, p := range partitions {
			offset := p.FirstOffset
			if which == kafka.LastOffset {
				offset = p.LastOffset
			}
			switch {
			case errors.Is(p.Error, kafka.UnknownTopicOrPartition):
			case p.Error != nil:
				failed[topic] = fmt.Errorf("offset of partition %d: %w", p.Partition, p.Error)
			default:
				out.set(topic, p.Partition, offset)
			}
		}
	}
	for topic, asked := range request {
		if n := len(out[topic]); n > 0 && n < len(asked) && failed[topic] == nil {
			failed[topic] = fmt.Errorf("%d of %d partitions are known: %w", n, len(asked), kafka.UnknownTopicOrPartition)
		}
	}
	return out, failed.in(out)
}

// Lag is how many messages of each topic the group has not done yet.
func (a *Admin) Lag(ctx context.Context, group string, topics []string) (map[string]int64, error) {
	committed, err := a.Committed(ctx, group, topics)
	if err != nil {
		return nil, err
	}
	starts, err := a.Starts(ctx, topics)
	if err != nil {
		return nil, err
	}
	ends, err := a.Ends(ctx, topics)
	if err != nil {
		return nil, err
	}
	lag := map[string]int64{}
	for topic, partitions := range ends {
		for p, end := range partitions {
			from, ok := committed[topic][p]
			if start := starts[topic][p]; !ok || from < start || from > end {
				from = start // where the group would go on from
			}
			lag[topic] += end - from
		}
	}
	return lag, nil
}

// ResetGroup makes the group start again at the earliest message of these topics.
// The group must have no members.
func (a *Admin) ResetGroup(ctx context.Context, group string, topics []string) error {
	res, err := a.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return fmt.Errorf("reset group %s: %w", group, err)
	}
	for _, g := range res.Groups {
		if len(g.Members) > 0 {
			return fmt.Errorf("reset group %s: it has %d members (first: %s at %s); stop them first", group, len(g.Members), g.Members[0].ClientID, g.Members[0].ClientHost)
		}
	}
	starts, err := a.Starts(ctx, topics)
	if err != nil {
		return fmt.Errorf("reset group %s: %w", group, err)
	}
	commit := &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{}}
	for topic, partitions := range starts {
		for p, start := range partitions {
			commit.Topics[topic] = append(commit.Topics[topic], kafka.OffsetCommit{Partition: p, Offset: start})
		}
	}
	if len(commit.Topics) == 0 {
		return nil
	}
	done, err := a.client.OffsetCommit(ctx, commit)
	if err != nil {
		return fmt.Errorf("reset group %s: %w", group, err)
	}
	for topic, partitions := range done.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return fmt.Errorf("reset group %s for %s[%d]: %w", group, topic, p.Partition, p.Error)
			}
		}
	}
	return nil
}

// DeleteTopics deletes the topics and all that is in them. One that does not exist
// is not an error.
func (a *Admin) DeleteTopics(ctx context.Context, topics ...string) error {
	res, err := a.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: topics})
	if err != nil {
		return fmt.Errorf("delete %d topics: %w", len(topics), err)
	}
	for topic, err := range res.Errors {
		if err != nil && !errors.Is(err, kafka.UnknownTopicOrPartition) {
			return fmt.Errorf("delete topic %s: %w", topic, err)
		}
	}
	return nil
}

// Topic is what Describe tells of a topic.
type Topic struct {
	Name        string
	Partitions  int
	Replication int // of its least replicated partition
	Leaderless  int // partitions nobody leads now
	MinInsync   int // min.insync.replicas; 0 if the broker did not say
}

// Describe looks at the topics that exist.
func (a *Admin) Describe(ctx context.Context, topics []string) (map[string]Topic, error) {
	a.transport.CloseIdleConnections() // not from the cache
	meta, err := a.client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	out := map[string]Topic{}
	configs := &kafka.DescribeConfigsRequest{}
	for _, t := range meta.Topics {
		if len(t.Partitions) == 0 {
			continue
		}
		d := Topic{Name: t.Name, Partitions: len(t.Partitions), Replication: len(t.Partitions[0].Replicas)}
		for _, p := range t.Partitions {
			d.Replication = min(d.Replication, len(p.Replicas))
			if p.Leader.Host == "" {
				d.Leaderless++
			}
		}
		out[t.Name] = d
		configs.Resources = append(configs.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: t.Name, ConfigNames: []string{"min.insync.replicas"},
		})
	}
	if len(out) == 0 {
		return out, nil
	}
	res, err := a.client.DescribeConfigs(ctx, configs)
	if err != nil {
		return nil, fmt.Errorf("describe configuration of topics: %w", err)
	}
	for _, r := range res.Resources {
		for _, e := range r.ConfigEntries {
			if d, ok := out[r.ResourceName]; ok && e.ConfigName == "min.insync.replicas" {
				if d.MinInsync, err = strconv.Atoi(e.ConfigValue); err != nil {
					return nil, fmt.Errorf("describe topic %s: min.insync.replicas is %q", r.ResourceName, e.ConfigValue)
				}
				out[r.ResourceName] = d
			}
		}
	}
	return out, nil
}
