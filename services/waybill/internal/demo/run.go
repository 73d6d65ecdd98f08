package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
	"waybill.internal/services/waybill/internal/example"
	"waybill.internal/services/waybill/internal/simulated"
)

// ErrUnbalanced says that the numbers do not agree, or that something final is
// not acknowledged.
var ErrUnbalanced = errors.New("the demo does not balance")

// Run plays the bad day. It is ErrUnbalanced when the numbers do not agree.
func (d *Demo) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.say("sending %s signed requests over %d connections; some again, some unsigned, some cut off", console.Count(int64(d.Records)), connections)
	d.say("the third party times out, answers 503 with Retry-After, breaks connections and has a bug; the partner refuses")
	go d.send(ctx) // ends with ctx or the last request; sent has room for its result
	if err := d.badDay(ctx); err != nil {
		return err
	}
	if err := d.mend(ctx); err != nil {
		return err
	}
	return d.balance(ctx)
}

func (d *Demo) send(ctx context.Context) {
	s := simulated.Sender{URL: "http://" + d.running.Address("ingest", "http") + example.Path, Key: d.key, Seed: seed, Count: d.Records, Concurrency: connections, Mix: mix()}
	r, err := s.Run(ctx, nil)
	d.sent <- sending{r, err}
}

// dropFile leaves a CSV file as a shop without a connection would: under another
// name until it is whole.
func (d *Demo) dropFile() error {
	if d.CSV <= 0 {
		return nil
	}
	final := filepath.Join(d.dir, "drop", "shops.csv")
	f, err := os.Create(final + ".part")
	if err != nil {
		return fmt.Errorf("drop a file: %w", err)
	}
	d.csv, err = simulated.CSV{Seed: seed, Rows: d.CSV, Duplicate: 0.02, UnknownProduct: 0.01, ClosedEarly: 0.01, Broken: 0.01}.Write(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("drop a file: %w", err)
	}
	if err := os.Rename(final+".part", final); err != nil {
		return fmt.Errorf("drop a file: %w", err)
	}
	d.say("dropped a CSV file of %s rows, %d of them broken", console.Count(int64(d.CSV)), d.csv.Broken())
	return nil
}

// badDay lasts until only the dead are left, and all that is final is told.
func (d *Demo) badDay(ctx context.Context) error {
	died, back := time.Time{}, false
	return d.until(ctx, "the bad day to end", func(c ledger.Count) (bool, error) {
		select {
		case s := <-d.sent:
			if d.sender = s.report; s.err != nil {
				return false, fmt.Errorf("send: %w", s.err)
			}
			d.say("all sent: %s accepted, %s duplicates, %s refused; %s had to be sent again", console.Count(d.sender.Accepted), console.Count(d.sender.Duplicates),
				console.Count(d.sender.Refused), console.Count(d.sender.Retried))
		default:
		}
		switch {
		case died.IsZero() && (c.States[record.Processed] > int64(d.Records)/5 || d.sender.Sent > 0 && c.InFlight() == 0):
			died = d.Now()
			d.world.ThirdParty.Die(outage)
			d.say("the third party is dead for %s", outage)
		case !died.IsZero() && !back && d.Now().Sub(died) >= outage:
			back = true
			if err := d.world.ThirdParty.SetScript(simulated.Script{Bug: d.bug()}); err != nil {
				return false, err
			}
			d.say("the third party is back, with its bug")
		}
		return back && d.sender.Sent == int64(d.Records) && d.arrived(c) && atRest(c), nil
	})
}

// arrived reports whether every row of the file is counted too.
func (d *Demo) arrived(c ledger.Count) bool {
	return c.Received >= d.sender.Accepted+int64(d.csv.Rows)
}

// atRest reports whether nothing moves by itself any more.
func atRest(c ledger.Count) bool {
	return c.InFlight() == 0 && c.States[record.Parked] == 0 && c.Outcomes[record.OutcomeDue]+c.Outcomes[record.OutcomeSent] == 0
}

// until looks until done says so, showing what it sees.
func (d *Demo) until(ctx context.Context, what string, done func(ledger.Count) (bool, error)) error {
	deadline := d.Now().Add(patience)
	for {
		a, err := d.ledger.Audit(ctx, 30*time.Second)
		if err != nil {
			return err
		}
		c := ledger.Count{}
		if found := a.Integrations[example.Integration]; found != nil {
			c = *found
		}
		d.last = c
		d.screen.Show(d.line(c))
		if ok, err := done(c); ok || err != nil {
			d.screen.End()
			return err
		}
		if d.Now().After(deadline) {
			return fmt.Errorf("waited %s for %s: %s; the log is %s", patience, what, d.line(c), d.logFile())
		}
		if clock.Sleep(ctx, look) != nil {
			return ctx.Err()
		}
	}
}

func (d *Demo) line(c ledger.Count) string {
	n := console.Count
	told := c.Outcomes[record.Acknowledged]
	all := told + c.Outcomes[record.OutcomeDue] + c.Outcomes[record.OutcomeSent] + c.Outcomes[record.Unacknowledged]
	return fmt.Sprintf("[%5.1fs] arrived %s · queued %s · working %s · retrying %s · processed %s · rejected %s · dead %s · acknowledged %s of %s", d.Now().Sub(d.began).Seconds(),
		n(c.Arrivals()), n(c.States[record.Queued]), n(c.States[record.Processing]), n(c.States[record.Retrying]), n(c.States[record.Processed]),
		n(c.States[record.Rejected]), n(c.States[record.Dead]), n(told), n(all))
}

// mend mends the third party and brings the dead home with the command that a
// person would type.
func (d *Demo) mend(ctx context.Context) error {
	dead := d.last.States[record.Dead]
	if dead < leastDead && d.Records >= fullSize {
		return fmt.Errorf("%w: the bug made %d dead letters, at least %d are expected", ErrUnbalanced, dead, leastDead)
	}
	if dead == 0 { // of a few records the bug met none
		d.say("the bug met no record")
		return nil
	}
	d.world.ThirdParty.Mend()
	d.say("%s dead letters wait for a person. The third party has mended its bug; now you would type:", console.Count(dead))
	if code := d.command(ctx, "dead", "requeue", "--integration", example.Integration, "--yes", "--actor", "demo", "--reason", "the third party mended its bug"); code != 0 {
		return fmt.Errorf("the requeue failed with exit code %d; the log is %s", code, d.logFile())
	}
	return d.until(ctx, "the dead to come home", func(c ledger.Count) (bool, error) {
		return c.States[record.Dead] == 0 && atRest(c), nil
	})
}

// command shows a command line and runs it.
func (d *Demo) command(ctx context.Context, args ...string) int {
	fmt.Fprintf(d.Out, "\n$ %s%s\n", d.Name, typed(args))
	code := d.Command(ctx, d.running.Lookup, args...)
	fmt.Fprintln(d.Out)
	return code
}
