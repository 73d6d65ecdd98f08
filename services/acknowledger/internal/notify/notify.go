package notify

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/acknowledger/internal/confirm"
)

// Patience is how long a full integration is waited for before its outcomes are
// put back into the ledger.
const Patience = 2 * time.Second

// Config of a Notifier.
type Config struct {
	Integrations []catalog.Entry
	InFlight     int           // places, over all integrations
	Drain        time.Duration // how long Run waits for answers after its context has ended
	Claim        func(ctx context.Context, refs []ledger.Ref) ([]record.Record, confirm.Lease, error)
	Settle       func(ctx context.Context, v confirm.Verdict) ([]ledger.Settled, error)
	// Quarantine keeps a message that is not ours before its offset moves.
	Quarantine func(ctx context.Context, m stream.Message, reason error) error
	// Told is given every settlement of a try that held.
	Told      func(integration string, settled []ledger.Settled, settlements []ledger.Settlement)
	Now       func() time.Time // ledger's clock
	UserAgent string
	Alerts    *telemetry.Alerts
	Log       *zap.Logger
}

// Notifier hands claimed outcomes to the lines of their integrations.
type Notifier struct {
	Config
	lines    map[string]*line
	draining chan struct{}      // closed when Run begins to stop: send what is gathered
	stop     context.Context    // ends when the drain is over: requests are cut short
	cut      context.CancelFunc // ends stop
}

// New makes a line per integration that acknowledges; Run works them.
func New(c Config) (*Notifier, error) {
	n := &Notifier{Config: c, lines: map[string]*line{}, draining: make(chan struct{})}
	var telling []catalog.Entry
	for _, e := range c.Integrations {
		if e.Acknowledge != nil && e.Acknowledge.Post != nil {
			telling = append(telling, e)
		}
	}
	for _, e := range telling {
		p, err := newPartner(e.Integration, c.UserAgent, c.Now)
		if err != nil {
			return nil, fmt.Errorf("partner of integration %s: %w", e.Name, err)
		}
		n.lines[e.Name] = newLine(e.Name, e.Acknowledge.Post, max(1, c.InFlight/max(2, len(telling))), p)
	}
	n.stop, n.cut = context.WithCancel(context.Background())
	return n, nil
}

// Run tells partners until ctx ends. Then, with the consumer stopped, it sends
// what is gathered and waits for the answers for at most Drain. After that
// requests are cut short; what was not settled is taken over as soon as this
// process' session closes. Run it once; it returns at most ledger.SessionLapse
// after the drain.
func (n *Notifier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, l := range n.lines {
		running.Go(func() { l.run(n.draining, n.stop, n.tell) })
	}
	<-ctx.Done()
	close(n.draining)
	timer := time.AfterFunc(n.Drain, func() {
		n.Log.Warn("not every partner answered in time; what is under way is cut short and told again by others")
		n.cut()
	})
	running.Wait() // every wait of a line heeds the cut
	timer.Stop()
	n.cut()
	for _, l := range n.lines {
		l.partner.close()
	}
	return nil
}

// Handle claims the head of a partition as far as there is room for it, and
// returns how many messages are done with. It is what the consumer calls, one
// call at a time per partition.
func (n *Notifier) Handle(ctx context.Context, messages []stream.Message) (int, error) {
	a := admission{}
	done, err := n.admit(ctx, messages, &a)
	if len(a.refs) == 0 {
		return done, err
	}
	claimed, lease, err := n.Claim(ctx, a.refs)
	if err != nil {
		a.giveBack()
		return 0, fmt.Errorf("claim %d outcomes, the first of record %s: %w", len(a.refs), a.refs[0].ID, err)
	}
	var busy, orphans []record.Record
	for i, r := range claimed {
		place := a.places[i]
		switch {
		case r.Fence == 0: // stale: told, confirmed or requeued by somebody since
			place.release()
		case place.line == nil:
			orphans = append(orphans, r)
		case place.weight == 0:
			busy = append(busy, r)
		default:
			place.line.put(item{Record: r, lease: lease, place: place})
		}
	}
	n.putBack(lease, busy, record.Failure{Class: fault.Slow, Code: confirm.CodePartnerBusy,
		Message: "not sent: the partner has as many statuses before it as are held for it, and takes none"})
	n.putBack(lease, orphans, record.Failure{Class: fault.Bug, Code: confirm.CodeNoPartner,
		Message: "not sent: no integration of this name acknowledges any more; bring its file back and requeue, or leave it"})
	return done, nil
}

// admission is what one call of Handle is about to claim.
type admission struct {
	refs   []ledger.Ref
	places []place
}

func (a *admission) add(o stream.Outcome, p place) {
	a.refs = append(a.refs, ledger.Ref{ID: o.ID, Fence: o.Fence})
	a.places = append(a.places, p)
}

func (a *admission) giveBack() {
	for _, p := range a.places {
		p.release()
	}
}

// admit finds places for the head of the partition and returns how many of the
// messages are done once it is claimed. It waits only while it holds nothing: a
// place that is not claimed yet is never freed.
func (n *Notifier) admit(ctx context.Context, messages []stream.Message, a *admission) (int, error) {
	for i, m := range messages {
		o, err := stream.DecodeOutcome(m)
		if err != nil {
			if len(a.refs) > 0 {
				return i, nil // these first; it comes again at the head of the next call
			}
			if err := n.Quarantine(ctx, m, err); err != nil {
				return i, fmt.Errorf("quarantine %s[%d] at offset %d: %w", m.Topic, m.Partition, m.Offset, err)
			}
			continue
		}
		l := n.lines[o.Integration]
		if l == nil {
			a.add(o, place{})
			continue
		}
		p, ok := l.tryPlace(len(o.Detail))
		if !ok && len(a.refs) > 0 && !l.stuck.Load() {
			return i, nil // it comes again at the head of the next call
		}
		if !ok {
			if p, err = l.awaitPlace(ctx, len(o.Detail)); err != nil {
				return i, err
			}
		}
		a.add(o, p)
	}
	return len(messages), nil
}

// putBack settles outcomes that were claimed and not sent, by integration.
func (n *Notifier) putBack(lease confirm.Lease, list []record.Record, f record.Failure) {
	byName := map[string][]record.Record{}
	for _, r := range list {
		byName[r.Integration] = append(byName[r.Integration], r)
	}
	for name, records := range byName {
		n.settle(name, lease, confirm.Unconfirmed(records, f, n.Now()))
	}
}

// settle ends claims. Not under the try's context: what the partner said must be
// written while the session lives.
func (n *Notifier) settle(name string, lease confirm.Lease, settlements []ledger.Settlement) {
	settled, err := n.Settle(context.Background(), confirm.Verdict{Lease: lease, Settlements: settlements})
	if err != nil {
		lease.End() // else it would hold outcomes that nobody tells
		n.Log.Warn("a try at telling the partner could not be settled; its outcomes are taken over and told again", zap.String(telemetry.FieldIntegration, name),
			zap.Int(telemetry.FieldCount, len(settlements)), zap.Error(err))
		return
	}
	n.Told(name, settled, settlements)
}

// tell sends one batch of a line and settles what came of it.
func (n *Notifier) tell(l *line, batch []item) {
	live := batch[:0:0]
	for _, it := range batch {
		if it.lease.Alive() { // else the re-driver has it already
			live = append(live, it)
		}
	}
	if len(live) == 0 || n.stop.Err() != nil {
		return
	}
	lease := live[len(live)-1].lease
	ctx, cancel := context.WithCancel(n.stop)
	defer cancel()
	go func() { // ends with the call
		select {
		case <-lease.Ends:
			cancel()
		case <-ctx.Done():
		}
	}()
	told := sorted(live)
	started := n.Now()
	settlements, err := n.post(ctx, l, lease, told)
	switch {
	case err != nil: // a panic: it has its alert
		f := fault.Of(err)
		settlements = confirm.Unconfirmed(told, record.Failure{Class: f.Class, Code: f.Code, Message: "telling the partner failed by a bug of ours"}, started)
	case ctx.Err() != nil: // cut short by us: whether the partner has it is unknown, and the re-driver tells it again
		return
	}
	n.settle(l.name, lease, settlements)
}

func (n *Notifier) post(ctx context.Context, l *line, lease confirm.Lease, told []record.Record) (settlements []ledger.Settlement, err error) {
	defer n.Alerts.Recover(l.name, "acknowledge", &err)
	return l.partner.tell(ctx, lease.Alive, told), nil
}
