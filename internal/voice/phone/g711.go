package phone

import "tandem/internal/voice/g711"

// encode writes the payload of one packet. What is neither PCMA nor PCMU is carried
// as 16-bit samples in network order: no decoder understands that, but a relay
// that has to leave a payload alone can be checked with it.
func encode(codec string, pcm []int16) []byte {
	if law := g711.LawOf(codec); law != g711.None {
		return law.Encode(make([]byte, 0, len(pcm)), pcm)
	}
	out := make([]byte, 0, 2*len(pcm))
	for _, s := range pcm {
		out = append(out, byte(uint16(s)>>8), byte(s))
	}
	return out
}

// decode is the inverse of encode.
func decode(codec string, payload []byte) []int16 {
	if law := g711.LawOf(codec); law != g711.None {
		return law.Decode(make([]int16, 0, len(payload)), payload)
	}
	out := make([]int16, len(payload)/2)
	for i := range out {
		out[i] = int16(uint16(payload[2*i])<<8 | uint16(payload[2*i+1]))
	}
	return out
}

// Through gives what a listener hears of pcm once it has been coded with codec
// ("PCMA", "PCMU"), so that heard audio can be compared sample by sample.
func Through(codec string, pcm []int16) []int16 { return decode(codec, encode(codec, pcm)) }
