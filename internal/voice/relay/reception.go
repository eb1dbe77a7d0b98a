package relay

import "time"

// Limits of RFC 3550 A.1 on what still counts as the same sequence.
const (
	maxDropout  = 3000
	maxMisorder = 100
)

// reception counts what arrives from one peer (RFC 3550 A.1, A.3 and A.8). A
// new SSRC, or a restart of the sequence, opens a new count; what was lost
// before stays in lost.
type reception struct {
	begun    bool
	ssrc     uint32
	base     uint16 // first sequence number of this count
	highest  uint16
	cycles   uint32 // wraps of the sequence, times 65536
	restart  uint32 // the number that would confirm a restart; above 65535: none
	received uint32 // packets of this count

	lost          int64 // of earlier counts
	priorExpected uint32
	priorReceived uint32

	jitter    uint32 // in ticks, times 16
	clock     uint32 // Hz that jitter is measured in
	timestamp uint32
	arrived   time.Duration
}

// packet counts one packet that was admitted.
func (r *reception) packet(h header, clock uint32, now time.Duration) {
	if !r.begun || h.ssrc != r.ssrc {
		r.begin(h)
	} else if !r.follow(h) {
		return
	}
	r.received++
	r.measure(h, clock, now)
}

// begin opens a new count at h.
func (r *reception) begin(h header) {
	if r.begun {
		r.lost += r.missing()
	}
	*r = reception{begun: true, ssrc: h.ssrc, base: h.sequence, highest: h.sequence, restart: 1 << 16, lost: r.lost,
		jitter: r.jitter, clock: r.clock}
}

// follow places h in the running count; false for a packet far outside of it
// that may be the first of a restart.
func (r *reception) follow(h header) bool {
	delta := h.sequence - r.highest
	switch {
	case delta < maxDropout:
		if h.sequence < r.highest {
			r.cycles += 1 << 16
		}
		r.highest = h.sequence
	case delta <= 65536-maxMisorder:
		if uint32(h.sequence) != r.restart {
			r.restart = uint32(h.sequence + 1)
			return false
		}
		r.begin(h)
	}
	return true
}

// measure updates the jitter (A.8). Packets that share a timestamp, as the
// packets of one telephone-event do, say nothing about it, and neither does
// the step between two clocks.
func (r *reception) measure(h header, clock uint32, now time.Duration) {
	if r.received > 1 && h.timestamp == r.timestamp {
		return
	}
	if r.received > 1 && clock == r.clock {
		d := int64(ticks(now-r.arrived, clock)) - int64(int32(h.timestamp-r.timestamp))
		if d < 0 {
			d = -d
		}
		if d < int64(clock)*10 { // a jump of the sender's clock is no jitter
			r.jitter += uint32(d) - (r.jitter+8)>>4
		}
	}
	if clock != r.clock {
		r.jitter = 0
	}
	r.clock, r.timestamp, r.arrived = clock, h.timestamp, now
}

// extended is the highest sequence number with its wraps.
func (r *reception) extended() uint32 { return r.cycles + uint32(r.highest) }

// expected is how many packets the running count should have.
func (r *reception) expected() uint32 { return r.extended() - uint32(r.base) + 1 }

// missing is what the running count lacks; negative with duplicates.
func (r *reception) missing() int64 { return int64(r.expected()) - int64(r.received) }

// totalLost is what all counts lack, at least 0.
func (r *reception) totalLost() uint64 {
	if !r.begun {
		return 0
	}
	return uint64(max(0, r.lost+r.missing()))
}

// jitterTime is the jitter as time.
func (r *reception) jitterTime() time.Duration {
	if r.clock == 0 {
		return 0
	}
	return time.Duration(uint64(r.jitter>>4) * uint64(time.Second) / uint64(r.clock))
}

// fraction is the share lost since it was last asked for, in 1/256 (A.3).
func (r *reception) fraction() uint8 {
	expected, received := r.expected()-r.priorExpected, r.received-r.priorReceived
	r.priorExpected, r.priorReceived = r.expected(), r.received
	if expected == 0 || received >= expected {
		return 0
	}
	return uint8(min(255, uint64(expected-received)*256/uint64(expected)))
}
