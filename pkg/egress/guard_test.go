package egress_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"waybill.internal/pkg/egress"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	const public, private, never = "public", "private", "never"
	tests := map[string]string{
		"93.184.216.34": public, "8.8.8.8": public, "1.1.1.1": public, "2606:4700:4700::1111": public, "::ffff:8.8.8.8": public,

		"127.0.0.1": private, "127.255.255.254": private, "10.0.0.1": private, "10.255.255.255": private, "172.16.0.1": private,
		"172.31.255.255": private, "192.168.1.1": private, "::1": private, "fc00::1": private, "fd12:3456::1": private,
		"::ffff:127.0.0.1": private, "::ffff:10.1.2.3": private,

		"0.0.0.0": never, "0.1.2.3": never, "100.64.0.1": never, "100.127.255.255": never, "169.254.0.1": never,
		"169.254.169.254": never, "::ffff:169.254.169.254": never, "169.254.170.2": never, "168.63.129.16": never,
		"::ffff:168.63.129.16": never, "100.100.100.200": never, "192.0.0.192": never, "fd00:ec2::254": never, "fd20:ce::254": never,
		"192.0.0.1": never, "192.0.2.1": never, "192.88.99.1": never, "198.18.0.1": never, "198.19.255.255": never,
		"198.51.100.1": never, "203.0.113.1": never, "224.0.0.1": never, "239.255.255.255": never, "240.0.0.1": never,
		"255.255.255.255": never, "::": never, "::127.0.0.1": never, "fe80::1": never, "fe80::1%eth0": never,
		"fd00:ec2::254%eth0": never, "fec0::1": never, "ff02::1": never, "64:ff9b::7f00:1": never, "64:ff9b::a9fe:a9fe": never,
		"64:ff9b:1::1": never, "2001::1": never, "2001:db8::1": never, "2002:7f00:1::": never, "2002:a9fe:a9fe::1": never,
		"3fff::1": never, "100::1": never, "5f00::1": never,
	}
	for addr, want := range tests {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			a := netip.MustParseAddr(addr)
			got := never
			switch {
			case egress.CheckAddr(a, false) == nil:
				got = public
			case egress.CheckAddr(a, true) == nil:
				got = private
			}
			if got != want {
				t.Errorf("%s is treated as %s, want %s", addr, got, want)
			}
		})
	}
	if egress.CheckAddr(netip.Addr{}, true) == nil {
		t.Error("the zero address is called")
	}
}

func newClient(t *testing.T, o egress.Options) *egress.Client {
	t.Helper()
	c, err := egress.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func wantCode(t *testing.T, err error, want egress.Code) {
	t.Helper()
	var e *egress.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestHostsThatLeadInside(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, egress.Options{})
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "2130706433", "0x7f000001", "0x7f.0.0.1",
		"0177.0.0.1", "127.1", "127.0.1", "0", "127.0.0.1.", "[::]", "0.0.0.0", "017700000001", "1.2.3.0x4", "[64:ff9b::7f00:1]", "[fe80::1%25lo]",
		"LOCALHOST", "user:pass@127.0.0.1",
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			_, i, err := c.Do(t.Context(), egress.Request{URL: "http://" + host + ":" + port + "/"})
			wantCode(t, err, egress.CodeBlockedAddress)
			if i.ErrorCode != egress.CodeBlockedAddress || i.Error == "" || i.Status != 0 {
				t.Errorf("interaction: %+v", i)
			}
			if strings.Contains(i.URL, "pass") {
				t.Errorf("the interaction shows the password: %s", i.URL)
			}
		})
	}
	t.Cleanup(func() {
		if hits.Load() != 0 {
			t.Errorf("the server was reached %d times", hits.Load())
		}
	})
}

// stubDNS answers A questions with the addresses in turn, the last one again
// and again, and AAAA questions with nothing.
func stubDNS(t *testing.T, addrs ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) // ends the goroutine
	go func() {
		asked := 0
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 // after the header: the name, then type and class
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			end += 5
			if end > n {
				continue
			}
			answer := append([]byte(nil), buf[:end]...)
			answer[2], answer[3] = 0x81, 0x80
			copy(answer[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0})
			if binary.BigEndian.Uint16(buf[end-4:]) == 1 {
				addr := netip.MustParseAddr(addrs[min(asked, len(addrs)-1)]).As4()
				asked++
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				answer = append(answer, addr[:]...)
			}
			if _, err := conn.WriteTo(answer, from); err != nil {
				return
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestRebinding(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resolver := stubDNS(t, "93.184.216.34", "127.0.0.1")
	// Whoever checks the name first sees a public address ...
	first, err := resolver.LookupHost(t.Context(), "rebind.example.")
	if err != nil || len(first) != 1 || egress.CheckAddr(netip.MustParseAddr(first[0]), false) != nil {
		t.Fatalf("first answer: %v, %v", first, err)
	}
	// ... and the dialer gets another one.
	_, _, err = newClient(t, egress.Options{Resolver: resolver}).Do(t.Context(), egress.Request{URL: "http://rebind.example.:" + port})
	wantCode(t, err, egress.CodeBlockedAddress)
	if hits.Load() != 0 {
		t.Error("the inside was reached")
	}
	// The stub is real: where private addresses are allowed, the same name works.
	inside := newClient(t, egress.Options{Resolver: resolver, AllowPrivate: true})
	if _, _, err := inside.Do(t.Context(), egress.Request{URL: "http://rebind.example.:" + port}); err != nil || hits.Load() != 1 {
		t.Errorf("allowed: %v, %d hits", err, hits.Load())
	}
	metadata := newClient(t, egress.Options{Resolver: stubDNS(t, "169.254.169.254"), AllowPrivate: true})
	_, _, err = metadata.Do(t.Context(), egress.Request{URL: "http://metadata.example.:" + port})
	wantCode(t, err, egress.CodeBlockedAddress)
}

func TestAllowHosts(t *testing.T) {
	t.Parallel()
	c := newClient(t, egress.Options{AllowHosts: []string{"api.example", "*.crm.example"}, Resolver: stubDNS(t, "127.0.0.1")})
	for host, allowed := range map[string]bool{
		"api.example": true, "API.example": true, "api.example.": true, "a.crm.example": true, "crm.example": false,
		"evilcrm.example": false, "other.example": false, "api.example.evil.example": false,
	} {
		_, _, err := c.Do(t.Context(), egress.Request{URL: "http://" + host + "/"})
		wantCode(t, err, egress.CodeBlockedAddress) // the resolver leads inside, so allowed hosts stop at the guard
		if refused := strings.Contains(err.Error(), "allowed hosts"); refused == allowed {
			t.Errorf("%s: %v", host, err)
		}
	}
}
