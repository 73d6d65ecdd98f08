package claim

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/stream"
)

func TestSleepFollowsTheLedgersClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		due := start.Add(time.Hour)
		asked := 0
		err := sleepUntil(t.Context(), due, func() time.Time {
			if asked++; asked > 2 { // it was an hour behind, and has been set
				return due
			}
			return time.Now()
		})
		if slept := time.Since(start); err != nil || slept != 2*sleepSlice {
			t.Errorf("slept %v, %v", slept, err)
		}
	})
}

// messages makes one of each letter: a record that is due, one that is due in an
// (h)our, or (p)oison. Its key is its place.
func messages(t *testing.T, kinds string) []stream.Message {
	t.Helper()
	list := make([]stream.Message, len(kinds))
	for i, kind := range kinds {
		r := stream.Record{ID: [16]byte{1}, Fence: 1, Integration: "orders", Source: "webhook", IdempotencyKey: fmt.Sprint(i), AcceptedAt: time.Now()}
		if kind == 'h' {
			r.DueAt = time.Now().Add(time.Hour)
		}
		m, err := stream.EncodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		if kind == 'p' {
			m.Value = []byte("poison")
		}
		list[i] = m
	}
	return list
}

// What is read holds a place for each record, and nothing else does; what finds no
// place, or is not due, stays on the topic.
func TestReadTakesPlaces(t *testing.T) {
	t.Parallel()
	full := errors.New("the quarantine does not answer")
	for name, tt := range map[string]struct {
		kinds  string
		places int64
		puts   int // so many times the quarantine answers
		keys   string
		done   int
		err    error
	}{
		"all":                           {kinds: "rrr", places: 5, keys: "012", done: 3},
		"as many as find a place":       {kinds: "rrrrr", places: 3, keys: "012", done: 3},
		"one that is not due":           {kinds: "rrhr", places: 5, keys: "01", done: 2},
		"poison first":                  {kinds: "pprr", places: 3, puts: 2, keys: "23", done: 4},
		"poison alone":                  {kinds: "pp", places: 3, puts: 2, done: 2},
		"poison that cannot be put":     {kinds: "ppr", places: 3, puts: 1, done: 1, err: full},
		"poison behind what is claimed": {kinds: "prrpr", places: 3, puts: 1, keys: "12", done: 3}, // no place is held while the quarantine takes it
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			puts := 0
			c := &Claimer{Config: Config{Ledger: &ledger.Ledger{}, Quarantine: func(context.Context, stream.Message, error) error {
				if puts++; puts > tt.puts {
					return full
				}
				return nil
			}}}
			room := semaphore.NewWeighted(tt.places)
			list, done, err := c.read(t.Context(), messages(t, tt.kinds), room)
			keys := ""
			for _, e := range list {
				keys += e.IdempotencyKey
			}
			if keys != tt.keys || done != tt.done || !errors.Is(err, tt.err) {
				t.Errorf("read %q of %d, %v; want %q of %d, %v", keys, done, err, tt.keys, tt.done, tt.err)
			}
			if free := tt.places - int64(len(list)); !room.TryAcquire(free) || room.TryAcquire(1) {
				t.Errorf("with %d records not exactly %d places are free", len(list), free)
			}
		})
	}
}

// Where no place is free, several that become free shortly after one another are one claim.
func TestReadGathersPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &Claimer{Config: Config{Ledger: &ledger.Ledger{}}}
		room := semaphore.NewWeighted(3)
		if !room.TryAcquire(3) {
			t.Fatal("no room")
		}
		for i := range 3 {
			time.AfterFunc(time.Second+time.Duration(i)*gather*3/4, func() { room.Release(1) })
		}
		start := time.Now()
		list, done, err := c.read(t.Context(), messages(t, "rrr"), room)
		if len(list) != 2 || done != 2 || err != nil || time.Since(start) != time.Second+gather {
			t.Errorf("read %d records, %d done, %v, after %v", len(list), done, err, time.Since(start))
		}
		for _, free := range []time.Duration{gather, time.Hour} { // it has a place and gathers, or it waits for one
			room := semaphore.NewWeighted(1)
			if !room.TryAcquire(1) {
				t.Fatal("no room")
			}
			time.AfterFunc(free, func() { room.Release(1) })
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(gather*3/2, cancel)
			if list, _, err := c.read(ctx, messages(t, "r"), room); len(list) > 0 || !errors.Is(err, context.Canceled) {
				t.Errorf("cut short it read %d records: %v", len(list), err)
			}
			time.Sleep(2 * time.Hour) // virtual
			if !room.TryAcquire(1) {
				t.Error("the place was not given back")
			}
		}
	})
}
