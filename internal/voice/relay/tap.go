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

// An Ear is shown packets as a Tap is, and says whether they may go on to the
// other side: a key that is pressed for us is nobody else's business.
type Ear interface{ Hear(p *Packet) (pass bool) }

// Listen shows an ear every packet that is the peer's of a side, in place of the
// ear before; nil ends it. What it does not let pass is dropped as in a hold. The
// earlier ear is not called any more when Listen has returned, and none when Close
// has.
func (s *Session) Listen(side Side, e Ear) {
	n := &s.ends[side]
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ear = e
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

// show makes what a tap or an ear is given of the packet b that came to a side,
// read as h. The caller holds mu.
func (n *end) show(side Side, b []byte, h header, now time.Duration) *Packet {
	n.shown = Packet{Side: side, Payload: h.payload, Marker: h.marker, Sequence: h.sequence,
		Timestamp: h.timestamp, SSRC: h.ssrc, At: now, Media: b[h.start:h.end:h.end]}
	return &n.shown
}
