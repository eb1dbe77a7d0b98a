package record

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/relay"
)

// around gives a span of a second and a half at a moment.
func around(at time.Duration) span { return span{at, at + 1500*time.Millisecond} }

// inSync fails where the channels are further apart, or further from the moment
// of arrival, than so many milliseconds.
func inSync(t *testing.T, most int, sides [2]talker, spans ...span) {
	t.Helper()
	for i, heard := range record(t, sides, spans...) {
		apart := lag(t, heard[0], heard[1])
		left, right := lag(t, reference(spans[i]), heard[0]), lag(t, reference(spans[i]), heard[1])
		t.Logf("at %v: apart %.2f ms, left %.2f ms and right %.2f ms late", spans[i].from,
			float64(apart)/8, float64(left)/8, float64(right)/8)
		for _, wrong := range []int{apart, left, right} {
			if wrong > 8*most || wrong < -8*most {
				t.Errorf("at %v: more than %d ms", spans[i].from, most)
			}
		}
	}
}

// rough is a call as networks have it: loss, jitter, clocks that drift apart,
// hold and resume in each way, another codec.
func rough() [2]talker {
	return [2]talker{
		{drift: 200e-6, jitter: 40 * time.Millisecond, loss: 0.03, twice: 0.01,
			holds: []hold{{from: 2 * time.Minute, to: 2*time.Minute + 30*time.Second}, {from: 4 * time.Minute, to: 5 * time.Minute, paused: true},
				{from: 20 * time.Minute, to: 30 * time.Minute}},
			codecs: []codec{{6 * time.Minute, g711.ALaw}}},
		{drift: -200e-6, jitter: 40 * time.Millisecond, loss: 0.03, twice: 0.01,
			holds: []hold{{from: 3 * time.Minute, to: 3*time.Minute + 40*time.Second, anew: true}, {from: 40 * time.Minute, to: 41 * time.Minute, paused: true},
				{from: 45 * time.Minute, to: 55 * time.Minute}},
			codecs: []codec{{7 * time.Minute, g711.ALaw}, {8 * time.Minute, g711.ULaw}}},
	}
}

func TestTheChannelsStayInSync(t *testing.T) {
	inSync(t, 10, rough(), around(time.Minute), around(6*time.Minute+10*time.Second), around(10*time.Minute), around(35*time.Minute), around(time.Hour))
}

func TestTheChannelsAreInSyncSoonAfterAHold(t *testing.T) {
	inSync(t, 40, rough(), around(4*time.Second), around(2*time.Minute+31*time.Second), around(3*time.Minute+41*time.Second),
		around(5*time.Minute+time.Second), around(30*time.Minute+time.Second), around(41*time.Minute+time.Second), around(55*time.Minute+time.Second))
}

func TestClocksThatAreFarOffAreFollowed(t *testing.T) {
	inSync(t, 10, [2]talker{{drift: 700e-6, jitter: 30 * time.Millisecond}, {drift: -700e-6, jitter: 30 * time.Millisecond, length: 480}},
		around(10*time.Second), around(5*time.Minute), around(10*time.Minute))
}

func TestClocksAreFollowedThroughPauses(t *testing.T) {
	var pauses []hold
	for at := time.Second; at < 10*time.Minute; at += 3500 * time.Millisecond {
		pauses = append(pauses, hold{from: at, to: at + 2*time.Second})
	}
	for _, drift := range []float64{500e-6, -500e-6} {
		inSync(t, 15, [2]talker{{}, {drift: drift, jitter: 40 * time.Millisecond, holds: pauses}}, around(pauses[0].to), around(pauses[100].to), around(pauses[170].to))
	}
}

func TestASampleMoreIsNoGap(t *testing.T) {
	var s script
	for n := range 500 {
		at := time.Duration(n+1) * 20 * time.Millisecond
		s.arrive(at+at/1000, n, 8000) // a clock that is slow by 1000 ppm
	}
	s.give(s.position(10 * time.Second))
	if i := slices.IndexFunc(s.left, func(v int16) bool { return v < 7000 }); i >= 0 || s.tracks[relay.A].end < 80_040 {
		t.Errorf("a gap at sample %d of %d", i, s.tracks[relay.A].end)
	}
}

func TestJitterMakesNoGaps(t *testing.T) {
	w := around(20 * time.Second)
	heard := record(t, [2]talker{{jitter: 40 * time.Millisecond}, {jitter: 40 * time.Millisecond, length: 80}}, w)[0]
	for side, pcm := range heard {
		if same := alike(reference(w), pcm, lag(t, reference(w), pcm)); same < 0.999 {
			t.Errorf("side %d: %.4f alike", side, same)
		}
	}
}

func TestDriftIsFollowedWithoutJumps(t *testing.T) {
	w := around(20 * time.Second)
	heard := record(t, [2]talker{{drift: 500e-6}, {drift: -500e-6}}, w)[0]
	said := reference(w)
	for side, pcm := range heard {
		for i := 800; i+1600 <= len(said); i += 800 { // a tenth of a second is 50 µs shorter or longer, and never torn
			best := 0.0
			for moved := -40; moved <= 40; moved++ {
				best = max(best, alike(said[i:i+800], pcm[i+moved:i+moved+800], 0))
			}
			if best < 0.95 {
				t.Errorf("side %d, sample %d: %.4f alike", side, i, best)
			}
		}
	}
}

func TestLossIsSilenceAndTheRestStaysWhereItWas(t *testing.T) {
	w := around(20 * time.Second)
	heard := record(t, [2]talker{{jitter: 20 * time.Millisecond, loss: 0.4}, {}}, w)[0]
	silent := 0
	said := lag(t, heard[1], heard[0])
	for i, s := range heard[0] {
		if s == 0 {
			silent++
		} else if j := i - said; j >= 0 && j < len(heard[1]) && math.Abs(float64(s)-float64(heard[1][j])) > 1000 {
			t.Fatalf("sample %d is %d, and %d on the other side", i, s, heard[1][j])
		}
	}
	if share := float64(silent) / float64(len(heard[0])); share < 0.2 || share > 0.6 {
		t.Errorf("%.2f of it is silent", share)
	}
}

func TestPacketsThatComeTwiceChangeNothing(t *testing.T) {
	w := around(10 * time.Second)
	once := record(t, [2]talker{{}, {}}, w)[0]
	twice := record(t, [2]talker{{twice: 1}, {}}, w)[0]
	if !slices.Equal(once[0], twice[0]) {
		t.Error("it is not the same")
	}
}

func TestWhatTheNetworkHeldUpDoesNotMoveTheRest(t *testing.T) {
	inSync(t, 10, [2]talker{{jitter: 20 * time.Millisecond, burst: [2]time.Duration{10 * time.Second, 13 * time.Second}}, {jitter: 20 * time.Millisecond}},
		around(13*time.Second+100*time.Millisecond), around(20*time.Second))
}

func TestAnotherRouteIsFollowed(t *testing.T) {
	spans := []span{around(28 * time.Second), around(58 * time.Second), around(88 * time.Second)}
	moved := talker{delay: 50 * time.Millisecond, jitter: 20 * time.Millisecond, routes: []route{
		{10 * time.Second, 200 * time.Millisecond}, {40 * time.Second, 120 * time.Millisecond}, {70 * time.Second, 20 * time.Millisecond}}}
	for i, heard := range record(t, [2]talker{moved, {}}, spans...) {
		want := int(moved.routes[i].delay / tick)
		if late := lag(t, reference(spans[i]), heard[0]); late < want-80 || late > want+80 {
			t.Errorf("%v after %v: %.1f ms late", moved.routes[i].delay, moved.routes[i].from, float64(late)/8)
		}
	}
}

// script feeds a timeline by hand and keeps what it gives.
type script struct {
	timeline
	left, right []int16
}

// arrive puts in a packet of side A of 20 ms that is all of one value.
func (s *script) arrive(at time.Duration, n int, value int16) {
	s.until(at)
	s.put(relay.A, packet{at: at, sequence: uint16(n), timestamp: uint32(160 * n), law: g711.ALaw,
		media: bytes.Repeat(g711.ALaw.Encode(nil, []int16{value}), 160)})
}

// until takes what a worker would have taken by a moment.
func (s *script) until(at time.Duration) { s.give(s.position(at/drainEvery*drainEvery) - behind) }

func (s *script) give(to int64) {
	for s.given < to {
		for frame := range slices.Chunk(s.take(nil, to), frameSize) {
			s.left = append(s.left, int16(binary.LittleEndian.Uint16(frame)))
			s.right = append(s.right, int16(binary.LittleEndian.Uint16(frame[2:])))
		}
	}
}

func TestAPacketIsWaitedForFourHundredMilliseconds(t *testing.T) {
	for late, placed := range map[time.Duration]bool{0: true, 100 * time.Millisecond: true, 400 * time.Millisecond: true, 700 * time.Millisecond: false} {
		var s script
		for n := range 100 {
			now := time.Duration(n+1) * 20 * time.Millisecond
			if n != 50 {
				s.arrive(now, n, 8000)
			}
			if 1020*time.Millisecond+late == now {
				s.arrive(now, 50, -8000)
			}
		}
		s.give(s.position(2 * time.Second))
		if got := s.left[50*160] < -7000 && s.left[51*160-1] < -7000; got != placed || s.late() != map[bool]int{false: 1}[placed] {
			t.Errorf("%v late: placed %v, %d counted", late, got, s.late())
		}
		for i, v := range s.left {
			if i/160 != 50 && v < 7000 {
				t.Fatalf("%v late: sample %d is %d", late, i, v)
			}
		}
	}
}

func TestPacketsOfABurstThatAreTooLateAreCounted(t *testing.T) {
	var s script
	for n := range 200 {
		at := time.Duration(n+1) * 20 * time.Millisecond
		if n >= 50 {
			at = max(at, 3*time.Second) // number 149 is in time
		}
		s.arrive(at, n, 8000)
	}
	s.give(s.position(4 * time.Second))
	if late := s.late(); late < 75 || late > 85 { // of 100, but for those of the last 400 ms
		t.Errorf("%d packets were late", late)
	}
	for i, v := range s.left {
		if (i < 50*160 || i >= 132*160) != (v > 7000) && (i < 128*160 || i > 132*160) {
			t.Fatalf("sample %d, of packet %d, is %d", i, i/160, v)
		}
	}
}

func TestASenderWhoseClockStopsForAHoldLosesNothing(t *testing.T) {
	for _, rest := range []time.Duration{time.Second, 10 * time.Second, 100 * time.Second} {
		var s script
		for n := range 100 {
			at := time.Duration(n+1) * 20 * time.Millisecond
			if n >= 50 {
				at += rest // the numbers and the timestamps go on as if nothing had been
			}
			s.arrive(at, n, 8000)
		}
		s.give(s.position(2*time.Second + rest))
		heard := 0
		for _, v := range s.left {
			if v > 7000 {
				heard++
			}
		}
		if heard != 100*160 || s.late() != 0 || len(s.left) != len(s.right) {
			t.Errorf("%v: %d of %d samples, %d late", rest, heard, 100*160, s.late())
		}
	}
}

func TestANewSourceIsAnchoredByItsArrival(t *testing.T) {
	ahead, back := uint32(30*g711.Rate), uint32(30*g711.Rate)
	for name, jump := range map[string]uint32{"ahead": ahead, "back": -back, "half way round": 1 << 31} {
		var s script
		for n := range 100 {
			p := packet{at: time.Duration(n+1) * 20 * time.Millisecond, sequence: uint16(n), timestamp: uint32(160 * n), law: g711.ALaw,
				media: bytes.Repeat([]byte{0}, 160)}
			switch {
			case n >= 75: // another timestamp within the source
				p.timestamp += jump
				fallthrough
			case n >= 50: // another sequence
				p.sequence += 30_000
				fallthrough
			case n >= 25: // another source
				p.ssrc, p.timestamp = 77, p.timestamp+123_456_789
			}
			s.put(relay.A, p)
			s.until(p.at)
		}
		s.give(s.position(2 * time.Second))
		if slices.Contains(s.left, 0) || s.late() != 0 || len(s.left) != 16_000 {
			t.Errorf("%s: a gap at sample %d, %d late", name, slices.Index(s.left, 0), s.late())
		}
	}
}

func TestNoSampleIsGivenTwiceOrLeftOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := newTimeline(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "origin")))
		now := line.origin
		frames := int64(0)
		var value byte
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now += time.Duration(rapid.Int64Range(0, 3e8).Draw(t, "pause"))
			if line.full(now) || rapid.Bool().Draw(t, "take") {
				until := line.position(now) - behind
				for before := line.given; line.given < until; before = line.given {
					b := line.take(nil, until)
					if line.given <= before || line.given > until || int64(len(b)) != frameSize*(line.given-before) {
						t.Fatalf("%d bytes for the frames from %d to %d of %d", len(b), before, line.given, until)
					}
					frames += line.given - before
				}
			}
			value++
			n := rapid.SampledFrom([]int{80, 160, 240, 480, 1460}).Draw(t, "size")
			line.put(relay.Side(rapid.IntRange(0, 1).Draw(t, "side")), packet{at: now, sequence: rapid.Uint16().Draw(t, "sequence"),
				timestamp: rapid.Uint32().Draw(t, "timestamp"), ssrc: rapid.Uint32Range(0, 2).Draw(t, "ssrc"),
				marker: rapid.Bool().Draw(t, "marker"), law: g711.ALaw, media: bytes.Repeat([]byte{value}, n)})
			if frames != line.given {
				t.Fatalf("%d frames were given, it says %d", frames, line.given)
			}
		}
		// What is not given must be silent once it was: nothing comes back a
		// window later.
		for range 2 {
			line.take(nil, line.given+window)
		}
		for _, b := range line.take(nil, line.given+window) {
			if b != 0 {
				t.Fatal("sound of before comes back")
			}
		}
	})
}

func FuzzTimeline(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0, 160, 20, 0, 1, 0, 160}, 40))
	f.Add(bytes.Repeat([]byte{1, 255, 255, 0xFF, 0xFE, 0x80, 0}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		line := newTimeline(0)
		var p packet
		for len(b) >= 7 {
			p.at += time.Duration(b[2]) * time.Duration(b[2]) * 10 * time.Microsecond
			p.sequence += uint16(int8(b[3]))
			p.timestamp += uint32(int32(int8(b[4])) << (b[0] >> 3))
			p.ssrc = uint32(b[5] & 1)
			p.marker, p.law = b[5]&2 != 0, g711.Law(b[5]>>2&1+1)
			p.media = bytes.Repeat(b[6:7], int(b[1])*int(b[1])/45) // up to 1445
			side := relay.Side(b[0] & 1)
			if b[0]&2 != 0 || line.full(p.at) {
				until := line.position(p.at) - behind
				for line.given < until {
					before := line.given
					if got := line.take(nil, until); int64(len(got)) != frameSize*(line.given-before) || line.given == before {
						t.Fatalf("%d bytes for %d frames", len(got), line.given-before)
					}
				}
			}
			line.put(side, p)
			if k := line.tracks[side]; len(p.media) > 0 && k.end > line.position(p.at)+earlyMost+joint {
				t.Fatalf("a packet of %v ends at %d, in the future", p.at, k.end)
			}
			b = b[7:]
		}
	})
}
