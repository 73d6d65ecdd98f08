package poll

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

const (
	// requestPages is the pages of a range in one turn: between two of them the regular run has its turn.
	requestPages = 50
	// maxPasses bounds how often a run over numbered pages is made again.
	maxPasses = 5
	// maxRestarts bounds how often a run begins anew because a kept place was refused.
	maxRestarts = 3
	// maxBarren is how many pages in a row may bring nothing new; ten times max_pages if that is more.
	maxBarren = 10_000
	// maxRequestFailures is how many failures in a row end a range.
	maxRequestFailures = 10
	// patience is how many failures in a row a partner may have before a person is told.
	patience = 3
)

// turn is one leased stretch of a run, by one goroutine.
type turn struct {
	*Source
	ctx     context.Context //nolint:containedctx // lives exactly as long as the turn
	session *ledger.Session
	poll    ledger.Poll
	entry   catalog.Entry
	origin  *integration.Source
	config  *integration.Poll

	mark mark // as it will be
	at   mark // as it stands, at the beginning of the page

	fresh     bool // the turn begins a run
	kept      bool // a transaction was committed
	pages     int
	received  int
	unsettled bool // the run is over, but the mark must not move
	pastSince bool // a page of a list in falling order held nothing but older items
	visited   map[place]bool
	before    [sha256.Size]byte // the page before this one
	missing   []string          // sample ids of missed webhooks
}

// work makes one turn and gives the source back. An error is the ledger's; the
// partner's failures are kept there and told.
func (s *Source) work(ctx context.Context, session *ledger.Session, p ledger.Poll) error {
	t := &turn{Source: s, ctx: ctx, session: session, poll: p, visited: map[place]bool{}}
	var known bool
	if t.entry, known = s.Catalog.Get(s.integration); known {
		t.origin, known = t.entry.Source(s.source)
	}
	if !known || t.origin.Poll == nil {
		return fmt.Errorf("integration %s has no poll %s any more", s.integration, s.source)
	}
	t.config = t.origin.Poll
	var err error
	if t.mark, err = readMark(p); err != nil {
		return t.end(false, fault.Wrap(err, fault.Bug, "mark", "%v", err))
	}
	t.fresh = t.mark.Run == nil || t.mark.Run.Version != t.entry.Version
	t.mark.begin(p, t.config, t.entry.Version)
	if !t.fresh && !t.mark.Run.Counted && shifts(t.config.Next) {
		t.mark.Run.Fresh++ // what the last transaction before a crash brought
	}
	t.mark.Run.Counted = false
	t.at = t.mark.clone()
	if t.fresh {
		t.round(t.began(), telemetry.RunBegun)
	}
	ended, err := t.guarded()
	return t.end(ended, err)
}

// round tells how a regular run goes.
func (t *turn) round(began time.Time, state telemetry.RunState) {
	if t.Round != nil && t.poll.Request == 0 && !began.IsZero() {
		t.Round(t.integration, t.source, began, state)
	}
}

// began is when the run under way did; zero if there is none.
func (t *turn) began() time.Time {
	if t.mark.Run == nil {
		return time.Time{}
	}
	return t.mark.Run.Began
}

// guarded keeps an answer that makes us panic from stopping the process, again and again.
func (t *turn) guarded() (ended bool, err error) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		f := fault.FromPanic(value, debug.Stack())
		t.Alert(telemetry.Problem{Kind: telemetry.KindPanic, Integration: t.integration, Class: f.Class, Code: f.Code, Where: t.source,
			Message: fmt.Sprintf("panic of type %T during a poll", value), Repair: "waybill doctor", Stack: f.Stack})
		err = fault.New(fault.Bug, f.Code, "a fault of ours stopped the poll")
	}()
	return t.run()
}

// run asks page by page, to the end of the run or of the turn.
func (t *turn) run() (ended bool, err error) {
	limit := t.config.MaxPages
	if t.poll.Request != 0 {
		limit = min(limit, requestPages)
	}
	for asked := 0; asked < limit; asked++ {
		if err := t.over(); err != nil {
			return false, err
		}
		last, err := t.page()
		if err != nil {
			return false, err
		}
		if last && t.settled() {
			return true, nil
		}
	}
	return false, t.endless()
}

// over says why nothing more may be asked for in this turn.
func (t *turn) over() error {
	if t.ctx.Err() != nil {
		return t.ctx.Err()
	}
	if !t.session.Alive() {
		return errSessionEnded
	}
	return nil
}

// page asks for one page and keeps it.
func (t *turn) page() (last bool, err error) {
	t.at = t.mark.clone()
	r := t.mark.Run
	t.visited[r.Next] = true
	rendered, err := render(t.config, r)
	if err != nil {
		return false, err
	}
	answer, err := t.ask(t.ctx, t.config, rendered)
	if err != nil {
		return false, t.refused(err)
	}
	p, err := readPage(t.config, r.Next, answer.Header, answer.Body)
	if err == nil {
		err = t.loops(p)
	}
	if err != nil {
		return false, &failed{fault: fault.Of(err), seen: &answer.seen, status: answer.Status}
	}
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil && r.Clock.IsZero() {
		r.Clock = date
	}
	items, err := t.take(p, answer.tracking)
	if err != nil {
		return false, err
	}
	ready, err := t.complete(items, answer.tracking)
	if err != nil {
		return false, errors.Join(err, t.keepSome(ready))
	}
	last = p.last || t.pastSince
	r.Pages++
	r.Unanswered = 0
	if !last {
		r.Next = p.next
	}
	if err := t.commit(ready, t.mark.clone, 1); err != nil {
		return false, err
	}
	t.at = t.mark.clone()
	t.pages++
	return last, nil
}

// keepSome accepts what a page has given before it failed; the mark stays before the page.
func (t *turn) keepSome(ready []item) error {
	if len(ready) == 0 {
		return nil
	}
	return t.commit(ready, t.at.clone, 0)
}

// refused begins the run anew if the server no longer knows the place that it
// gave; otherwise err stands.
func (t *turn) refused(err error) error {
	f, ok := err.(*failed) //nolint:errorlint // ask gives it unwrapped
	if !ok || f.fault.Class != fault.Data || !t.mark.Run.Next.kept() {
		return err
	}
	r := t.mark.Run
	if r.Restarts++; r.Restarts > maxRestarts {
		f.fault = fault.New(fault.Data, "place_refused", "answered %d to a page that it had named itself, %d times in one run; see next", f.status, r.Restarts)
		return f
	}
	t.Log.Warn("the place where the poll was to go on is refused; the run begins anew", zap.Int("status", f.status), zap.Int("restarts", r.Restarts))
	t.again()
	return nil
}

func (t *turn) again() {
	t.mark.Run.anew()
	clear(t.visited)
	t.before, t.pastSince = [sha256.Size]byte{}, false
}

// loops refuses a page that leads back, or is the one before once more.
func (t *turn) loops(p page) error {
	if len(p.items) > 0 && p.sum == t.before {
		return fault.New(fault.System, codeLoop, "the same page of %d items came twice in a row, for two places; see next, and add next.more if the list tells its end", len(p.items))
	}
	if !p.last && t.visited[p.next] {
		return fault.New(fault.System, codeLoop, "a page names one that was read already as its next; the run would never end")
	}
	t.before = p.sum
	return nil
}

// The codes of failures after which a run is given up instead of gone on with.
const (
	codeLoop    = "page_loop"
	codeEndless = "endless"
)

// settled tells whether the run is over: items cannot have slipped from a page
// that was not read yet to one that was.
func (t *turn) settled() bool {
	r := t.mark.Run
	if !shifts(t.config.Next) || r.Pages <= 1 || r.Fresh == 0 {
		return true
	}
	r.Longest = max(r.Longest, r.Pages)
	if r.Passes++; r.Passes >= maxPasses {
		t.alert(fault.New(fault.Data, "unsettled", "%d readings of the whole list each brought something new; the next run asks for the same again: let the list be paged by a cursor, or sorted by time", r.Passes), 1)
		t.unsettled = true
		return true
	}
	t.again()
	return false
}

// endless ends a run whose pages never end, and remembers how long nothing came.
func (t *turn) endless() error {
	r := t.mark.Run
	if t.received > 0 {
		r.Barren = 0
		return nil
	}
	// A pass that is made again may bring nothing new for as many pages as the list had.
	if r.Barren += t.pages; r.Barren >= max(maxBarren, 10*t.config.MaxPages)+r.Longest {
		return fault.New(fault.Data, codeEndless, "%d pages in a row brought nothing new, and there is always another one; see next", r.Barren)
	}
	return nil
}
