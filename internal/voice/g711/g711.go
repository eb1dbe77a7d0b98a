// Package g711 codes speech as ITU-T G.711 (11/88) defines it, on 16-bit linear
// samples: A-law uses their upper 13 bits, µ-law their upper 14. It is for
// everything in voice that makes or understands sound.
package g711

import "math/bits"

// Rate is the sampling rate in Hz.
const Rate = 8000

// Law is one of the two ways to code a sample in eight bits. The zero value is
// neither.
type Law uint8

// The laws.
const (
	None Law = iota
	ALaw
	ULaw
)

// LawOf gives the law of a codec by its registered name (RFC 3551 §6): PCMA or
// PCMU; None for any other.
func LawOf(codec string) Law {
	switch codec {
	case "PCMA":
		return ALaw
	case "PCMU":
		return ULaw
	}
	return None
}

// alaw and ulaw hold the value of each code word. They never change.
var (
	alaw = tabulate(decodeALaw)
	ulaw = tabulate(decodeULaw)
)

// toU and toA hold the nearest code word of the other law.
var (
	toU = translate(&alaw, encodeULaw)
	toA = translate(&ulaw, encodeALaw)
)

func tabulate(decode func(byte) int16) (t [256]int16) {
	for i := range t {
		t[i] = decode(byte(i))
	}
	return t
}

func translate(values *[256]int16, encode func(int16) byte) (t [256]byte) {
	for i, v := range values {
		t[i] = encode(v)
	}
	return t
}

// Values is the table of the law: the sample that each code word stands for. It
// must not be written to. None has none.
func (l Law) Values() *[256]int16 {
	switch l {
	case ALaw:
		return &alaw
	case ULaw:
		return &ulaw
	}
	return nil
}

// To is the table that turns code words of one law into those of another, nil
// where there is nothing to turn. It must not be written to.
func (l Law) To(other Law) *[256]byte {
	switch {
	case l == ALaw && other == ULaw:
		return &toU
	case l == ULaw && other == ALaw:
		return &toA
	}
	return nil
}

// Encode appends the code words of pcm to dst. The law must not be None.
func (l Law) Encode(dst []byte, pcm []int16) []byte {
	encode := encodeALaw
	if l == ULaw {
		encode = encodeULaw
	}
	for _, s := range pcm {
		dst = append(dst, encode(s))
	}
	return dst
}

// Decode appends the samples of code to dst. The law must not be None.
func (l Law) Decode(dst []int16, code []byte) []int16 {
	values := l.Values()
	for _, c := range code {
		dst = append(dst, values[c])
	}
	return dst
}

// Silence is the code word of a sample of zero, or the nearest that there is.
func (l Law) Silence() byte {
	if l == ULaw {
		return encodeULaw(0)
	}
	return encodeALaw(0)
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
