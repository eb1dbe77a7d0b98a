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
// numbers and timestamps that go on when the sender's source changes, and have
// no gap for what we leave out. Both start at random (RFC 3550 §5.1), so they tell nothing of the
// sender's.
type flow struct {
	ssrc     uint32     // ours, for the whole session
	payloads [128]uint8 // number that arrives → number that leaves, above 127 = drop

	source    uint32 // the sender's SSRC that the shifts are for
	sequences uint16 // added to the sender's sequence numbers
	ticks     uint32 // added to the sender's timestamps

	sequence  uint16        // highest that we sent, or the number before our first
	timestamp uint32        // of that packet
	sent      bool          // at least one; before that the shifts mean nothing
	at        time.Duration // when we sent it
	clock     uint32        // Hz of its payload
}

// rewrite turns the packet b, read as h, into ours, in place. It gives nil for
// a payload that is not mapped. clock is the rate of h's payload in Hz.
func (f *flow) rewrite(b []byte, h header, clock uint32, now time.Duration) []byte {
	payload := f.payloads[h.payload]
	if payload > 127 {
		f.skip(h)
		return nil
	}
	if !f.sent || h.ssrc != f.source {
		f.align(h, clock, now)
	}
	sequence, timestamp := h.sequence+f.sequences, h.timestamp+f.ticks
	if int16(sequence-f.sequence) > 0 {
		f.sequence, f.timestamp, f.at, f.clock, f.sent = sequence, timestamp, now, clock, true
	}
	return h.write(b, payload, sequence, timestamp, f.ssrc)
}

// skip leaves a packet out: the next one takes its number, so that the receiver
// does not count as lost what was never meant for it.
func (f *flow) skip(h header) {
	if f.sent && h.ssrc == f.source && int16(h.sequence+f.sequences-f.sequence) > 0 {
		f.sequences--
	}
}

// align makes h the next packet after the last that we sent: one number on,
// and as many ticks as time has passed.
func (f *flow) align(h header, clock uint32, now time.Duration) {
	f.source = h.ssrc
	f.sequences = f.sequence + 1 - h.sequence
	f.ticks = f.timestampAt(now, clock) - h.timestamp
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
