package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"waybill.internal/pkg/clock"
	"waybill.internal/test/harness"
	"waybill.internal/test/torture/checker"
	"waybill.internal/test/torture/journal"
)

const (
	// acceptAtLeast is the slowest acceptance, in records a second, that a phase waits for.
	acceptAtLeast = 50
	// finishAtLeast is the slowest finishing, in records a second.
	finishAtLeast = 20
	// watchBacklog is how long a backlog that is too long to be finished is watched.
	watchBacklog = 2 * time.Minute
	// finishedBacklog is the longest backlog that is worked to its end.
	finishedBacklog = 25_000
	// ProgressGoal is how soon after a heal new progress must be seen.
	ProgressGoal = 10 * time.Second
)

// Wiped is Kafka wiped under unfinished records.
type Wiped struct {
	Records    int             `json:"records"`
	Unfinished int             `json:"unfinished"` // when Kafka was wiped
	Progress   time.Duration   `json:"progress_ns"`
	Finished   time.Duration   `json:"finished_ns"` // all of them, after the wipe
	Violation  string          `json:"violation,omitempty"`
	Report     *checker.Report `json:"report"`
}

// Backlog is a backlog that is merely queued, and watched while it is worked.
type Backlog struct {
	Records   int    `json:"records"`
	Before    int64  `json:"messages_before"` // on work, once all are accepted
	After     int64  `json:"messages_after"`  // on work, in the end
	Elsewhere int64  `json:"messages_elsewhere"`
	Processed int    `json:"processed"`
	Violation string `json:"violation,omitempty"`
}

// Rewound is every group set to its earliest offset.
type Rewound struct {
	Records   int    `json:"records"`
	Messages  int64  `json:"messages_read_again"`
	NewCalls  int    `json:"new_calls"`
	NewTold   int    `json:"new_statuses"`
	Changed   bool   `json:"ledger_changed"`
	Violation string `json:"violation,omitempty"`
}

// accept posts n valid events until each is accepted.
func (c *cluster) accept(ctx context.Context, s *sender, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n)*time.Second/acceptAtLeast)
	defer cancel()
	next := make(chan int)
	errs := make([]error, senders)
	var workers sync.WaitGroup
	for w := range senders {
		workers.Go(func() {
			for i := range next {
				e := item{id: fmt.Sprintf("evt-%d", i), requestNo: fmt.Sprintf("SR-%d", i), product: fmt.Sprintf("P-%d", i%100), fate: journal.Processed}
				errs[w] = errors.Join(errs[w], s.until(ctx, e, w))
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(errs...)
}

// until posts an event until it is accepted or ctx ends.
func (s *sender) until(ctx context.Context, e item, which int) error {
	for {
		answer := s.post(ctx, e, which, false)
		if ok := answer.Status >= 200 && answer.Status < 300; ok {
			return nil
		}
		if clock.Sleep(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("event %s was not accepted: %d %s", e.id, answer.Status, answer.Error)
		}
	}
}

// phase runs do on a cluster of its own, with its ingest nodes up and everybody behaving.
func (p *program) phase(ctx context.Context, s *harness.Servers, name string, do func(*cluster, *sender) error) error {
	p.say("phase %s", name)
	c, err := newCluster(ctx, s, name, filepath.Join(p.out, name))
	if err != nil {
		return fmt.Errorf("phase %s: %w", name, err)
	}
	run := func() error {
		if err := startAll(c.of("ingest")); err != nil {
			return err
		}
		if err := c.awaitReady(ctx, c.of("ingest")); err != nil {
			return err
		}
		sender, err := newSender(c, p.seed, p.rate)
		if err != nil {
			return err
		}
		return errors.Join(do(c, sender), sender.close())
	}
	if err = errors.Join(run(), c.close()); err != nil {
		return fmt.Errorf("phase %s: %w", name, err)
	}
	return nil
}

// finish waits until all n records are closed.
func (c *cluster) finish(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n)*time.Second/finishAtLeast)
	defer cancel()
	return c.stack.AwaitClosed(ctx)
}

// wiped accepts n records while the third party hangs, wipes Kafka, and lets it live again.
func (p *program) wiped(ctx context.Context, s *harness.Servers, n int) (*Wiped, error) {
	w := &Wiped{Records: n}
	return w, p.phase(ctx, s, "wiped", func(c *cluster, sender *sender) error {
		c.stack.ThirdParty.Behave(func(string, int) harness.Behaviour {
			return harness.Behaviour{Status: http.StatusServiceUnavailable, Delay: 3 * time.Second} // longer than anybody waits, and nothing is done
		})
		workers := c.of("processor", "acknowledger")
		if err := startAll(workers); err != nil {
			return err
		}
		if err := c.accept(ctx, sender, n); err != nil {
			return err
		}
		var err error
		if w.Unfinished, err = c.stack.Count(ctx, `SELECT count(*) FROM record WHERE state IN ('queued', 'processing', 'retrying', 'parked')`); err != nil {
			return err
		}
		if err := c.Kafka.Wipe(ctx); err != nil {
			return err
		}
		c.stack.ThirdParty.Behave(nil)
		healed := time.Now()
		w.Progress = (&nemesis{cluster: c}).progress(wipeKafka, healed)
		if err := c.finish(ctx, n); err != nil {
			w.Violation = err.Error()
		}
		w.Finished = time.Since(healed)
		p.say("wiped under %d unfinished: first progress after %s, all finished after %s", w.Unfinished, w.Progress, w.Finished)
		switch {
		case w.Unfinished != n:
			w.Violation = fmt.Sprintf("only %d of %d records were unfinished when Kafka was wiped: the phase shows nothing", w.Unfinished, n)
		case w.Progress == 0:
			w.Violation = "no progress after the wipe"
		}
		if err := c.dumpTopics(ctx); err != nil {
			return err
		}
		_ = stopAll(c.nodes) // written down as a crash, for the checker
		if err := c.writeParties(); err != nil {
			return err
		}
		w.Report, err = p.judge(ctx, c)
		return err
	})
}

// messages counts what topics hold, from their first to their end offsets.
func (c *cluster) messages(ctx context.Context, names ...string) (int64, error) {
	client := &kafka.Client{Addr: kafka.TCP(c.Kafka.Addr()), Timeout: 10 * time.Second}
	var total int64
	for _, name := range names {
		topic := c.name + "." + name
		request := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: nil}}
		meta, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err != nil {
			return 0, fmt.Errorf("partitions of %s: %w", topic, err)
		}
		for _, t := range meta.Topics {
			for _, p := range t.Partitions {
				request.Topics[topic] = append(request.Topics[topic], kafka.FirstOffsetOf(p.ID), kafka.LastOffsetOf(p.ID))
			}
		}
		answer, err := client.ListOffsets(ctx, request)
		if err != nil {
			return 0, fmt.Errorf("offsets of %s: %w", topic, err)
		}
		for _, p := range answer.Topics[topic] {
			if p.Error != nil {
				return 0, fmt.Errorf("offsets of %s[%d]: %w", topic, p.Partition, p.Error)
			}
			total += p.LastOffset - p.FirstOffset
		}
	}
	return total, nil
}

// backlog accepts n records with no processor up, then lets the processors work
// slowly: nothing may be sent again.
func (p *program) backlog(ctx context.Context, s *harness.Servers, n int) (*Backlog, error) {
	b := &Backlog{Records: n}
	return b, p.phase(ctx, s, "backlog", func(c *cluster, sender *sender) error {
		c.stack.ThirdParty.Behave(func(string, int) harness.Behaviour { return harness.Behaviour{Delay: 50 * time.Millisecond} })
		if err := c.accept(ctx, sender, n); err != nil {
			return err
		}
		settled, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		// What was accepted last is published a moment later.
		err := harness.Poll(settled, func() (bool, error) {
			var err error
			b.Before, err = c.messages(settled, "main.work")
			return b.Before >= int64(n), err
		})
		if err != nil {
			return fmt.Errorf("%d messages on work for %d records: %w", b.Before, n, err)
		}
		if err := startAll(c.of("processor", "acknowledger")); err != nil {
			return err
		}
		if n <= finishedBacklog {
			err = c.finish(ctx, n)
		} else {
			_ = clock.Sleep(ctx, watchBacklog)
		}
		if err != nil {
			return err
		}
		if b.Processed, err = c.stack.Count(ctx, `SELECT count(*) FROM record WHERE state = 'processed'`); err != nil {
			return err
		}
		if b.After, err = c.messages(ctx, "main.work"); err != nil {
			return err
		}
		if b.Elsewhere, err = c.messages(ctx, workTopics()[1:]...); err != nil {
			return err
		}
		p.say("backlog of %d: %d messages on work before, %d after, %d on other topics, %d processed", n, b.Before, b.After, b.Elsewhere, b.Processed)
		switch {
		case b.Before != int64(n) || b.After != int64(n) || b.Elsewhere != 0:
			b.Violation = fmt.Sprintf("%d records had %d messages on work before, %d after and %d elsewhere", n, b.Before, b.After, b.Elsewhere)
		case b.Processed == 0:
			b.Violation = "nothing was processed: the phase shows nothing"
		}
		return nil
	})
}

// rewound finishes n records, sets every group to the earliest offset, and looks
// whether anything happens.
func (p *program) rewound(ctx context.Context, s *harness.Servers, n int) (*Rewound, error) {
	r := &Rewound{Records: n}
	return r, p.phase(ctx, s, "rewound", func(c *cluster, sender *sender) error {
		workers := c.of("processor", "acknowledger")
		if err := startAll(workers); err != nil {
			return err
		}
		if err := c.accept(ctx, sender, n); err != nil {
			return err
		}
		if err := errors.Join(c.finish(ctx, n), stopAll(workers)); err != nil {
			return err
		}
		before, err := c.digest(ctx)
		if err != nil {
			return err
		}
		calls, told := len(c.stack.ThirdParty.Calls()), len(c.stack.Partner.Told())
		if err := c.rewind(ctx); err != nil {
			return err
		}
		if err := startAll(workers); err != nil {
			return err
		}
		if err := c.awaitReadAgain(ctx); err != nil {
			return err
		}
		if err := stopAll(workers); err != nil { // what they still had in hand ends before
			return err
		}
		after, err := c.digest(ctx)
		if err != nil {
			return err
		}
		if r.Messages, err = c.messages(ctx, append(workTopics(), "result")...); err != nil {
			return err
		}
		r.NewCalls, r.NewTold, r.Changed = len(c.stack.ThirdParty.Calls())-calls, len(c.stack.Partner.Told())-told, before != after
		p.say("rewound %d records, %d messages read again: %d new calls, %d new statuses, ledger changed: %t", n, r.Messages, r.NewCalls, r.NewTold, r.Changed)
		if r.NewCalls != 0 || r.NewTold != 0 || r.Changed || r.Messages < 2*int64(n) {
			r.Violation = fmt.Sprintf("%d messages were read again: %d new calls, %d new statuses, ledger changed: %t", r.Messages, r.NewCalls, r.NewTold, r.Changed)
		}
		return nil
	})
}

func (c *cluster) awaitReadAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for group, topics := range c.groups() {
		for _, topic := range topics {
			if err := harness.AwaitCaughtUp(ctx, c.Kafka.Addr(), group, c.name+"."+topic); err != nil {
				return fmt.Errorf("group %s has not read %s again: %w", group, topic, err)
			}
		}
	}
	return nil
}

// digest is the ledger's state of every record, its history and its rows, in one line.
func (c *cluster) digest(ctx context.Context) (string, error) {
	var digest string
	err := c.stack.Pool.QueryRow(ctx, `SELECT
		(SELECT md5(string_agg(concat_ws('/', id, state, fence, attempt, losses, outcome, outcome_state, outcome_try, moved_at), ',' ORDER BY id)) FROM record) || ' ' ||
		(SELECT count(*) FROM attempt) || ' ' || (SELECT coalesce(sum(written), 0) FROM service_requests)`).Scan(&digest)
	return digest, err
}
