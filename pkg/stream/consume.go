package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/planted"
)

// What every group uses. A generation must be over well within the session timeout:
// kafka-go sends no heartbeat while it drains.
const (
	sessionTimeout    = 6 * time.Second
	heartbeatInterval = 1500 * time.Millisecond
	rebalanceTimeout  = 10 * time.Second
	joinBackoff       = 500 * time.Millisecond
	drainLimit        = 2500 * time.Millisecond
	partitionWatch    = 5 * time.Second
)

const (
	handleBackoffLeast = 50 * time.Millisecond
	handleBackoffMost  = 5 * time.Second
	rejoinBackoffLeast = 200 * time.Millisecond
	rejoinBackoffMost  = 2 * time.Second
)

// ConsumerConfig says what to read and what to do with it.
type ConsumerConfig struct {
	// Group to join and topics to read; topics that do not exist are made, unless
	// they are Foreign: then they are waited for, and Report is told.
	Group   string
	Topics  []string
	Foreign bool
	// Handle gets the head of what one partition has: 1 to MaxBatch consecutive
	// messages, whatever is there, without waiting for more. It is called one at a time
	// per partition, at the same time for different partitions.
	//
	// It returns how many of the head are done: only their offsets are committed. The
	// rest comes again, at the head of the next call; so does everything after an
	// error, after a pause of 50ms doubling to 5s. No message is ever skipped: what
	// can never be done belongs into the quarantine. Zero without an error is "not
	// yet" and pauses alike.
	//
	// ctx ends when the partition is given up or the process stops. Handle then has
	// 2.5s to return; what it returns as done is still committed. Later than that the
	// partition goes to another member, and Handle's return counts for nothing.
	Handle func(ctx context.Context, msgs []Message) (done int, err error)

	// MaxBatch is the most messages Handle gets; default 200.
	MaxBatch int
	// MaxBatchBytes is the most Handle gets in bytes, except for a single message that
	// is larger; default 1 MiB. A partition holds at most this and one fetch (1 MiB).
	MaxBatchBytes int
	// MaxWait of a long poll when nothing comes; default 500ms. A rebalance waits as long.
	MaxWait time.Duration
	// Linger is the least time between two polls of a broker; default 20ms: a poll
	// per message wakes the broker, this process and the ledger for each of them.
	Linger time.Duration
	// CommitEvery is how often offsets are committed; default 1s.
	CommitEvery time.Duration

	// HandleLimit is how long Handle may take before OnHang is told, once per call;
	// default 30s.
	HandleLimit time.Duration
	OnHang      func(Hang)
	// Report gets what went wrong and is being tried again: for a log. It must not block.
	Report func(error)
}

// Hang names a Handle call that does not come back.
type Hang struct {
	Topic     string
	Partition int
	Offset    int64 // of the first message of the call
	For       time.Duration
}

func (h Hang) String() string {
	return fmt.Sprintf("%s[%d]: handling of the messages from offset %d on has taken %v", h.Topic, h.Partition, h.Offset, h.For.Round(time.Millisecond))
}

func (c *ConsumerConfig) setDefaults() {
	if c.MaxBatch <= 0 {
		c.MaxBatch = 200
	}
	if c.MaxBatchBytes <= 0 {
		c.MaxBatchBytes = 1 << 20
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&c.MaxWait, 500 * time.Millisecond}, {&c.Linger, 20 * time.Millisecond},
		{&c.CommitEvery, time.Second}, {&c.HandleLimit, 30 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	c.MaxWait = min(c.MaxWait, drainLimit)
	if c.OnHang == nil {
		c.OnHang = func(Hang) {}
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
}

// Consumer is one member of a group.
type Consumer struct {
	factory   *Factory
	config    ConsumerConfig
	transport *kafka.Transport

	mu    sync.Mutex
	stuck map[place]<-chan struct{} // Handle calls that outlived their generation; closed when they return
}

// NewConsumer checks the configuration; Run joins.
func (f *Factory) NewConsumer(config ConsumerConfig) (*Consumer, error) {
	switch {
	case config.Group == "":
		return nil, errors.New("consumer: the group has no name")
	case len(config.Topics) == 0:
		return nil, fmt.Errorf("consumer of group %s: no topic to read", config.Group)
	case config.Handle == nil:
		return nil, fmt.Errorf("consumer of group %s: Handle is missing", config.Group)
	}
	config.setDefaults()
	return &Consumer{factory: f, config: config, transport: f.transport(), stuck: map[place]<-chan struct{}{}}, nil
}

// Run is a member of the group until ctx ends, through whatever happens to brokers,
// coordinator and topics. It returns nil after ctx ended and the group was left; an
// error only if it cannot ever work (the group configuration is refused).
// Run may be called again after it has returned, one at a time.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.transport.CloseIdleConnections()
	if c.ensure(ctx) != nil {
		return nil
	}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: c.config.Group, Brokers: c.factory.config.Brokers, Dialer: c.factory.dialer(), Topics: c.config.Topics,
		SessionTimeout: sessionTimeout, HeartbeatInterval: heartbeatInterval, RebalanceTimeout: rebalanceTimeout,
		JoinGroupBackoff: joinBackoff, WatchPartitionChanges: true, PartitionWatchInterval: partitionWatch,
		StartOffset: kafka.FirstOffset, GroupBalancers: []kafka.GroupBalancer{kafka.RoundRobinGroupBalancer{}, kafka.RangeGroupBalancer{}},
	})
	if err != nil {
		return fmt.Errorf("consumer of group %s: %w", c.config.Group, err)
	}
	// Closing is what ends a generation from our side; it waits until all of it is over.
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(closed); _ = group.Close() })
	defer func() {
		if stop() {
			_ = group.Close()
		} else {
			<-closed
		}
	}()
	c.follow(ctx, group)
	return nil
}

// follow takes one generation after the other. Next is always called again: while
// nobody does, the member is in the group and owns partitions that nobody reads.
func (c *Consumer) follow(ctx context.Context, group *kafka.ConsumerGroup) {
	short := 0 // generations and failures in a row that were over at once
	for ctx.Err() == nil {
		gen, err := group.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		started := time.Now()
		if err == nil {
			c.generation(gen)
		} else {
			c.config.Report(fmt.Errorf("join group %s: %w", c.config.Group, err))
		}
		// A missing topic ends every generation at once; so would joining without it.
		if c.ensure(ctx) != nil {
			return
		}
		if time.Since(started) > rejoinBackoffMost {
			short = 0
			continue
		}
		if short++; short > 3 { // a rebalance of several members may take a few
			_ = clock.Sleep(ctx, backoff(short-3, rejoinBackoffLeast, rejoinBackoffMost))
		}
	}
}

// ensure waits for brokers, and for topics that are missing and not made; it fails only when ctx ends.
func (c *Consumer) ensure(ctx context.Context) error {
	for n := 1; ; n++ {
		err := c.present(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			return nil
		}
		c.config.Report(fmt.Errorf("group %s: %w", c.config.Group, err))
		if err := clock.Sleep(ctx, backoff(n, ensureBackoffLeast, ensureBackoffMost)); err != nil {
			return err
		}
	}
}

// present makes the topics if they are ours to make, else it looks whether they exist.
func (c *Consumer) present(ctx context.Context) error {
	if !c.config.Foreign {
		return c.factory.ensureOnce(ctx, c.transport, c.config.Topics)
	}
	ctx, cancel := context.WithTimeout(ctx, ensureTry)
	defer cancel()
	missing, err := c.factory.missing(ctx, c.transport, c.config.Topics)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("topic %s does not exist, or we may not read it; it is not ours to make", missing[0])
	}
	return err
}

// generation reads the assigned partitions until the generation ends.
func (c *Consumer) generation(gen *kafka.Generation) {
	over := make(chan struct{})
	gen.Start(func(ctx context.Context) {
		defer close(over)
		c.work(ctx, gen)
	})
	<-over
}

// work runs one generation's goroutines and ends them all, then commits what is
// done. It returns when ctx has ended, or earlier to leave a generation whose topic
// is gone: its return ends the generation.
func (c *Consumer) work(ctx context.Context, gen *kafka.Generation) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var partitions []*partition
	for topic, assigned := range gen.Assignments {
		for _, a := range assigned {
			partitions = append(partitions, newPartition(place{topic, a.ID}, a.Offset))
		}
	}
	k := &keeper{consumer: c, gen: gen, partitions: partitions}
	f := &fetcher{consumer: c, partitions: partitions, hungry: make(chan struct{}, 1), lost: make(chan place, 1)}
	uncovered := make(chan place, 1)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if at, found := c.coverage(ctx); found {
			uncovered <- at
		}
	})
	tasks.Go(func() { f.run(ctx) })
	tasks.Go(func() { k.run(ctx) })
	for _, p := range partitions {
		done := make(chan struct{})
		p.over = done
		go func() { defer close(done); c.handlePartition(ctx, p, f.feed) }()
	}
	select {
	case <-ctx.Done():
	case at := <-uncovered:
		c.config.Report(fmt.Errorf("group %s: no member reads %s; joining again", c.config.Group, at))
	case at := <-f.lost:
		for _, p := range partitions {
			if p.place.topic == at.topic {
				p.missing(true) // nor do its siblings: no offset of theirs may be committed
			}
		}
		c.config.Report(fmt.Errorf("group %s: %s does not exist any more; joining again", c.config.Group, at))
	}
	cancel()
	c.drain(partitions)
	tasks.Wait()
	k.commit()
}

// drain waits for the Handle calls. One that does not come back in time is left
// behind, so that the others are committed and the group goes on; the partition is
// not handled again by this process until it has returned.
func (c *Consumer) drain(partitions []*partition) {
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	for _, p := range partitions {
		select {
		case <-p.over:
			continue
		case <-limit.C:
		}
		limit.Reset(0) // no more time for the others either, but look at each
		select {
		case <-p.over:
			continue
		default:
		}
		p.disown()
		if offset, since, busy := p.handlingSince(); busy {
			c.config.OnHang(Hang{p.place.topic, p.place.partition, offset, since})
		}
		c.mu.Lock()
		c.stuck[p.place] = p.over
		c.mu.Unlock()
	}
}

// unstuck waits for a Handle call of an earlier generation of this partition.
func (c *Consumer) unstuck(ctx context.Context, at place) bool {
	c.mu.Lock()
	over := c.stuck[at]
	c.mu.Unlock()
	if over == nil {
		return true
	}
	select {
	case <-over:
		c.mu.Lock()
		delete(c.stuck, at)
		c.mu.Unlock()
		return true
	case <-ctx.Done():
		return false
	}
}

// handlePartition calls Handle with the head of the partition until ctx ends.
func (c *Consumer) handlePartition(ctx context.Context, p *partition, feed func()) {
	if !c.unstuck(ctx, p.place) {
		return
	}
	failures := 0
	for {
		msgs, epoch := p.head(c.config.MaxBatch, c.config.MaxBatchBytes)
		if len(msgs) == 0 {
			select {
			case <-p.arrived:
				continue
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		p.begin(msgs[0].Offset)
		if planted.OffsetFirst { // done is what was handed over
			p.finish(msgs, epoch)
			epoch = -1 // what Handle says comes too late
		}
		done, err := c.config.Handle(ctx, msgs)
		if done < 0 || done > len(msgs) {
			err = errors.Join(err, fmt.Errorf("handle said %d of %d messages are done", done, len(msgs)))
			done = 0
		}
		p.finish(msgs[:done], epoch)
		feed()
		if ctx.Err() != nil {
			return
		}
		if err == nil && done > 0 {
			failures = 0
			continue
		}
		if done > 0 {
			failures = 0
		}
		failures++
		if err != nil {
			c.config.Report(fmt.Errorf("handle %s from offset %d on, try %d: %w", p.place, msgs[done%len(msgs)].Offset, failures, err))
		}
		if clock.Sleep(ctx, backoff(failures, handleBackoffLeast, handleBackoffMost)) != nil {
			return
		}
	}
}
