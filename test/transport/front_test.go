package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"waybill.internal/pkg/localstack"
)

// front stands before one server: fault proxies, and behind them a counter of the
// bytes that the server sends.
type front struct {
	proxies []*toxiproxy.Proxy
	sent    atomic.Int64
	relays  atomic.Int64 // that run
}

// open puts a proxy before an address and returns the address to call.
func (f *front) open(t *testing.T, upstream string) string {
	t.Helper()
	p := proxy(t, reserved(t), f.count(t, upstream))
	f.proxies = append(f.proxies, p)
	return p.Listen
}

// count relays to an address; it ends with the test.
func (f *front) count(t *testing.T, upstream string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go f.relay(client, upstream)
		}
	}()
	return listener.Addr().String()
}

// relay ends when both sides have ended, which the test's own do.
func (f *front) relay(client net.Conn, upstream string) {
	f.relays.Add(1)
	defer f.relays.Add(-1)
	defer client.Close()
	server, err := net.Dial("tcp", upstream)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close() // nobody here ends one direction alone
	}()
	_, _ = io.Copy(client, counter{server, &f.sent})
}

// quiet waits until no connection stands, so that nothing more is counted for it.
func (f *front) quiet(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); f.relays.Load() > 0; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("a connection stands, though its store was closed")
		}
	}
}

type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// toxic adds a fault on the way from the server to us, for every connection.
func (f *front) toxic(t *testing.T, kind, attributes string) {
	t.Helper()
	for _, p := range f.proxies {
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"name":%q,"type":%q,"stream":"downstream","attributes":{%s}}`, kind, kind, attributes))); err != nil {
			t.Error(err)
		}
	}
}

// heal puts new proxies in the place of the faulty ones. Their connections end:
// taking a fault out of a standing one waits for what it holds back.
func (f *front) heal(t *testing.T) {
	t.Helper()
	for i, p := range f.proxies {
		p.Stop()
		f.proxies[i] = proxy(t, p.Listen, p.Upstream)
	}
}

func proxy(t *testing.T, listen, upstream string) *toxiproxy.Proxy {
	t.Helper()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), t.Name(), listen, upstream)
	if err := localstack.ListenAgain(p.Start); err != nil { // others start servers of their own meanwhile
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// reserved gives an address that is free at first and stays so between two servers
// on it: no other server of the tests draws its port, and the system gives it to no
// outgoing connection.
func reserved(t *testing.T) string {
	t.Helper()
	address, release, err := localstack.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return address
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	n, also := strconv.Atoi(port)
	if err := errors.Join(err, also); err != nil {
		t.Fatal(err)
	}
	return n
}

// serve runs an HTTP server until the test ends.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}
