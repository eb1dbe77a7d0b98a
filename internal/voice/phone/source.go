package phone

import (
	"math"
	"math/rand/v2"
)

// Rate is the sampling rate of all audio here, in Hz.
const Rate = 8000

// A Source is what one side says: 8 kHz, 16 bit, mono. One goroutine reads it.
type Source interface {
	// Read fills pcm from the start and returns how many samples it has written.
	// Fewer than len(pcm) means that nothing follows; the phone goes on with silence.
	Read(pcm []int16) int
}

// Silence returns a source that says nothing, for ever.
func Silence() Source { return silence{} }

type silence struct{}

func (silence) Read(pcm []int16) int {
	clear(pcm)
	return len(pcm)
}

// Sine returns an endless tone of the given frequency in Hz and peak amplitude.
func Sine(hz float64, amplitude int16) Source {
	s := &sine{hz: hz, amplitude: float64(amplitude)}
	if hz == math.Trunc(hz) {
		s.second = make([]int16, 0, Rate)
	}
	return s
}

type sine struct {
	hz, amplitude float64
	n             int
	second        []int16 // what was said in the first second, where all others are like it; else nil
}

func (s *sine) Read(pcm []int16) int {
	for i := range pcm {
		pcm[i] = s.at(s.n)
		s.n++
	}
	return len(pcm)
}

func (s *sine) at(n int) int16 {
	if s.second != nil && n >= Rate {
		return s.second[n%Rate]
	}
	v := int16(math.Round(s.amplitude * math.Sin(2*math.Pi*s.hz*float64(n)/Rate)))
	if s.second != nil {
		s.second = append(s.second, v)
	}
	return v
}

// Samples returns a source that says pcm once. It does not copy pcm.
func Samples(pcm []int16) Source { return &samples{rest: pcm} }

type samples struct{ rest []int16 }

func (s *samples) Read(pcm []int16) int {
	n := copy(pcm, s.rest)
	s.rest = s.rest[n:]
	return n
}

// Noise returns n pseudo-random samples of full range, the same for the same seed:
// with Samples and Through, audio in which no packet can be missed or misplaced.
func Noise(seed uint64, n int) []int16 {
	r := rand.New(rand.NewPCG(seed, 0))
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(r.Uint32())
	}
	return pcm
}

// Tone tells how much of pcm is a tone of hz: 1 for that tone alone, 0 for none of
// it or for silence. It is the energy found at hz by Goertzel's algorithm in
// windows of 100 ms over all energy, so pauses and lost packets hardly matter; it
// separates frequencies 10 Hz apart.
func Tone(pcm []int16, hz float64) float64 {
	const window = Rate / 10
	var at, all float64
	for len(pcm) >= window {
		power, energy := goertzel(pcm[:window], hz)
		at, all = at+power, all+energy
		pcm = pcm[window:]
	}
	if all == 0 {
		return 0
	}
	return at / all
}

// goertzel returns the energy at hz and the whole energy of a window.
func goertzel(pcm []int16, hz float64) (at, all float64) {
	coefficient := 2 * math.Cos(2*math.Pi*hz/Rate)
	var s1, s2 float64
	for _, v := range pcm {
		x := float64(v)
		s1, s2 = x+coefficient*s1-s2, s1
		all += x * x
	}
	power := s1*s1 + s2*s2 - coefficient*s1*s2
	return 2 * power / float64(len(pcm)), all
}
