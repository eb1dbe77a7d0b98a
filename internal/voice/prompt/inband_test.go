package prompt

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/voice/g711"
)

const ms = time.Millisecond

var laws = map[string]g711.Law{"A-law": g711.ALaw, "µ-law": g711.ULaw}

// A pair is two frequencies at once.
type pair struct {
	low, high           float64 // Hz
	lowLevel, highLevel float64 // dBm0
}

func pairOf(digit byte, level float64) pair {
	at := position(digit)
	return pair{rows[at/4], columns[at%4], level, level}
}

// sound gives so much of a pair. It is cut off where the scale ends.
func (p pair) sound(d time.Duration) []int16 {
	pcm := make([]int16, samples(d))
	low, high := amplitude(p.lowLevel), amplitude(p.highLevel)
	for i := range pcm {
		at := 2 * math.Pi * float64(i) / g711.Rate
		pcm[i] = clip16(low*math.Sin(p.low*at+0.3) + high*math.Sin(p.high*at+1.1))
	}
	return pcm
}

func silence(d time.Duration) []int16 { return make([]int16, samples(d)) }

// noise is white, of a level in dBm0.
func noise(r *rand.Rand, d time.Duration, level float64) []int16 {
	pcm := make([]int16, samples(d))
	for i := range pcm {
		pcm[i] = clip16(r.NormFloat64() * amplitude(level) / math.Sqrt2)
	}
	return pcm
}

func mixed(a, b []int16) []int16 {
	pcm := slices.Clone(a)
	for i := range pcm {
		pcm[i] = clip16(float64(a[i]) + float64(b[i]))
	}
	return pcm
}

// places gives keys with how many samples they begin after a hop: each key and
// each place often enough, but not each with each other.
func places(yield func(key byte, begins int) bool) {
	for begins := range hop {
		for i := range len(keys) {
			if (i+begins)%8 == 0 && !yield(keys[i], begins) {
				return
			}
		}
	}
}

// listenTo gives the digits heard in pcm, cut into packets of so many samples.
func listenTo(law g711.Law, packet int, pcm ...[]int16) string {
	return hear(NewInband(), law, packet, law.Encode(nil, slices.Concat(pcm...)))
}

func hear(d *Inband, law g711.Law, packet int, code []byte) (heard string) {
	take := func(media []byte) bool {
		digit, ok := d.Samples(law, media)
		if ok {
			heard += string(digit)
		}
		return ok
	}
	for media := range slices.Chunk(code, packet) {
		take(media)
	}
	for take(nil) {
	}
	return heard
}

func TestEachKeyIsHeardOnceAtEveryLevelInBothLaws(t *testing.T) {
	for name, law := range laws {
		for level := -25.0; level <= 0; level += 2.5 {
			var pcm []int16
			for i := range len(keys) {
				// A little longer than a multiple of a hop, so that each key begins elsewhere in it.
				pcm = slices.Concat(pcm, pairOf(keys[i], level).sound(40*ms), silence(40*ms+time.Duration(i)*ms/2))
			}
			if got := listenTo(law, 160, pcm, silence(40*ms)); got != keys {
				t.Errorf("%s at %.1f dBm0: heard %q, want %q", name, level, got, keys)
			}
		}
	}
}

func TestATonesToleranceIsThatOfTheStandard(t *testing.T) {
	shifted := func(low, high float64) func(pair) pair {
		return func(p pair) pair { return pair{p.low * (1 + low), p.high * (1 + high), p.lowLevel, p.highLevel} }
	}
	louder := func(low, high float64) func(pair) pair {
		return func(p pair) pair { return pair{p.low, p.high, p.lowLevel + low, p.highLevel + high} }
	}
	for name, c := range map[string]struct {
		change func(pair) pair
		length time.Duration
		heard  bool
	}{
		"1.5 % above":                    {shifted(0.015, 0.015), 40 * ms, true},
		"1.5 % below":                    {shifted(-0.015, -0.015), 40 * ms, true},
		"1.5 % to both sides":            {shifted(-0.015, 0.015), 40 * ms, true},
		"1.5 % inwards":                  {shifted(0.015, -0.015), 40 * ms, true},
		"row 3.5 % above":                {shifted(0.035, 0), 100 * ms, false},
		"row 3.5 % below":                {shifted(-0.035, 0), 100 * ms, false},
		"column 3.5 % above":             {shifted(0, 0.035), 100 * ms, false},
		"column 3.5 % below":             {shifted(0, -0.035), 100 * ms, false},
		"row 8 dB louder":                {louder(4, -4), 40 * ms, true},
		"column 4 dB louder":             {louder(-2, 2), 40 * ms, true},
		"row 12 dB louder":               {louder(6, -6), 100 * ms, false},
		"column 10 dB louder":            {louder(-5, 5), 100 * ms, false},
		"-55 dBm0":                       {louder(-45, -45), 100 * ms, false},
		"row alone":                      {louder(0, -60), 100 * ms, false},
		"column alone":                   {louder(-60, 0), 100 * ms, false},
		"20 ms":                          {louder(0, 0), 20 * ms, false},
		"all at once, as Q.24 allows it": {func(p pair) pair { return pair{p.low * 1.015, p.high * 0.985, -17, -25} }, 40 * ms, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, law := range laws {
				for key, begins := range places {
					got := listenTo(law, 160, make([]int16, begins), c.change(pairOf(key, -10)).sound(c.length), silence(60*ms))
					if want := map[bool]string{true: string(key)}[c.heard]; got != want {
						t.Fatalf("law %v, sample %d of a hop: heard %q, want %q", law, begins, got, want)
					}
				}
			}
		})
	}
}

func TestAPauseMakesTwoOfAKeyAndAGapDoesNot(t *testing.T) {
	for key, begins := range places {
		tone := pairOf(key, -10).sound(60 * ms)
		for _, c := range []struct {
			pause time.Duration
			times int
		}{{0, 1}, {5 * ms, 1}, {10 * ms, 1}, {20 * ms, 1}, {40 * ms, 2}, {50 * ms, 2}, {time.Second, 2}} {
			got := listenTo(g711.ALaw, 160, make([]int16, begins), tone, silence(c.pause), tone, silence(60*ms))
			if want := strings.Repeat(string(key), c.times); got != want {
				t.Fatalf("key %c, sample %d of a hop, pause of %v: heard %q, want %q", key, begins, c.pause, got, want)
			}
		}
	}
}

func TestLostPacketsDoNotDoubleAKey(t *testing.T) {
	for name, c := range map[string]struct {
		lost    int // samples
		instead []byte
	}{
		"one, left out":                 {160, nil},
		"one, with silence instead":     {160, slices.Repeat([]byte{g711.ULaw.Silence()}, 160)},
		"two of 30 ms in a row":         {480, nil},
		"one of 10 ms, left out":        {80, nil},
		"one of 10 ms, silence instead": {80, slices.Repeat([]byte{g711.ULaw.Silence()}, 80)},
	} {
		for key, begins := range places {
			code := g711.ULaw.Encode(nil, slices.Concat(make([]int16, begins), DTMF(key, 160*ms, 100*ms)))
			for at := 0; at+c.lost < len(code); at += 160 {
				got := hear(NewInband(), g711.ULaw, 160, slices.Concat(code[:at], c.instead, code[at+c.lost:]))
				if got != string(key) {
					t.Fatalf("key %c, %s, lost at sample %d: heard %q", key, name, at, got)
				}
			}
		}
	}
}

func TestKeysAreHeardThroughNoise(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	missed, wrong := 0, 0
	const presses = 1000
	for range presses {
		key := keys[r.IntN(len(keys))]
		clean := slices.Concat(pairOf(key, -13).sound(60*ms), silence(60*ms))
		got := listenTo(g711.ALaw, 160, mixed(clean, noise(r, 120*ms, -10-15))) // 15 dB below the pair
		switch got {
		case string(key):
		case "":
			missed++
		default:
			wrong++
		}
	}
	if missed > presses/1000 || wrong > 0 {
		t.Errorf("of %d keys %d were missed and %d were heard as something else", presses, missed, wrong)
	}
}

// rise makes pcm louder by so many dB.
func rise(pcm []int16, dB float64) []int16 {
	louder := slices.Clone(pcm)
	for i, v := range pcm {
		louder[i] = clip16(float64(v) * math.Pow(10, dB/20))
	}
	return louder
}

func TestNoKeyIsHeardInSpeechTonesOrNoise(t *testing.T) {
	l := builtin(t)
	sounds := make(map[string][]int16)
	for _, language := range l.Languages() {
		for _, name := range Names() {
			sounds[language+" "+string(name)] = g711.ULaw.Decode(nil, l.Clip("", language, name).Audio(g711.ULaw))
		}
	}
	for key := range l.tones {
		sounds[fmt.Sprintf("tone %d of %s", key.kind, key.country)] = slices.Repeat(g711.ULaw.Decode(nil, l.Tone(key.country, key.kind).Audio(g711.ULaw)), 2)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, level := range []float64{-40, -25, -10, 0} {
		sounds["noise"] = append(sounds["noise"], noise(r, 20*time.Second, level)...)
	}
	for name, pcm := range sounds {
		for dB, law := range map[float64]g711.Law{-12: g711.ALaw, 0: g711.ULaw, 3: g711.ALaw, 12: g711.ULaw} {
			if got := listenTo(law, 160, rise(pcm, dB)); got != "" {
				t.Errorf("%s, %+.0f dB, law %v: heard %q", name, dB, law, got)
			}
		}
	}
}

func TestWhatAPacketHoldsTooMuchComesWithTheNextCalls(t *testing.T) {
	var pcm []int16
	for i := range maxQueued + 2 {
		pcm = append(pcm, DTMF(keys[i], 50*ms, 50*ms)...)
	}
	d := NewInband()
	if got := hear(d, g711.ALaw, len(pcm), g711.ALaw.Encode(nil, pcm)); got != keys[:maxQueued] {
		t.Errorf("heard %q, want the first %d of %q", got, maxQueued, keys)
	}
	if got := hear(d, g711.ALaw, 160, g711.ALaw.Encode(nil, DTMF('D', 50*ms, 50*ms))); got != "D" {
		t.Errorf("after that it heard %q", got)
	}
	if digit, ok := d.Samples(g711.None, make([]byte, 160)); ok {
		t.Errorf("heard %q in a codec that is no G.711", digit)
	}
}

func TestPacketsOfAnyLengthSayTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.StringOfN(rapid.SampledFrom([]rune(keys)), 0, 8, -1).Draw(t, "digits")
		law := rapid.SampledFrom([]g711.Law{g711.ALaw, g711.ULaw}).Draw(t, "law")
		var pcm []int16
		for i := range len(want) {
			on, off := rapid.IntRange(45, 200).Draw(t, "on"), rapid.IntRange(45, 200).Draw(t, "off")
			pcm = append(pcm, DTMF(want[i], time.Duration(on)*ms, time.Duration(off)*ms)...)
		}
		code, d, got := law.Encode(nil, pcm), NewInband(), ""
		for len(code) > 0 {
			n := rapid.IntRange(0, 400).Draw(t, "packet")
			got += hear(d, law, 400, code[:min(n, len(code))])
			code = code[min(n, len(code)):]
		}
		if got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	})
}

func TestListeningAllocatesNothing(t *testing.T) {
	d, code := NewInband(), g711.ALaw.Encode(nil, DTMF('5', 60*ms, 60*ms))
	if n := testing.AllocsPerRun(100, func() { d.Samples(g711.ALaw, code) }); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func BenchmarkInband(b *testing.B) {
	d, code := NewInband(), g711.ALaw.Encode(nil, DTMF('5', 20*ms, 0))
	b.ReportAllocs()
	for b.Loop() {
		d.Samples(g711.ALaw, code)
	}
}
