package prompt

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/voice/g711"
)

func builtin(t testing.TB) *Library {
	t.Helper()
	l, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// own is a recording that is like no other.
func own(n int) Clip { return newClip(make([]int16, 800+n)) }

func same(a, b Clip) bool {
	return slices.Equal(a.alaw, b.alaw) && slices.Equal(a.ulaw, b.ulaw)
}

// level is the power of pcm in dBm0, and its peak on the scale of 16 bits.
func level(pcm []int16) (dBm0 float64, peak int) {
	var energy float64
	for _, s := range pcm {
		energy += float64(s) * float64(s)
		peak = max(peak, int(s), -int(s))
	}
	mean := energy / float64(len(pcm))
	return 10 * math.Log10(mean/(amplitude(0)*amplitude(0)/2)), peak
}

func TestEveryAnnouncementIsSpokenInEveryLanguage(t *testing.T) {
	l := builtin(t)
	if got := l.Languages(); !slices.Equal(got, []string{"en", "hi"}) || !l.Has("hi") || l.Has("h") || l.Has("") {
		t.Errorf("languages %q", got)
	}
	if !slices.IsSorted(Names()) || len(l.builtin) != len(Names())*len(l.Languages()) {
		t.Errorf("%d files for %d names in %d languages", len(l.builtin), len(Names()), len(l.Languages()))
	}
	all := 0
	for _, language := range l.Languages() {
		for _, name := range Names() {
			c := l.Clip("", language, name)
			all += 2 * len(c.alaw)
			if d := c.Duration(); d < time.Second || d > 10*time.Second || len(c.ulaw) != len(c.alaw) {
				t.Errorf("%s %s lasts %v, %d and %d octets", language, name, d, len(c.alaw), len(c.ulaw))
			}
			for _, law := range laws {
				pcm := law.Decode(nil, c.Audio(law))
				// A sine of full scale has 3.14 dBm0, and 3 dB less than full scale.
				if dBm0, peak := level(pcm); math.Abs(dBm0-(-20+3+3.14)) > 1 || peak > 32000 {
					t.Errorf("%s %s has %.1f dBm0 and a peak of %d", language, name, dBm0, peak)
				}
				if _, peak := level(pcm[len(pcm)-samples(190*ms):]); peak > 8 {
					t.Errorf("%s %s is no longer silent at its end: %d", language, name, peak)
				}
				if _, peak := level(pcm[:samples(60*ms)]); peak < quietest {
					t.Errorf("%s %s begins with silence", language, name)
				}
			}
		}
	}
	if all > 1_200_000 {
		t.Errorf("%d bytes of prompts", all)
	}
}

func TestATenantsOwnRecordingIsSaidFirst(t *testing.T) {
	l := builtin(t)
	en, hi := l.Clip("", "en", Recorded), l.Clip("", "hi", Recorded)
	l.Replace(map[Key]Clip{
		{"a", "hi", Recorded}: own(1), {"b", "en", Recorded}: own(2), {"c", "ta", Recorded}: own(3), {"d", "en", Recorded}: {},
		{"a", "en", "greeting"}: own(4),
	})
	for _, c := range []struct {
		tenant, language string
		want             Clip
		why              string
	}{
		{"a", "hi", own(1), "own in that language"},
		{"a", "en", en, "own is in another language"},
		{"a", "ta", en, "nobody speaks it"},
		{"a", "", en, "no language"},
		{"b", "hi", hi, "ours in that language before own English"},
		{"b", "ta", own(2), "own English before ours"},
		{"c", "ta", own(3), "own in a language that we do not speak"},
		{"d", "en", en, "an empty recording is none"},
		{"e", "en", en, "no recording at all"},
		{"", "hi", hi, "no tenant"},
	} {
		if got := l.Clip(c.tenant, c.language, Recorded); !same(got, c.want) {
			t.Errorf("tenant %q in %q: %v of sound, want %v: %s", c.tenant, c.language, got.Duration(), c.want.Duration(), c.why)
		}
	}
	if got := l.Clip("b", "en", "nonsense"); !got.IsZero() {
		t.Errorf("a name that is none has %v of sound", got.Duration())
	}
	l.Replace(nil)
	if got := l.Clip("a", "hi", Recorded); !same(got, hi) {
		t.Error("a recording is said after it was taken away")
	}
}

func TestWhoReplacesMayKeepHisMap(t *testing.T) {
	l, key := builtin(t), Key{"a", "en", EnterPIN}
	tenants := map[Key]Clip{key: own(1)}
	l.Replace(tenants)
	tenants[key] = own(2)
	if got := l.Clip("a", "en", EnterPIN); !same(got, own(1)) {
		t.Error("a later write to the map is heard")
	}
}

// The recordings are one longer with each Replace, so that whoever looks one up
// can tell which it was.
func TestAReaderNeverSeesRecordingsOlderThanThoseItHasSeen(t *testing.T) {
	l := builtin(t)
	replace := func(n int) {
		l.Replace(map[Key]Clip{{"a", "en", EnterPIN}: own(n), {"a", "hi", EnterPIN}: own(n)})
	}
	replace(0)
	var readers sync.WaitGroup
	var done atomic.Bool
	for range 4 {
		readers.Go(func() {
			for last := 0; !done.Load(); {
				for _, language := range l.Languages() {
					n := len(l.Clip("a", language, EnterPIN).Audio(g711.ALaw))
					if n < last {
						t.Errorf("after a recording of %d samples one of %d", last, n)
					}
					last = n
				}
				if l.Tone("IN", Busy).IsZero() {
					t.Error("no tone")
				}
			}
		})
	}
	for i := range 2000 {
		replace(i)
	}
	done.Store(true)
	readers.Wait()
}

func TestAClipHasBothLawsAndNoOther(t *testing.T) {
	pcm := []int16{0, 1000, -1000, 32000}
	c := newClip(pcm)
	if !slices.Equal(c.Audio(g711.ALaw), g711.ALaw.Encode(nil, pcm)) || !slices.Equal(c.Audio(g711.ULaw), g711.ULaw.Encode(nil, pcm)) || c.Audio(g711.None) != nil {
		t.Errorf("%v", c)
	}
	if d := c.Duration(); d != 500*time.Microsecond || c.IsZero() || !(Clip{}).IsZero() || (Clip{}).Duration() != 0 {
		t.Errorf("four samples last %v", d)
	}
}

// on gives when a tone begins and ends to sound, in ms, as "0-400 600-1000".
func on(pcm []int16) (times string, sounding []int16) {
	const unheard = 20 // ms: the modulation of a tone passes through zero
	begun, last := -1, 0
	flush := func() {
		if begun >= 0 {
			times += fmt.Sprintf(" %d-%d", begun, last)
		}
		begun = -1
	}
	for at := range len(pcm) / 8 {
		if _, peak := level(pcm[8*at : 8*at+8]); peak > 400 {
			if begun < 0 {
				begun = at
			}
			last = at + 1
			sounding = append(sounding, pcm[8*at:8*at+8]...)
		} else if at-last >= unheard {
			flush()
		}
	}
	flush()
	return times, sounding
}

func TestEachCountryHasItsTones(t *testing.T) {
	l := builtin(t)
	for _, c := range []struct {
		country string
		kind    Kind
		lasts   time.Duration
		on      string
		hz      []float64
	}{
		{"IN", RingBack, 3 * time.Second, " 0-400 600-1000", []float64{400, 375, 425}},
		{"in", Busy, 1500 * ms, " 0-750", []float64{400}},
		{"IN", Congestion, 500 * ms, " 0-250", []float64{400}},
		{"US", RingBack, 6 * time.Second, " 0-2000", []float64{440, 480}},
		{"CA", Busy, time.Second, " 0-500", []float64{480, 620}},
		{"US", Congestion, 500 * ms, " 0-250", []float64{480, 620}},
		{"GB", RingBack, 3 * time.Second, " 0-400 600-1000", []float64{400, 450}},
		{"GB", Busy, 1500 * ms, " 0-375 750-1125", []float64{400}}, // 750 ms are 37.5 packets
		{"GB", Congestion, 1500 * ms, " 0-400 750-975", []float64{400}},
		{"AE", RingBack, 3 * time.Second, " 0-400 600-1000", []float64{400, 450}},
		{"DE", RingBack, 5 * time.Second, " 0-1000", []float64{425}},
		{"DE", Busy, 960 * ms, " 0-480", []float64{425}},
		{"DE", Congestion, 480 * ms, " 0-240", []float64{425}},
		{"FR", RingBack, 5 * time.Second, " 0-1500", []float64{440}},
		{"IT", Congestion, 400 * ms, " 0-200", []float64{425}},
		{"ES", RingBack, 4500 * ms, " 0-1500", []float64{425}},
		{"ES", Congestion, 1600 * ms, " 0-200 400-600 800-1000", []float64{425}},
		{"NL", Busy, time.Second, " 0-500", []float64{425}},
		{"AU", RingBack, 3 * time.Second, " 0-400 600-1000", []float64{413, 438}},
		{"AU", Busy, 1500 * ms, " 0-375 750-1125", []float64{425}},
		{"SG", RingBack, 3 * time.Second, " 0-400 600-1000", []float64{425, 401, 449}},
		{"SG", Busy, 1500 * ms, " 0-750", []float64{425}},
		{"BR", Congestion, 1500 * ms, " 0-250 500-1250", []float64{425}},
		{"JP", RingBack, 3 * time.Second, " 0-1000", []float64{400, 384, 416}},
		{"CN", Busy, 700 * ms, " 0-350", []float64{450}},
		{"CN", Congestion, 1400 * ms, " 0-700", []float64{450}},
		{"ZA", RingBack, 3 * time.Second, " 0-400 600-1000", []float64{400, 367, 433}},
		{"XX", RingBack, 5 * time.Second, " 0-1000", []float64{425}},
		{"", Busy, time.Second, " 0-500", []float64{425}},
		{"", Congestion, 500 * ms, " 0-250", []float64{425}},
		{"", Warning, 1000 * ms, " 0-200 300-500 600-800", []float64{950}},
		{"IN", Warning, 1000 * ms, " 0-200 300-500 600-800", []float64{950}},
	} {
		clip := l.Tone(c.country, c.kind)
		pcm := g711.ALaw.Decode(nil, clip.Audio(g711.ALaw))
		times, sounding := on(pcm)
		if clip.Duration() != c.lasts || !near(times, c.on) {
			t.Errorf("%s %d lasts %v and sounds%s ms, want %v and%s", c.country, c.kind, clip.Duration(), times, c.lasts, c.on)
		}
		if dBm0, _ := level(sounding); math.Abs(dBm0+13) > 0.7 {
			t.Errorf("%s %d has %.1f dBm0", c.country, c.kind, dBm0)
		}
		var found float64
		for _, hz := range c.hz {
			found += share(pcm[:samples(200*ms)], hz)
		}
		if found < 0.9 {
			t.Errorf("%s %d is %.2f of %v Hz", c.country, c.kind, found, c.hz)
		}
	}
	if c := l.Tone("IN", 0); !c.IsZero() {
		t.Error("a kind that is none sounds")
	}
}

// near compares what on gives, within 3 ms.
func near(got, want string) bool {
	var a, b [6]int
	n, _ := fmt.Sscanf(got, " %d-%d %d-%d %d-%d", &a[0], &a[1], &a[2], &a[3], &a[4], &a[5])
	m, _ := fmt.Sscanf(want, " %d-%d %d-%d %d-%d", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5])
	for i := range a {
		if a[i]-b[i] > 3 || b[i]-a[i] > 3 {
			return false
		}
	}
	return n == m
}

// share is how much of the power of pcm a frequency has.
func share(pcm []int16, hz float64) float64 {
	var re, im, all float64
	for i, v := range pcm {
		sin, cos := math.Sincos(2 * math.Pi * hz * float64(i) / g711.Rate)
		re, im, all = re+cos*float64(v), im+sin*float64(v), all+float64(v)*float64(v)
	}
	return 2 * (re*re + im*im) / float64(len(pcm)) / all
}

func TestEachToneIsAWholeNumberOfPacketsAndHasNoSeam(t *testing.T) {
	l := builtin(t)
	for _, country := range zones() {
		for _, kind := range []Kind{RingBack, Busy, Congestion, Warning} {
			for _, law := range laws {
				code := l.Tone(country, kind).Audio(law)
				if len(code) == 0 || len(code)%perPacket != 0 {
					t.Errorf("%q %d has %d octets", country, kind, len(code))
				}
				pcm := law.Decode(nil, code)
				for i, v := range slices.Concat(pcm, pcm[:samples(100*ms)]) {
					// The fastest tone moves by 0.45 of its peak in a sample, and two peaks add up.
					if i > 0 && math.Abs(float64(v)-float64(pcm[(i-1)%len(pcm)])) > 4000 {
						t.Errorf("%q %d jumps at sample %d", country, kind, i)
						break
					}
				}
			}
		}
	}
	if a, b := l.Tone("IN", Busy), l.Tone("IN", Busy); &a.alaw[0] != &b.alaw[0] {
		t.Error("a tone is made each time")
	}
}

func TestDTMFSoundsLikeATelephone(t *testing.T) {
	for i := range len(keys) {
		pcm := DTMF(keys[i], 100*ms, 50*ms)
		if len(pcm) != samples(150*ms) {
			t.Errorf("%c has %d samples", keys[i], len(pcm))
		}
		low, high := share(pcm[:800], rows[i/4]), share(pcm[:800], columns[i%4])
		if low+high < 0.97 || math.Abs(10*math.Log10(high/low)-2) > 0.5 {
			t.Errorf("%c has shares of %.2f and %.2f", keys[i], low, high)
		}
		if dBm0, _ := level(pcm[:800]); math.Abs(dBm0+4.9) > 0.5 {
			t.Errorf("%c has %.1f dBm0", keys[i], dBm0)
		}
		if _, peak := level(pcm[800:]); peak != 0 {
			t.Errorf("%c goes on after its end", keys[i])
		}
	}
	if pcm := DTMF('x', 10*ms, 10*ms); len(pcm) != 160 || slices.Max(pcm) != 0 {
		t.Errorf("no key has the sound %v", pcm)
	}
}
