package relay

import "encoding/binary"

const (
	headerSize = 12   // fixed part of an RTP header (RFC 3550 §5.1)
	maxPacket  = 1500 // bytes of a datagram; no phone sends more in one Ethernet frame, longer ones are dropped
)

// header is where the parts of an RTP packet are and what its fixed part says.
type header struct {
	marker          bool
	payload         uint8
	sequence        uint16
	timestamp, ssrc uint32
	start, end      int // of the media in the packet, without CSRCs, extension and padding
}

// isReport reports whether what came to a port of both is RTCP (RFC 5761 §4).
func isReport(b []byte) bool { return len(b) > 1 && b[1] >= 192 && b[1] <= 223 }

// parseHeader reads the header of an RTP packet. It refuses what cannot be
// one: shorter than its own lengths, another version than 2, more padding than
// content, and RTCP types that came to the wrong port (RFC 5761 §4).
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || len(b) > maxPacket || b[0]>>6 != 2 {
		return header{}, false
	}
	if isReport(b) {
		return header{}, false
	}
	h = header{
		marker:    b[1]&0x80 != 0,
		payload:   b[1] & 0x7F,
		sequence:  binary.BigEndian.Uint16(b[2:]),
		timestamp: binary.BigEndian.Uint32(b[4:]),
		ssrc:      binary.BigEndian.Uint32(b[8:]),
		start:     headerSize + 4*int(b[0]&0x0F),
		end:       len(b),
	}
	if b[0]&0x10 != 0 { // extension: 16 bits of profile, 16 bits of length in words
		if len(b) < h.start+4 {
			return header{}, false
		}
		h.start += 4 + 4*int(binary.BigEndian.Uint16(b[h.start+2:]))
	}
	if h.start > h.end {
		return header{}, false
	}
	if b[0]&0x20 != 0 { // padding: the last byte counts it, itself included
		pad := int(b[len(b)-1])
		if pad == 0 || h.start+pad > h.end {
			return header{}, false
		}
		h.end -= pad
	}
	return h, true
}

// write puts a fixed header directly before the media of b, which parseHeader
// read as h, and gives the packet: no CSRC, extension or padding is in it, and
// the media has not moved.
func (h header) write(b []byte, payload uint8, sequence uint16, timestamp, ssrc uint32) []byte {
	out := b[h.start-headerSize : h.end]
	out[0] = 2 << 6
	out[1] = payload
	if h.marker {
		out[1] |= 0x80
	}
	binary.BigEndian.PutUint16(out[2:], sequence)
	binary.BigEndian.PutUint32(out[4:], timestamp)
	binary.BigEndian.PutUint32(out[8:], ssrc)
	return out
}
