package webhook

import (
	"container/list"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"waybill.internal/pkg/integration"
)

const (
	// Requests that show no valid key are kept at these rates; beyond them they are told
	// to come later, so that whoever has no key cannot fill the ledger, and whoever floods
	// takes little from the others.
	strangersPerSecond = 100
	strangersAtOnce    = 1000
	strangerPerSecond  = 10 // of one address
	strangerAtOnce     = 200
	// maxAddresses bounds the addresses whose rates are remembered; the longest silent one goes first.
	maxAddresses = 10_000
	// Reads of one key.
	readsPerSecond = 20
	readsAtOnce    = 100
	// maxForwarded bounds the addresses of X-Forwarded-For that are looked at, from the last one.
	maxForwarded = 20
)

// gate holds the limits of one source.
type gate struct {
	connections *semaphore.Weighted
	rate        *rate.Limiter       // nil: none
	forms       *addresses          // nil: the source takes no forms
	share       *semaphore.Weighted // of the budget of all bodies
}

func newGate(w *integration.Webhook) *gate {
	g := &gate{connections: semaphore.NewWeighted(int64(w.Connections)), share: semaphore.NewWeighted(bodyShare), rate: newLimiter(w.Rate)}
	if w.Form != nil {
		g.forms = newAddresses(func() *rate.Limiter { return newLimiter(w.Form.Rate) })
	}
	return g
}

// newLimiter is a token bucket that holds what one period allows; nil: no limit.
func newLimiter(r integration.Rate) *rate.Limiter {
	if r.Per == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(r.PerSecond()), r.Count)
}

// take takes one token, or tells how long it is until there is one.
func take(l *rate.Limiter) time.Duration {
	if l == nil {
		return 0
	}
	now := time.Now()
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// seconds is a wait as Retry-After says it: whole ones, at least one.
func seconds(wait time.Duration) string {
	return strconv.Itoa(int(min(max(math.Ceil(wait.Seconds()), 1), 3600)))
}

// addresses gives every address a limiter of its own and remembers the last
// maxAddresses. It is safe for concurrent use.
type addresses struct {
	make func() *rate.Limiter

	mu    sync.Mutex
	known map[netip.Prefix]*list.Element // of order
	order *list.List                     // of *visitor, the latest first
}

type visitor struct {
	network netip.Prefix
	limiter *rate.Limiter
}

func newAddresses(limiter func() *rate.Limiter) *addresses {
	return &addresses{make: limiter, known: map[netip.Prefix]*list.Element{}, order: list.New()}
}

func (a *addresses) take(network netip.Prefix) time.Duration { return take(a.of(network)) }

func (a *addresses) of(network netip.Prefix) *rate.Limiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.known[network]; ok {
		a.order.MoveToFront(e)
		return e.Value.(*visitor).limiter
	}
	v := &visitor{network, a.make()}
	a.known[network] = a.order.PushFront(v)
	if a.order.Len() > maxAddresses {
		last := a.order.Remove(a.order.Back()).(*visitor)
		delete(a.known, last.network)
	}
	return v.limiter
}

// strangers bounds requests that show no valid key.
type strangers struct {
	each *addresses
	all  *rate.Limiter
}

func newStrangers() strangers {
	return strangers{newAddresses(func() *rate.Limiter { return rate.NewLimiter(strangerPerSecond, strangerAtOnce) }), rate.NewLimiter(strangersPerSecond, strangersAtOnce)}
}

// take: an address over its own rate takes nothing from the others'.
func (s strangers) take(network netip.Prefix) time.Duration {
	if wait := s.each.take(network); wait > 0 {
		return wait
	}
	return take(s.all)
}

// proxies are those whose word about their clients is taken.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// peer is who sits at the other end of the connection.
func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// client is the address that a request comes from: the last one in
// X-Forwarded-For that is no proxy of ours, if a proxy of ours sent it. IPv6
// counts by /64, which one subscriber has whole.
func (p proxies) client(r *http.Request) netip.Prefix {
	at := peer(r)
	if p.trust(at) {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for i := len(hops) - 1; i >= max(0, len(hops)-maxForwarded); i-- {
			a, ok := hop(strings.TrimSpace(hops[i]))
			if !ok {
				break // from here on the list is not one that a proxy of ours wrote
			}
			if at = a.Unmap().WithZone(""); !p.trust(at) {
				break
			}
		}
	}
	bits := at.BitLen()
	if at.Is6() {
		bits = 64
	}
	network, err := at.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all of these share one limit
	}
	return network
}

// hop reads an address as proxies write them: some add the port.
func hop(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a, true
	}
	withPort, err := netip.ParseAddrPort(text)
	return withPort.Addr(), err == nil
}

// scheme is the one that the client used, as far as we know.
func (p proxies) scheme(r *http.Request) string {
	if said := r.Header.Get("X-Forwarded-Proto"); (said == "http" || said == "https") && p.trust(peer(r)) {
		return said
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}
