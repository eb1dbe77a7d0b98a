package g711

import (
	"bytes"
	"math"
	"testing"
)

// The 1 kHz sequences of ITU-T G.711, tables 5 and 6: 0 dBm0, by definition.
var milliwatt = map[Law][]byte{
	ALaw: {0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4},
	ULaw: {0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e},
}

func TestTheValuesAreThoseOfTheStandard(t *testing.T) {
	for _, test := range []struct {
		law  Law
		code byte
		want int16
	}{ // ends of the scale and around zero: tables 1a, 1b (×8) and 2a, 2b (×4)
		{ALaw, 0xd5, 8}, {ALaw, 0x55, -8}, {ALaw, 0xaa, 32256}, {ALaw, 0x2a, -32256},
		{ALaw, 0xc5, 264}, {ALaw, 0x80, 5504},
		{ULaw, 0xff, 0}, {ULaw, 0x7f, 0}, {ULaw, 0x80, 32124}, {ULaw, 0x00, -32124},
		{ULaw, 0xfe, 8}, {ULaw, 0xef, 132},
	} {
		if got := test.law.Values()[test.code]; got != test.want {
			t.Errorf("%#x is %d, want %d", test.code, got, test.want)
		}
	}
	for law, period := range milliwatt {
		pcm := law.Decode(nil, bytes.Repeat(period, 1000))
		var energy float64
		for _, s := range pcm {
			energy += float64(s) * float64(s)
		}
		// Full scale is +3.14 dBm0 in A-law and +3.17 dBm0 in µ-law (§2).
		peak := math.Sqrt(2 * energy / float64(len(pcm)))
		full := map[Law]float64{ALaw: 3.14, ULaw: 3.17}[law]
		if level := 20*math.Log10(peak/32768) + full; math.Abs(level) > 0.1 {
			t.Errorf("%v: the digital milliwatt has %.2f dBm0", law, level)
		}
		if again := law.Encode(nil, pcm[:8]); !bytes.Equal(again, period) {
			t.Errorf("%v: encoded again it is % x", law, again)
		}
	}
}

func TestItsOwnValuesLoseNothing(t *testing.T) {
	for i := range 256 {
		code := []byte{byte(i)}
		for _, law := range []Law{ALaw, ULaw} {
			again := law.Encode(nil, law.Decode(nil, code))
			if !bytes.Equal(again, code) && !(law == ULaw && i == 0x7f) { // the second zero
				t.Errorf("law %v: %#x comes back as %#x", law, code, again)
			}
		}
	}
}

func TestASampleErrsByHalfAStepAtMost(t *testing.T) {
	for v := math.MinInt16; v <= math.MaxInt16; v++ {
		mag := math.Abs(float64(v))
		for law, most := range map[Law]float64{ALaw: max(8, mag/32), ULaw: max(4, (mag+132)/32)} {
			got := float64(law.Decode(nil, law.Encode(nil, []int16{int16(v)}))[0])
			if math.Abs(got-float64(v)) > most && mag <= 32124 {
				t.Fatalf("law %v: %d is heard as %.0f", law, v, got)
			}
		}
	}
}

func TestTurningALawIntoTheOtherIsDecodingAndEncoding(t *testing.T) {
	for _, way := range [][2]Law{{ALaw, ULaw}, {ULaw, ALaw}} {
		table := way[0].To(way[1])
		for i := range 256 {
			want := way[1].Encode(nil, way[0].Decode(nil, []byte{byte(i)}))[0]
			if table[i] != want {
				t.Errorf("%v: %#x becomes %#x, want %#x", way, i, table[i], want)
			}
		}
	}
	if ALaw.To(ALaw) != nil || ULaw.To(None) != nil || LawOf("G722") != None {
		t.Error("a table where there is nothing to turn")
	}
}

func TestSilenceIsTheQuietestCodeWord(t *testing.T) {
	for _, law := range []Law{ALaw, ULaw} {
		if v := law.Values()[law.Silence()]; v < -8 || v > 8 {
			t.Errorf("law %v: silence is %d", law, v)
		}
	}
}
