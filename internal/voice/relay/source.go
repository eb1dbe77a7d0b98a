package relay

import (
	"net/netip"
	"time"
)

// The silence after which a source may move: 3 s for RTP, that is 150 lost
// packets; three reports for RTCP.
const (
	rtpPatience  = 3 * time.Second
	rtcpPatience = 15 * time.Second
)

// A source decides which packets of a socket are the peer's.
//
// It is learned once: the first packet from the signalled host fixes the exact
// address, whose port may differ from the signalled one behind a NAT. After
// that everything else is a stray. Only new signalling moves it, or a packet
// from the signalled host with the same SSRC after a silence, which is a NAT
// that gave the phone another port.
type source struct {
	patience  time.Duration
	signalled netip.AddrPort // by the peer's description; zero: nothing is the peer's yet
	locked    netip.AddrPort // learned; zero: nothing yet
	ssrc      uint32         // of the last packet admitted
	last      time.Duration  // when it came
	// left is the address that signalling just gave up. What is still on its
	// way from there must not be learned again, until patience has passed.
	left  netip.AddrPort
	until time.Duration
	// before is what was locked before a restart: it, or another address with the
	// same SSRC, is learned again and no other. Zero: nothing was.
	before netip.AddrPort
}

// signal takes the address of a description. The same address as before, as
// in a session refresh, changes nothing.
func (s *source) signal(addr netip.AddrPort, now time.Duration) {
	if addr == s.signalled {
		return
	}
	if s.signalled.IsValid() {
		s.before = netip.AddrPort{}
	}
	s.signalled = addr
	if s.locked == addr {
		return
	}
	if s.locked.IsValid() {
		s.left, s.until = s.locked, now+s.patience
	}
	s.locked = netip.AddrPort{}
}

// admit reports whether a packet is the peer's, and whether it moved the lock.
func (s *source) admit(from netip.AddrPort, ssrc uint32, now time.Duration) (ok, moved bool) {
	if s.locked.IsValid() && from == s.locked {
		s.ssrc, s.last = ssrc, now
		return true, false
	}
	switch {
	case from.Addr() != s.signalled.Addr() || !s.signalled.IsValid():
		return false, false
	case s.locked.IsValid():
		if now-s.last < s.patience || ssrc != s.ssrc {
			return false, false
		}
	case from == s.left && from != s.signalled && now < s.until:
		return false, false
	case s.before.IsValid() && from != s.before && ssrc != s.ssrc:
		return false, false
	}
	s.locked, s.ssrc, s.last = from, ssrc, now
	return true, true
}

// near reports whether a packet from there may be the peer's, as far as the host
// tells: what is worth the work of looking into it.
func (s *source) near(from netip.AddrPort) bool {
	return s.locked.IsValid() && from == s.locked || s.signalled.IsValid() && from.Addr() == s.signalled.Addr()
}

// target is where the peer wants our packets: where it was learned to be, else
// where it said; invalid when neither is known.
func (s *source) target() netip.AddrPort {
	if s.locked.IsValid() {
		return s.locked
	}
	return s.signalled
}
