package prompt

import (
	"math"
	"strings"
	"time"

	"tandem/internal/voice/g711"
)

// keys are the digits row by row, as on the pad of ITU-T Q.23.
const keys = "123A456B789C*0#D"

// events are the digits by their code of RFC 4733 §3.2.
const events = "0123456789*#ABCD"

// The frequencies of Q.23 in Hz: a key sounds with its row's and its column's.
var (
	rows    = [4]float64{697, 770, 852, 941}
	columns = [4]float64{1209, 1336, 1477, 1633}
)

// The level of what DTMF makes, for each frequency: the higher one is a little
// louder, since lines take more of it.
const (
	rowLevel    = -9 // dBm0
	columnLevel = -7
)

// DTMF gives the sound of a key and the silence after it, as a telephone makes
// them. A byte that is no digit gives only silence.
func DTMF(digit byte, on, off time.Duration) []int16 {
	pcm := make([]int16, samples(on), samples(on)+samples(off))
	if key := position(digit); key >= 0 {
		row, column := rows[key/4], columns[key%4]
		low, high := amplitude(rowLevel), amplitude(columnLevel)
		for i := range pcm {
			at := 2 * math.Pi * float64(i) / g711.Rate
			pcm[i] = clip16(low*math.Sin(row*at) + high*math.Sin(column*at))
		}
	}
	return append(pcm, make([]int16, samples(off))...)
}

// position is where a key is on the pad, row by row; -1 for what is no key.
func position(digit byte) int { return strings.IndexByte(keys, digit) }
