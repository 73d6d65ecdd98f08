package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is a line with a server at its other end, in virtual time.
func (l *lines) pipe(limited limit) (*line, net.Conn) {
	client, server := net.Pipe()
	one := &line{Conn: client, lines: l, limited: limited, answer: maxAnswer}
	l.open[one] = struct{}{}
	return one, server
}

// trickle writes a byte each step, until the line is closed.
func trickle(server net.Conn, step time.Duration) {
	for tick := time.NewTicker(step); ; <-tick.C {
		if _, err := server.Write([]byte("x")); err != nil {
			tick.Stop()
			return
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	const idle, longest = 30 * time.Second, 10 * time.Minute
	cases := []struct {
		name string
		step time.Duration // of what another line sends; 0: nothing
		end  time.Duration // of the caller's patience; 0: none
		want error
		took time.Duration
	}{
		{"silent", 0, 0, errStalled, idle},
		{"another line is heard", idle / 2, 0, errTooLong, longest},
		{"another line is heard too seldom", 2 * idle, 0, errStalled, idle},
		{"canceled", 0, time.Second, context.Canceled, time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLines(time.Second, idle, false)
				resting, _ := l.pipe(unlimited)
				busy, server := l.pipe(unlimited)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.end > 0 {
					time.AfterFunc(c.end, cancel)
				}
				_, done := l.begin(ctx, longest, 0)
				begin := time.Now()
				var others sync.WaitGroup // they end with closeAll
				if c.step > 0 {
					others.Go(func() { trickle(server, c.step) })
					others.Go(func() { _, _ = io.ReadAll(busy) })
				}
				_, err := resting.Read(make([]byte, 1))
				if took := time.Since(begin); !errors.Is(err, c.want) || !errors.Is(l.why(), c.want) || took != c.took {
					t.Errorf("after %s: %v (%v), want %v after %s", took, err, l.why(), c.want, c.took)
				}
				done()
				l.closeAll()
				others.Wait()
			})
		})
	}
}

// TestRest: between operations a line waits for ever, and then it is of use again.
func TestRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLines(time.Second, time.Second, false)
		one, server := l.pipe(byOperation)
		_, done := l.begin(t.Context(), time.Minute, 10)
		got := make(chan error, 1)
		go func() { // ends with the byte
			_, err := one.Read(make([]byte, 1))
			got <- err
		}()
		synctest.Wait()
		done()
		timer := time.NewTimer(24 * time.Hour)
		select {
		case err := <-got:
			t.Fatalf("the resting line ended: %v", err)
		case <-timer.C:
		}
		_, done = l.begin(t.Context(), time.Minute, 10)
		defer done()
		if _, err := server.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Error(err)
		}
		go func() { _, _ = server.Write(make([]byte, 100)) }() // ends with closeAll
		if _, err := io.ReadAll(one); !errors.Is(err, errTooMuch) {
			t.Errorf("more than the budget was read: %v", err)
		}
		l.closeAll()
	})
}
