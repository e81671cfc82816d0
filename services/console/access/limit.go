package access

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// Wrong tokens and links: this many at once from an address, and one more every interval.
	maxFailures     = 10
	failureInterval = 30 * time.Second
	maxAddresses    = 10_000
)

// failures limits the failed sign-ins of an address. The zero value is ready. All methods may be called concurrently.
type failures struct {
	mu sync.Mutex
	by map[netip.Addr]*rate.Limiter
}

// tooMany reports whether the address must wait before it may try again.
func (f *failures) tooMany(now time.Time, from netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.by[from]
	return l != nil && l.TokensAt(now) < 1
}

// add counts a failure.
func (f *failures) add(now time.Time, from netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.by[from]
	if l == nil {
		if len(f.by) >= maxAddresses {
			f.shrink(now)
		}
		if f.by == nil {
			f.by = map[netip.Addr]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Every(failureInterval), maxFailures)
		f.by[from] = l
	}
	l.AllowN(now, 1)
}

// shrink forgets the addresses whose failures are long ago, or half of all if there are none. The caller holds mu.
func (f *failures) shrink(now time.Time) {
	for from, l := range f.by {
		if l.TokensAt(now) >= maxFailures {
			delete(f.by, from)
		}
	}
	for from := range f.by {
		if len(f.by) <= maxAddresses/2 {
			return
		}
		delete(f.by, from)
	}
}

// client returns the address of the client: the last one in X-Forwarded-For that is not a proxy's, if the peer is a proxy.
// Of an IPv6 address only the network counts.
func client(r *http.Request, proxies []netip.Prefix) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	at := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && within(at, proxies); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		at = hop.Unmap()
	}
	if at.Is6() {
		network, _ := at.WithZone("").Prefix(64)
		return network.Addr()
	}
	return at
}

func within(a netip.Addr, ranges []netip.Prefix) bool {
	for _, p := range ranges {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// loopback reports whether a host, with or without a port, is this machine for a browser.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
