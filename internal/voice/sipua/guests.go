package sipua

import (
	"net/netip"
	"sync"
)

// guests are the addresses of the trunks of legs that are up, as those trunks
// were when the leg began: a trunk that is changed or removed takes no calls from
// there any more, but those that are up must hear the BYE of their peers.
type guests struct {
	mu sync.RWMutex
	of map[netip.Prefix]int // how many legs
}

// change counts a leg in or out.
func (g *guests) change(l *leg, by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := func(p netip.Prefix) {
		if g.of[p] += by; g.of[p] == 0 {
			delete(g.of, p)
		}
	}
	for _, p := range l.trunk.Sources {
		count(p)
	}
	for _, p := range l.trunk.places {
		count(single(p.addr.Addr()))
	}
	count(single(l.origin.Addr.Addr()))
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
