package sipua

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/locate"
)

// This file has the servers of trunks whose targets are names found by DNS
// (RFC 3263), beside the calls, which take what was found last.

// led is where one target leads: to the place that was written, or to what DNS says
// of a name.
type led struct {
	place // without an address if it is a name
	found locate.Found
}

// order gives the places of a target in the order that a call tries.
func (d led) order(draw func(n int) int) []place {
	if d.addr.IsValid() {
		return []place{d.place}
	}
	var list []place
	for _, s := range d.found.Order(draw) {
		list = append(list, place{network: s.Network, of: d.of, addr: s.Addr})
	}
	return list
}

// drawn gives the trunk's places in the order that one call tries, each once.
func (l line) drawn(draw func(n int) int) []place {
	var list []place
	for _, d := range l.led {
		for _, p := range d.order(draw) {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// wanted is a name of a trunk that DNS is asked for.
type wanted struct {
	target  masking.Target
	network string // "" = as DNS says
}

// wantedOf are the names among a trunk's targets, each once.
func wantedOf(t masking.Trunk) []wanted {
	var list []wanted
	for _, target := range t.Targets {
		if _, ok := target.Address(); ok {
			continue
		}
		w := wanted{target: target}
		if t.Transport != masking.ByDNS {
			w.network = string(t.Transport)
		}
		if !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// line is a trunk with what is known of its targets. What is known of others is
// forgotten.
func (s *trunkState) line(t masking.Trunk) line {
	l := line{Trunk: t}
	names := wantedOf(t)
	s.mu.Lock()
	for w := range s.names {
		if !slices.Contains(names, w) {
			delete(s.names, w)
		}
	}
	for _, target := range t.Targets {
		if addr, ok := target.Address(); ok {
			network := string(t.Transport)
			if t.Transport == masking.ByDNS {
				network = "udp" // RFC 3263 §4.1
			}
			l.led = append(l.led, led{place: place{network: network, of: target, addr: addr}})
			continue
		}
		w := names[slices.IndexFunc(names, func(w wanted) bool { return w.target == target })]
		l.led = append(l.led, led{place: place{of: target}, found: s.names[w].Found})
	}
	s.mu.Unlock()
	l.places = l.drawn(func(int) int { return 0 })
	s.keepOnly(l.places)
	return l
}

// learn keeps what is known of a name, as long as the trunk has it.
func (ts *trunks) learn(trunk string, w wanted, known locate.Known) {
	ts.writes.Lock()
	defer ts.writes.Unlock()
	lines := slices.Clone(ts.all())
	i := slices.IndexFunc(lines, func(l line) bool { return l.Name == trunk })
	if i < 0 || !slices.Contains(wantedOf(lines[i].Trunk), w) {
		return
	}
	s := ts.state(trunk)
	s.mu.Lock()
	if s.names == nil {
		s.names = map[wanted]locate.Known{}
	}
	s.names[w] = known
	s.mu.Unlock()
	lines[i] = s.line(lines[i].Trunk)
	ts.table.Store(&lines)
}

// known is what is known of a name.
func (s *trunkState) known(w wanted) locate.Known {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.names[w]
	if !ok {
		k.State = locate.Pending
	}
	return k
}

// lookups counts what DNS was asked for.
type lookups struct{ found, gone, failed atomic.Uint64 }

// Lookups are how many names DNS was asked for, by what came of it.
type Lookups struct{ Found, Gone, Failed uint64 }

// Lookups counts them.
func (ua *Agent) Lookups() Lookups {
	return Lookups{ua.lookups.found.Load(), ua.lookups.gone.Load(), ua.lookups.failed.Load()}
}

// follow keeps what is known of a trunk's name up to date until ctx is done.
func (ua *Agent) follow(ctx context.Context, l line, w wanted) {
	if ua.o.Find == nil {
		return
	}
	log := ua.o.Log.With("trunk", l.Name, "target", w.target.String())
	q := locate.Query{Host: w.target.Host, Port: w.target.Port, Network: w.network, Reach: ua.reach()}
	was := ua.trunks.state(l.Name).known(w)
	find := func(ctx context.Context) (locate.Found, error) { return ua.o.Find(ctx, q) }
	locate.Watch(ctx, ua.o.Lookups, was, find, func(k locate.Known) {
		switch k.State {
		case locate.Failing:
			ua.lookups.failed.Add(1)
		case locate.Gone:
			ua.lookups.gone.Add(1)
		default:
			ua.lookups.found.Add(1)
		}
		if k.State != was.State { // the rest is in the health
			if k.State == locate.Current {
				log.Info("servers found by DNS", "addresses", addressCount(k.Found))
			} else {
				log.Warn("no servers by DNS", "state", string(k.State), "problem", k.Problem, "kept", addressCount(k.Found))
			}
		}
		was = k
		ua.trunks.learn(l.Name, w, k)
		ua.keepers.moved(l.Name)
	})
}

func addressCount(f locate.Found) int {
	n := 0
	for _, r := range f.Records {
		n += len(r.Addrs)
	}
	return n
}

// reach is what we can send over: each transport that we listen on, in each of its
// families, and TCP beside UDP, which needs no listener.
func (ua *Agent) reach() locate.Reach {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	var r locate.Reach
	add := func(network string, addr netip.Addr) {
		if w := (locate.Way{Network: network, IPv6: !addr.Is4()}); !slices.Contains(r, w) {
			r = append(r, w)
		}
	}
	for _, l := range ua.listening {
		add(l.network, l.addr.Addr().Unmap())
		if l.network == "udp" {
			add("tcp", l.addr.Addr().Unmap())
		}
	}
	return r
}

// NameHealth is what DNS says of a target that is a name.
type NameHealth struct {
	Target   string         `json:"target"`
	State    string         `json:"state"` // pending, current, failing, gone
	Servers  []ServerHealth `json:"servers"`
	FoundAt  time.Time      `json:"found_at,omitzero"`
	TTLLeft  int            `json:"ttl_left"` // s until DNS is asked again
	Failures int            `json:"failures_in_row"`
	Problem  string         `json:"problem,omitempty"`
	Until    time.Time      `json:"kept_until,omitzero"` // gone: when these servers are used no longer
}

// ServerHealth is a server that DNS named.
type ServerHealth struct {
	Host      string   `json:"host"`
	By        string   `json:"by"` // naptr, srv, address
	Transport string   `json:"transport"`
	Priority  int      `json:"priority"`
	Weight    int      `json:"weight"`
	Addresses []string `json:"addresses"`
}

func (s *trunkState) namesOf(t masking.Trunk, now time.Time) []NameHealth {
	var list []NameHealth
	for _, w := range wantedOf(t) {
		k := s.known(w)
		h := NameHealth{Target: w.target.String(), State: string(k.State), Servers: []ServerHealth{}, FoundAt: k.At,
			TTLLeft: int(max(0, k.Next.Sub(now)) / time.Second), Failures: k.Failed, Problem: k.Problem}
		if k.State == locate.Gone {
			h.Until = k.Until
		}
		for _, r := range k.Records {
			one := ServerHealth{Host: r.Host, By: string(r.By), Transport: r.Network, Priority: int(r.Priority), Weight: int(r.Weight)}
			for _, a := range r.Addrs {
				one.Addresses = append(one.Addresses, netip.AddrPortFrom(a, r.Port).String())
			}
			h.Servers = append(h.Servers, one)
		}
		list = append(list, h)
	}
	return list
}
