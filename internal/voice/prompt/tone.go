package prompt

import (
	"math"
	"strings"
	"sync"
	"time"

	"tandem/internal/voice/g711"
)

// A Kind says which tone of call progress.
type Kind uint8

// The tones that a caller may hear from us (ITU-T E.182).
const (
	RingBack   Kind = iota + 1
	Busy            // the callee speaks to somebody else
	Congestion      // the call could not be set up
	Warning         // the call ends soon; to be played once
)

// toneLevel is the power of a tone while it sounds, of all its frequencies.
const toneLevel = -13 // dBm0

// A tone is one signal: what it sounds like and when it sounds.
type tone struct {
	first, second int    // Hz; second is added to first, or 0
	modulation    int    // Hz, of the amplitude of first; or 0
	cadence       [6]int // milliseconds: on, off, on, off…; it ends at the first zero
}

// A zone is how a country signals (ITU-T E.180 Supplement 2). Congestion is what
// E.180 also calls reorder or number unobtainable where it has no other name.
type zone struct{ ring, busy, congestion tone }

// pairs is the ring of networks that grew up with British exchanges.
var pairs = [6]int{400, 200, 400, 2000}

// warning is three short beeps, higher than what any network signals by.
var warning = tone{first: 950, cadence: [6]int{200, 100, 200, 100, 200, 200}}

// even is a cadence with as much silence as sound.
func even(ms int) [6]int { return [6]int{ms, ms} }

// everywhere is how all countries signal that are not in zoneOf: the frequency
// that E.180 §4 prefers, in the cadences that are met most.
func everywhere() zone {
	return zone{
		tone{first: 425, cadence: [6]int{1000, 4000}},
		tone{first: 425, cadence: even(500)},
		tone{first: 425, cadence: even(250)},
	}
}

// zoneOf gives how a country signals, by its ISO 3166 code in capitals.
func zoneOf(country string) zone {
	z := everywhere()
	switch country {
	case "US", "CA":
		return zone{
			tone{first: 440, second: 480, cadence: [6]int{2000, 4000}},
			tone{first: 480, second: 620, cadence: even(500)},
			tone{first: 480, second: 620, cadence: even(250)},
		}
	case "GB", "AE":
		return zone{
			tone{first: 400, second: 450, cadence: pairs},
			tone{first: 400, cadence: even(375)},
			tone{first: 400, cadence: [6]int{400, 350, 225, 525}},
		}
	case "IN":
		return zone{
			tone{first: 400, modulation: 25, cadence: pairs},
			tone{first: 400, cadence: even(750)},
			tone{first: 400, cadence: even(250)},
		}
	case "ZA":
		return zone{
			tone{first: 400, modulation: 33, cadence: pairs},
			tone{first: 400, cadence: even(500)},
			tone{first: 400, cadence: even(250)},
		}
	case "JP":
		return zone{
			tone{first: 400, modulation: 16, cadence: [6]int{1000, 2000}},
			tone{first: 400, cadence: even(500)},
			tone{first: 400, cadence: even(500)},
		}
	case "CN":
		return zone{
			tone{first: 450, cadence: [6]int{1000, 4000}},
			tone{first: 450, cadence: even(350)},
			tone{first: 450, cadence: even(700)},
		}
	case "FR":
		return zone{
			tone{first: 440, cadence: [6]int{1500, 3500}},
			tone{first: 440, cadence: even(500)},
			tone{first: 440, cadence: even(250)},
		}
	case "AU": // 425 Hz modulated with 25 Hz and without its carrier, which is two tones
		z.ring = tone{first: 413, second: 438, cadence: pairs}
		z.busy.cadence, z.congestion.cadence = even(375), even(375)
	case "SG":
		z.ring.modulation, z.ring.cadence = 24, pairs
		z.busy.cadence = even(750)
	case "DE":
		z.busy.cadence, z.congestion.cadence = even(480), even(240)
	case "IT":
		z.congestion.cadence = even(200)
	case "ES":
		z.ring.cadence = [6]int{1500, 3000}
		z.busy.cadence, z.congestion.cadence = even(200), [6]int{200, 200, 200, 200, 200, 600}
	case "BR":
		z.busy.cadence, z.congestion.cadence = even(250), [6]int{250, 250, 750, 250}
	}
	return z // NL is like everywhere
}

// zones are the countries that differ from everywhere, or are known not to.
func zones() []string {
	return []string{"", "AE", "AU", "BR", "CA", "CN", "DE", "ES", "FR", "GB", "IN", "IT", "JP", "NL", "SG", "US", "ZA"}
}

type toneKey struct {
	country string // "" for everywhere
	kind    Kind
}

// tones makes each tone when it is first asked for: most networks only ever
// play those of one country. The map is not written once it is made.
type tones map[toneKey]func() Clip

func newTones() tones {
	made := make(map[tone]func() Clip)
	once := func(t tone) func() Clip {
		if made[t] == nil {
			made[t] = sync.OnceValue(func() Clip { return newClip(t.period()) })
		}
		return made[t]
	}
	all := make(tones)
	for _, country := range zones() {
		z := zoneOf(country)
		all[toneKey{country, RingBack}] = once(z.ring)
		all[toneKey{country, Busy}] = once(z.busy)
		all[toneKey{country, Congestion}] = once(z.congestion)
		all[toneKey{country, Warning}] = once(warning)
	}
	return all
}

// Tone gives one period of a tone, to be played again and again: it lasts a
// whole number of 20 ms packets and ends in silence, so there is no seam to
// hear. The country is an ISO 3166 code; one that is not known has the tones
// that most have. A kind that is none gives a zero Clip.
func (l *Library) Tone(country string, kind Kind) Clip {
	key := toneKey{strings.ToUpper(country), kind}
	if _, ok := l.tones[key]; !ok {
		key.country = ""
	}
	if clip, ok := l.tones[key]; ok {
		return clip()
	}
	return Clip{}
}

const (
	perPacket  = g711.Rate / 50
	modulated  = 0.9 // depth of modulation
	rampLength = 16  // samples: 2 ms, against clicks
)

// period gives the samples of one cadence, or of two where one is no whole
// number of packets (375 ms on, 375 ms off).
func (t tone) period() []int16 {
	var pcm []int16
	for len(pcm) == 0 || len(pcm)%perPacket != 0 {
		for i := 0; i < len(t.cadence) && t.cadence[i] > 0; i += 2 {
			pcm = t.sound(pcm, samples(time.Duration(t.cadence[i])*time.Millisecond))
			pcm = append(pcm, make([]int16, samples(time.Duration(t.cadence[i+1])*time.Millisecond))...)
		}
	}
	return pcm
}

// sound appends n samples of the tone. Each time it sounds it begins anew.
func (t tone) sound(pcm []int16, n int) []int16 {
	hz := []float64{float64(t.first)}
	parts, power := 1.0, 1.0
	if t.second > 0 {
		hz, parts = append(hz, float64(t.second)), 2
	}
	if t.modulation > 0 {
		power = 1 + modulated*modulated/2
	}
	peak := amplitude(toneLevel) / math.Sqrt(parts*power)
	for i := range n {
		at, v := 2*math.Pi*float64(i)/g711.Rate, 0.0
		for _, f := range hz {
			v += math.Sin(f * at)
		}
		if t.modulation > 0 {
			v *= 1 - modulated*math.Cos(float64(t.modulation)*at)
		}
		pcm = append(pcm, clip16(v*peak*ramp(i, n)))
	}
	return pcm
}

// ramp is the factor that lets n samples of sound begin and end softly.
func ramp(i, n int) float64 {
	edge := min(i, n-1-i)
	if edge >= rampLength {
		return 1
	}
	return (1 - math.Cos(math.Pi*float64(edge)/rampLength)) / 2
}

// samples is how many of them a time has.
func samples(d time.Duration) int { return int(d * g711.Rate / time.Second) }

// amplitude is the peak of a sine of a level in dBm0 on the scale of 16 bits.
// The loudest sine that A-law codes has +3.14 dBm0 (G.711 §2), µ-law 0.03 more.
func amplitude(dBm0 float64) float64 { return 32768 * math.Pow(10, (dBm0-3.14)/20) }

// clip16 rounds to a sample.
func clip16(v float64) int16 {
	return int16(math.Round(max(math.MinInt16, min(math.MaxInt16, v))))
}
