package sipua

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

// trunks is the table of trunks: replaced as a whole, read without a lock.
type trunks struct {
	table  atomic.Pointer[[]line]
	mu     sync.Mutex
	states map[string]*trunkState
}

// line is a trunk with the addresses of its targets, as far as they are known.
type line struct {
	masking.Trunk
	places []place
}

// place is an address where a trunk is reached, and over what.
type place struct {
	network string
	addr    netip.AddrPort
}

// trunkState is what a trunk has shown of itself; it outlives a change of its
// settings.
type trunkState struct {
	mu       sync.Mutex
	live     int
	second   int64 // the present second of started
	started  int
	failed   int // attempts in a row that the trunk itself failed
	lastGood time.Time
	lastBad  time.Time
	probed   time.Time // when a call last went first to a trunk that is down
}

// Health is how a trunk does, as far as its calls have shown.
type Health struct {
	State         string    `json:"state"` // unknown, up, down
	LiveCalls     int       `json:"live_calls"`
	FailuresInRow int       `json:"failures_in_row"`
	LastSuccess   time.Time `json:"last_success,omitzero"`
	LastFailure   time.Time `json:"last_failure,omitzero"`
}

// downAfter failures in a row a trunk is reported down and tried last, but for one
// call every probeEvery: nothing else would show that it is up again.
const (
	downAfter  = 3
	probeEvery = 30 * time.Second
)

func (ts *trunks) all() []line {
	if p := ts.table.Load(); p != nil {
		return *p
	}
	return nil
}

// set replaces the trunks.
func (ts *trunks) set(list []masking.Trunk) {
	lines := make([]line, len(list))
	for i, t := range list {
		lines[i] = line{Trunk: t}
		for _, target := range t.Targets {
			if addr, ok := target.Address(); ok {
				lines[i].places = append(lines[i].places, place{string(t.Transport), addr})
			}
		}
	}
	ts.table.Store(&lines)
}

// knows reports whether any trunk sends from addr or is reached there. The answers
// of a trunk that only takes calls come from where we send them.
func (ts *trunks) knows(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(ts.all(), func(l line) bool { return l.owns(addr) })
}

// bySource finds the trunk that an address may call from. Of several the one with
// the longest prefix wins, among equals the first of the table.
func (ts *trunks) bySource(addr netip.Addr) (line, bool) {
	addr = addr.Unmap()
	list, best, bits := ts.all(), -1, -1
	for i := range list {
		for _, p := range list[i].Sources {
			if p.Contains(addr) && p.Bits() > bits {
				best, bits = i, p.Bits()
			}
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

// owns reports whether addr belongs to the trunk, as a source or a target.
func (l line) owns(addr netip.Addr) bool {
	addr = addr.Unmap()
	return l.Admits(addr) || slices.ContainsFunc(l.places, func(p place) bool { return p.addr.Addr() == addr })
}

func (ts *trunks) state(name string) *trunkState {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	s := ts.states[name]
	if s == nil {
		s = &trunkState{}
		ts.states[name] = s
	}
	return s
}

// outgoing are the ways out for a caller ID, one for each address of each trunk
// that may present it, those that are down last.
func (ts *trunks) outgoing(ua *Agent, callerID e164.Number) []b2bua.Trunk {
	var up, down []b2bua.Trunk
	now := time.Now()
	lines := ts.all()
	list := make([]masking.Trunk, len(lines))
	for i := range lines {
		list[i] = lines[i].Trunk
	}
	for _, t := range masking.OutgoingTrunks(list, callerID, rand.IntN) {
		l := lines[slices.IndexFunc(lines, func(l line) bool { return l.Name == t.Name })]
		s := ts.state(t.Name)
		last := s.passedOver(now)
		for _, p := range l.places {
			way := &way{ua: ua, trunk: l, state: s, place: p}
			if last {
				down = append(down, way)
			} else {
				up = append(up, way)
			}
		}
	}
	return append(up, down...)
}

// take counts a call that starts, unless the trunk's limits are reached.
func (s *trunkState) take(t masking.Trunk, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec := now.Unix(); sec != s.second {
		s.second, s.started = sec, 0
	}
	if (t.MaxCalls > 0 && s.live >= t.MaxCalls) || (t.MaxCPS > 0 && s.started >= t.MaxCPS) {
		return false
	}
	s.live++
	s.started++
	return true
}

func (s *trunkState) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
}

// note keeps whether the trunk itself worked: any answer of the far side proves
// that it did, be it a refusal.
func (s *trunkState) note(worked bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if worked {
		s.failed, s.lastGood = 0, now
		return
	}
	s.failed++
	s.lastBad = now
}

// passedOver reports whether the trunk is to be tried last.
func (s *trunkState) passedOver(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed < downAfter {
		return false
	}
	if now.Sub(s.lastBad) >= probeEvery && now.Sub(s.probed) >= probeEvery {
		s.probed = now
		return false
	}
	return true
}

func (s *trunkState) health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := Health{State: "unknown", LiveCalls: s.live, FailuresInRow: s.failed, LastSuccess: s.lastGood, LastFailure: s.lastBad}
	switch {
	case s.failed >= downAfter:
		h.State = "down"
	case !s.lastGood.IsZero():
		h.State = "up"
	}
	return h
}

// way is one address of one trunk.
type way struct {
	ua    *Agent
	trunk line
	state *trunkState
	place place
}

// SRTP is what the trunk says of it.
func (w *way) SRTP() masking.SRTP { return w.trunk.SRTP }

// Name is the trunk's name.
func (w *way) Name() string { return w.trunk.Name }
