// Package catalog holds the integrations that a process knows: those of its
// files, and the versions of them that the ledger keeps.
//
// Records are pinned to the version of their first attempt, so a processor may
// meet any version that was ever accepted; ByVersion reads and keeps it.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/retry"
)

const (
	// MainLane carries the records of an integration that names no lane.
	MainLane = "main"
	// parkFor is how long a parked record waits before it is tried again by itself.
	parkFor = time.Minute
	// maxVersions bounds the old versions kept in memory; the oldest use goes first.
	maxVersions = 256
)

// Entry is an integration and the id of its version in the ledger.
type Entry struct {
	*integration.Integration
	Version int64
}

// Catalog is safe for concurrent use.
type Catalog struct {
	lookup integration.Lookup

	mu       sync.RWMutex
	current  map[string]Entry
	others   map[string]Entry // integrations of the ledger that no file here describes
	versions map[int64]*integration.Integration
	order    []int64
}

// New makes an empty catalog; lookup gives the values of ${NAME} references.
func New(lookup integration.Lookup) *Catalog {
	return &Catalog{lookup: lookup, current: map[string]Entry{}, others: map[string]Entry{}, versions: map[int64]*integration.Integration{}}
}

// LoadDir reads every integration file of a folder. All mistakes are reported at once.
func (c *Catalog) LoadDir(dir string) error {
	list, err := integration.LoadDir(dir, c.lookup)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range list {
		c.current[i.Name] = Entry{Integration: i}
	}
	return nil
}

// Register keeps the loaded versions in the ledger and makes them current there.
func (c *Catalog) Register(ctx context.Context, l *ledger.Ledger) error {
	for _, e := range c.Entries() {
		id, err := l.Register(ctx, e.Name, e.Hash(), e.Document())
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.current[e.Name] = Entry{Integration: e.Integration, Version: id}
		c.keep(id, e.Integration)
		c.mu.Unlock()
	}
	return nil
}

// LoadLedger takes the ledger's current versions instead of files: for
// commands that have no files at hand.
func (c *Catalog) LoadLedger(ctx context.Context, l *ledger.Ledger) error {
	versions, err := l.CurrentVersions(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, v := range versions {
		i, err := integration.FromDocument(v.Document, c.lookup)
		if err != nil {
			failed = append(failed, fmt.Errorf("version %d of integration %s cannot be read: %w", v.ID, v.Integration, err))
			continue
		}
		c.mu.Lock()
		c.current[i.Name] = Entry{Integration: i, Version: v.ID}
		c.keep(v.ID, i)
		c.mu.Unlock()
	}
	return errors.Join(failed...)
}

// Entries lists the current integrations by name.
func (c *Catalog) Entries() []Entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]Entry, 0, len(c.current))
	for _, e := range c.current {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Get finds a current integration by name.
func (c *Catalog) Get(name string) (Entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.current[name]
	return e, ok
}

// ByVersion gives the integration as it was at a version.
func (c *Catalog) ByVersion(ctx context.Context, l *ledger.Ledger, id int64) (*integration.Integration, error) {
	c.mu.RLock()
	i := c.versions[id]
	c.mu.RUnlock()
	if i != nil {
		return i, nil
	}
	v, err := l.Version(ctx, id)
	if err != nil {
		return nil, err
	}
	if i, err = integration.FromDocument(v.Document, c.lookup); err != nil {
		return nil, fault.Wrap(errors.Join(ErrUnreadable, err), fault.Credentials, "integration_unreadable",
			"version %d of integration %s cannot be read here; set the variables that it names, or bring back the binary that took it", id, v.Integration)
	}
	c.mu.Lock()
	c.keep(id, i)
	if _, ours := c.current[i.Name]; !ours && c.others[i.Name].Version < id {
		c.others[i.Name] = Entry{Integration: i, Version: id}
	}
	c.mu.Unlock()
	return i, nil
}

// ErrUnreadable is in the error of a version whose document cannot be read here.
var ErrUnreadable = errors.New("the integration's document cannot be read")

// LoadOthers learns the terms of integrations that only the ledger describes:
// another process has a newer file, or the file was removed and its records
// still have to be worked and told.
func (c *Catalog) LoadOthers(ctx context.Context, l *ledger.Ledger) error {
	versions, err := l.CurrentVersions(ctx)
	if err != nil {
		return err
	}
	for _, v := range versions {
		if _, ours := c.Get(v.Integration); ours {
			continue
		}
		if _, err := c.ByVersion(ctx, l, v.ID); err != nil && !errors.Is(err, ErrUnreadable) {
			return err
		}
	}
	return nil
}

// keep is called with the lock held.
func (c *Catalog) keep(id int64, i *integration.Integration) {
	if c.versions[id] == nil {
		c.order = append(c.order, id)
	}
	c.versions[id] = i
	if len(c.order) > maxVersions {
		delete(c.versions, c.order[0])
		c.order = c.order[1:]
	}
}

// Lanes lists the lanes of the current integrations and the retry delays that
// their topics need, rising.
func (c *Catalog) Lanes() (lanes []string, delays []time.Duration) {
	lanes = []string{MainLane}
	for _, e := range c.Entries() {
		lanes = append(lanes, e.Lane)
		delays = append(delays, e.Process.Retry.Delays...)
	}
	slices.Sort(lanes)
	slices.Sort(delays)
	return slices.Compact(lanes), slices.Compact(delays)
}

// Terms are what an integration decides about its records. Records outlive the
// file that described them: for an unknown name the defaults hold.
func (c *Catalog) Terms(name string) ledger.Terms {
	e, ours := c.Get(name)
	if !ours {
		var known bool
		if e, known = c.other(name); !known {
			return ledger.Terms{Lane: MainLane, Policy: policy(retry.Default(), nil)}
		}
	}
	r := e.Process.Retry
	p := policy(retry.Policy{Delays: r.Delays, Attempts: r.Attempts, GiveUpAfter: r.GiveUpAfter}, e.Acknowledge)
	if !ours { // whoever has no file for it cannot tell its partner either: a person is told at once
		p.Resend = policy(retry.Default(), nil).Resend
	}
	return ledger.Terms{Lane: e.Lane, Policy: p}
}

// other finds an integration that only the ledger describes. Its lane may be
// served by nobody any more: then main carries its records.
func (c *Catalog) other(name string) (Entry, bool) {
	c.mu.RLock()
	e, ok := c.others[name]
	c.mu.RUnlock()
	if !ok {
		return e, false
	}
	if lanes, _ := c.Lanes(); !slices.Contains(lanes, e.Lane) {
		moved := *e.Integration
		moved.Lane = MainLane
		e.Integration = &moved
	}
	return e, true
}

func policy(p retry.Policy, a *integration.Acknowledge) record.Policy {
	return record.Policy{
		ParkFor: parkFor,
		Tells:   func(s record.State) bool { return a != nil && slices.Contains(a.Statuses, string(s)) },
		Retry: func(attempt int, age, retryAfter time.Duration) record.Schedule {
			d := p.Next(attempt, age, retryAfter, rand.Uint64())
			return record.Schedule{GiveUp: d.GiveUp, Delay: d.Delay, Topic: d.Topic}
		},
		Resend: func(try int, age, retryAfter time.Duration) record.Schedule {
			if a == nil {
				return record.Schedule{GiveUp: true}
			}
			return resend(a.Post.Retry, try, age, retryAfter)
		},
	}
}

// resend doubles from First to Max, with up to a tenth of jitter so that a
// partner that recovers is not met by everything at once.
func resend(r integration.PostRetry, try int, age, retryAfter time.Duration) record.Schedule {
	if age >= r.GiveUpAfter {
		return record.Schedule{GiveUp: true}
	}
	delay := r.Max
	if shift := max(try-1, 0); shift < 30 && r.First<<shift < r.Max {
		delay = r.First << shift
	}
	delay += time.Duration(rand.Int64N(int64(delay)/10 + 1))
	return record.Schedule{Delay: max(delay, retryAfter)}
}
