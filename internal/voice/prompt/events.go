package prompt

import "encoding/binary"

// remembered is how many events Events knows again: a late packet of an older
// one would have to be late by seconds.
const remembered = 16

// longest is the largest duration of one packet. An event that lasts longer goes
// on in segments, each with a timestamp this much later (RFC 4733 §2.5.1.3).
const longest = 0xffff

// Events tells keypresses from the telephone-event packets of one direction of
// a call (RFC 4733). A keypress is many packets with one timestamp, of which any
// may be lost, late or double, so the first that arrives is the keypress and all
// others are known again. One goroutine owns it; it never allocates.
type Events struct {
	payload uint8
	next    int // of seen, to be overwritten
	count   int
	seen    [remembered]event
}

// An event is a keypress, or a segment of one.
type event struct {
	ssrc, timestamp uint32
	duration        uint16 // the largest yet, in units of the timestamp
	code            uint8
	ended           bool // a packet with the end bit has arrived
}

// NewEvents gives a receiver of the packets with a payload type.
func NewEvents(payload uint8) *Events { return &Events{payload: payload} }

// Packet takes any RTP packet: what its header says, and its media. It gives a
// digit with the first packet of a keypress. Packets of other payload types,
// events that are no digits (flash, tones of modems) and what is too short to be
// an event change nothing.
//
// The sequence number is not looked at: what is late or double shows by its
// timestamp, and a sender that has begun anew counts from anywhere.
func (e *Events) Packet(payload uint8, _ uint16, timestamp, ssrc uint32, media []byte) (digit byte, ok bool) {
	if payload != e.payload || len(media) < 4 || int(media[0]) >= len(events) {
		return 0, false
	}
	now := event{ssrc: ssrc, timestamp: timestamp, duration: binary.BigEndian.Uint16(media[2:]),
		code: media[0], ended: media[1]&0x80 != 0}
	known := false
	for i := range e.seen[:e.count] {
		old := &e.seen[i]
		if old.ssrc == ssrc && old.timestamp == timestamp {
			old.duration, old.ended = max(old.duration, now.duration), old.ended || now.ended
			return 0, false
		}
		known = known || now.continues(*old) || old.continues(now)
	}
	e.seen[e.next] = now
	e.next, e.count = (e.next+1)%remembered, min(e.count+1, remembered)
	if known {
		return 0, false
	}
	return events[now.code], true
}

// continues reports whether e is a later segment of the keypress that old is a
// segment of: it begins where old ended, without a release of the key. Whole
// segments between them may have been lost.
func (e event) continues(old event) bool {
	if e.ssrc != old.ssrc || e.code != old.code || old.ended {
		return false
	}
	later := e.timestamp - old.timestamp
	return later == uint32(old.duration) || later%longest == 0 && later/longest <= remembered
}
