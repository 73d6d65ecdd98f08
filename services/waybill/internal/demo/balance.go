package demo

import (
	"context"
	"fmt"
	"strings"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
	"waybill.internal/services/waybill/internal/example"
)

const (
	// leastDead is how many dead letters a demo of full size must have had.
	leastDead = 10
	fullSize  = 1000
)

// balance prints the conservation table and compares it with what everybody
// else counted.
func (d *Demo) balance(ctx context.Context) error {
	var wrong []string
	if code := d.command(ctx, "audit"); code != 0 {
		wrong = append(wrong, fmt.Sprintf("waybill audit ends with %d", code))
	}
	written, fileRows, err := example.Written(ctx, d.running.PostgresURL)
	if err != nil {
		return err
	}
	a, err := d.ledger.Audit(ctx, 0)
	if err != nil {
		return err
	}
	if c := a.Integrations[example.Integration]; c != nil {
		d.last = *c
	}
	wrong = append(wrong, d.compare(written, fileRows)...)
	if a.Unaccounted != 0 {
		wrong = append(wrong, fmt.Sprintf("%d are unaccounted for: %s", a.Unaccounted, strings.Join(a.Differences, "; ")))
	}
	d.next()
	for _, w := range wrong {
		d.say("WRONG: %s", w)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s", ErrUnbalanced, strings.Join(wrong, "; "))
	}
	d.say("It balances: unaccounted 0, and the partner has acknowledged how all %s records ended.", console.Count(d.last.Outcomes[record.Acknowledged]))
	return nil
}

// compare holds the ledger against sender, third party, partner and table, and
// says what does not agree.
func (d *Demo) compare(written, fileRows int64) (wrong []string) {
	c, s := d.last, d.sender
	third, partner := d.world.ThirdParty.State(), d.world.Partner.State()
	n := console.Count
	table := console.NewTable("counted by", "what", ">theirs", ">the ledger's")
	check := func(who, what string, theirs, ours int64, ok bool) {
		table.Row(who, what, n(theirs), n(ours))
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s: %s there, %s in the ledger", who, what, n(theirs), n(ours)))
		}
	}
	same := func(who, what string, theirs, ours int64) { check(who, what, theirs, ours, theirs == ours) }
	rows := int64(d.csv.Rows)
	received := c.Received - rows
	// A sending whose answer was lost on the way came again: it may be told
	// "duplicate" of itself, and be counted once more.
	near := func(who, what string, theirs, ours int64) {
		check(who, what, theirs, ours, ours >= theirs-s.Retries && ours <= theirs+s.Retries)
	}
	near("the sender", "accepted", s.Accepted, received)
	near("the sender", "duplicates", s.Duplicates, c.Duplicates)
	near("the sender", "refused", s.Refused, c.Refused)
	same("the sender", "without an answer", s.Undecided, 0)
	same("the file", "rows", rows, fileRows)
	same("the third party", "keys that came with another body", third.OtherBody, 0)
	same("the third party", "requests without an Idempotency-Key", third.MissingKey, 0)
	same("the third party", "service requests opened", third.Things, written)
	same("the partner", "statuses confirmed", partner.ConfirmedIDs, c.Outcomes[record.Acknowledged])
	same("the partner", "requests without a valid signature", partner.Unsigned, 0)
	fmt.Fprintln(d.Out, "Held against what the others counted:")
	table.Write(d.Out, "  ")
	fmt.Fprintf(d.Out, "  the third party saw %s requests: %s\n\n", n(third.Requests), outcomes(third.Outcomes))
	if open := unfinished(c); open != 0 {
		wrong = append(wrong, fmt.Sprintf("%s records are final, but not acknowledged", n(open)))
	}
	return wrong
}

// unfinished counts what is final and not acknowledged, and what is not final.
func unfinished(c ledger.Count) int64 { return c.Received - c.Outcomes[record.Acknowledged] }

// next says what to type now.
func (d *Demo) next() {
	fmt.Fprintf(d.Out, "While this runs, in another terminal:\n\n  export WAYBILL_POSTGRES_URL='%s' WAYBILL_KAFKA_BROKERS=%s WAYBILL_KAFKA_PREFIX=demo\n", d.running.PostgresURL, d.running.KafkaBrokers)
	if len(d.sender.Receipts) > 0 {
		fmt.Fprintf(d.Out, "  %s trace %s\n", d.Name, d.sender.Receipts[len(d.sender.Receipts)/2])
	}
	for _, command := range []string{"tail --since 10m -n 20", "dead list", "audit", "doctor"} {
		fmt.Fprintf(d.Out, "  %s %s\n", d.Name, command)
	}
	fmt.Fprintln(d.Out)
}
