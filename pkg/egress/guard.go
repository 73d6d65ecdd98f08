package egress

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// privateV4 and privateV6 are what AllowPrivate adds. Link-local addresses and
// the shared address space of providers stay closed: metadata services live there.
func privateV4() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
	}
}

func privateV6() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fc00::/7")}
}

// metadata lists the cloud metadata services: never dialled, even where private
// addresses are.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("169.254.169.254"), // AWS, Azure, GCP and most others
		netip.MustParseAddr("168.63.129.16"),   // Azure WireServer, a public address
		netip.MustParseAddr("169.254.170.2"),   // AWS container credentials
		netip.MustParseAddr("100.100.100.200"), // Alibaba
		netip.MustParseAddr("192.0.0.192"),     // Oracle, classic
		netip.MustParseAddr("fd00:ec2::254"),   // AWS over IPv6
		netip.MustParseAddr("fd20:ce::254"),    // GCP over IPv6
	}
}

// guard decides which addresses may be dialled. It is immutable.
type guard struct {
	guardian *ssrf.Guardian
	never    map[netip.Addr]bool
}

func newGuard(allowPrivate bool) *guard {
	opts := []ssrf.Option{ssrf.WithAnyPort()}
	if allowPrivate {
		opts = append(opts, ssrf.WithAllowedV4Prefixes(privateV4()...), ssrf.WithAllowedV6Prefixes(privateV6()...))
	}
	g := &guard{guardian: ssrf.New(opts...), never: map[netip.Addr]bool{}}
	for _, a := range metadata() {
		g.never[a] = true
	}
	return g
}

// check judges one resolved address. An IPv4 address in IPv6 clothes is judged
// as the IPv4 address that the kernel would connect to; a zone is left aside.
func (g *guard) check(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	if !addr.IsValid() {
		return &Error{Code: CodeBlockedAddress, Message: "the address is not valid"}
	}
	if g.never[addr] {
		return &Error{Code: CodeBlockedAddress, Message: fmt.Sprintf("%s is a cloud metadata service and is never called", addr)}
	}
	if err := g.guardian.SafeAddr(addr); err != nil {
		return &Error{Code: CodeBlockedAddress, Message: fmt.Sprintf("%s is not a public address; set allow_private on the destination if it is meant", addr), Err: err}
	}
	return nil
}

// control is the dialer's hook: it runs after resolution, for each address
// tried, right before connect.
func (g *guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return &Error{Code: CodeBlockedAddress, Message: fmt.Sprintf("network %s is not called", network)}
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &Error{Code: CodeBlockedAddress, Message: fmt.Sprintf("%q is not an address", address), Err: err}
	}
	return g.check(ap.Addr())
}

// CheckAddr says whether a client would connect to addr.
func CheckAddr(addr netip.Addr, allowPrivate bool) error { return newGuard(allowPrivate).check(addr) }

// disguised reports whether a host that is no plain address is one for some
// resolvers: 2130706433, 0177.0.0.1, 0x7f.1, 127.1. What the dialer would
// connect to then depends on the platform, so such a host is refused.
func disguised(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(host), "."), ".")
	last := labels[len(labels)-1]
	if digits, hex := strings.CutPrefix(last, "0x"); hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}
