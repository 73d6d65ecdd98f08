package stream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"

	"waybill.internal/pkg/clock"
)

const (
	coverageFirst = time.Second     // after a generation began
	coverageEvery = 5 * time.Second // from then on
)

// coverage looks for partitions that no member of the group reads, and returns one
// when there is; it also returns, with false, when ctx ends.
//
// kafka-go's own watch begins to count partitions after the leader has assigned
// them. A topic that is made (again) between the two is assigned to nobody, and
// nobody would ever notice: found by the test of a recreated topic.
func (c *Consumer) coverage(ctx context.Context) (place, bool) {
	client := &kafka.Client{Addr: c.factory.address(), Transport: c.transport, Timeout: answerLimit}
	for wait := coverageFirst; clock.Sleep(ctx, wait) == nil; wait = coverageEvery {
		at, found, err := c.uncovered(ctx, client)
		if err != nil && ctx.Err() == nil {
			c.config.Report(fmt.Errorf("group %s: look for partitions nobody reads: %w", c.config.Group, err))
		}
		if found {
			return at, true
		}
	}
	return place{}, false
}

func (c *Consumer) uncovered(ctx context.Context, client *kafka.Client) (place, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	res, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{c.config.Group}})
	if err != nil {
		return place{}, false, err
	}
	if len(res.Groups) != 1 || res.Groups[0].Error != nil || res.Groups[0].GroupState != "Stable" {
		return place{}, false, nil // a rebalance is under way: look again when it is over
	}
	read := map[place]bool{}
	for _, m := range res.Groups[0].Members {
		for _, t := range m.MemberAssignments.Topics {
			for _, p := range t.Partitions {
				read[place{t.Topic, p}] = true
			}
		}
	}
	known, err := readCluster(ctx, c.transport, c.factory.address(), c.config.Topics, false)
	if err != nil {
		return place{}, false, err
	}
	for _, topic := range slices.Sorted(slices.Values(c.config.Topics)) {
		for p := range known.leaders[topic] {
			if at := (place{topic, p}); !read[at] {
				return at, true, nil
			}
		}
	}
	return place{}, false, nil
}
