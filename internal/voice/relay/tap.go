package relay

import "time"

// A Packet is one RTP packet as a tap sees it. Its memory is the relay's: it
// and its Media hold only during the call.
type Packet struct {
	Side      Side
	Payload   uint8 // number it arrived with
	Marker    bool
	Sequence  uint16
	Timestamp uint32
	SSRC      uint32
	At        time.Duration // when it arrived, by Engine.Elapsed
	Media     []byte        // as it arrived, before Remote.Tables
}

// A Tap is shown packets, one at a time for each side, on the packet path: it
// must not wait, allocate, keep or change anything of p, or call the session.
type Tap interface{ Packet(p *Packet) }

// Listen shows a tap every packet that is the peer's of a side, forwarded or
// not, in place of the tap before; nil ends it. The earlier tap is not called
// any more when Listen has returned, and none when Close has.
func (s *Session) Listen(side Side, t Tap) {
	n := &s.ends[side]
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listener = t
}

// Record shows a tap the packets of both sides that are forwarded to the other,
// and no others, as Listen does. What the engine itself says is not among them.
func (s *Session) Record(t Tap) {
	for i := range s.ends {
		n := &s.ends[i]
		n.mu.Lock()
		n.recorder = t
		n.mu.Unlock()
	}
}

// show gives a tap the packet b that came to a side, read as h. The caller
// holds mu.
func (n *end) show(t Tap, side Side, b []byte, h header, now time.Duration) {
	n.shown = Packet{Side: side, Payload: h.payload, Marker: h.marker, Sequence: h.sequence,
		Timestamp: h.timestamp, SSRC: h.ssrc, At: now, Media: b[h.start:h.end:h.end]}
	t.Packet(&n.shown)
}
