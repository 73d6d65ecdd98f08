package redrive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/stream"
)

// positions is where topics and groups stand, at one moment.
type positions struct {
	asOf                    time.Time          // by the ledger's clock, before Kafka was asked
	ends, starts, committed map[string][]int64 // by topic, without the prefix
	epochs                  map[string]int
	ours                    map[string]bool // topics that our groups read
	// failed are those of ours that could not be read whole: nothing is known of
	// them in this round, least of all that they are gone.
	failed stream.TopicErrors
}

// positions asks Kafka, and the ledger for the topics' epochs. Topics that could
// not be read are left out, and failed says so.
func (r *Redriver) positions(ctx context.Context) (positions, error) {
	p, err := r.look(ctx)
	if err != nil {
		return p, err
	}
	p.epochs, err = r.Ledger.SeeTopics(ctx, r.confirmed(p))
	return p, err
}

// look asks Kafka.
func (r *Redriver) look(ctx context.Context) (positions, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	p := positions{committed: map[string][]int64{}, asOf: r.Ledger.Now(), ours: map[string]bool{}, failed: stream.TopicErrors{}}
	var topics []string
	for group, names := range r.Groups {
		offsets, err := r.Kafka.Committed(ctx, group, r.full(names))
		if err := r.setAside(p, err); err != nil {
			return p, fmt.Errorf("committed offsets of group %s: %w", group, err)
		}
		for topic, list := range r.flat(offsets, names) {
			p.committed[topic], p.ours[topic] = list, true
		}
		topics = append(topics, names...)
	}
	ends, err := r.Kafka.Ends(ctx, r.full(topics))
	if err := r.setAside(p, err); err != nil {
		return p, fmt.Errorf("end offsets: %w", err)
	}
	starts, err := r.Kafka.Starts(ctx, r.full(topics))
	if err := r.setAside(p, err); err != nil {
		return p, fmt.Errorf("start offsets: %w", err)
	}
	p.ends, p.starts = r.flat(ends, topics), r.flat(starts, topics)
	for topic := range p.failed {
		delete(p.ends, topic)
	}
	return p, nil
}

// setAside notes topics that failed alone; any other error is returned.
func (r *Redriver) setAside(p positions, err error) error {
	failed, ok := errors.AsType[stream.TopicErrors](err)
	if !ok {
		return err
	}
	for topic, cause := range failed {
		p.failed[strings.TrimPrefix(topic, r.Prefix+".")] = cause
	}
	return nil
}

func (r *Redriver) full(names []string) []string {
	full := make([]string, len(names))
	for i, name := range names {
		full[i] = r.Prefix + "." + name
	}
	return full
}

// flat turns offsets by topic and partition into lists by topic; a topic that
// is absent has an empty list.
func (r *Redriver) flat(offsets stream.Offsets, topics []string) map[string][]int64 {
	lists := make(map[string][]int64, len(topics))
	for _, name := range topics {
		byPartition := offsets[r.Prefix+"."+name]
		list := make([]int64, len(byPartition))
		for partition, offset := range byPartition {
			for len(list) <= partition {
				list = append(list, 0)
			}
			list[partition] = offset
		}
		lists[name] = list
	}
	return lists
}

// confirmed leaves out topics that are missing or look shorter than they were,
// until they have looked so absentRounds times in a row; until then their former
// ends stand in for them, and one that was never seen is not judged at all.
func (r *Redriver) confirmed(p positions) map[string][]int64 {
	for topic := range p.failed {
		delete(r.suspect, topic) // not in a row: it was not seen
	}
	sure := make(map[string][]int64, len(p.ends))
	for topic, list := range p.ends {
		was, seen := r.seen[topic]
		if len(list) == 0 || shorter(list, was) {
			if r.suspect[topic]++; r.suspect[topic] < absentRounds {
				if p.ends[topic] = was; !seen {
					delete(p.ends, topic)
				}
				continue
			}
		}
		r.suspect[topic] = 0
		r.seen[topic] = list
		sure[topic] = list
	}
	return sure
}

func shorter(now, was []int64) bool {
	for partition, end := range was {
		if at(now, partition) < end {
			return true
		}
	}
	return false
}

func at(list []int64, i int) int64 {
	if i < len(list) {
		return list[i]
	}
	return 0
}

// unread is the error of a round that could not see every topic.
func (p positions) unread() error {
	if len(p.failed) == 0 {
		return nil
	}
	return fmt.Errorf("topics that could not be read are looked into later: %w", p.failed)
}

// passed reports whether every message of the batch was consumed or is gone, or
// stands where nobody reads.
func (p positions) passed(b ledger.PublishedBatch, known func(topic string) bool) bool {
	if !p.ours[b.Topic] {
		return !known(b.Topic) && p.abandoned(b) // a known one is watched by its own lane's processors
	}
	if _, read := p.ends[b.Topic]; !read {
		return false
	}
	if b.At.After(p.asOf.Add(-clockMargin)) {
		return false // it may have been written after Kafka was asked
	}
	if b.Epoch < p.epochs[b.Topic] {
		return true
	}
	for partition, end := range b.Ends {
		if end < 0 {
			continue
		}
		logEnd := at(p.ends[b.Topic], partition)
		committed := at(p.committed[b.Topic], partition)
		if committed > logEnd {
			committed = 0 // of a topic that existed before this one
		}
		gone := logEnd < end || at(p.starts[b.Topic], partition) >= end
		if !gone && committed < end {
			return false
		}
	}
	return true
}

// abandoned: a topic of delays or lanes that are no more, and time enough for
// whoever read it until a moment ago.
func (p positions) abandoned(b ledger.PublishedBatch) bool {
	since := b.At
	if b.Due.After(since) {
		since = b.Due
	}
	return p.asOf.Sub(since) > abandonedAfter
}
