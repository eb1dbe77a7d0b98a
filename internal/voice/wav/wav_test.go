package wav

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

func pcm(samples ...int16) (b []byte) {
	for _, s := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return b
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	data := pcm(1, -2, 3, -4)
	for _, size := range []int64{int64(len(data)), Unknown} {
		s, err := Read(bytes.NewReader(append(Header(8000, 2, size), data...)), 1000)
		if err != nil || s.Rate != 8000 || s.Channels != 2 || !slices.Equal(s.Samples, []int16{1, -2, 3, -4}) || s.Cut != (size == Unknown) {
			t.Errorf("size %d: %+v, %v", size, s, err)
		}
	}
}

func TestG711IsRead(t *testing.T) {
	for kind, want := range map[uint16]int16{6: -8, 7: 0} {
		b := Header(8000, 1, 2)
		binary.LittleEndian.PutUint16(b[20:], kind)
		binary.LittleEndian.PutUint16(b[34:], 8)
		s, err := Read(bytes.NewReader(append(b, map[uint16][]byte{6: {0x55, 0x55}, 7: {0xff, 0xff}}[kind]...)), 1000)
		if err != nil || !slices.Equal(s.Samples, []int16{want, want}) {
			t.Errorf("format %d: %+v, %v", kind, s, err)
		}
	}
}

func TestWhatIsNoSpeechIsRefused(t *testing.T) {
	good := append(Header(8000, 1, 2), pcm(1)...)
	alter := func(at int, v byte) []byte { b := bytes.Clone(good); b[at] = v; return b }
	for name, b := range map[string][]byte{"empty": nil, "short": good[:20], "no RIFF": alter(0, 'X'), "no WAVE": alter(8, 'X'),
		"no channel": alter(22, 0), "24 bits": alter(34, 24), "MP3": alter(20, 0x55), "no data": good[:36]} {
		if _, err := Read(bytes.NewReader(b), 1000); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(bytes.NewReader(good), 45); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file of 46 bytes where 45 may be: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(append(Header(8000, 1, 4), pcm(1, 2)...))
	f.Add(append(Header(8000, 2, Unknown), pcm(1, 2, 3)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Read(bytes.NewReader(b), 1<<20)
		if err == nil && (len(s.Samples) > len(b) || len(s.Samples)%s.Channels != 0) {
			t.Errorf("%d bytes gave %d samples in %d channels", len(b), len(s.Samples), s.Channels)
		}
	})
}
