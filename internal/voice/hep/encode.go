package hep

import (
	"encoding/binary"
	"net/netip"
)

// The chunks of HEPv3 that we write (The HEP3 protocol §4, vendor 0).
const (
	chunkFamily   = 0x0001 // uint8: 2 = IPv4, 10 = IPv6
	chunkProtocol = 0x0002 // uint8: 17 = UDP, 6 = TCP
	chunkFrom4    = 0x0003
	chunkTo4      = 0x0004
	chunkFrom6    = 0x0005
	chunkTo6      = 0x0006
	chunkFromPort = 0x0007 // uint16
	chunkToPort   = 0x0008
	chunkSeconds  = 0x0009 // uint32
	chunkMicros   = 0x000a // uint32
	chunkType     = 0x000b // uint8: 1 = SIP
	chunkAgent    = 0x000c // uint32: capture agent id
	chunkKey      = 0x000e // octet string: authenticate key
	chunkPayload  = 0x000f
	chunkCall     = 0x0011 // octet string: correlation id
)

// encode appends one packet to b. Its payload is sent as it is.
func encode(b []byte, p Packet, agent uint32, key string) []byte {
	start := len(b)
	b = append(b, "HEP3\x00\x00"...)
	from, to := p.From.Addr().Unmap(), p.To.Addr().Unmap()
	family, protocol := byte(2), byte(6)
	if !from.Is4() || !to.Is4() {
		family = 10
	}
	if p.Network == "udp" {
		protocol = 17
	}
	b = append(chunk(b, chunkFamily, 1), family)
	b = append(chunk(b, chunkProtocol, 1), protocol)
	if family == 2 {
		b = address(address(b, chunkFrom4, from), chunkTo4, to)
	} else {
		b = address(address(b, chunkFrom6, netip.AddrFrom16(from.As16())), chunkTo6, netip.AddrFrom16(to.As16()))
	}
	b = binary.BigEndian.AppendUint16(chunk(b, chunkFromPort, 2), p.From.Port())
	b = binary.BigEndian.AppendUint16(chunk(b, chunkToPort, 2), p.To.Port())
	b = binary.BigEndian.AppendUint32(chunk(b, chunkSeconds, 4), uint32(p.At.Unix()))
	b = binary.BigEndian.AppendUint32(chunk(b, chunkMicros, 4), uint32(p.At.Nanosecond()/1000))
	b = append(chunk(b, chunkType, 1), 1)
	b = binary.BigEndian.AppendUint32(chunk(b, chunkAgent, 4), agent)
	if key != "" {
		b = append(chunk(b, chunkKey, len(key)), key...)
	}
	if p.Call != "" {
		b = append(chunk(b, chunkCall, len(p.Call)), p.Call...)
	}
	b = append(chunk(b, chunkPayload, len(p.Raw)), p.Raw...)
	binary.BigEndian.PutUint16(b[start+4:], uint16(len(b)-start))
	return b
}

// chunk appends the head of a chunk whose value is so long.
func chunk(b []byte, kind uint16, value int) []byte {
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, kind)
	return binary.BigEndian.AppendUint16(b, uint16(6+value))
}

func address(b []byte, kind uint16, a netip.Addr) []byte {
	raw := a.AsSlice()
	return append(chunk(b, kind, len(raw)), raw...)
}
