package stream_test

import (
	"errors"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill.internal/pkg/stream"
)

func TestOneTopicInErrorHidesNoOther(t *testing.T) {
	t.Parallel()
	cluster := embedded(t, kfake.SeedTopics(2, "fine", "sick"))
	admin := factory(t, cluster.ListenAddrs(), "wb").NewAdmin()
	t.Cleanup(admin.Close)
	cluster.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked := req.(*kmsg.ListOffsetsRequest)
		if asked.Topics[0].Topic != "sick" || asked.Topics[0].Partitions[0].Partition != 1 {
			return nil, nil, false
		}
		res := asked.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = "sick"
		partition := kmsg.NewListOffsetsResponseTopicPartition()
		partition.Partition, partition.ErrorCode = 1, kerr.NotLeaderForPartition.Code
		topic.Partitions = append(topic.Partitions, partition)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	ends, err := admin.Ends(minute(t), []string{"fine", "sick", "absent"})
	failed, ok := errors.AsType[stream.TopicErrors](err)
	if !ok || len(failed) != 1 || !errors.Is(failed["sick"], kafka.NotLeaderForPartition) {
		t.Fatalf("failed: %v", err)
	}
	if len(ends) != 1 || len(ends["fine"]) != 2 {
		t.Fatalf("ends are %v", ends)
	}
}
