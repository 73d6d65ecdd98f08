package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	metadataapi "github.com/segmentio/kafka-go/protocol/metadata"
)

// cluster is what a client knows about topics: who leads which partition.
type cluster struct {
	// leaders by topic and partition; -1 where nobody leads now. A topic that is not
	// in the map does not exist, or the broker asked does not know it yet.
	leaders map[string][]int32
}

// readCluster asks for the metadata of these topics. The transport answers from
// its cache unless fresh, which throws the cache (and its idle connections) away:
// kafka-go gives no other way to ask again.
func readCluster(ctx context.Context, transport *kafka.Transport, addr net.Addr, topics []string, fresh bool) (cluster, error) {
	if fresh {
		transport.CloseIdleConnections()
	}
	res, err := transport.RoundTrip(ctx, addr, &metadataapi.Request{TopicNames: topics})
	if err != nil {
		return cluster{}, fmt.Errorf("ask %s for metadata: %w", addr, err)
	}
	m, ok := res.(*metadataapi.Response)
	if !ok {
		return cluster{}, fmt.Errorf("ask %s for metadata: answered with %T", addr, res)
	}
	c := cluster{leaders: make(map[string][]int32, len(m.Topics))}
	for _, t := range m.Topics {
		if t.ErrorCode == int16(kafka.UnknownTopicOrPartition) || len(t.Partitions) == 0 {
			continue
		}
		leaders := make([]int32, len(t.Partitions))
		for i := range leaders {
			leaders[i] = -1
		}
		for _, p := range t.Partitions {
			if int(p.PartitionIndex) < len(leaders) && p.PartitionIndex >= 0 {
				leaders[p.PartitionIndex] = p.LeaderID
			}
		}
		c.leaders[t.Name] = leaders
	}
	return c, nil
}

func (c cluster) leader(topic string, partition int) int32 {
	leaders := c.leaders[topic]
	if partition < 0 || partition >= len(leaders) {
		return -1
	}
	return leaders[partition]
}

// permanent says whether trying again is pointless: the broker understood and refused.
// Everything unknown (connections, timeouts, stale metadata) is worth another try.
func permanent(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return false
	}
	return !code.Temporary() && code != kafka.Unknown && code != kafka.BrokerNotAvailable &&
		code != kafka.ReplicaNotAvailable && code != kafka.InvalidReplicationFactor
}

// staleMetadata says whether the error tells that another broker should be asked.
func staleMetadata(err error) bool {
	var code kafka.Error
	if errors.As(err, &code) {
		switch code {
		case kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition,
			kafka.BrokerNotAvailable, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.KafkaStorageError:
			return true
		}
		return false
	}
	// Not an answer: the connection failed, or the transport's own layout could not
	// route the request.
	return err != nil
}

// backoff doubles from least to most with jitter of a quarter; the n-th failure is n = 1.
func backoff(n int, least, most time.Duration) time.Duration {
	d := least
	for i := 1; i < n && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}
