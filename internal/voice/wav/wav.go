// Package wav reads and begins RIFF WAVE files of speech. It is for everything
// in voice that takes sound from a file or gives it as one.
package wav

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tandem/internal/voice/g711"
)

// Refusals of Read.
var (
	ErrFormat   = errors.New("not a WAV file with 16-bit PCM, A-law or µ-law sound")
	ErrTooLarge = errors.New("WAV file too large")
)

// Sound is what a file holds.
type Sound struct {
	Rate     int // Hz
	Channels int
	Samples  []int16 // of all channels, in turn; whole frames only
	Cut      bool    // the file ended before its data chunk did
}

// The format codes of WAVE (RFC 2361).
const (
	formatPCM        = 1
	formatALaw       = 6
	formatULaw       = 7
	formatExtensible = 0xfffe
)

// Read reads a file of at most so many bytes. It takes 16-bit PCM and G.711 of
// any rate and number of channels; a data chunk cut short is read as far as it
// goes. Anything else is ErrFormat, more than most ErrTooLarge.
func Read(r io.Reader, most int64) (Sound, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return Sound{}, fmt.Errorf("read WAV: %w", err)
	}
	if int64(len(b)) > most {
		return Sound{}, ErrTooLarge
	}
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return Sound{}, ErrFormat
	}
	var format []byte
	for b = b[12:]; len(b) >= 8; {
		name, size := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
		chunk := b[:min(size, int64(len(b)))]
		switch name {
		case "fmt ":
			format = chunk
		case "data":
			return read(format, chunk, int64(len(chunk)) < size)
		}
		b = b[min(size+size&1, int64(len(b))):] // chunks are padded to even length
	}
	return Sound{}, ErrFormat
}

// read converts the samples of a data chunk as its fmt chunk describes them.
func read(format, data []byte, cut bool) (Sound, error) {
	if len(format) < 16 {
		return Sound{}, ErrFormat
	}
	kind, bits := binary.LittleEndian.Uint16(format), binary.LittleEndian.Uint16(format[14:])
	if kind == formatExtensible && len(format) >= 26 {
		kind = binary.LittleEndian.Uint16(format[24:])
	}
	s := Sound{Rate: int(binary.LittleEndian.Uint32(format[4:])), Channels: int(binary.LittleEndian.Uint16(format[2:])), Cut: cut}
	if s.Channels < 1 || s.Rate < 1 {
		return Sound{}, ErrFormat
	}
	switch {
	case kind == formatPCM && bits == 16:
		data = data[:len(data)/(2*s.Channels)*2*s.Channels]
		s.Samples = make([]int16, len(data)/2)
		for i := range s.Samples {
			s.Samples[i] = int16(binary.LittleEndian.Uint16(data[2*i:]))
		}
	case kind == formatALaw && bits == 8:
		s.Samples = g711.ALaw.Decode(nil, data[:len(data)/s.Channels*s.Channels])
	case kind == formatULaw && bits == 8:
		s.Samples = g711.ULaw.Decode(nil, data[:len(data)/s.Channels*s.Channels])
	default:
		return Sound{}, ErrFormat
	}
	return s, nil
}

// HeaderSize is the length of what Header gives.
const HeaderSize = 44

// Unknown is the size of a data chunk whose end nobody knows yet. Players read
// such a file to its end.
const Unknown = -1

// Header gives what stands before 16-bit PCM samples of so many bytes.
func Header(rate, channels int, dataBytes int64) []byte {
	const most = 1<<32 - 1
	size, whole := uint32(most), uint32(most)
	if dataBytes >= 0 && dataBytes <= most-36 {
		size, whole = uint32(dataBytes), uint32(dataBytes+36)
	}
	b := make([]byte, 0, HeaderSize)
	b = binary.LittleEndian.AppendUint32(append(b, "RIFF"...), whole)
	b = binary.LittleEndian.AppendUint32(append(b, "WAVEfmt "...), 16)
	b = binary.LittleEndian.AppendUint16(b, formatPCM)
	b = binary.LittleEndian.AppendUint16(b, uint16(channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(2*channels*rate))
	b = binary.LittleEndian.AppendUint16(b, uint16(2*channels))
	b = binary.LittleEndian.AppendUint16(b, 16)
	return binary.LittleEndian.AppendUint32(append(b, "data"...), size)
}
