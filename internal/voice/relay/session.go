package relay

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Side names the two legs of a session.
type Side int

// The leg that called and the leg that is called.
const (
	A Side = iota
	B
)

// Other is the opposite side.
func (s Side) Other() Side { return 1 - s }

// String is "A" or "B".
func (s Side) String() string {
	if s == A {
		return "A"
	}
	return "B"
}

// Remote is what signalling says about one side.
type Remote struct {
	// RTP and RTCP are where the peer wants packets. An unspecified RTP host
	// (hold in the style of RFC 2543) leaves the address learned before; an
	// invalid RTCP means that no reports are sent, one that is RTP that the peer
	// takes both at one port (rtcp-mux, RFC 5761), and so do we.
	RTP, RTCP netip.AddrPort
	Keys      *Keys // protect the side's media; nil = plain RTP
	// Payloads maps the numbers that arrive on the other side to those that
	// leave to this one; above 127 = dropped. The zero value maps all to 0.
	Payloads [128]uint8
	// Tables turn each code word of the media from A-law to µ-law or back, by
	// the number that arrives on the other side; nil leaves it as it is. What
	// they point to must not change.
	Tables [128]*[256]byte
	// Clock is the RTP clock in Hz of the numbers that arrive from this side;
	// 0 = 8000.
	Clock   [128]uint32
	Send    bool // we send to this side; false while it holds
	Receive bool // what this side sends goes on; false while it may not send
}

// Activity is when RTP of each side last arrived; zero = never.
type Activity struct {
	Opened time.Time
	Last   [2]time.Time // by Side
}

// SideStats is what one side sent and got, since Take if there was one.
type SideStats struct {
	PacketsIn, BytesIn   uint64        // admitted RTP and its media bytes, before any drop below
	PacketsOut, BytesOut uint64        // sent to this side
	Lost                 uint64        // expected from this side and not arrived
	Jitter               time.Duration // of arrival (RFC 3550 A.8)
	Payloads             []uint8       // numbers that arrived, ascending
	RoundTrip            time.Duration // to this side and back, from its last RTCP; 0 = unknown
	PeerReported         bool          // this side has reported on what we sent:
	PeerLost             uint64        // of it, as this side reports
	PeerJitter           time.Duration // same
	// Strays are RTP and RTCP from other addresses than this side's and, where it
	// has keys, what those did not protect or what came a second time.
	Strays    uint64
	Malformed uint64 // neither RTP nor RTCP
	Unmapped  uint64 // payload number not negotiated, dropped
	// Held counts what was dropped for a hold, before the other side was
	// connected, while something was said to it, or for coming too late to have
	// a number of its own.
	Held   uint64
	Unsent uint64 // the system refused to send to this side
}

// peer is what we know of who is at a side.
type peer struct {
	send, open bool // of Remote.Send, Remote.Receive
	// unsure says that the session was resumed and the peer has not been heard
	// since: it may be gone, and its address another's.
	unsure     bool
	muxed      bool
	opener     *opener // of what arrives; nil = plain
	reportSeal *sealer // of our reports; nil = plain
	rtpSource  source
	rtcpSource source
	clock      [128]uint32
	in         reception
	report     reports
	packets    uint64
	bytes      uint64
	seen       [128]bool
	strays     uint64
	malformed  uint64
	unmapped   uint64
	held       uint64
}

func newPeer() peer {
	return peer{rtpSource: source{patience: rtpPatience}, rtcpSource: source{patience: rtcpPatience}}
}

// end is one side of a session: its sockets, its peer, what arrives, and the
// flow of what arrives to the other side.
type end struct {
	*pair
	ssrc  uint32 // ours towards this side
	cname string // ours towards this side, random (RFC 7022 §4.2)

	// Read without a lock by what moves the other side's packets; nil = nowhere.
	rtpTo, rtcpTo atomic.Pointer[destination]

	lastRTP              atomic.Int64 // nanoseconds since the epoch, 0 = never
	packetsOut, bytesOut atomic.Uint64
	unsent               atomic.Uint64

	mu sync.Mutex // guards the rest, and the order of what leaves to the other side
	peer
	flow     flow    // from this side to the other
	seal     *sealer // of what leaves by it; nil = plain
	said     *saying // what the engine says to the other side in place of this one; nil = nothing
	ear      Ear     // nil = none
	recorder Tap     // nil = none
	shown    Packet  // what the taps are given: a packet of its own would have to be allocated
	past     Totals  // of peers before Take
}

// Session is the media of one call. Its methods may be called from any
// goroutine; Close ends it.
type Session struct {
	engine *Engine
	opened time.Duration
	ends   [2]end
	reader reader // set by Engine.Open

	mu     sync.Mutex // signalling: Connect, Play, Take and Close, one at a time; guards the ports
	closed bool
	once   sync.Once
	final  [2]SideStats
}

// newSession makes a session around two pairs. Nothing reads them yet.
func newSession(e *Engine, a, b *pair) *Session {
	s := &Session{engine: e, opened: e.Elapsed()}
	for side, p := range []*pair{a, b} {
		n := &s.ends[side]
		n.pair = p
		n.ssrc = uint32(randomUint64())
		n.cname = randomName()
		n.peer = newPeer()
	}
	for side := range s.ends {
		s.ends[side].flow = newFlow(s.ends[Side(side).Other()].ssrc)
	}
	return s
}

// randomName gives a CNAME of 96 random bits.
func randomName() string {
	var b [16]byte
	for i, x := range [2]uint64{randomUint64(), randomUint64()} {
		for j := range 8 {
			b[8*i+j] = byte(x >> (8 * j))
		}
	}
	return hex.EncodeToString(b[:12])
}

// Local is the RTP address of a side, to be put into its description. RTCP is
// the next port.
func (s *Session) Local(side Side) netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return netip.AddrPortFrom(s.engine.advertise, s.ends[side].port)
}

// Connect takes what a peer's description says, at first and after each change
// of it. A changed address makes the source be learned anew; the same one
// changes nothing of it.
//
// It refuses, changing nothing, an address of another family than the
// engine's, one that no phone can have, and one of this session's own.
func (s *Session) Connect(side Side, r Remote) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	r.RTP, r.RTCP = unmap(r.RTP), unmap(r.RTCP)
	if err := s.usable(r.RTP); err != nil {
		return fmt.Errorf("connect side %v: %w", side, err)
	}
	if s.usable(r.RTCP) != nil {
		r.RTCP = netip.AddrPort{} // reports are not worth refusing a call for
	}
	n, from, now := &s.ends[side], &s.ends[side.Other()], s.engine.Elapsed()
	media, err := newSealer(r.Keys, from.seal) // only Connect and Take change seals and openers
	if err != nil {
		return fmt.Errorf("connect side %v: %w", side, err)
	}
	reports, _ := newSealer(r.Keys, n.reportSeal) // the same key has just been good
	opener, err := newOpener(r.Keys, n.opener)
	if err != nil {
		return fmt.Errorf("connect side %v: %w", side, err)
	}
	from.mu.Lock()
	from.seal = media
	if r.Keys != nil && from.flow.resumed {
		// How often the numbers of the stream had run over died with the process that
		// knew it. Under another SSRC both sides count from 0, and no key stream is
		// used a second time (RFC 3711 §9.1).
		from.flow = newFlow(uint32(randomUint64()))
	}
	ssrc := from.flow.ssrc
	from.flow.payloads, from.flow.tables = r.Payloads, nil
	if r.Tables != [128]*[256]byte{} {
		tables := r.Tables // of its own, or each Connect would allocate all of r
		from.flow.tables = &tables
	}
	from.mu.Unlock()

	n.mu.Lock()
	defer n.mu.Unlock()
	n.ssrc = ssrc
	n.send, n.open, n.clock = r.Send, r.Receive, r.Clock
	n.muxed, n.opener, n.reportSeal = r.RTCP == r.RTP, opener, reports
	if opener != nil && opener.before != nil {
		opener.before.before = nil // two generations are enough
	}
	if r.RTP.Addr().IsUnspecified() {
		n.send = false
		n.rtcpTo.Store(nil)
	} else {
		n.rtpSource.signal(r.RTP, now)
		n.rtcpSource.signal(r.RTCP, now)
		n.aimRTCP()
	}
	n.aimRTP()
	return nil
}

// unmap turns an IPv4 address inside IPv6 into IPv4.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// usable refuses an address that we cannot or must not send to. The address is
// not named in the error: it can tell where a person is.
func (s *Session) usable(a netip.AddrPort) error {
	host := a.Addr()
	switch {
	case !a.IsValid() || a.Port() == 0 || host.Zone() != "":
		return errors.New("no media address")
	case host.Is4() != s.engine.advertise.Is4():
		return errors.New("media address of another family than the relay's")
	case host.IsMulticast() || host == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("media address of a group")
	}
	for i := range s.ends {
		if (host == s.engine.advertise || host == s.engine.ports.ip) && a.Port()&^1 == s.ends[i].port {
			return errors.New("media address is the call's own")
		}
	}
	return nil
}

// aimRTP sets where the other side's packets go, in one step: a packet must not
// meet a moment without an address. The caller holds mu.
func (n *end) aimRTP() {
	if to := n.rtpSource.target(); n.send && to.IsValid() && n.sure(&n.rtpSource) {
		n.rtpTo.Store(newDestination(n.rtp, to))
	} else {
		n.rtpTo.Store(nil)
	}
}

// aimRTCP sets where our reports go; a hold does not stop them (RFC 3264
// §5.1). The caller holds mu.
func (n *end) aimRTCP() {
	source, via := &n.rtcpSource, n.rtcp
	if n.muxed {
		source, via = &n.rtpSource, n.rtp
	}
	if to := source.target(); to.IsValid() && n.sure(source) {
		n.rtcpTo.Store(newDestination(via, to))
	} else {
		n.rtcpTo.Store(nil)
	}
}

// sure reports whether what is for the peer may be sent. The caller holds mu.
func (n *end) sure(of *source) bool { return !n.unsure || of.locked.IsValid() }

// pass forwards one packet that came to a side at now. It is sent under the
// side's mu, so that it leaves in the order of its number even when the engine
// begins to speak in the same moment.
func (s *Session) pass(side Side, b []byte, from netip.AddrPort, now time.Duration) {
	n := &s.ends[side]
	n.mu.Lock()
	if n.muxed && isReport(b) {
		n.mu.Unlock()
		s.heard(side, b, from)
		return
	}
	defer n.mu.Unlock()
	if packet, to := s.rewrite(side, b, from, now); packet != nil {
		n.deliver(packet, to, &s.ends[side.Other()])
	}
}

// deliver sends what leaves to the other side, as the side wants it protected. The
// caller holds mu.
func (n *end) deliver(packet []byte, to *destination, other *end) {
	media := len(packet) - headerSize
	if n.seal != nil {
		var err error
		if packet, err = n.seal.rtp(packet); err != nil { // its key is used up, after 2^48 packets
			other.unsent.Add(1)
			return
		}
	}
	if to.send(packet) != nil {
		other.unsent.Add(1)
		return
	}
	other.packetsOut.Add(1)
	other.bytesOut.Add(uint64(media))
}

// rewrite decides about one packet that came to a side: it gives what leaves
// to the other side, in b's memory, and where to; nil when it is dropped. now
// is when it arrived. It allocates only when the source is learned or moves.
// The caller holds the side's mu.
func (s *Session) rewrite(side Side, b []byte, from netip.AddrPort, now time.Duration) ([]byte, *destination) {
	n := &s.ends[side]
	if n.opener != nil {
		var ok bool
		if ok = n.rtpSource.near(from); ok {
			b, ok = n.opener.rtp(b)
		}
		if !ok {
			n.strays++
			return nil, nil
		}
	}
	h, ok := parseHeader(b)
	if !ok {
		n.malformed++
		return nil, nil
	}
	admitted, moved := n.rtpSource.admit(from, h.ssrc, now)
	if !admitted {
		n.strays++
		return nil, nil
	}
	if moved {
		n.aimRTP()
		if n.muxed {
			n.aimRTCP()
		}
	}
	clock := n.clock[h.payload]
	if clock == 0 {
		clock = 8000
	}
	n.packets++
	n.bytes += uint64(h.end - h.start)
	n.seen[h.payload] = true
	n.lastRTP.Store(max(1, int64(now)))
	n.in.packet(h, clock, now)

	pass := n.ear == nil || n.ear.Hear(n.show(side, b, h, now))
	to := s.ends[side.Other()].rtpTo.Load()
	if to == nil || !n.open || n.said != nil || !pass {
		n.held++
		n.flow.skip(h)
		return nil, nil
	}
	if n.flow.payloads[h.payload] > 127 {
		n.unmapped++
		n.flow.skip(h)
		return nil, nil
	}
	sequence, timestamp, ok := n.flow.number(h, clock, now)
	if !ok {
		n.held++
		return nil, nil
	}
	if n.recorder != nil {
		n.recorder.Packet(n.show(side, b, h, now))
	}
	return n.flow.write(b, h, sequence, timestamp), to
}

// socketFailed says that a side's socket is given up.
func (s *Session) socketFailed(side Side, err error) {
	s.engine.log.Warn("media socket failed", "side", side.String(), "port", s.ends[side].port, "error", err)
}

// Activity tells when each side was last heard. It takes no lock.
func (s *Session) Activity() Activity {
	a := Activity{Opened: s.engine.epoch.Add(s.opened)}
	for side := range s.ends {
		if at := s.ends[side].lastRTP.Load(); at != 0 {
			a.Last[side] = s.engine.epoch.Add(time.Duration(at))
		}
	}
	return a
}

// Stats gives the counts of both sides so far, by Side.
func (s *Session) Stats() [2]SideStats {
	return [2]SideStats{s.ends[A].stats(), s.ends[B].stats()}
}

func (n *end) stats() SideStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := SideStats{
		PacketsIn: n.packets, BytesIn: n.bytes,
		PacketsOut: n.packetsOut.Load(), BytesOut: n.bytesOut.Load(),
		Lost: n.in.totalLost(), Jitter: n.in.jitterTime(),
		RoundTrip: n.report.roundTrip, PeerReported: n.report.peerReported, PeerLost: n.report.peerLost, PeerJitter: n.report.peerJitter,
		Strays: n.strays, Malformed: n.malformed, Unmapped: n.unmapped, Held: n.held, Unsent: n.unsent.Load(),
	}
	for payload, seen := range n.seen {
		if seen {
			st.Payloads = append(st.Payloads, uint8(payload))
		}
	}
	return st
}

// totals sums what an engine counts over its sessions.
func (s *Session) totals() Totals {
	var t Totals
	for i := range s.ends {
		n := &s.ends[i]
		n.mu.Lock()
		t.add(n.past)
		t.add(Totals{PacketsIn: n.packets, PacketsOut: n.packetsOut.Load(), Strays: n.strays, Malformed: n.malformed})
		n.mu.Unlock()
	}
	return t
}

// A Seat is a port pair for a peer of whom it is not known yet whether he becomes
// a side of a session: of several numbers that are rung for a caller who was
// answered already, each has one. Nothing reads it.
type Seat struct {
	engine *Engine
	pair   *pair
	once   sync.Once
}

// Seat gives a port pair that may be taken later. ErrNoPorts if there is none.
func (e *Engine) Seat() (*Seat, error) {
	p, err := e.ports.open(e.Elapsed())
	if err != nil {
		return nil, fmt.Errorf("open media of a seat: %w", err)
	}
	return &Seat{engine: e, pair: p}, nil
}

// Local is the RTP address of the seat.
func (t *Seat) Local() netip.AddrPort { return netip.AddrPortFrom(t.engine.advertise, t.pair.port) }

// Close lets the ports of a seat rest that no session has taken.
func (t *Seat) Close() {
	t.once.Do(func() {
		t.pair.close()
		t.engine.ports.retire(t.pair.port, t.engine.Elapsed())
	})
}

// Take gives a side the ports of a seat and forgets its peer, so that nothing the
// peer still sends can reach the call. Local is then the seat's address, and
// Connect begins anew; until it does, the other side's packets are held. What is
// said to the side ends as by Silence. Its taps stay. What has come to the seat
// so far is lost: it was sent before the talk.
//
// The other side notices nothing: its stream goes on under the same SSRC, and
// what is said to it too. On an error the seat is closed and nothing else has
// changed.
func (s *Session) Take(side Side, t *Seat) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.engine, ErrClosed
	if !s.closed {
		t.pair.drain()
		old := s.ends[side].port
		if err = s.reader.reseat(side, t.pair); err == nil {
			t.once.Do(func() {}) // it is the session's now
			e.ports.retire(old, e.Elapsed())
			return nil
		}
	}
	t.Close()
	return fmt.Errorf("take a seat for side %v: %w", side, err)
}

// part takes leave of a side's peer.
func (s *Session) part(side Side) {
	s.Silence(side)
	s.sendReport(side, true)
}

// renew makes a side that nothing reads any more one of other sockets and of a
// peer that nothing is known of. The stream to it is a new one.
func (s *Session) renew(side Side, fresh *pair) {
	n, from := &s.ends[side], &s.ends[side.Other()]
	ssrc := uint32(randomUint64())
	from.mu.Lock()
	n.rtpTo.Store(nil)
	from.flow, from.seal = newFlow(ssrc), nil
	from.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.past.add(Totals{PacketsIn: n.packets, PacketsOut: n.packetsOut.Swap(0), Strays: n.strays, Malformed: n.malformed})
	n.rtcpTo.Store(nil)
	n.bytesOut.Store(0)
	n.unsent.Store(0)
	n.lastRTP.Store(0)
	n.pair, n.ssrc, n.cname, n.peer = fresh, ssrc, randomName(), newPeer()
	n.flow.part()
}

// Close says BYE to both peers (RFC 3550 §6.6), waits until nothing reads the
// sockets, closes them and lets the ports rest. Every call gives the same
// final counts.
func (s *Session) Close() [2]SideStats {
	s.once.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		for _, side := range []Side{A, B} {
			s.part(side)
		}
		s.reader.stop()
		s.final = s.Stats()
		s.engine.forget(s, s.totals())
	})
	return s.final
}
