package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/getsentry/sentry-go"
	"go.uber.org/zap"

	"waybill.internal/pkg/fault"
)

// Kind says what sort of problem it is.
type Kind string

// The kinds.
const (
	KindDeadLetters        Kind = "dead_letters"
	KindRejected           Kind = "rejected"
	KindPanic              Kind = "panic"
	KindPartnerGaveUp      Kind = "partner_gave_up" // we gave up on the partner
	KindCredentials        Kind = "credentials"
	KindQuarantine         Kind = "quarantine"
	KindConflict           Kind = "conflict"
	KindUnaccounted        Kind = "unaccounted"
	KindIntegrationInvalid Kind = "integration_invalid"
	KindSilence            Kind = "silence"
	KindUnproven           Kind = "unproven"        // many signatures of a source that fit no secret: was it rotated?
	KindDrift              Kind = "format_changed"  // a sudden share of a source's arrivals is rejected
	KindMissedWebhooks     Kind = "missed_webhooks" // a poll found events that never arrived
	KindPart               Kind = "part"            // a part of a process failed or hangs
	KindTooMany            Kind = "too_many_problems"
)

// Bounds of an alert and of what is kept between alerts.
const (
	maxProblems   = 100
	maxSampleIDs  = 5
	maxMessage    = 500
	maxStackBytes = 16 << 10
	every         = 10 * time.Minute
)

// Problem is one occurrence of something a person should know. Kind,
// Integration, Class, Code and Where make it the same problem as another;
// never put an id or a value of a record into them.
type Problem struct {
	Kind        Kind
	Integration string
	Class       fault.Class
	Code        string
	Where       string   // step, destination or part
	Message     string   // what happened; must not quote a payload
	Repair      string   // the waybill command that repairs it
	Records     []string // sample ids; more than five are left out
	Count       int      // records concerned; less than 1 counts as 1
	Stack       string   // of a panic
}

// AlertOptions of Alerts.
type AlertOptions struct {
	DSN         Secret // empty: nothing is sent, problems are still logged
	Service     string
	Release     string
	Environment string
	ServerName  string
	Transport   http.RoundTripper // nil: a plain one without proxies
	Log         *zap.Logger       // required
	Now         func() time.Time  // nil: time.Now
}

// Alerts sends problems to Sentry and the log, grouped and rate limited. It is
// safe for concurrent use; a nil *Alerts does nothing.
type Alerts struct {
	client *sentry.Client // nil without a DSN
	log    *zap.Logger
	now    func() time.Time
	stop   chan struct{}
	sweeps sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	problems map[string]*tracked // at most maxProblems, and one for the rest
}

// tracked is what is known of one problem since it was last sent.
type tracked struct {
	latest Problem
	sent   time.Time
	count  int
}

// NewAlerts starts the sweeper that sends what was only counted; Close stops it.
func NewAlerts(o AlertOptions) (*Alerts, error) {
	a := &Alerts{log: o.Log, now: o.Now, stop: make(chan struct{}), problems: map[string]*tracked{}}
	if a.log == nil {
		a.log = zap.NewNop()
	}
	if a.now == nil {
		a.now = time.Now
	}
	if o.DSN.IsSet() {
		client, err := newSentry(o)
		if err != nil {
			// The SDK's error repeats the DSN.
			return nil, fmt.Errorf("alerts: the Sentry DSN cannot be used; it looks like https://KEY@HOST/PROJECT")
		}
		a.client = client
	}
	a.sweeps.Go(a.sweep)
	return a, nil
}

func (p Problem) fingerprint() string {
	return strings.Join([]string{string(p.Kind), p.Integration, string(p.Class), p.Code, p.Where}, "\x1f")
}

// Alert raises a problem. The first occurrence is sent at once, later ones are
// counted and sent together, at most once in 10 minutes. It does not block on
// the network.
func (a *Alerts) Alert(p Problem) {
	if a == nil {
		return
	}
	p = p.bounded()
	a.mu.Lock()
	t := a.track(&p)
	t.count += p.Count
	t.latest = p
	due := a.closed || t.sent.IsZero() || a.now().Sub(t.sent) >= every
	if due {
		p = a.take(t)
	}
	a.mu.Unlock()
	if due {
		a.send(p)
	}
}

// track finds or makes the problem's entry; it redirects p to the entry for the
// rest when there are too many. a.mu is held.
func (a *Alerts) track(p *Problem) *tracked {
	key := p.fingerprint()
	if t := a.problems[key]; t != nil {
		return t
	}
	if len(a.problems) >= maxProblems {
		for k, t := range a.problems { // make room: long quiet ones are forgotten
			if t.count == 0 && a.now().Sub(t.sent) >= every {
				delete(a.problems, k)
			}
		}
	}
	if len(a.problems) >= maxProblems {
		*p = Problem{Kind: KindTooMany, Class: p.Class, Message: fmt.Sprintf("more than %d different problems at once; the log has them all", maxProblems),
			Repair: "waybill dead list", Count: p.Count}
		p.Class = ""
		key = p.fingerprint()
		if t := a.problems[key]; t != nil {
			return t
		}
	}
	t := &tracked{}
	a.problems[key] = t
	return t
}

// take returns what is to be sent and begins a new count. a.mu is held.
func (a *Alerts) take(t *tracked) Problem {
	p := t.latest
	p.Count, t.count, t.sent = t.count, 0, a.now()
	return p
}

// Resolved says that a problem is over, with p.Message, in the same group as its
// alerts; the next occurrence is sent at once again. It does not block on the network.
func (a *Alerts) Resolved(p Problem) {
	if a == nil {
		return
	}
	p = p.bounded()
	a.mu.Lock()
	delete(a.problems, p.fingerprint())
	a.mu.Unlock()
	a.log.Info("problem resolved", zap.String(FieldKind, string(p.Kind)), zap.String(FieldIntegration, p.Integration), zap.String(FieldCode, p.Code),
		zap.String(FieldWhere, p.Where), zap.String(FieldReason, p.Message))
	if a.client != nil {
		a.client.CaptureEvent(resolutionOf(p), nil, nil)
	}
}

func (a *Alerts) sweep() {
	ticker := time.NewTicker(every / 10)
	defer ticker.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-ticker.C:
			a.sendCounted(every)
		}
	}
}

func (a *Alerts) sendCounted(quiet time.Duration) {
	a.mu.Lock()
	var due []Problem
	for _, t := range a.problems {
		if t.count > 0 && a.now().Sub(t.sent) >= quiet {
			due = append(due, a.take(t))
		}
	}
	a.mu.Unlock()
	for _, p := range due {
		a.send(p)
	}
}

// Close sends what was only counted and waits until Sentry has it or ctx ends.
func (a *Alerts) Close(ctx context.Context) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	first := !a.closed
	a.closed = true
	a.mu.Unlock()
	if !first {
		return nil
	}
	close(a.stop)
	a.sweeps.Wait()
	a.sendCounted(0)
	if a.client == nil {
		return nil
	}
	defer a.client.Close()
	if !a.client.FlushWithContext(ctx) {
		return fmt.Errorf("alerts: Sentry did not take everything in time; the log has it")
	}
	return nil
}

// Recover turns a panic into an alert and an error. Use it deferred and directly:
//
//	defer alerts.Recover(integration, "step map", &err)
func (a *Alerts) Recover(integration, where string, err *error) {
	value := recover()
	if value == nil {
		return
	}
	f := fault.FromPanic(value, debug.Stack())
	if err != nil {
		*err = f
	}
	// The panic's value may quote a payload: its type says enough, with the stack.
	a.Alert(Problem{Kind: KindPanic, Integration: integration, Class: f.Class, Code: f.Code, Where: where,
		Message: fmt.Sprintf("panic of type %T", value), Repair: "waybill dead list", Stack: f.Stack})
}

var sampleID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

func (p Problem) bounded() Problem {
	p.Count = max(p.Count, 1)
	p.Message = clip(scrubPersonal(p.Message), maxMessage)
	p.Repair = clip(Scrub(p.Repair), maxMessage)
	for _, s := range []*string{&p.Integration, &p.Code, &p.Where} {
		*s = clip(scrubPersonal(*s), 128)
	}
	p.Stack = clip(p.Stack, maxStackBytes)
	var ids []string
	for _, id := range p.Records {
		if len(ids) < maxSampleIDs && sampleID.MatchString(id) {
			ids = append(ids, id)
		}
	}
	p.Records = ids
	return p
}

func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

func (a *Alerts) send(p Problem) {
	a.log.Error("problem", zap.String(FieldKind, string(p.Kind)), zap.String(FieldIntegration, p.Integration), zap.String(FieldClass, string(p.Class)),
		zap.String(FieldCode, p.Code), zap.String(FieldWhere, p.Where), zap.String(FieldReason, p.Message), zap.Int(FieldCount, p.Count),
		zap.Strings(FieldRecords, p.Records), zap.String(FieldRepair, p.Repair), zap.String("stack", p.Stack))
	if a.client != nil {
		a.client.CaptureEvent(eventOf(p), nil, nil)
	}
}
