package phone

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tandem/internal/voice/wav"
)

// maxWAV bounds what ReadWAV takes: 64 MiB, an hour at 8 kHz.
const maxWAV = 64 << 20

var errNotWAV = errors.New("phone: not a WAV file with 16-bit PCM")

// ReadWAV reads a RIFF WAVE file as 8 kHz mono. It takes 16-bit PCM and G.711 of one
// or two channels and 8 to 192 kHz: channels are averaged, and each sample is the
// average of the input samples of its 125 µs, which is enough for speech and tones.
// Anything else, and more than 64 MiB, is refused; a data chunk cut short is read as
// far as it goes.
func ReadWAV(r io.Reader) ([]int16, error) {
	s, err := wav.Read(r, maxWAV)
	switch {
	case errors.Is(err, wav.ErrFormat):
		return nil, errNotWAV
	case err != nil:
		return nil, fmt.Errorf("phone: %w", err)
	case s.Channels > 2 || s.Rate < Rate || s.Rate > 192000:
		return nil, errNotWAV
	}
	mono := make([]int32, len(s.Samples)/s.Channels)
	for i, sample := range s.Samples {
		mono[i/s.Channels] += int32(sample)
	}
	for i := range mono {
		mono[i] /= int32(s.Channels)
	}
	return resample(mono, s.Rate), nil
}

// resample averages the input samples that fall on each output sample.
func resample(in []int32, rate int) []int16 {
	out := make([]int16, len(in)*Rate/rate)
	for i := range out {
		from, to := i*rate/Rate, (i+1)*rate/Rate
		var sum int64
		for _, s := range in[from:to] {
			sum += int64(s)
		}
		out[i] = int16(sum / int64(to-from))
	}
	return out
}

// WriteWAV writes pcm as a WAV file: 8 kHz, mono, 16 bit.
func WriteWAV(w io.Writer, pcm []int16) error {
	b := wav.Header(Rate, 1, int64(2*len(pcm)))
	for _, s := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("phone: write WAV: %w", err)
	}
	return nil
}
