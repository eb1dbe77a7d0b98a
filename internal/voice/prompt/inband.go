package prompt

import (
	"math"
	"math/cmplx"

	"tandem/internal/voice/g711"
)

// How Inband listens: in windows that overlap. The shortest tone that must be
// heard, 40 ms, has four of them wholly inside wherever it begins; one of 20 ms,
// which must not, has two that look like it.
const (
	window    = 160 // samples, 20 ms
	hop       = 40  // samples from one window to the next, 5 ms
	pressedIn = 4   // windows in a row with the same key
)

// What a tone must be (in the spirit of ITU-T Q.24, whose networks differ).
const (
	weakest     = -31    // dBm0 of each frequency: -25 must be heard
	rowTwist    = 10     // dB by which a row may be louder than its column: 8 must be heard
	columnTwist = 7      // dB the other way: 4 must be heard
	deviation   = 0.0245 // of a frequency: 0.015 must be heard, 0.035 must not
	purity      = 0.80   // of all power, that the two frequencies have
	faded       = 15     // dB below what was heard, where a key no longer sounds
	releasedIn  = 5      // such windows in a row: a gap of 20 ms has fewer, a pause of 40 ms has more
)

// The same as factors and as powers on the scale of 16 bits.
var (
	weakestPower = amplitude(weakest) * amplitude(weakest) / 2
	mostRow      = decibel(rowTwist)
	mostColumn   = decibel(columnTwist)
	fadedTo      = 1 / decibel(faded)
)

// hann is the weight of each sample of a window: without it, each frequency
// would be heard in the other's place too.
var hann, hannSum, hannPower = hannWindow()

func hannWindow() (w [window]float64, sum, power float64) {
	for i := range w {
		w[i] = (1 - math.Cos(2*math.Pi*(float64(i)+0.5)/window)) / 2
		sum += w[i]
		power += w[i] * w[i]
	}
	return w, sum, power
}

// maxQueued is how many digits can wait to be fetched. A packet has two or three.
const maxQueued = 8

// Inband tells keypresses from the sound of one direction of a call. One
// goroutine owns it; it never allocates.
//
// Voices hold two frequencies of a key now and then. What they do not is to hold
// them alone, steadily and exactly. So from window to window nearly all power
// must stay in the same row and the same column, and the phase of each must
// advance by what it should, which tells the frequency to a few Hz.
type Inband struct {
	pcm   [window]float64
	fill  int
	last  look
	like  byte // the key that the last windows look like, or 0
	pairs int  // how many times in a row two windows did

	held  byte       // the key that is down, or 0
	level [2]float64 // the most power that its row and column have had
	quiet int        // windows in a row in which it did not sound

	queue  [maxQueued]byte
	queued int
}

// A look is what one window shows.
type look struct {
	power       float64 // mean square
	rows        [4]complex128
	columns     [4]complex128
	row, column int // the strongest
}

// NewInband gives a detector that has heard nothing.
func NewInband() *Inband { return new(Inband) }

// Samples takes the sound of a packet of any length. It gives a digit once for
// each press of its key, after some 30 ms of it. Where a packet completes more
// than one, calls give one each.
//
// A packet that was lost is best left out: silence in its place does no harm for
// 20 ms, but longer it is a pause. What was silence and therefore not sent (the
// timestamp jumps and the sequence number does not) has to be given as silence,
// or the same key pressed twice is one.
func (d *Inband) Samples(law g711.Law, media []byte) (digit byte, ok bool) {
	if values := law.Values(); values != nil {
		for _, code := range media {
			d.pcm[d.fill] = float64(values[code])
			if d.fill++; d.fill == window {
				d.listen()
				d.fill = copy(d.pcm[:], d.pcm[hop:])
			}
		}
	}
	if d.queued == 0 {
		return 0, false
	}
	digit = d.queue[0]
	d.queued--
	copy(d.queue[:], d.queue[1:])
	return digit, true
}

// Held reports whether the key that was heard last still sounds. It may say so for
// a moment longer than is true.
func (d *Inband) Held() bool { return d.held != 0 }

// listen takes a full window.
func (d *Inband) listen() {
	now := lookAt(&d.pcm)
	key := key(&d.last, &now)
	if key != d.like {
		d.like, d.pairs = key, 0
	}
	d.last, d.pairs = now, d.pairs+1
	switch {
	case key == 0, key != d.held && d.pairs < pressedIn-1:
		d.listenForRelease(&now)
		return
	case key != d.held:
		d.held, d.level = key, [2]float64{}
		if d.queued < maxQueued {
			d.queue[d.queued] = key
			d.queued++
		}
	}
	d.quiet = 0
	d.level[0] = max(d.level[0], power(now.rows[now.row]))
	d.level[1] = max(d.level[1], power(now.columns[now.column]))
}

// listenForRelease takes a window in which no key could be told. That may be a
// splice where a packet is missing, so the key is released only when it has not
// sounded at all for a while.
func (d *Inband) listenForRelease(now *look) {
	if d.held == 0 {
		return
	}
	at := position(d.held)
	if power(now.rows[at/4]) > d.level[0]*fadedTo || power(now.columns[at%4]) > d.level[1]*fadedTo {
		d.quiet = 0
		return
	}
	if d.quiet++; d.quiet == releasedIn {
		d.held = 0
	}
}

// lookAt measures a window.
func lookAt(pcm *[window]float64) (l look) {
	var weighted [window]float64
	for i, v := range pcm {
		weighted[i] = v * hann[i]
		l.power += weighted[i] * weighted[i]
	}
	l.power /= hannPower
	l.rows, l.columns = goertzel(&weighted, &rows), goertzel(&weighted, &columns)
	for i := range 4 {
		if power(l.rows[i]) > power(l.rows[l.row]) {
			l.row = i
		}
		if power(l.columns[i]) > power(l.columns[l.column]) {
			l.column = i
		}
	}
	return l
}

// goertzel gives amplitude and phase of four frequencies, by Goertzel's
// algorithm. Each step of one waits for the step before; those of four do not
// wait for each other, which is why they are taken together.
func goertzel(pcm *[window]float64, hz *[4]float64) (sines [4]complex128) {
	var sin, cos [4]float64
	for i := range hz {
		sin[i], cos[i] = math.Sincos(2 * math.Pi * hz[i] / g711.Rate)
	}
	k0, k1, k2, k3 := 2*cos[0], 2*cos[1], 2*cos[2], 2*cos[3]
	var a, b, c, d, a1, b1, c1, d1 float64 // of each the newest and the one before
	for _, v := range pcm {
		a, a1 = v+k0*a-a1, a
		b, b1 = v+k1*b-b1, b
		c, c1 = v+k2*c-c1, c
		d, d1 = v+k3*d-d1, d
	}
	now, last := [4]float64{a, b, c, d}, [4]float64{a1, b1, c1, d1}
	for i := range sines {
		sines[i] = complex(now[i]-cos[i]*last[i], sin[i]*last[i]) * complex(2/hannSum, 0)
	}
	return sines
}

// power is the mean square of a sine.
func power(sine complex128) float64 {
	return (real(sine)*real(sine) + imag(sine)*imag(sine)) / 2
}

// key gives the key that sounds in two windows in a row, or 0.
func key(last, now *look) byte {
	if last.row != now.row || last.column != now.column {
		return 0
	}
	low0, low1, ok := steady(last.rows[now.row], now.rows[now.row], rows[now.row])
	if !ok {
		return 0
	}
	high0, high1, ok := steady(last.columns[now.column], now.columns[now.column], columns[now.column])
	switch {
	case !ok,
		low1 > high1*mostRow, high1 > low1*mostColumn,
		low0+high0 < last.power*purity, low1+high1 < now.power*purity:
		return 0
	}
	return keys[4*now.row+now.column]
}

// steady gives the power of a frequency in two windows, and whether it is loud
// enough in both and the frequency meant.
func steady(last, now complex128, hz float64) (before, after float64, ok bool) {
	turn := cmplx.Phase(now * cmplx.Conj(last) * cmplx.Rect(1, -2*math.Pi*hz*hop/g711.Rate))
	off := turn / (2 * math.Pi * hop) * g711.Rate
	if math.Abs(off) > deviation*hz {
		return 0, 0, false
	}
	heard := response(off)
	before, after = power(last)/heard, power(now)/heard
	return before, after, min(before, after) >= weakestPower
}

// response is how much of the power of a sine a window still shows so many Hz
// beside it.
func response(off float64) float64 {
	bins := off * window / g711.Rate
	if math.Abs(bins) < 1e-6 {
		return 1
	}
	r := math.Sin(math.Pi*bins) / (math.Pi * bins) / (1 - bins*bins)
	return r * r
}

// decibel is a ratio of powers.
func decibel(dB float64) float64 { return math.Pow(10, dB/10) }
