package phone

import "encoding/binary"

// A packet is an RTP packet (RFC 3550 §5.1) taken apart.
type packet struct {
	marker    bool
	payload   uint8 // payload type
	sequence  uint16
	timestamp uint32
	ssrc      uint32
	extension []byte // data of the header extension, whole 32-bit words
	body      []byte
}

// extensionProfile marks the header extension that a phone may be told to send: the
// two-byte form of RFC 8285 §4.3, which every receiver must be able to skip.
const extensionProfile = 0x1000

// marshal appends the packet to b. The extension is padded with zeros.
func (p packet) marshal(b []byte) []byte {
	first, second := byte(2<<6), p.payload&0x7f
	if len(p.extension) > 0 {
		first |= 1 << 4
	}
	if p.marker {
		second |= 1 << 7
	}
	b = append(b, first, second)
	b = binary.BigEndian.AppendUint16(b, p.sequence)
	b = binary.BigEndian.AppendUint32(b, p.timestamp)
	b = binary.BigEndian.AppendUint32(b, p.ssrc)
	if len(p.extension) > 0 {
		words := (len(p.extension) + 3) / 4
		b = binary.BigEndian.AppendUint16(b, extensionProfile)
		b = binary.BigEndian.AppendUint16(b, uint16(words))
		b = append(b, p.extension...)
		b = append(b, make([]byte, 4*words-len(p.extension))...)
	}
	return append(b, p.body...)
}

// parsePacket reads an RTP packet. It refuses what is shorter than it says or of
// another version. The parts share raw.
func parsePacket(raw []byte) (p packet, ok bool) {
	if len(raw) < 12 || raw[0]>>6 != 2 {
		return packet{}, false
	}
	p = packet{marker: raw[1]&0x80 != 0, payload: raw[1] & 0x7f, sequence: binary.BigEndian.Uint16(raw[2:]),
		timestamp: binary.BigEndian.Uint32(raw[4:]), ssrc: binary.BigEndian.Uint32(raw[8:])}
	padded, extended, rest := raw[0]&0x20 != 0, raw[0]&0x10 != 0, raw[12:]
	sources := 4 * int(raw[0]&0x0f)
	if len(rest) < sources {
		return packet{}, false
	}
	rest = rest[sources:]
	if extended {
		if len(rest) < 4 {
			return packet{}, false
		}
		size := 4 * int(binary.BigEndian.Uint16(rest[2:]))
		if rest = rest[4:]; len(rest) < size {
			return packet{}, false
		}
		p.extension, rest = rest[:size], rest[size:]
	}
	if padded {
		if len(rest) == 0 || int(rest[len(rest)-1]) > len(rest) || rest[len(rest)-1] == 0 {
			return packet{}, false
		}
		rest = rest[:len(rest)-int(rest[len(rest)-1])]
	}
	p.body = rest
	return p, true
}
