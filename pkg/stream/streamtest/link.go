package streamtest

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Link is a network that a test can cut: give its Dial to stream.Config. It is used
// instead of a proxy because brokers tell clients their own address, which would
// lead around one.
type Link struct {
	mu    sync.Mutex
	cut   bool
	dials int
	conns map[net.Conn]struct{}
}

// NewLink makes a link that works.
func NewLink() *Link { return &Link{conns: map[net.Conn]struct{}{}} }

// Dial connects, unless the link is cut.
func (l *Link) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	l.dials++
	cut := l.cut
	l.mu.Unlock()
	if cut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused: the link is cut")}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		_ = conn.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("the link is cut")}
	}
	l.conns[conn] = struct{}{}
	return linked{conn, l}, nil
}

// Cut drops every connection and refuses new ones.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.dials = true, 0
	for conn := range l.conns {
		_ = conn.Close()
	}
	clear(l.conns)
}

// Mend lets connections through again.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
}

// Dials is how often somebody has tried to connect since the last Cut.
func (l *Link) Dials() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dials
}

type linked struct {
	net.Conn
	link *Link
}

func (c linked) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c.Conn)
	c.link.mu.Unlock()
	return c.Conn.Close()
}
