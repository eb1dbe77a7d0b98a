package phone

import "math/bits"

// G.711 as ITU-T G.711 (11/88) defines it, on 16-bit linear samples: A-law uses
// their upper 13 bits, µ-law their upper 14.

// alawTable and ulawTable hold the value of each code word. They never change.
var (
	alawTable = tabulate(decodeALaw)
	ulawTable = tabulate(decodeULaw)
)

func tabulate(decode func(byte) int16) (t [256]int16) {
	for i := range t {
		t[i] = decode(byte(i))
	}
	return t
}

// encodeALaw gives the A-law code word of a sample, even bits inverted (§3.1).
func encodeALaw(sample int16) byte {
	sign, mag := byte(0x80), int(sample)>>3
	if sample < 0 {
		sign, mag = 0, -mag-1 // one's complement: no code word is spent on a second zero
	}
	segment := max(bits.Len(uint(mag))-5, 0)
	step := max(segment, 1) // the first two segments have the same step
	return (sign | byte(segment)<<4 | byte(mag>>step)&0x0f) ^ 0x55
}

func decodeALaw(code byte) int16 {
	code ^= 0x55
	segment, mag := int(code>>4&7), int(code&0x0f)<<4+8
	if segment > 0 {
		mag = (mag + 0x100) << (segment - 1)
	}
	if code&0x80 == 0 {
		mag = -mag
	}
	return int16(mag)
}

const (
	ulawBias = 33 << 2 // 33 on the 14-bit scale of table 2a
	ulawClip = 0x7fff - ulawBias
)

// encodeULaw gives the µ-law code word of a sample, all bits inverted (§3.2).
func encodeULaw(sample int16) byte {
	sign, mag := byte(0), int(sample)
	if mag < 0 {
		sign, mag = 0x80, -mag
	}
	mag = min(mag, ulawClip) + ulawBias
	segment := bits.Len(uint(mag)) - 8
	return ^(sign | byte(segment)<<4 | byte(mag>>(segment+3))&0x0f)
}

func decodeULaw(code byte) int16 {
	code = ^code
	mag := (int(code&0x0f)<<3+ulawBias)<<(code>>4&7) - ulawBias
	if code&0x80 != 0 {
		mag = -mag
	}
	return int16(mag)
}

// encode writes the payload of one packet. What is neither PCMA nor PCMU is carried
// as 16-bit samples in network order: no decoder understands that, but a relay
// that has to leave a payload alone can be checked with it.
func encode(codec string, pcm []int16) []byte {
	switch codec {
	case "PCMA":
		out := make([]byte, len(pcm))
		for i, s := range pcm {
			out[i] = encodeALaw(s)
		}
		return out
	case "PCMU":
		out := make([]byte, len(pcm))
		for i, s := range pcm {
			out[i] = encodeULaw(s)
		}
		return out
	}
	out := make([]byte, 0, 2*len(pcm))
	for _, s := range pcm {
		out = append(out, byte(uint16(s)>>8), byte(s))
	}
	return out
}

// decode is the inverse of encode.
func decode(codec string, payload []byte) []int16 {
	table := &alawTable
	switch codec {
	case "PCMA":
	case "PCMU":
		table = &ulawTable
	default:
		out := make([]int16, len(payload)/2)
		for i := range out {
			out[i] = int16(uint16(payload[2*i])<<8 | uint16(payload[2*i+1]))
		}
		return out
	}
	out := make([]int16, len(payload))
	for i, b := range payload {
		out[i] = table[b]
	}
	return out
}

// Through gives what a listener hears of pcm once it has been coded with codec
// ("PCMA", "PCMU"), so that heard audio can be compared sample by sample.
func Through(codec string, pcm []int16) []int16 { return decode(codec, encode(codec, pcm)) }
