package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"waybill.internal/pkg/egress"
)

// Why an operation was ended by us.
var (
	errStalled  = errors.New("the server sent nothing for so long that it was given up")
	errTooLong  = errors.New("it took longer than it may")
	errTooMuch  = errors.New("the server sent more than it may")
	errTooLarge = errors.New("an answer of the server is larger than it may be")
	errNoLeader = errors.New("no operation is under way")
)

// limit says what bounds the bytes that a line reads.
type limit int

const (
	unlimited   limit = iota // the reader counts
	byOperation              // the operation's budget, shared with the other lines of this kind
	byAnswer                 // maxAnswer after each write
)

// maxAnswer bounds one answer on FTP's control connection. The library joins its
// lines one by one, which takes time with the square of their number.
const maxAnswer = 64 << 10

// lines are the connections of one store. What bounds them is the operation that
// is under way: its end, and how much it may read. Between operations nothing is
// bounded, so that the reader of an SSH connection may wait while a file is read.
type lines struct {
	dialer net.Dialer
	idle   time.Duration

	mu     sync.Mutex
	open   map[*line]struct{}
	ctx    context.Context // of the operation under way; nil: none
	budget int64           // bytes that lines limited byOperation may still read
	reason error           // why we ended the operation, nil if we did not
	heard  time.Time       // when a line last read or wrote something in it
}

func newLines(connect, idle time.Duration, allowPrivate bool) *lines {
	return &lines{idle: idle, open: map[*line]struct{}{}, dialer: net.Dialer{Timeout: connect,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || network != "tcp4" && network != "tcp6" {
				return &egress.Error{Code: egress.CodeBlockedAddress, Message: fmt.Sprintf("%q over %s is not called", address, network)}
			}
			return egress.CheckAddr(ap.Addr(), allowPrivate)
		}}}
}

// begin starts an operation, which ends with the function it gives, with ctx, or
// after the time given. Lines limited byOperation may read so many bytes meanwhile.
func (l *lines) begin(ctx context.Context, longest time.Duration, budget int64) (context.Context, func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, errTooLong)
	l.mu.Lock()
	l.ctx, l.budget, l.reason, l.heard = ctx, budget, nil, time.Now()
	for one := range l.open {
		one.extend(l.idle)
	}
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { l.end(ctx) })
	return ctx, func() {
		stop()
		l.mu.Lock()
		l.ctx = nil
		if l.reason == nil {
			for one := range l.open {
				one.extend(0)
			}
		}
		l.mu.Unlock()
		cancel()
	}
}

// end breaks what the lines are waiting for.
func (l *lines) end(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx != ctx {
		return // it ended by itself
	}
	l.blame(context.Cause(ctx))
	for one := range l.open {
		_ = one.Conn.SetDeadline(time.Unix(1, 0)) // a line that is closed already needs none
	}
}

// blame keeps the first reason; mu is held.
func (l *lines) blame(why error) {
	if l.reason == nil {
		l.reason = why
	}
}

// why is the reason for which the operation was ended by us, nil if there is none.
func (l *lines) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == nil && l.ctx != nil && l.ctx.Err() != nil {
		return context.Cause(l.ctx) // end is on its way
	}
	return l.reason
}

// dial connects within the operation under way.
func (l *lines) dial(network, address string, limited limit) (net.Conn, error) {
	l.mu.Lock()
	ctx := l.ctx
	l.mu.Unlock()
	if ctx == nil {
		return nil, errNoLeader
	}
	conn, err := l.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	one := &line{Conn: conn, lines: l, limited: limited, answer: maxAnswer}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[one] = struct{}{}
	if l.ctx != nil && l.reason == nil {
		one.extend(l.idle)
	}
	return one, nil
}

// closeAll closes every line; it is how a lost session is left.
func (l *lines) closeAll() {
	l.mu.Lock()
	open := l.open
	l.open = map[*line]struct{}{}
	l.mu.Unlock()
	for one := range open {
		_ = one.Conn.Close() // nothing is lost with it: what was written was answered, or counts as not done
	}
}

// line is one connection.
type line struct {
	net.Conn
	lines   *lines
	limited limit
	answer  int64 // bytes that may still be read, if limited byAnswer
}

// extend sets when the line is given up; 0: never. lines.mu is held.
func (c *line) extend(idle time.Duration) {
	var at time.Time
	if idle > 0 {
		at = time.Now().Add(idle)
	}
	_ = c.Conn.SetDeadline(at) // it fails on a closed line only, whose next use says so
}

// ready is asked before and after each use.
func (c *line) ready() error {
	l := c.lines
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.reason != nil:
		return l.reason
	case l.ctx != nil:
		c.extend(l.idle)
	}
	return nil
}

func (c *line) Read(p []byte) (int, error) {
	if err := c.ready(); err != nil {
		return 0, err
	}
	for {
		n, err := c.Conn.Read(p)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.patient() {
			continue
		}
		l := c.lines
		l.mu.Lock()
		defer l.mu.Unlock()
		if err := c.charge(int64(n)); err != nil {
			l.blame(err)
			return 0, err
		}
		l.heard = time.Now()
		return n, c.judge(err)
	}
}

// patient reports whether a line that heard nothing is to wait on, since another
// one did: an HTTP connection that rests in its pool is read from, too.
func (c *line) patient() bool {
	l := c.lines
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.idle - time.Since(l.heard)
	switch {
	case l.reason != nil, l.ctx != nil && left <= 0:
		return false
	case l.ctx == nil:
		c.extend(0)
	default:
		c.extend(left)
	}
	return true
}

// charge takes what was read from what may be read; lines.mu is held.
func (c *line) charge(n int64) error {
	switch c.limited {
	case byOperation:
		if c.lines.ctx == nil {
			return nil
		}
		if c.lines.budget -= n; c.lines.budget < 0 {
			return errTooMuch
		}
	case byAnswer:
		if c.answer -= n; c.answer < 0 {
			return errTooLarge
		}
	case unlimited:
	}
	return nil
}

func (c *line) Write(p []byte) (int, error) {
	if err := c.ready(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	c.lines.mu.Lock()
	defer c.lines.mu.Unlock()
	c.answer, c.lines.heard = maxAnswer, time.Now()
	return n, c.judge(err)
}

// judge names a deadline that we set; lines.mu is held.
func (c *line) judge(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.lines.blame(errStalled)
	return fmt.Errorf("%w: %w", c.lines.reason, err)
}

func (c *line) Close() error {
	c.lines.mu.Lock()
	delete(c.lines.open, c)
	c.lines.mu.Unlock()
	return c.Conn.Close()
}
