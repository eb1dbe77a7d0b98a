package relay

import "time"

// Drop marks a payload number that is not relayed; so does any value above 127.
const Drop = 0xFF

// SamePayloads maps each payload number to itself.
func SamePayloads() [128]uint8 {
	var m [128]uint8
	for i := range m {
		m[i] = uint8(i)
	}
	return m
}

// A flow rewrites the packets that go in one direction. It is a plain value:
// whatever moves the packets can hold, copy and run it.
//
// The receiver sees one source for the whole call: our SSRC, and sequence
// numbers and timestamps that go on when the sender's source changes or the
// engine itself speaks, and have no gap for what we leave out. No number is
// used for two packets. Both start at random (RFC 3550 §5.1), so they tell
// nothing of the sender's.
type flow struct {
	ssrc     uint32           // ours, for the whole session
	payloads [128]uint8       // number that arrives → number that leaves, above 127 = drop
	tables   *[128]*[256]byte // of Remote.Tables; nil = none

	resumed   bool   // nothing has been sent since a restart; see resume
	aligned   bool   // the shifts below are for source; else they mean nothing
	source    uint32 // the sender's SSRC
	sequences uint16 // added to the sender's sequence numbers
	ticks     uint32 // added to the sender's timestamps
	room      uint16 // how many numbers up to sequence are those of packets with these shifts

	sequence  uint16        // highest that we sent, or the number before our first
	timestamp uint32        // of that packet
	sent      bool          // at least one
	at        time.Duration // when we sent it
	clock     uint32        // Hz of its payload
}

// mostRoom keeps the room far from half of the numbers, where late and early
// cannot be told apart.
const mostRoom = 1 << 14

// newFlow makes a flow that has sent nothing.
func newFlow(ssrc uint32) flow {
	first := randomUint64()
	return flow{
		ssrc:      ssrc,
		sequence:  uint16(first) & 0x7FFF, // room before the first wrap, RFC 3711 §3.3.1
		timestamp: uint32(first >> 32),
	}
}

// rewrite turns the packet b, read as h, into ours, in place. It gives nil for
// one that is left out. clock is the rate of h's payload in Hz.
func (f *flow) rewrite(b []byte, h header, clock uint32, now time.Duration) []byte {
	if f.payloads[h.payload] > 127 {
		f.skip(h)
		return nil
	}
	sequence, timestamp, ok := f.number(h, clock, now)
	if !ok {
		return nil
	}
	return f.write(b, h, sequence, timestamp)
}

// number gives a packet its number and timestamp in our stream. There are none
// for a packet that comes after one that was to follow it and for which the
// shifts were changed: its number is another's.
func (f *flow) number(h header, clock uint32, now time.Duration) (sequence uint16, timestamp uint32, ok bool) {
	if f.resumed {
		f.resume(h)
	}
	if !f.aligned || h.ssrc != f.source {
		f.align(h, clock, now)
	}
	ahead := h.sequence + f.sequences - f.sequence
	if late := -ahead; int16(ahead) <= 0 && late >= f.room {
		if late < maxMisorder {
			return 0, 0, false
		}
		f.align(h, clock, now) // so far back it is no late packet but a restart
		ahead = 1
	}
	sequence, timestamp = f.sequence+ahead, h.timestamp+f.ticks
	if int16(ahead) > 0 {
		f.room = min(mostRoom, f.room+ahead)
		f.sequence, f.timestamp, f.at, f.clock, f.sent = sequence, timestamp, now, clock, true
	}
	return sequence, timestamp, true
}

// write makes b, read as h, the packet of a number.
func (f *flow) write(b []byte, h header, sequence uint16, timestamp uint32) []byte {
	if f.tables != nil {
		if t := f.tables[h.payload]; t != nil {
			for i, c := range b[h.start:h.end] {
				b[h.start+i] = t[c]
			}
		}
	}
	return h.write(b, f.payloads[h.payload], sequence, timestamp, f.ssrc)
}

// speak makes b, whose media lies behind room for a header, a packet of our own
// that follows the last. at is its moment; h says its payload and marker.
func (f *flow) speak(b []byte, h header, at time.Duration) []byte {
	f.timestamp = f.following(at, 8000)
	f.sequence++
	f.at, f.clock, f.sent = at, 8000, true
	f.part()
	return h.write(b, h.payload, f.sequence, f.timestamp, f.ssrc)
}

// part makes the next packet, whoever it is from, one of a new source.
func (f *flow) part() { f.aligned = false }

// skip leaves a packet out: the next one takes its number, so that the receiver
// does not count as lost what was never meant for it.
func (f *flow) skip(h header) {
	if f.resumed {
		return // how far we had come is not known: it is lost like what came before
	}
	if f.aligned && h.ssrc == f.source && int16(h.sequence+f.sequences-f.sequence) > 0 {
		f.sequences--
		f.room = 0
	}
}

// align makes h the next packet after the last that we sent: one number on,
// and as many ticks as time has passed.
func (f *flow) align(h header, clock uint32, now time.Duration) {
	f.aligned, f.source, f.room = true, h.ssrc, 0
	f.sequences = f.sequence + 1 - h.sequence
	f.ticks = f.following(now, clock) - h.timestamp
}

// following is the timestamp of a packet after our last one. It is later, even
// if the moment is not: a round of packets is timed once, at its beginning.
func (f *flow) following(now time.Duration, clock uint32) uint32 {
	return f.timestampAt(max(now, f.at+time.Second/8000), clock)
}

// timestampAt is the RTP timestamp of our stream at a moment, counted on from
// the last packet with clock.
func (f *flow) timestampAt(now time.Duration, clock uint32) uint32 {
	if !f.sent {
		return f.timestamp
	}
	return f.timestamp + ticks(now-f.at, clock)
}

// ticks is d in units of a clock of hz. It is exact to a tick for d of a day.
func ticks(d time.Duration, hz uint32) uint32 {
	return uint32(int64(d/time.Microsecond) * int64(hz) / 1e6)
}
