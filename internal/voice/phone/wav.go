package phone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxWAV bounds what ReadWAV takes: 64 MiB, an hour at 8 kHz.
const maxWAV = 64 << 20

var errNotWAV = errors.New("phone: not a WAV file with 16-bit PCM")

// ReadWAV reads a RIFF WAVE file as 8 kHz mono. It takes 16-bit PCM of one or two
// channels and 8 to 192 kHz: channels are averaged, and each sample is the average of
// the input samples of its 125 µs, which is enough for speech and tones. Anything
// else, and more than 64 MiB, is refused; a data chunk cut short is read as far as it goes.
func ReadWAV(r io.Reader) ([]int16, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxWAV+1))
	if err != nil {
		return nil, fmt.Errorf("phone: read WAV: %w", err)
	}
	if len(b) > maxWAV {
		return nil, errors.New("phone: WAV file longer than 64 MiB")
	}
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, errNotWAV
	}
	var format []byte
	for b = b[12:]; len(b) >= 8; {
		name, size := string(b[:4]), int(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
		chunk := b[:min(size, len(b))]
		switch name {
		case "fmt ":
			format = chunk
		case "data":
			return fromWAV(format, chunk)
		}
		b = b[min(size+size&1, len(b)):] // chunks are padded to even length
	}
	return nil, errNotWAV
}

// fromWAV converts the samples of a data chunk as its fmt chunk describes them.
func fromWAV(format, data []byte) ([]int16, error) {
	const pcm, extensible = 1, 0xfffe
	if len(format) < 16 {
		return nil, errNotWAV
	}
	kind := binary.LittleEndian.Uint16(format)
	channels := int(binary.LittleEndian.Uint16(format[2:]))
	rate := int(binary.LittleEndian.Uint32(format[4:]))
	if kind == extensible && len(format) >= 26 {
		kind = binary.LittleEndian.Uint16(format[24:])
	}
	if kind != pcm || binary.LittleEndian.Uint16(format[14:]) != 16 ||
		channels < 1 || channels > 2 || rate < Rate || rate > 192000 {
		return nil, errNotWAV
	}
	mono := make([]int32, len(data)/2/channels)
	for i := range mono {
		for range channels {
			mono[i] += int32(int16(binary.LittleEndian.Uint16(data)))
			data = data[2:]
		}
		mono[i] /= int32(channels)
	}
	return resample(mono, rate), nil
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
	var b bytes.Buffer
	size := 2 * len(pcm)
	b.WriteString("RIFF")
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v) // a bytes.Buffer takes everything
		}
	}
	put(uint32(36 + size))
	b.WriteString("WAVEfmt ")
	put(uint32(16), uint16(1), uint16(1), uint32(Rate), uint32(2*Rate), uint16(2), uint16(16))
	b.WriteString("data")
	put(uint32(size), pcm)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("phone: write WAV: %w", err)
	}
	return nil
}
