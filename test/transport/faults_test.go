package transport

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill.internal/services/ingest"
)

const (
	size = 2 << 20
	// begun is how much of a file must have come before a fault strikes.
	begun = 100 << 10
	// slack bounds what stands around the bytes of a file: TLS, SSH, answers, listings.
	slack = size / 10
)

// strike is one way in which a transfer goes wrong.
type strike struct {
	name, kind, attributes string
	// early strikes are there from the start; others come when begun bytes did.
	early bool
	codes []string // the errors that say so
}

func strikes() []strike {
	return []strike{
		{"cut", "limit_data", `"bytes": 1000000`, true, []string{"cut"}},
		{"stalled", "latency", `"latency": 100000`, false, []string{"stalled"}},
		{"closed", "timeout", `"timeout": 50`, false, []string{"cut"}},
		{"reset", "reset_peer", `"timeout": 0`, false, []string{"cut"}},
	}
}

// TestBroken: a transfer that breaks off is an error that says so, what came is
// kept, and the next one asks for the rest alone.
func TestBroken(t *testing.T) {
	t.Parallel()
	for kind, start := range all() {
		for _, s := range strikes() {
			t.Run(kind+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				p := start(t)
				p.put(t, "orders.csv", content(size))
				f := spool(t)
				p.breakOff(t, s, f)
				came := length(t, f)
				if came < begun || came >= size {
					t.Fatalf("%d of %d bytes came before the fault", came, size)
				}
				holds(t, f, content(size)[:came])

				p.heal(t)
				look := open(t, p, ingest.RemoteOptions{})
				e := only(t, look)
				if err := look.Close(); err != nil {
					t.Fatal(err)
				}
				p.quiet(t)
				before := p.sent.Load()
				store := open(t, p, ingest.RemoteOptions{})
				got, err := store.Fetch(t.Context(), e, f, came)
				if err != nil {
					t.Fatal(err)
				}
				holds(t, f, content(size))
				if got.Size != size || !got.Same(e) {
					t.Errorf("fetched %v, listed %v", got, e)
				}
				if sent := p.sent.Load() - before; sent > size-came+slack {
					t.Errorf("the server sent %d bytes more, though only %d were missing", sent, size-came)
				}
			})
		}
	}
}

// breakOff fetches until the fault strikes.
func (p *place) breakOff(t *testing.T, s strike, f *os.File) {
	t.Helper()
	e := only(t, open(t, p, ingest.RemoteOptions{}))
	var err error
	// On a busy machine a server may be silent for long without a fault.
	for _, idle := range []time.Duration{s.idle(), 10 * time.Second, 30 * time.Second} {
		err = p.struck(t, s, e, f, idle)
		if length(t, f) >= begun || codeOf(err) != "stalled" {
			break
		}
		p.heal(t)
	}
	if !slices.Contains(s.codes, codeOf(err)) {
		t.Fatalf("the error is %v, want %v", err, s.codes)
	}
	if text := err.Error(); !strings.Contains(text, "orders.csv at 127.0.0.1") || !strings.Contains(text, "source orders/file: fetch") {
		t.Errorf("the error does not say what happened to which file: %s", text)
	}
}

func (p *place) struck(t *testing.T, s strike, e ingest.RemoteEntry, f *os.File, idle time.Duration) error {
	t.Helper()
	store := open(t, p, ingest.RemoteOptions{Idle: idle})
	if s.early {
		p.toxic(t, s.kind, s.attributes)
		_, err := store.Fetch(t.Context(), e, f, 0)
		return err
	}
	p.toxic(t, "bandwidth", `"rate": 2500`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends with the fetch
		defer close(done)
		if grown(ctx, f, begun) {
			p.toxic(t, s.kind, s.attributes)
		}
	}()
	_, err := store.Fetch(t.Context(), e, f, 0)
	cancel()
	<-done
	return err
}

// idle is how long a silent server is waited for at first.
func (s strike) idle() time.Duration {
	if s.name == "stalled" {
		return 2 * time.Second
	}
	return 20 * time.Second
}

// grown waits until the file has n bytes; false if ctx ended first.
func grown(ctx context.Context, f *os.File, n int64) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if info, err := f.Stat(); err == nil && info.Size() >= n {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// TestSlow: a slow server is waited for as long as it sends, but not for ever.
func TestSlow(t *testing.T) {
	t.Parallel()
	for kind, start := range all() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.put(t, "orders.csv", content(size))
			p.toxic(t, "bandwidth", `"rate": 2000`)
			p.toxic(t, "latency", `"latency": 10, "jitter": 5`)
			store := open(t, p, ingest.RemoteOptions{})
			f := spool(t)
			if _, err := store.Fetch(t.Context(), only(t, store), f, 0); err != nil {
				t.Fatal(err)
			}
			holds(t, f, content(size))
			p.heal(t)
			p.toxic(t, "bandwidth", `"rate": 20`) // 2.5 minutes for the file, and never silent
			store = open(t, p, ingest.RemoteOptions{Transfer: 2 * time.Second})
			_, err := store.Fetch(t.Context(), only(t, store), f, 0)
			if codeOf(err) != "timeout" {
				t.Errorf("a transfer without end: %v", err)
			}
		})
	}
}

// TestResting: a session that was lost while a file was read is made anew.
func TestResting(t *testing.T) {
	t.Parallel()
	for kind, start := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.put(t, "orders.csv", content(size))
			store := open(t, p, ingest.RemoteOptions{})
			e := only(t, store)
			p.toxic(t, "reset_peer", `"timeout": 0`)
			err := store.Move(t.Context(), e, "done")
			if code := codeOf(err); code != "cut" {
				t.Errorf("moved over a broken connection: %v", err)
			}
			p.heal(t)
			if err := store.Move(t.Context(), e, "done"); err != nil {
				t.Fatal(err)
			}
			if got := p.get(t, "done/orders.csv"); !bytes.Equal(got, content(size)) {
				t.Errorf("done/orders.csv has %d bytes", len(got))
			}
		})
	}
}
