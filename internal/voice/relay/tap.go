package relay

import "time"

// Packet is one RTP packet of a side as a Tap sees it.
type Packet struct {
	Side            Side
	Payload         uint8
	Marker          bool
	Sequence        uint16
	Timestamp, SSRC uint32
	At              time.Duration // arrival, by the engine's clock
	Media           []byte        // valid during the call only
}

// Tap is shown the packets of a session. It must not block, and keep nothing
// of what it is shown. Packets of the two sides may come at once.
type Tap interface {
	Packet(p *Packet)
}
