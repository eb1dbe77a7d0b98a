package record

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/relay"
)

// sound is what both sides of a synthetic call say at the same moment: noise of
// some 500 Hz that is the same whenever it is asked for.
func sound(at float64) int16 {
	x := at * 1000
	i := math.Floor(x)
	a, b := hash(uint64(int64(i))), hash(uint64(int64(i)+1))
	return int16(a + (b-a)*(x-i))
}

func hash(x uint64) float64 {
	x = (x ^ x>>31) * 0x9E3779B97F4A7C15
	x = (x ^ x>>29) * 0xBF58476D1CE4E5B9
	return float64(int16(x>>40)) / 4
}

// talker is a synthetic source: a phone with a clock of its own, behind a
// network.
type talker struct {
	drift  float64       // of its clock, as a fraction
	delay  time.Duration // of the network, at least
	jitter time.Duration // and at most so much more
	loss   float64
	twice  float64          // packets that come twice
	length int              // samples of a packet, default 160
	burst  [2]time.Duration // what is sent meanwhile arrives at its end
	routes []route
	holds  []hold
	codecs []codec
}

// route is another delay from a moment on.
type route struct{ from, delay time.Duration }

// hold is a time in which nothing is sent.
type hold struct {
	from, to time.Duration
	paused   bool // the timestamp stands still
	anew     bool // SSRC, sequence and timestamp are others afterwards
}

// codec is the law from a moment on.
type codec struct {
	from time.Duration
	law  g711.Law
}

// sent is a packet on its way.
type sent struct {
	packet
	side  relay.Side
	since float64 // moment of its first sample, in seconds
	step  float64 // seconds between two samples
	size  int
}

// send gives what arrives of a talker until a moment, in order.
func (k talker) send(side relay.Side, until time.Duration, random *rand.Rand) []sent {
	length := cmp.Or(k.length, 160)
	step := 1 / (8000 * (1 + k.drift))
	p := packet{ssrc: random.Uint32(), sequence: uint16(random.Uint32()), timestamp: random.Uint32(), marker: true}
	var all []sent
	held := -1
	for n := 0; ; n++ {
		since := float64(n*length) * step
		moment := time.Duration((since + float64(length)*step) * 1e9) // it is sent when it is full
		if moment > until {
			break
		}
		h := slices.IndexFunc(k.holds, func(h hold) bool { return moment >= h.from && moment < h.to })
		if h >= 0 {
			held = h
			if !k.holds[h].paused {
				p.timestamp += uint32(length)
			}
			continue
		}
		if held >= 0 && k.holds[held].anew {
			p.ssrc, p.sequence, p.timestamp, p.marker = random.Uint32(), uint16(random.Uint32()), random.Uint32(), true
		}
		held = -1
		p.law = g711.ULaw
		for _, c := range k.codecs {
			if moment >= c.from {
				p.law = c.law
			}
		}
		delay := k.delay
		for _, r := range k.routes {
			if moment >= r.from {
				delay = r.delay
			}
		}
		p.at = moment + delay + time.Duration(random.Float64()*float64(k.jitter))
		if moment >= k.burst[0] && p.at < k.burst[1] {
			p.at = k.burst[1]
		}
		if random.Float64() >= k.loss {
			all = append(all, sent{p, side, since, step, length})
			if random.Float64() < k.twice {
				again := all[len(all)-1]
				again.at += time.Duration(random.IntN(int(30 * time.Millisecond)))
				all = append(all, again)
			}
		}
		p.sequence++
		p.timestamp += uint32(length)
		p.marker = false
	}
	slices.SortStableFunc(all, func(a, b sent) int { return cmp.Compare(a.at, b.at) })
	return all
}

// media makes the packet's sound; silence outside of what is listened to, to
// be quick.
func (s sent) media(dst []byte, spans []span) []byte {
	heard := slices.ContainsFunc(spans, func(w span) bool {
		return s.since > (w.from-2*time.Second).Seconds() && s.since < (w.to+2*time.Second).Seconds()
	})
	if !heard {
		return slices.Grow(dst, s.size)[:s.size] // of whatever
	}
	var pcm [4096]int16
	for i := range s.size {
		pcm[i] = sound(s.since + float64(i)*s.step)
	}
	return s.law.Encode(dst, pcm[:s.size])
}

// span is a time that is listened to.
type span struct{ from, to time.Duration }

// record runs a timeline over a synthetic call and gives the channels of each
// span. The end of the last span is the end of the call.
func record(t testing.TB, sides [2]talker, spans ...span) [][2][]int16 {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	until := spans[len(spans)-1].to
	packets := append(sides[0].send(relay.A, until, random), sides[1].send(relay.B, until, random)...)
	slices.SortStableFunc(packets, func(a, b sent) int { return cmp.Compare(a.at, b.at) })
	heard := make([][2][]int16, len(spans))
	line := newTimeline(0)
	var frames, media []byte
	take := func(to int64) {
		for line.given < to {
			from := line.given
			frames = line.take(frames[:0], to)
			if int64(len(frames)) != (line.given-from)*frameSize {
				t.Fatalf("%d bytes for the frames %d to %d", len(frames), from, line.given)
			}
			for i, w := range spans {
				for at := max(from, line.position(w.from)); at < min(line.given, line.position(w.to)); at++ {
					for side := range heard[i] {
						heard[i][side] = append(heard[i][side], int16(binary.LittleEndian.Uint16(frames[4*(at-from)+2*int64(side):])))
					}
				}
			}
		}
	}
	for turn := drainEvery; ; turn += drainEvery {
		for len(packets) > 0 && packets[0].at <= turn {
			p := packets[0]
			media = p.media(media[:0], spans)
			p.packet.media = media
			line.put(p.side, p.packet)
			packets = packets[1:]
		}
		if turn >= until {
			take(line.position(until))
			return heard
		}
		take(line.position(turn) - behind)
	}
}

// lag tells by how many samples b is behind a: where they correlate best.
func lag(t testing.TB, a, b []int16) int {
	t.Helper()
	const most = 1600
	best, at := 0.0, 0
	n := min(len(a), len(b))
	if n < 3*most {
		t.Fatalf("%d samples are too few to compare", n)
	}
	var energy float64
	for _, s := range a[most : n-most] {
		energy += float64(s) * float64(s)
	}
	for d := -most; d <= most; d++ {
		var sum int64
		x, y := a[most:n-most], b[most+d:n-most+d]
		for i := range x {
			sum += int64(x[i]) * int64(y[i])
		}
		if float64(sum) > best {
			best, at = float64(sum), d
		}
	}
	if best < energy/4 {
		t.Fatalf("what is heard is not what was said: correlation %.2f", best/energy)
	}
	return at
}

// alike is how much b, moved by some samples, is like a: 1 = the same.
func alike(a, b []int16, moved int) float64 {
	var ab, aa, bb float64
	for i := range a {
		if j := i + moved; j >= 0 && j < len(b) {
			ab, aa, bb = ab+float64(a[i])*float64(b[j]), aa+float64(a[i])*float64(a[i]), bb+float64(b[j])*float64(b[j])
		}
	}
	return ab / math.Sqrt(aa*bb)
}

// reference is what was said in a span.
func reference(w span) []int16 {
	pcm := make([]int16, int((w.to-w.from)/tick))
	for i := range pcm {
		pcm[i] = sound(w.from.Seconds() + float64(i)/8000)
	}
	return pcm
}
