package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"

	"waybill.internal/test/harness"
	"waybill.internal/test/torture/checker"
	"waybill.internal/test/torture/journal"
)

const (
	// quiesceLimit is how long everything may take to come to rest once all is healed.
	quiesceLimit = 4 * time.Minute
	// dumpLimit bounds the reading of all topics.
	dumpLimit = 2 * time.Minute
	// dumpMost bounds the messages of one topic that are dumped for the checker.
	dumpMost = 400_000
)

// Torture is what one run of it came to.
type Torture struct {
	Seed     uint64          `json:"seed"`
	Minutes  float64         `json:"minutes"`
	Rate     int             `json:"rate_per_s"`
	Requests int64           `json:"requests"`
	Shed     int64           `json:"not_sent"` // what the sender could not keep up with
	Quiesce  time.Duration   `json:"quiesce_ns"`
	Faults   []journal.Fault `json:"faults"`
	Report   *checker.Report `json:"report"`
}

// torture runs everything under load and faults, lets it come to rest, and has it judged.
func (p *program) torture(ctx context.Context, s *harness.Servers, lasts time.Duration) (*Torture, error) {
	c, err := newCluster(ctx, s, "torture", filepath.Join(p.out, "torture"))
	if err != nil {
		return nil, err
	}
	t := &Torture{Seed: p.seed, Minutes: lasts.Minutes(), Rate: p.rate}
	err = p.underFire(ctx, c, lasts, t)
	if err == nil {
		t.Report, err = p.judge(ctx, c)
	}
	return t, errors.Join(err, c.close())
}

func (p *program) underFire(ctx context.Context, c *cluster, lasts time.Duration, t *Torture) error {
	parties := &parties{seed: p.seed}
	c.stack.ThirdParty.Behave(parties.thirdParty)
	c.stack.Partner.Behave(parties.partner, parties.skip)
	if err := startAll(c.nodes); err != nil {
		return err
	}
	if err := c.awaitReady(ctx, c.nodes); err != nil {
		return err
	}
	sender, err := newSender(c, p.seed, p.rate)
	if err != nil {
		return err
	}
	nemesis, err := newNemesis(c, parties, p.say)
	if err != nil {
		return err
	}
	// Load goes on until the last fault is healed and its progress was seen.
	load, endLoad := context.WithCancel(ctx)
	defer endLoad()
	sent := make(chan error, 1)
	go func() { sent <- sender.run(load) }()
	fire, cease := context.WithTimeout(ctx, lasts)
	defer cease()
	err = nemesis.run(fire, newPlan(p.seed))
	endLoad()
	err = errors.Join(err, <-sent, sender.close())
	parties.kind.Store(true)
	t.Requests, t.Shed, t.Faults = sender.sent.Load(), sender.shed.Load(), nemesis.faults
	p.say("%d faults, %d requests; everything is healed and comes to rest", len(t.Faults), t.Requests)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = p.rest(ctx, c)
	t.Quiesce = time.Since(begin)
	return err
}

// rest waits until nothing is under way and every file is read, and ends the
// processes in good order. That it does not come is for the checker to say, with
// the records that stand.
func (p *program) rest(ctx context.Context, c *cluster) error {
	if err := c.awaitReady(ctx, c.nodes); err != nil {
		return err
	}
	quiet, cancel := context.WithTimeout(ctx, quiesceLimit)
	defer cancel()
	if err := c.awaitFiles(quiet); err != nil {
		p.say("%v", err)
	}
	if err := c.stack.AwaitClosed(quiet); err != nil {
		p.say("it did not come to rest: %v", err)
	}
	if err := c.dumpTopics(ctx); err != nil {
		return err
	}
	_ = stopAll(c.nodes) // written down as a crash, for the checker
	return c.writeParties()
}

// awaitFiles waits until every dropped file is closed in the ledger.
func (c *cluster) awaitFiles(ctx context.Context) error {
	want := 0
	if err := journal.Read(c.dir, journal.FilesFile, func(journal.Dropped) { want++ }); err != nil {
		return err
	}
	have := 0
	err := harness.Poll(ctx, func() (bool, error) {
		n, err := c.stack.Count(ctx, `SELECT count(*) FROM file WHERE state <> 'reading'`)
		have = n
		return err == nil && n >= want, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d files are read: %w", have, want, err)
	}
	return nil
}

func (c *cluster) dumpTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dumpLimit)
	defer cancel()
	w, err := journal.Create[journal.Message](c.dir, journal.TopicsFile)
	if err != nil {
		return err
	}
	for _, name := range allTopics() {
		topic := c.name + "." + name
		messages, err := harness.Dump(ctx, c.Kafka.Addr(), topic)
		if err != nil && !errors.Is(err, kafka.UnknownTopicOrPartition) {
			return errors.Join(fmt.Errorf("dump %s: %w", topic, err), w.Close())
		}
		for _, m := range messages[:min(len(messages), dumpMost)] {
			w.Write(journal.Message{Topic: topic, Partition: m.Partition, Offset: m.Offset, Key: string(m.Key), Record: harness.Header(m, "waybill-record")})
		}
	}
	return w.Close()
}

// judge has the checker judge, as a program of its own.
func (p *program) judge(ctx context.Context, c *cluster) (*checker.Report, error) {
	out := filepath.Join(c.dir, "report.json")
	command := exec.CommandContext(ctx, p.checker, "-journals", c.dir, "-postgres", c.stack.Postgres, "-json", out)
	text, err := command.CombinedOutput()
	p.say("%s", text)
	if exit, failed := errors.AsType[*exec.ExitError](err); err != nil && (!failed || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("checker: %w\n%s", err, text)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	var report checker.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		return nil, fmt.Errorf("read the checker's report: %w", err)
	}
	if !report.OK() {
		p.traces(ctx, c, &report)
	}
	return &report, nil
}

// traces keeps the story of the first records that a violation names.
func (p *program) traces(ctx context.Context, c *cluster, report *checker.Report) {
	conn, err := pgx.Connect(ctx, c.stack.Postgres)
	if err != nil {
		p.say("no traces: %v", err)
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, f := range report.Findings {
		for _, shown := range f.Shown[:min(len(f.Shown), 2)] {
			id := recordIn(shown)
			if id == "" {
				continue
			}
			text, err := c.stack.Waybill(ctx, "trace", id)
			if err != nil {
				text += "\n" + err.Error()
			}
			p.say("--- %s: %s\n%s", f.Name, shown, text)
		}
	}
}
