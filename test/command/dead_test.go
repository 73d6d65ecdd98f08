package command_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

type list struct {
	Total, More int64
	Reasons     []struct {
		Code  string
		Count int64
	}
	Records []struct{ ID string }
}

func TestDeadList(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	out, _ := d.waybill(0, "dead", "list")
	says(t, out, "Nothing dead waits for a person.")
	d.dead("http_500", "a", "b", "c")
	d.dead("timeout", "d")
	out, _ = d.waybill(0, "dead", "list", "--limit", "2")
	says(t, out, "http_500", "timeout", "4 records in all", "… and 2 more")
	l := document[list](d, 0, "dead", "list", "--code", "timeout")
	if l.Total != 1 || l.More != 0 || len(l.Reasons) != 1 || l.Reasons[0].Code != "timeout" || l.Records[0].ID != d.id("d").String() {
		t.Errorf("filtered by code: %+v", l)
	}
	for _, none := range [][]string{{"--integration", "other"}, {"--class", "bug"}, {"--kind", "parked"}, {"--kind", "unacknowledged"}} {
		if l = document[list](d, 0, append([]string{"dead", "list"}, none...)...); l.Total != 0 || len(l.Records) != 0 {
			t.Errorf("%q: %+v", none, l)
		}
	}
	out, _ = d.waybill(0, "dead", "show", "a")
	says(t, out, `{"no":"a"}`, "waybill dead requeue "+d.id("a").String())
}

type act struct {
	Event               string
	Matched, Done, Left int
	Skipped             int
	Unknown             int64 `json:"unknown_outcomes"`
	DryRun              bool  `json:"dry_run"`
	Error               string
}

func TestRequeueDryRunDoesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.dead("timeout", "a", "b")
	out, _ := d.waybill(0, "dead", "requeue", "--all", "--dry-run")
	says(t, out, "2 records to be requeued", "2 last calls ended without an answer", "Dry run: nothing was done.")
	a := document[act](d, 0, "dead", "requeue", "--all", "--dry-run")
	if !a.DryRun || a.Matched != 2 || a.Done != 0 || a.Unknown != 2 {
		t.Errorf("%+v", a)
	}
	d.expectStates(record.Dead, "a", "b")
	_, errs := d.waybill(2, "dead", "requeue", "--all") // nobody can be asked
	says(t, errs, "--yes")
	d.expectStates(record.Dead, "a", "b")
}

func TestRequeueByFilterAndByID(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.dead("http_500", "a", "b")
	d.dead("timeout", "c", "d")
	out, _ := d.waybill(0, "dead", "requeue", "--code", "http_500", "--yes", "--no-probe", "--reason", "mended", "--actor", "ann")
	says(t, out, "2 records requeued")
	d.expectStates(record.Queued, "a", "b")
	d.expectStates(record.Dead, "c", "d")
	d.waybill(0, "dead", "requeue", d.id("c").String(), "--no-probe")
	d.expectStates(record.Queued, "c")
	d.expectStates(record.Dead, "d")
	out, _ = d.waybill(0, "trace", "a")
	says(t, out, "requeued by ann: dead → queued", "because: mended")
	out, _ = d.waybill(0, "trace", "c")
	says(t, out, "requeued by eve")
	a := document[audit](d, 0, "audit")
	if a.Unaccounted != 0 || a.Integrations[0].States["queued"] != 3 {
		t.Errorf("%+v", a)
	}
}

func TestRequeueOfWhatDoesNotWait(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.dead("http_500", "dead")
	d.work(record.Fact{Event: record.Succeeded}, d.accept("done")...)
	_, errs := d.waybill(1, "dead", "requeue", "dead", "done", "--no-probe")
	says(t, errs, "a processed record cannot be requeued", "nothing was done")
	d.expectStates(record.Dead, "dead")
	_, errs = d.waybill(1, "dead", "requeue", "--kind", "unacknowledged", "done")
	says(t, errs, "its outcome is due")
	_, errs = d.waybill(1, "dead", "requeue", "unknown")
	says(t, errs, "knows nothing")
}

func TestProbeStopsWhenNobodyWorks(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.dead("http_500", "a", "b", "c")
	a := document[act](d, 1, "dead", "requeue", "--all", "--yes", "--probe-wait", "300ms")
	if a.Done != 1 || a.Left != 2 || a.Error == "" {
		t.Errorf("%+v", a)
	}
	counts := map[record.State]int{} // which one is first is not said: they died together
	for _, s := range d.states("a", "b", "c") {
		counts[s]++
	}
	if counts[record.Queued] != 1 || counts[record.Dead] != 2 {
		t.Errorf("states: %v", counts)
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.dead("http_500", "a")
	d.dead("timeout", "b")
	d.waybill(0, "dead", "discard", "--code", "timeout", "--reason", "test order", "--yes")
	d.expectStates(record.Discarded, "b")
	d.expectStates(record.Dead, "a")
	out, _ := d.waybill(0, "trace", "b")
	says(t, out, "discard by eve: dead → discarded", "because: test order")
	_, errs := d.waybill(1, "dead", "discard", "b", "--reason", "again")
	says(t, errs, "cannot be discard")
}

func TestRequeueOfManyNeedsNoCap(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var keys []string
	for i := range 2500 {
		keys = append(keys, fmt.Sprintf("k%d", i))
	}
	d.dead("http_500", keys...)
	a := document[act](d, 0, "dead", "requeue", "--all", "--yes", "--no-probe", "--rate", "100000")
	if a.Matched != 2500 || a.Done != 2500 || a.Left != 0 {
		t.Errorf("%+v", a)
	}
}

func TestUnacknowledgedIsToldAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	done := d.work(record.Fact{Event: record.Succeeded}, d.accept("a")...)
	sent, err := d.l.ClaimOutcomes(t.Context(), d.session, refs(done))
	d.must(err)
	d.settle(record.Fact{Event: record.PartnerGone, Failure: record.Failure{Class: record.ClassSystem, Code: "http_500"}}, ledger.NotifyHistory, sent)
	l := document[list](d, 0, "dead", "list", "--kind", "unacknowledged")
	if l.Total != 1 {
		t.Fatalf("%+v", l)
	}
	out, _ := d.waybill(0, "dead", "list", "--kind", "unacknowledged")
	says(t, out, "the partner did not confirm outcome 1 (")
	out, _ = d.waybill(0, "dead", "requeue", "--kind", "unacknowledged", "--all", "--dry-run")
	says(t, out, "1 record to be told again", "the partner did not confirm outcome 1 (")
	_, errs := d.waybill(1, "dead", "requeue", "a", "--no-probe")
	says(t, errs, "--kind unacknowledged")
	out, _ = d.waybill(0, "dead", "requeue", "--kind", "unacknowledged", "--all", "--yes", "--no-probe")
	says(t, out, "1 record told again")
	found, err := d.l.Records(t.Context(), []record.ID{d.id("a")})
	d.must(err)
	if o := found[d.id("a")].Outcome; o.State != record.OutcomeDue {
		t.Errorf("the outcome is %s", o.State)
	}
}

// TestFailureIsCleanOnTheTerminal: the message of the probe's failure came from a third party.
func TestFailureIsCleanOnTheTerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.dead("http_500", "a")
	fact := dies("http_500")
	fact.Failure.Message = "busy\x1b[2J\x1b[31m"
	ctx, stop := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() { worked <- d.workWhenQueued(ctx, d.id("a"), fact) }()
	out, errs := d.waybill(1, "dead", "requeue", "--all", "--yes", "--probe-wait", "30s")
	stop()
	d.must(<-worked)
	if strings.Contains(out+errs, "\x1b") {
		t.Errorf("%q %q", out, errs)
	}
	says(t, errs, "is dead again: system/http_500: busy [2J [31m")
}

// workWhenQueued is a processor's part for one record; it ends with ctx.
func (d *desk) workWhenQueued(ctx context.Context, id record.ID, fact record.Fact) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := d.l.Records(ctx, []record.ID{id})
		if err != nil {
			return err
		}
		if r := found[id]; r.State == record.Queued {
			claimed, err := d.l.Claim(ctx, d.session, refs([]record.Record{r}))
			if err != nil {
				return err
			}
			if len(claimed) != 1 {
				return fmt.Errorf("%d records were claimed, want 1", len(claimed))
			}
			c := claimed[0]
			_, _, err = d.l.Settle(ctx, d.session, []ledger.Settlement{{ID: c.ID, Fence: c.Fence, Fact: fact, History: ledger.History{Kind: ledger.ProcessHistory, StartedAt: d.l.Now()}}})
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
