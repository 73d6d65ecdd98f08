package file_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// commitMessage is the simple query by which pgx commits.
var commitMessage = []byte("Q\x00\x00\x00\x0bcommit\x00")

// cutter is a proxy before Postgres that cuts every third commit, at most
// maxCuts of them: by turns before the server saw it and after the server did it.
type cutter struct {
	server        string
	url           string
	commits       atomic.Int64
	before, after atomic.Int64
	connections   sync.WaitGroup
	mu            sync.Mutex
	open          map[net.Conn]bool // nil once closed
}

const maxCuts = 12

func newCutter(t *testing.T, postgres string) *cutter {
	t.Helper()
	address, err := url.Parse(postgres)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{server: address.Host, open: map[net.Conn]bool{}}
	address.Host = listener.Addr().String()
	c.url = address.String()
	c.connections.Go(func() { // ends when the listener is closed
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			c.connections.Go(func() { c.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		c.mu.Lock()
		for conn := range c.open {
			_ = conn.Close()
		}
		c.open = nil
		c.mu.Unlock()
		c.connections.Wait()
	})
	return c
}

func (c *cutter) track(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		return false
	}
	c.open[conn] = true
	return true
}

// serve forwards until either side is closed, or the connection is cut.
func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	if !c.track(client) || !c.track(server) {
		return
	}
	var silent atomic.Bool // the client hears no more
	answered := make(chan struct{})
	c.connections.Go(func() { // ends with the server's connection
		defer close(answered)
		defer client.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if silent.Load() || err != nil {
				return // the commit's answer has come, and is not given on
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if bytes.Contains(buffer[:n], commitMessage) && c.commits.Add(1)%3 == 0 && c.before.Load()+c.after.Load() < maxCuts {
			if c.commits.Load()%2 == 0 {
				c.before.Add(1)
				return
			}
			c.after.Add(1)
			silent.Store(true)
			if _, err := server.Write(buffer[:n]); err == nil {
				<-answered
			}
			return
		}
		if _, err := io.Copy(server, bytes.NewReader(buffer[:n])); err != nil {
			return
		}
	}
}
