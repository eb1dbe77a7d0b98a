package sipua

import (
	"net/netip"
	"sync"
)

// guests are the addresses of the trunks of legs that are up, as those trunks
// were when the leg began: a trunk that is changed or removed takes no calls from
// there any more, but those that are up must hear the BYE of their peers. So is where
// a registration is taken back: the registrar may challenge that.
type guests struct {
	mu sync.RWMutex
	of map[netip.Prefix]int // how many legs and registrations
}

// change counts a leg in or out.
func (g *guests) change(l *leg, by int) {
	g.count(by, l.trunk.Sources...)
	for _, p := range l.trunk.places {
		g.count(by, single(p.addr.Addr()))
	}
	g.count(by, single(l.origin.Addr.Addr()))
}

// count counts addresses in or out.
func (g *guests) count(by int, of ...netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range of {
		if g.of[p] += by; g.of[p] == 0 {
			delete(g.of, p)
		}
	}
}

// admits looks at every prefix. There are few, and it is asked only for sources
// that no trunk knows.
func (g *guests) admits(addr netip.Addr) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for p := range g.of {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}
