package sipua

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/quota"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// trunks is the table of trunks: replaced as a whole, read without a lock.
type trunks struct {
	table  atomic.Pointer[[]line]
	draw   func(n int) int // a number in [0, n); the order of each call
	quota  *quota.Quota    // of the trunks' limits
	writes sync.Mutex      // held while the table is made anew; taken before mu
	mu     sync.Mutex
	states map[string]*trunkState
}

// line is a trunk with the addresses of its targets, as far as they are known.
type line struct {
	masking.Trunk
	led    []led   // of each target, in order
	places []place // all of them, each once
}

// place is an address where a trunk is reached, and over what.
type place struct {
	network string
	of      masking.Target // as the operator wrote it
	addr    netip.AddrPort
}

// name is the host name that led to the address; "" = none did.
func (p place) name() string {
	if _, ok := p.of.Address(); ok {
		return ""
	}
	return p.of.Host
}

// target is where siptx sends what goes there.
func (p place) target() siptx.Target {
	return siptx.Target{Network: p.network, Addr: p.addr, Name: p.name()}
}

func (ts *trunks) all() []line {
	if p := ts.table.Load(); p != nil {
		return *p
	}
	return nil
}

// set replaces the trunks.
func (ts *trunks) set(list []masking.Trunk) {
	ts.writes.Lock()
	defer ts.writes.Unlock()
	lines := make([]line, len(list))
	for i, t := range list {
		lines[i] = ts.state(t.Name).line(t)
	}
	ts.table.Store(&lines)
}

// asKnown is a trunk with the addresses that are known now, as long as nothing is
// different that its keeper goes by.
func (ts *trunks) asKnown(l line) line {
	for _, now := range ts.all() {
		if now.Name == l.Name && sameKept(now.Trunk, l.Trunk) {
			return now
		}
	}
	return l
}

// knows reports whether any trunk sends from addr or is reached there. The answers
// of a trunk that only takes calls come from where we send them.
func (ts *trunks) knows(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(ts.all(), func(l line) bool { return l.owns(addr) })
}

// bySource finds the trunk that an address may call from. Of several the one with
// the longest prefix wins, among equals the first of the table. What DNS gave as an
// address takes nothing away from a source that was written.
func (ts *trunks) bySource(addr netip.Addr) (line, bool) {
	addr = addr.Unmap()
	list, best, bits := ts.all(), -1, -1
	for i := range list {
		for _, p := range list[i].Sources {
			if p.Contains(addr) && p.Bits() > bits {
				best, bits = i, p.Bits()
			}
		}
		// A carrier with whom we register calls from where we do that.
		if list[i].Register.Domain != "" && addr.BitLen() > bits && list[i].writtenAt(addr) {
			best, bits = i, addr.BitLen()
		}
	}
	for i := range list {
		if best < 0 && list[i].Register.Domain != "" && list[i].reachedAt(addr) {
			best = i
		}
	}
	if best < 0 {
		return line{}, false
	}
	return list[best], true
}

// byAddress finds a trunk that sends from an address or is reached there, the zero
// line if there is none.
func (ts *trunks) byAddress(addr netip.Addr) line {
	for _, l := range ts.all() {
		if l.owns(addr) {
			return l
		}
	}
	return line{}
}

// takesOver reports whether there is a trunk of that name whose talks may go on here
// when their node has died.
func (ts *trunks) takesOver(name string) bool {
	return slices.ContainsFunc(ts.all(), func(l line) bool { return l.Name == name && l.TakesOver() })
}

// named finds a trunk by its name, one that has nothing else if it is gone.
func (ts *trunks) named(name string) line {
	for _, l := range ts.all() {
		if l.Name == name {
			return l
		}
	}
	return line{Trunk: masking.Trunk{Name: name}}
}

// owns reports whether addr belongs to the trunk, as a source or a target.
func (l line) owns(addr netip.Addr) bool {
	addr = addr.Unmap()
	return l.Admits(addr) || l.reachedAt(addr)
}

func (l line) reachedAt(addr netip.Addr) bool {
	return slices.ContainsFunc(l.places, func(p place) bool { return p.addr.Addr() == addr })
}

// writtenAt reports whether the operator himself has named the address.
func (l line) writtenAt(addr netip.Addr) bool {
	return slices.ContainsFunc(l.places, func(p place) bool { return p.addr.Addr() == addr && p.name() == "" })
}

func (ts *trunks) state(name string) *trunkState {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	s := ts.states[name]
	if s == nil {
		s = &trunkState{name: name, quota: ts.quota}
		ts.states[name] = s
	}
	return s
}

// The most ways that one number is tried over. More would have one call knock at
// every door of every carrier while all of them are down (failover storms).
const (
	mostWays  = 5
	mostLasts = 1 // of those that are down
)

// outgoing are the ways out for a caller ID, one for each address of each trunk
// that may present it, those that are down last.
func (ts *trunks) outgoing(ua *Agent, callerID e164.Number) []b2bua.Trunk {
	ways, _ := ts.ways(callerID, time.Now(), ts.draw, (*spot).opens)
	out := make([]b2bua.Trunk, len(ways))
	for i, w := range ways {
		w.ua = ua
		out[i] = w
	}
	return out
}

// ways are those out for a caller ID that a call would try, in order, and those
// that it would not. draw decides among equals; opens says what may be sent to an
// address.
func (ts *trunks) ways(callerID e164.Number, now time.Time, draw func(n int) int, opens func(*spot, bool, time.Time) openness) (tried, left []*way) {
	var up, down []*way
	lines := ts.all()
	list := make([]masking.Trunk, len(lines))
	for i := range lines {
		list[i] = lines[i].Trunk
	}
	for _, t := range masking.OutgoingTrunks(list, callerID, draw) {
		l := lines[slices.IndexFunc(lines, func(l line) bool { return l.Name == t.Name })]
		s := ts.state(t.Name)
		for _, p := range l.drawn(draw) {
			w := &way{trunk: l, state: s, place: p, spot: s.at(p)}
			switch w.open = opens(w.spot, t.OptionsEvery > 0, now); w.open {
			case open:
				up = append(up, w)
			case last:
				down = append(down, w)
			case closed:
				left = append(left, w)
			}
		}
	}
	most, lasts := min(len(up), mostWays), min(len(down), mostLasts)
	return slices.Concat(up[:most], down[:lasts]), slices.Concat(up[most:], down[lasts:], left)
}

// waysOut tells what outgoing would give now and what it would leave out. Nothing
// is drawn: of equals those with a weight come first, as they stand in the table.
func (ts *trunks) waysOut(callerID e164.Number, now time.Time) []masking.WayOut {
	tried, left := ts.ways(callerID, now, func(int) int { return 0 }, (*spot).looks)
	out := make([]masking.WayOut, 0, len(tried)+len(left))
	for i, w := range slices.Concat(tried, left) {
		state := map[openness]masking.WayState{open: masking.WayOpen, last: masking.WayDown, closed: masking.WayClosed}[w.open]
		if state == masking.WayOpen && w.state.full(w.trunk.Trunk) {
			state = masking.WayFull
		}
		out = append(out, masking.WayOut{Trunk: w.trunk.Name, Priority: w.trunk.Priority, Weight: w.trunk.Weight, State: state, Tried: i < len(tried)})
	}
	return out
}

// The names of a trunk's bounds: its channels, and the calls that it starts in a second.
// A start keeps its place in the second one for so long.
func (s *trunkState) channels() string { return "calls on trunk " + s.name }
func (s *trunkState) starts() string   { return "starts on trunk " + s.name }

// aSecond is how long a start counts.
const aSecond = time.Second

// take counts a call that starts, unless the trunk's limits are reached, on all nodes
// together, or nobody knows whether they are. The call has waited for such an answer
// before, on other trunks or for other numbers: half a second is for all of them.
func (s *trunkState) take(t masking.Trunk, waited time.Duration) bool {
	ctx, cancel := quota.Waiting(context.Background(), waited)
	defer cancel()
	if ok, err := s.quota.Take(ctx, s.channels(), t.MaxCalls); err != nil || !ok {
		return false
	}
	if t.MaxCPS > 0 {
		if ok, err := s.quota.Take(ctx, s.starts(), t.MaxCPS); err != nil || !ok {
			s.quota.Give(s.channels())
			return false
		}
		time.AfterFunc(aSecond, func() { s.quota.Give(s.starts()) })
	}
	s.count(1)
	return true
}

// full says what take would refuse, as far as this node knows, and counts nothing.
func (s *trunkState) full(t masking.Trunk) bool {
	return !s.quota.Room(s.channels(), t.MaxCalls) || !s.quota.Room(s.starts(), t.MaxCPS)
}

// add counts a call that is up already, whatever the trunk's limits.
func (s *trunkState) add(t masking.Trunk) {
	s.quota.Add(s.channels(), t.MaxCalls)
	s.count(1)
}

func (s *trunkState) give() {
	s.count(-1)
	s.quota.Give(s.channels())
}

// count counts the calls that are up on this node.
func (s *trunkState) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live += by
}

// way is one address of one trunk.
type way struct {
	ua    *Agent
	trunk line
	state *trunkState
	place place
	spot  *spot
	open  openness // as it was found
}

// SRTP is what the trunk says of it.
func (w *way) SRTP() masking.SRTP { return w.trunk.SRTP }

// Name is the trunk's name.
func (w *way) Name() string { return w.trunk.Name }
